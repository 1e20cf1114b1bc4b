"""Pictures of a volume: its slices, and its surfaces at several thresholds."""

import numpy as np
from jaxtyping import Float, UInt8

from vrn_jax.errors import InputError
from vrn_jax.geometry.grid import VolumeGrid
from vrn_jax.geometry.isosurface import isosurface
from vrn_jax.rendering.render import render
from vrn_jax.rendering.sheet import labelled, sheet

__all__ = ["isosurfaces_picture", "slices_picture"]

_PAPER = (255, 255, 255)
_RAMP = np.array([(250, 250, 251), (250, 216, 170), (224, 122, 84), (122, 38, 82), (40, 18, 60)])


def slices_picture(
    occupancy: Float[np.ndarray, "h w d"], *, columns: int = 6, step: int = 8
) -> UInt8[np.ndarray, "H W 3"]:
    """Every `step`-th depth plane that is not empty, the nearest first: darker is fuller."""
    filled = np.flatnonzero((occupancy > 0.05).any(axis=(0, 1)))
    if not len(filled):
        raise InputError("nothing to show: this volume is empty")
    planes = range(int(filled[-1]), int(filled[0]) - 1, -step)
    tiles = [labelled(_coloured(occupancy[:, :, i]), f"plane {i}") for i in planes]
    return sheet(tiles, columns)


def isosurfaces_picture(
    occupancy: Float[np.ndarray, "h w d"],
    grid: VolumeGrid,
    *,
    thresholds: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9),
    size: int = 256,
) -> UInt8[np.ndarray, "H W 3"]:
    """The surface at each threshold, in three-quarter view and from the side, at one scale.

    A threshold that nothing exceeds leaves its place empty. Where the surfaces differ, the network
    is unsure.
    """
    blank = np.full((2 * size, size, 3), 255, np.uint8)
    tiles = []
    for threshold in thresholds:
        picture = blank
        if (occupancy > threshold).any():
            mesh = isosurface(occupancy, grid, threshold=threshold)
            width = 0.8 * grid.rows
            picture = np.concatenate(
                [
                    render(mesh, yaw_deg=yaw, size=size, view_width=width, background=_PAPER)
                    for yaw in (-35.0, -90.0)
                ]
            )
        tiles.append(labelled(picture, f"above {threshold:g}"))
    return sheet(tiles, len(tiles))


def _coloured(plane: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    at = plane.clip(0, 1) * (len(_RAMP) - 1)
    channels = [np.interp(at, np.arange(len(_RAMP)), column) for column in _RAMP.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
