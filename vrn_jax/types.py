"""The data that travels between modules on the host, and the letters that name its dimensions.

Letters in shapes: b batch, h w rows and columns, d depth planes, c channels, v vertices, f faces,
p points, l landmarks, s stacks. Inside jit there are only plain arrays; on the host there are the
frozen dataclasses below.

Frames (see docs/conventions.md). An integer coordinate is the centre of a pixel.

- ``photo``: pixels of the photo after its EXIF rotation, x right, y down, z towards the viewer, all
  three in the same unit. Left-handed.
- ``crop``: the same axes in the pixels of the 192x192 network input.
- ``metres``: x right, y *up*, z towards the viewer. Right-handed; what GLB files hold.

The faces of a mesh are wound so that ``cross(b - a, c - a)``, computed on the stored numbers,
points out of the solid in every frame.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

__all__ = ["Face", "FaceCrop", "Frame", "Mesh"]

Frame = Literal["photo", "crop", "metres"]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh, optionally with normals and a texture, or colours.

    `normals` have length one and point out of the solid.
    `uv` has its origin at the *lower left* corner of the texture, as OBJ files have it; the rows of
    `texture` run from top to bottom, as in any image. `colours` are those of vertices, where a file
    had such and no texture.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    frame: Frame
    normals: Float[np.ndarray, "v 3"] | None = None
    uv: Float[np.ndarray, "v 2"] | None = None
    texture: UInt8[np.ndarray, "h w 3"] | None = None
    colours: UInt8[np.ndarray, "v 3"] | None = None

    def __repr__(self) -> str:
        textured = "" if self.texture is None else ", textured"
        return (
            f"Mesh({len(self.vertices)} vertices, {len(self.faces)} faces, {self.frame}{textured})"
        )


@dataclass(frozen=True, eq=False)
class Face:
    """A face found in a photo. Photo pixels throughout.

    `box` is (left, top, right, bottom) around the landmarks, or around where they would be.
    `landmarks` are the 68 iBUG points in order: x y z, where z points to the viewer and its zero
    has no meaning, or x y alone. They are None where a face is there but its points cannot be told,
    half covered for example.
    `score` is the detector's, in [0, 1]. `quarter_turns`, 0 to 3 and from x towards y, say how the
    face lies in the photo; its crop shows it upright. `facemesh` are all 468 points that the
    landmarks are chosen from, where FaceMesh placed them.
    """

    box: Float[np.ndarray, " 4"]
    landmarks: Float[np.ndarray, "68 c"] | None
    score: float
    quarter_turns: int = 0
    facemesh: Float[np.ndarray, "468 3"] | None = None


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """What the network sees, and the similarity that leads back to the photo.

    `image` is RGB, 0..255. `crop_from_photo` maps homogeneous photo pixels (x, y, 1) to crop
    pixels.
    """

    image: UInt8[np.ndarray, "h w 3"]
    crop_from_photo: Float[np.ndarray, "3 3"]
