"""The face model that 300W-LP and AFLW2000-3D were fitted with, from the user's own files.

`Model_Shape.mat` and `Model_Exp.mat` are what 3DDFA's authors make of the Basel Face Model 2009:
53,215 vertices in micrometres, x right, y up, z to the viewer, with 199 modes of shape and 29 of
expression. Its licence is academic, so nothing of it comes with this package.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from vrn_jax.data.mat import read_mat
from vrn_jax.errors import InputError
from vrn_jax.geometry.solid import FIELD_CM

__all__ = ["MICROMETRES", "BaselModel", "face_region", "read_basel", "wound_for_pictures"]

MICROMETRES = 1e4
"""In a centimetre."""

_EXPRESSION_FILES = ("Model_Exp.mat", "Model_Expression.mat")
_BELOW_JAW_CM = 0.3
_BEHIND_JAW_CM = 0.5


@dataclass(frozen=True, eq=False)
class BaselModel:
    """A linear face model in centimetres in the head frame: x right, y up, z to the viewer.

    Vertices are ``mean + shape @ Shape_Para + expression @ Exp_Para`` with the parameters as they
    stand in the data sets. `faces` are wound for a picture with y down. `keypoints` are the
    vertices of the 68 iBUG landmarks. `region` says which vertices belong to the face: no ears, no
    neck; `region_rule` says in words why.
    """

    mean: Float[np.ndarray, "v 3"]
    shape: Float[np.ndarray, "v 3 s"]
    expression: Float[np.ndarray, "v 3 e"]
    faces: Int[np.ndarray, "f 3"]
    keypoints: Int[np.ndarray, " 68"]
    region: Bool[np.ndarray, " v"]
    region_rule: str

    @property
    def region_faces(self) -> Int[np.ndarray, "f 3"]:
        """The triangles whose three corners lie in the region."""
        return self.faces[self.region[self.faces].all(axis=1)]

    def vertices(
        self, shape: Float[np.ndarray, " s"], expression: Float[np.ndarray, " e"]
    ) -> Float[np.ndarray, "v 3"]:
        """The face of these parameters, centimetres in the head frame."""
        return self.mean + self.shape @ shape + self.expression @ expression


def read_basel(folder: str | Path, region_file: str | Path | None = None) -> BaselModel:
    """Reads `Model_Shape.mat` and `Model_Exp.mat` (3DDFA's layout).

    `region_file` is a text file with the numbers of the vertices of the face region, from 0;
    without one the region is that of `face_region`.

    Raises:
        InputError: if a file is missing, is no MAT-file of version 5, lacks an array, or the
            arrays do not fit together or make no face.
    """
    folder = Path(folder)
    shapes = folder / "Model_Shape.mat"
    there = [folder / name for name in _EXPRESSION_FILES if (folder / name).is_file()]
    expressions = there[0] if there else folder / _EXPRESSION_FILES[0]
    shape = read_mat(shapes, ("mu_shape", "w", "tri", "keypoints"))
    expression = read_mat(expressions, ("mu_exp", "w_exp"))
    count = shape["mu_shape"].size
    if count % 3 or not count:
        raise InputError(f"mu_shape of {shapes} must hold 3 numbers a vertex, got {count}")
    for path, name, values in (
        (shapes, "w", shape["w"]),
        (expressions, "mu_exp", expression["mu_exp"].reshape(-1, 1)),
        (expressions, "w_exp", expression["w_exp"]),
    ):
        if values.ndim != 2 or len(values) != count:
            raise InputError(
                f"{name} of {path} is {values.shape}, but mu_shape of {shapes} has {count} rows; "
                "take both files of one release"
            )
    mean = (shape["mu_shape"].ravel() + expression["mu_exp"].ravel()).reshape(-1, 3) / MICROMETRES
    if shape["tri"].ndim != 2 or len(shape["tri"]) != 3:
        raise InputError(f"tri of {shapes} must be (3, triangles), got {shape['tri'].shape}")
    faces = _numbers(shapes, "tri", shape["tri"], len(mean)).T
    keypoints = _numbers(shapes, "keypoints", shape["keypoints"], len(mean)).ravel()
    _check(shapes, mean, keypoints)
    region, rule = _region(mean, keypoints, region_file)
    return BaselModel(
        mean.astype(np.float32),
        _basis(shape["w"]),
        _basis(expression["w_exp"]),
        wound_for_pictures(mean, faces, region),
        keypoints,
        region,
        rule,
    )


def face_region(
    points: Float[np.ndarray, "v 3"], landmarks: Float[np.ndarray, "68 3"]
) -> Bool[np.ndarray, " v"]:
    """Which vertices of a frontal face belong to it, told by its landmarks; centimetres, y up.

    3DDFA's own lists of ears and neck may not be shipped. Instead: not behind the ends of the jaw
    line (landmarks 1 and 17, in front of the ears) by more than half a centimetre; not further out
    than the jaw line is wide; and not below the jaw line by more than 3 mm, which leaves the neck
    out. Above there is no limit: the model itself ends at the hair line.
    """
    jaw = landmarks[:17]
    order = np.argsort(jaw[:, 0])
    lowest = np.interp(points[:, 0], jaw[order, 0], jaw[order, 1])
    return (
        (points[:, 2] >= jaw[[0, -1], 2].min() - _BEHIND_JAW_CM)
        & (np.abs(points[:, 0] - jaw[:, 0].mean()) <= np.ptp(jaw[:, 0]) / 2)
        & (points[:, 1] >= lowest - _BELOW_JAW_CM)
    )


def wound_for_pictures(
    points: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    region: Bool[np.ndarray, " v"],
) -> Int[np.ndarray, "f 3"]:
    """All triangles turned over if those of the face show their backs, as files differ there.

    `points` have y up; the result is wound for pictures with y down.
    """
    inside = faces[region[faces].all(axis=1)]
    a, b, c = (points[inside[:, k], :2] * [1, -1] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    return faces if area.sum() > 0 else faces[:, ::-1].copy()


def _basis(values: np.ndarray) -> Float[np.ndarray, "v 3 m"]:
    return (values / MICROMETRES).astype(np.float32).reshape(len(values) // 3, 3, -1)


def _numbers(path: Path, name: str, values: np.ndarray, count: int) -> np.ndarray:
    """MATLAB's numbers of vertices, from 1, as numbers from 0."""
    numbers = values.astype(np.int64)
    if (numbers != values).any() or numbers.min() < 1 or numbers.max() > count:
        raise InputError(
            f"{name} of {path} must hold numbers of vertices from 1 to {count:,}, got "
            f"{values.min():g} to {values.max():g}"
        )
    return numbers - 1


def _check(path: Path, mean: np.ndarray, keypoints: np.ndarray) -> None:
    if keypoints.shape != (68,):
        raise InputError(f"{path} needs 68 keypoints, got {len(keypoints)}")
    largest = np.abs(mean[:, :2]).max()
    if not 5 < largest < FIELD_CM:
        raise InputError(
            f"the mean face of {path} reaches {largest:.3g} cm from its origin, which no face "
            "does; its numbers must be micrometres"
        )


def _region(
    mean: np.ndarray, keypoints: np.ndarray, region_file: str | Path | None
) -> tuple[np.ndarray, str]:
    if region_file is None:
        return face_region(mean, mean[keypoints]), "in front of the ears and above the jaw line"
    try:
        numbers = np.loadtxt(region_file, dtype=np.int64).ravel()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{region_file} must be a text file of vertex numbers from 0, one a line: {error}"
        ) from error
    if len(numbers) < 4 or numbers.min() < 0 or numbers.max() >= len(mean):
        raise InputError(
            f"{region_file} must name vertices from 0 to {len(mean) - 1:,}, four at least, got "
            f"{len(numbers)} numbers, up to {numbers.max(initial=0):,}"
        )
    region = np.zeros(len(mean), bool)
    region[numbers] = True
    return region, f"vertices of {Path(region_file).name}"
