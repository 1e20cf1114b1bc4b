"""Pictures of meshes and volumes for people: numpy only, no display, no GPU."""

from vrn_jax.rendering.overlay import overlay
from vrn_jax.rendering.render import OVERSAMPLING, Look, depth_map, paint, render, turntable
from vrn_jax.rendering.shading import BACKGROUND
from vrn_jax.rendering.sheet import labelled, sheet
from vrn_jax.rendering.view import View, look_at
from vrn_jax.rendering.volumes import isosurfaces_picture, slices_picture

__all__ = [
    "BACKGROUND",
    "OVERSAMPLING",
    "Look",
    "View",
    "depth_map",
    "isosurfaces_picture",
    "labelled",
    "look_at",
    "overlay",
    "paint",
    "render",
    "sheet",
    "slices_picture",
    "turntable",
]
