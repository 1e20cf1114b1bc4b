"""The voxel grid: the only home of axis order, voxel size, the z factor 0.5 and the z origin.

A volume is an array [h w d] = rows (y down), columns (x right), depth planes; a larger plane
index is nearer the viewer (section 3 of the paper: 192x192x200, voxels half as deep as they are
wide). Crop and photo frames are left-handed: x right, y down, z towards the viewer.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

__all__ = ["VRN_GRID", "VolumeGrid"]


@dataclass(frozen=True)
class VolumeGrid:
    """Where the voxels of a volume lie in the crop frame.

    The planes are at ``z = (plane - origin_plane) * plane_depth`` crop pixels, and z = 0 is a
    point of the face: its front-most point (`origin = "front"`, the rule for all new weights) or
    the mean of its 68 landmarks (`origin = "landmarks"`). The rule travels with the weights, for
    a network learns it.

    In the authors' released example the solid spans planes 40 to 178; with the front-most point
    in plane 178 that is reproduced, and nothing the camera sees is ever cut off. A profile's
    solid can be deeper than the 89 px that remain, so its far side, hidden from the camera, is
    cut at plane 0.
    """

    rows: int = 192
    columns: int = 192
    planes: int = 200
    plane_depth: float = 0.5
    """Depth of a voxel in crop pixels; its height and width are one pixel."""
    origin: Literal["front", "landmarks"] = "front"
    origin_plane: float = 178.0
    """Plane index, in fractions of a plane, of the point that has z = 0."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, d) of a volume."""
        return self.rows, self.columns, self.planes

    @property
    def crop_from_voxel(self) -> Float[np.ndarray, "4 4"]:
        """Maps homogeneous voxel indices (row, column, plane, 1) to crop pixels (x, y, z, 1)."""
        z = self.plane_depth
        return np.array(
            [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, z, -z * self.origin_plane], [0, 0, 0, 1]],
            np.float64,
        )

    @property
    def voxel_from_crop(self) -> Float[np.ndarray, "4 4"]:
        """Maps crop pixels (x, y, z, 1) to homogeneous voxel indices (row, column, plane, 1)."""
        return np.linalg.inv(self.crop_from_voxel)

    @property
    def plane_z(self) -> Float[np.ndarray, " d"]:
        """The z of every plane's voxel centres, crop pixels."""
        return (np.arange(self.planes) - self.origin_plane) * self.plane_depth


VRN_GRID = VolumeGrid()
