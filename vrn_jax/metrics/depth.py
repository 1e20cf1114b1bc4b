"""Front-surface depth error: how well the part of a face that the camera sees is shaped.

Over the pixels inside the convex hull of the 51 inner landmarks where truth and prediction both
have a front surface,

    error = mean |dz - median(dz)| / D,    dz = predicted z - true z,

where D is the 3D outer interocular distance. The median takes away the depth that a photo cannot
tell; nothing else is aligned. With the error always comes the coverage: the share of the hull's
true pixels that the prediction covers, for what is missing adds nothing to the error. The measure
is this project's own; scale-free depth errors after removing an offset go back to Eigen et al.
(NeurIPS 2014, equation 1).

Volumes, meshes and depth maps meet as height maps: [h w], crop pixels, larger is nearer, and
-inf or NaN where there is no surface. The device functions take arrays of numpy
or JAX, and one face each: `jax.vmap` them.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Bool, Float

from vrn_jax.errors import InputError
from vrn_jax.geometry.grid import VRN_GRID, VolumeGrid
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.metrics.hull import inside_hull
from vrn_jax.metrics.landmarks import INNER, outer_interocular
from vrn_jax.types import Frame, Mesh

__all__ = [
    "DepthError",
    "depth_error",
    "height_at",
    "landmark_depth_error",
    "mesh_front",
    "volume_front",
]


class DepthError(NamedTuple):
    """`error` as a share of the outer interocular distance, NaN where nothing can be compared.

    `coverage` is the share, in [0, 1], of what is true that the prediction covers; NaN if nothing
    is true.
    """

    error: Float[Array, ""]
    coverage: Float[Array, ""]


@jax.jit
def depth_error(
    prediction: Float[Array, "h w"], truth: Float[Array, "h w"], landmarks: Float[Array, "68 3"]
) -> DepthError:
    """The depth error of one face from height maps; see the module.

    `landmarks` are the true ones in the pixels of the height maps, of which they take the unit too.
    """
    region = inside_hull(landmarks[INNER, :2], (truth.shape[0], truth.shape[1]))
    return _centred_error(prediction, truth, region, landmarks)


@jax.jit
def landmark_depth_error(
    prediction: Float[Array, " 68"], landmarks: Float[Array, "68 3"], visible: Bool[Array, " 68"]
) -> DepthError:
    """The same error over the landmarks that the picture shows.

    `prediction` holds their predicted z: of predicted landmarks, or of a surface at the place of
    the true ones (`height_at`). Coverage counts those of the visible that have one.
    """
    return _centred_error(prediction, landmarks[:, 2], visible, landmarks)


def _centred_error(
    prediction: Float[Array, "*p"],
    truth: Float[Array, "*p"],
    region: Bool[Array, "*p"],
    landmarks: Float[Array, "68 3"],
) -> DepthError:
    wanted = region & jnp.isfinite(truth)
    compared = wanted & jnp.isfinite(prediction)
    # Nothing to compare leaves NaN, which no mean over faces takes for a result.
    difference = jnp.where(compared, prediction - truth, jnp.nan)
    spread = jnp.nanmean(jnp.abs(difference - jnp.nanmedian(difference)))
    return DepthError(spread / outer_interocular(landmarks), compared.sum() / wanted.sum())


@jax.jit
def height_at(height: Float[Array, "h w"], points: Float[Array, "p c"]) -> Float[Array, " p"]:
    """The height map at points (x, y, ...), bilinear; NaN where there is no surface.

    At the edge of the surface the pixels that have one share the weight, as long as it is half.
    """
    inside = jnp.isfinite(height)
    where = [points[:, 1], points[:, 0]]
    share = map_coordinates(inside.astype(height.dtype), where, order=1)
    total = map_coordinates(jnp.where(inside, height, 0), where, order=1)
    return jnp.where(share >= 0.5, total / jnp.where(share > 0, share, 1), jnp.nan)


@partial(jax.jit, static_argnames=("threshold", "grid"))
def volume_front(
    occupancy: Float[Array, "*b h w d"] | Bool[Array, "*b h w d"],
    threshold: float = 0.5,
    grid: VolumeGrid = VRN_GRID,
) -> Float[Array, "*b h w"]:
    """The height map of a volume: the front-most crossing of the threshold, -inf where none is.

    Between planes probabilities are linear, as marching cubes takes them; a solid of booleans ends
    half a plane in front of its last voxel. What touches the front plane ends before the volume
    does, since there is nothing beyond.

    Raises:
        InputError: if this is no volume of the grid.
    """
    if occupancy.shape[-3:] != grid.shape:
        raise InputError(
            f"a volume of this grid has the shape {grid.shape}, got {occupancy.shape}; give "
            "the grid of the weights"
        )
    above = occupancy > threshold
    plane = grid.planes - 1 - jnp.argmax(above[..., ::-1], axis=-1)

    def value(index: Array) -> Array:
        at = jnp.minimum(index, grid.planes - 1)[..., None]
        found = jnp.take_along_axis(occupancy, at, axis=-1)[..., 0].astype(jnp.float32)
        return jnp.where(index < grid.planes, found, 0.0)

    inner, outer = value(plane), value(plane + 1)
    beyond = (inner - threshold) / jnp.maximum(inner - outer, jnp.finfo(jnp.float32).tiny)
    z = (plane + beyond - grid.origin_plane) * grid.plane_depth
    return jnp.where(above.any(axis=-1), z, -jnp.inf)


def mesh_front(
    mesh: Mesh, shape: tuple[int, int], frame: Frame = "crop"
) -> Float[np.ndarray, "h w"]:
    """The height map of a mesh in a picture of `shape` (height, width), -inf where none is.

    Raises:
        InputError: if the mesh is not in `frame`, or `frame` is no frame of pixels.
    """
    if frame == "metres" or mesh.frame != frame:
        raise InputError(
            f"height maps are compared in pixels, here of the {frame!r} frame, and this mesh is in "
            f"{mesh.frame!r}; bring it there first (geometry.mesh.moved)"
        )
    fragments = rasterize(mesh.vertices, mesh.faces, shape)
    z = interpolate(fragments, mesh.faces, mesh.vertices[:, 2:])[..., 0]
    return np.where(fragments.face >= 0, z, -np.inf)
