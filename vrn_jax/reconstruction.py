"""What a reconstructed face is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from vrn_jax.interop.info import WeightsInfo
from vrn_jax.types import FaceCrop, Mesh

__all__ = ["Reconstruction"]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One face of a photo; `vrn_jax.save(face, "me.glb")` writes it.

    `mesh` is in photo pixels (x right, y down, z towards the viewer, all in that unit; z = 0 is the
    point that the grid of the weights says, by rule the front-most) and watertight. `occupancy` is
    the cleaned volume, 0..1, a JAX array on its device. `landmarks` (photo pixels; x y, and z where
    known) are None where only a box was known. `metres_per_pixel` sizes the face so that its outer
    eye corners are 90 mm apart. `weights` is the header of the weights that made it.
    """

    mesh: Mesh
    occupancy: Float[Any, "h w d"]
    crop: FaceCrop
    landmarks: Float[np.ndarray, "68 c"] | None
    box: Float[np.ndarray, " 4"]
    metres_per_pixel: float
    photo: UInt8[np.ndarray, "photo_h photo_w 3"]
    weights: WeightsInfo

    def __repr__(self) -> str:
        box = self.box.round().astype(int).tolist()
        return f"Reconstruction({self.mesh}, box {box}, weights {self.weights.name})"
