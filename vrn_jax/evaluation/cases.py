"""What is measured on: photos with what is known of the face in them, from three kinds of data.

All of a case is in photo pixels: x right, y down, z to the viewer in the same unit. The zero of z
is the data's own, and no metric depends on it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from vrn_jax.data.aflw import AflwSamples
from vrn_jax.errors import InputError
from vrn_jax.faces.sample import Attributes
from vrn_jax.faces.source import FaceSource
from vrn_jax.geometry.mesh import grid_faces
from vrn_jax.geometry.pose import MEAN_LANDMARKS
from vrn_jax.geometry.solid import FIELD_CM, Solid, front_z
from vrn_jax.geometry.transforms import apply_affine
from vrn_jax.io.image import PHOTO_SUFFIXES, read_photo
from vrn_jax.io.landmarks import read_landmarks
from vrn_jax.metrics.baselines import fit_weak_perspective
from vrn_jax.training.evaluate import best_constant_iou
from vrn_jax.types import Mesh

__all__ = ["AflwCases", "Case", "Cases", "MadeCases", "PhotoCases", "solid_surface"]

_LANDMARK_SUFFIXES = (".pts", ".txt", ".json", ".npy")
_MOST_CONSTANT = 30  # faces that the constant volume is chosen on
_EVERY = 3  # cells of a height field to a side of a square of the surface: 1.5 mm


@dataclass(frozen=True, eq=False)
class Case:
    """A photo and the truth about its face.

    `landmarks` are the true 68 iBUG points, (x, y) or (x, y, z). `visible` says which of them the
    photo shows, where the data know. `surface` is the true face region, `solid` the true solid with
    its pose in the photo; both None where only landmarks are known. `yaw` is in degrees, positive
    or negative to either side. `groups` names what the face is to be counted among.
    """

    name: str
    photo: UInt8[np.ndarray, "h w 3"]
    landmarks: Float[np.ndarray, "68 c"]
    yaw: float
    visible: Bool[np.ndarray, " 68"] | None = None
    surface: Mesh | None = None
    solid: Solid | None = None
    groups: dict[str, str] = field(default_factory=dict)


@runtime_checkable
class Cases(Protocol):
    """Cases in a fixed order. `described` says what they are and which region is measured."""

    described: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Case:
        """Case `index`, read or made when asked for. Raises InputError if it cannot be read."""
        ...


class MadeCases:
    """Rendered faces of a held-out stream; the picture is all that a method gets to see.

    Raises:
        InputError: if the stream is the one that networks are trained on.
    """

    def __init__(self, source: FaceSource, count: int):
        if not source.held_out:
            raise InputError("measure on the held-out stream of made faces, not on the other")
        self._source, self._count = source, count
        worn = "drawn skin" if source.portraits is None else "portraits and drawn skin"
        self.described = (
            f"Made faces, held-out stream of seed {source.seed}, {worn}; the face region "
            "of the head that they were made of"
        )

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> Case:
        example = self._source[index]
        return Case(
            f"made-{index:06}",
            np.asarray(example.image),
            np.asarray(example.landmarks, np.float64),
            float(example.attributes.yaw),
            np.asarray(example.visible),
            solid_surface(example.solid),
            example.solid,
            _groups(example.attributes),
        )

    def constant_iou(self) -> tuple[float, int]:
        """The highest mean IoU of one volume for all, and on how many faces, the first ones.

        In crops as training has them, around the true landmarks.
        """
        count = min(self._count, _MOST_CONSTANT)
        return best_constant_iou(self._source.batch(list(range(count)))), count


class PhotoCases:
    """Photos of a folder that have a landmark file beside them: NAME.pts, .txt, .json or .npy.

    Raises:
        InputError: if the folder has no such pair.
    """

    def __init__(self, folder: Path):
        found = [path for path in sorted(folder.glob("*")) if path.suffix.lower() in PHOTO_SUFFIXES]
        pairs = [(photo, _landmark_file(photo)) for photo in found]
        self._pairs = [(photo, points) for photo, points in pairs if points is not None]
        if not self._pairs:
            raise InputError(
                f"{folder} has no photo with a landmark file beside it ({len(found)} photos); "
                "for face.jpg give face.pts, face.txt, face.json or face.npy with 68 points"
            )
        without = len(found) - len(self._pairs)
        self.described = f"{len(self._pairs)} photos with landmark files; {without} without are out"

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int, /) -> Case:
        photo, points = self._pairs[index]
        landmarks = read_landmarks(points)
        return Case(photo.name, read_photo(photo), landmarks, _yaw(landmarks))


class AflwCases:
    """AFLW2000-3D, prepared; the face region is the rule of the user's own model."""

    def __init__(self, samples: AflwSamples):
        self._samples = samples
        self.described = f"AFLW2000-3D, {len(samples)} photos; face region: {samples.region_rule}"

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int, /) -> Case:
        sample = self._samples[index]
        return Case(
            sample.name,
            sample.photo,
            sample.landmarks.astype(np.float64),
            float(sample.pose_deg[1]),
            surface=Mesh(sample.vertices.astype(np.float64), sample.faces, "photo"),
        )


def solid_surface(solid: Solid) -> Mesh:
    """The front of a solid, every 1.5 mm, where its pose puts it; z = 0 at its front-most point."""
    height = np.asarray(solid.height, np.float64)[::_EVERY, ::_EVERY]
    count = len(solid.height)
    cell = FIELD_CM / count
    step = (np.arange(0, count, _EVERY) - (count - 1) / 2) * cell
    x, y = np.meshgrid(step, -step)
    corners = grid_faces(height.shape)
    inside = np.isfinite(height).ravel()
    faces = corners[inside[corners].all(axis=1)]
    used = np.zeros(height.size, bool)
    used[faces] = True
    matrix = np.asarray(solid.crop_from_head, np.float64)
    points = apply_affine(matrix, np.stack([x, y, height], axis=-1).reshape(-1, 3)[used])
    points[:, 2] -= float(_front_z(solid))
    if np.linalg.det(matrix[:, :3]) > 0:  # y turned over and x mirrored: left and right change
        faces = faces[:, ::-1]
    return Mesh(points, (np.cumsum(used) - 1)[faces], "photo")


def _groups(attributes: Attributes) -> dict[str, str]:
    tone, covered = float(attributes.tone), float(attributes.covered)
    worn = int(attributes.portrait) >= 0
    bearded = "beard" if float(attributes.beard) > 0.3 else "none"
    return {
        "skin tone": "light" if tone < 1 / 3 else "medium" if tone < 2 / 3 else "dark",
        "skin": "portrait" if worn else "drawn",
        "beard": "not known (portrait)" if worn else bearded,
        "glasses": "glasses" if bool(attributes.glasses) else "none",
        "hat": "hat" if bool(attributes.hat) else "none",
        "covered": "over 5 %" if covered > 0.05 else "up to 5 %",
        "pitch": "over 15 degrees" if abs(float(attributes.pitch)) > 15 else "up to 15 degrees",
    }


def _landmark_file(photo: Path) -> Path | None:
    there = (photo.with_suffix(suffix) for suffix in _LANDMARK_SUFFIXES)
    return next((path for path in there if path.is_file()), None)


def _yaw(landmarks: Float[np.ndarray, "68 c"]) -> float:
    """Of the mean landmarks under the weak perspective that fits these, degrees."""
    forward = fit_weak_perspective(MEAN_LANDMARKS, landmarks[:, :2]).rotation[:, 2]
    return float(np.rad2deg(np.arctan2(forward[0], forward[2])))


_front_z = jax.jit(front_z)
