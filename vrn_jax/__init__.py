"""VRN in JAX: 3D faces from a single photo by volumetric regression (Jackson et al., ICCV 2017).

>>> import vrn_jax
>>> reconstructor = vrn_jax.load()
>>> faces = reconstructor("photo.jpg")  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING

from vrn_jax.version import __version__ as __version__

if TYPE_CHECKING:
    from vrn_jax.errors import InputError, NoFaceError, VrnError, WeightsError
    from vrn_jax.inference import Reconstructor, load
    from vrn_jax.outputs import save
    from vrn_jax.reconstruction import Reconstruction
    from vrn_jax.types import Face, FaceCrop, Mesh

_HOMES = {
    "InputError": "vrn_jax.errors",
    "NoFaceError": "vrn_jax.errors",
    "VrnError": "vrn_jax.errors",
    "WeightsError": "vrn_jax.errors",
    "Reconstructor": "vrn_jax.inference",
    "load": "vrn_jax.inference",
    "save": "vrn_jax.outputs",
    "Face": "vrn_jax.types",
    "FaceCrop": "vrn_jax.types",
    "Mesh": "vrn_jax.types",
    "Reconstruction": "vrn_jax.reconstruction",
}

__all__ = [  # noqa: RUF022 (by how often they are needed)
    "load",
    "save",
    "Reconstructor",
    "Reconstruction",
    "Mesh",
    "Face",
    "FaceCrop",
    "VrnError",
    "InputError",
    "NoFaceError",
    "WeightsError",
]


def __getattr__(name: str):
    # JAX takes a second to import; `vrn --help` and `vrn_jax.geometry` should not wait for it.
    if name not in _HOMES:
        raise AttributeError(f"module 'vrn_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
