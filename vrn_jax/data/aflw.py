"""AFLW2000-3D for evaluation: photos with the vertices of their faces, in the photo's frame."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from vrn_jax.data.bfm import BaselModel
from vrn_jax.data.builders import FIT_DATA_SETS
from vrn_jax.data.fit_record import decode_fit
from vrn_jax.data.fits import photo_from_head
from vrn_jax.data.stored import open_data_set, split_records
from vrn_jax.errors import InputError
from vrn_jax.geometry.transforms import apply_affine

__all__ = ["AflwSample", "AflwSamples"]


class AflwSample(NamedTuple):
    """One photo. Points are in photo pixels: x right, y down, z to the viewer, its zero the data's.

    `vertices` are those of the model's face region, `faces` its triangles among them, wound for
    pictures with y down. `landmarks` are the model's 68 keypoints. `pose_deg` is (pitch, yaw, roll)
    as the data set has them.
    """

    name: str
    photo: UInt8[np.ndarray, "h w 3"]
    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    landmarks: Float[np.ndarray, "68 3"]
    pose_deg: Float[np.ndarray, "3"]


class AflwSamples:
    """The samples of a prepared `vrn_aflw2000_3d`, in the order of their names.

    `region_rule` says which vertices are taken, to be stated beside numbers measured on them.

    Raises:
        InputError: if the folder holds no such data set.
    """

    def __init__(self, folder: str | Path, model: BaselModel):
        folder = Path(folder)
        builder = open_data_set(folder, {"vrn_aflw2000_3d": FIT_DATA_SETS["vrn_aflw2000_3d"]})
        self._records = split_records(builder, folder, "test")
        self._model = model
        self.region_rule = model.region_rule
        numbers = np.cumsum(model.region) - 1
        self._faces = numbers[model.region_faces]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[AflwSample]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: SupportsIndex) -> AflwSample:
        """Sample `index`; IndexError if there is none.

        Raises:
            InputError: if the record is damaged.
        """
        fit = decode_fit(self._records[range(len(self))[index]], 3)
        try:
            with Image.open(io.BytesIO(fit.image)) as picture:
                photo = np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError) as error:
            raise InputError(f"the photo of {fit.name} is damaged: {error}") from error
        place = photo_from_head(fit.pose, photo.shape[0])
        head = self._model.vertices(fit.shape, fit.expression)
        points = apply_affine(place, head)
        return AflwSample(
            fit.name,
            photo,
            points[self._model.region],
            self._faces,
            points[self._model.keypoints],
            np.rad2deg(fit.pose[:3]),
        )
