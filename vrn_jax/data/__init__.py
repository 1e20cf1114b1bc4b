"""Data sets in files, as TFDS has them but without TensorFlow: made faces, and real ones."""

from vrn_jax.data.export import Export
from vrn_jax.data.frozen import FrozenFaces, open_frozen
from vrn_jax.data.record import FrozenExample, unpack_occupancy

__all__ = ["Export", "FrozenExample", "FrozenFaces", "open_frozen", "unpack_occupancy"]
