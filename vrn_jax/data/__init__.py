"""Data sets in files, TFDS's but without TensorFlow: made faces frozen, and users' own real data."""

from vrn_jax.data.export import Export
from vrn_jax.data.frozen import FrozenFaces, open_frozen
from vrn_jax.data.record import FrozenExample, unpack_occupancy

__all__ = ["Export", "FrozenExample", "FrozenFaces", "open_frozen", "unpack_occupancy"]
