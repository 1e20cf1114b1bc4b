"""A plain picture of a head, lit from the front: to show a detector, and people, what it is."""

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation

from vrn_jax.faces.head import MASKS, PARTS, Head
from vrn_jax.geometry.mesh import vertex_normals
from vrn_jax.geometry.rasterize import interpolate, rasterize
from vrn_jax.types import Mesh

__all__ = ["PART_COLOURS", "draw", "normals_in_photo", "painted", "photo_from_turned"]

AMBIENT = 0.45
LIGHT = np.array([0.2, -0.45, 0.87])  # direction to the lamp, photo frame
BACKGROUND = 110.0

PART_COLOURS = {
    "skin": (205, 160, 135),
    "sclera": (225, 222, 218),
    "iris": (60, 42, 32),
    "teeth": (222, 214, 200),
    "mouth": (110, 48, 48),
    "lashes": (35, 26, 22),
}
"""RGB of what belongs to each part of a head, where nothing else is known."""
_MASK_COLOURS = {"lips": (178, 92, 90), "brows": (62, 44, 34), "scalp": (58, 42, 33)}


def photo_from_turned(
    yaw_deg: float, pitch_deg: float, scale: float, centre: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "3 4"]:
    """`photo_from_head` of a turned head whose origin is shown at pixel `centre`.

    `scale` is in pixels per centimetre; yaw > 0 turns the nose to the right of the picture,
    pitch > 0 up.
    """
    rotation = Rotation.from_euler("YX", [yaw_deg, -pitch_deg], degrees=True).as_matrix()
    matrix = scale * np.diag([1.0, -1.0, 1.0]) @ rotation
    return np.concatenate([matrix, np.array([*centre, 0.0])[:, None]], axis=1)


def normals_in_photo(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "v 3"]:
    """Outward normals of vertices in the photo frame, for faces wound as in the head frame."""
    return vertex_normals(Mesh(vertices, faces[:, ::-1], "photo"))


def painted(head: Head) -> UInt8[np.ndarray, "v 3"]:
    """Colours for a head of which nothing is known: plain skin with dark brows, hair and eyes."""
    colours = np.array([PART_COLOURS[name] for name in PARTS], float)[head.part]
    for name, colour in _MASK_COLOURS.items():
        share = head.masks[:, [MASKS.index(name)]]
        colours = colours + share * (np.array(colour) - colours)
    return colours.round().astype(np.uint8)


def draw(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    colours: UInt8[np.ndarray, "v 3"],
    shape: tuple[int, int],
) -> UInt8[np.ndarray, "h w 3"]:
    """Draws a head in the photo frame on grey, shaded as matt.

    Faces are wound as in the head frame; `shape` is (height, width) in pixels.
    """
    light = LIGHT / np.linalg.norm(LIGHT)
    lit = AMBIENT + (1.0 - AMBIENT) * np.maximum(normals_in_photo(vertices, faces) @ light, 0.0)
    flipped = faces[:, ::-1]
    fragments = rasterize(vertices, flipped, shape)
    picture = interpolate(fragments, flipped, colours * lit[:, None])
    picture[fragments.face < 0] = BACKGROUND
    return picture.round().clip(0, 255).astype(np.uint8)
