"""A photo in, faces out: detection, crop, compiled network and clean-up, mesh."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from vrn_jax.detection import FaceDetector
from vrn_jax.errors import InputError, NoFaceError
from vrn_jax.geometry.crop import BOX_SIDE, crop_face, landmark_box, quarter_turns
from vrn_jax.geometry.isosurface import isosurface
from vrn_jax.geometry.mesh import OUTER_EYE_METRES, moved, outer_eye_distance
from vrn_jax.geometry.resample import upsample
from vrn_jax.geometry.transforms import apply_similarity, similarity_scale
from vrn_jax.interop.weights import Weights, WeightsInfo, load_weights
from vrn_jax.io.image import Photo, read_photo
from vrn_jax.models.guidance import landmark_channels, mirrored_landmarks
from vrn_jax.models.vrn import STRIDE, VRN, Logits
from vrn_jax.postprocess import Cleaned, PostprocessSettings, clean
from vrn_jax.types import Face, FaceCrop, Mesh

__all__ = ["Reconstruction", "Reconstructor", "load"]

BOX_SIDE_IN_EYE_DISTANCES = 1.54
"""Geometric mean of the landmark box's sides over the outer eye distance, for faces known by their
box alone: median of 774 near-frontal portraits (standard deviation 0.05)."""

_BOX_ROUNDING = 32  # voxels; boxes cut out on the device come in few shapes, each compiled once


@dataclass(frozen=True)
class Reconstruction:
    """One face of a photo.

    `mesh` is in photo pixels (x right, y down, z towards the viewer, all in that unit; z = 0 is the
    point the grid of the weights says, by rule the front-most) and watertight. `occupancy` is the
    cleaned volume, 0..1, on the device. `landmarks` (photo pixels; x y, and z where known) are
    None where only a box was given. `metres_per_pixel` sizes the face so that its outer eye corners
    are 90 mm apart.
    """

    mesh: Mesh
    occupancy: Float[Array, "h w d"]
    crop: FaceCrop
    landmarks: Float[np.ndarray, "68 c"] | None
    box: Float[np.ndarray, " 4"]
    metres_per_pixel: float
    photo: UInt8[np.ndarray, "photo_h photo_w 3"]


def load(weights: str | os.PathLike[str] = "default", **settings) -> "Reconstructor":
    """A `Reconstructor` with named weights or those of a file; `settings` are its keywords.

    Raises:
        WeightsError: if the weights cannot be read.
    """
    return Reconstructor(load_weights(weights), **settings)


class Reconstructor:
    """Turns photos into 3D faces. Compiles on first use; threads may share it.

    Args:
        weights: network, grid and input range come from their header.
        threshold: occupancy at the surface; None takes that of the weights.
        mirror: average with the volume of the mirrored crop: a little better, twice the time.
        sigma_px: Gaussian smoothing of the volume in crop pixels; 0 for none.
        detector: photo -> faces, largest first; None takes the embedded `FaceDetector`.

    Raises:
        InputError: if a setting is out of its range.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        threshold: float | None = None,
        mirror: bool = False,
        sigma_px: float = 1.5,
        detector: Callable[[np.ndarray], list[Face]] | None = None,
    ):
        if threshold is not None and not 0 < threshold < 1:
            raise InputError(f"the threshold lies between 0 and 1, got {threshold}")
        if not 0 <= sigma_px <= 16:
            raise InputError(f"smoothing is a sigma of 0 to 16 crop pixels, got {sigma_px}")
        self.info: WeightsInfo = weights.info
        self._given_detector = detector
        self._variables = jax.device_put(weights.variables)
        self._mirror = mirror
        self._model = VRN(weights.info.model, weights.info.norm)
        self._settings = PostprocessSettings(
            threshold=weights.info.threshold if threshold is None else threshold,
            sigma_px=sigma_px,
            plane_depth=weights.info.grid.plane_depth,
        )

    @cached_property
    def _detector(self) -> Callable[[np.ndarray], list[Face]]:
        return self._given_detector or FaceDetector()

    def __call__(
        self,
        photo: Photo,
        landmarks: np.ndarray | Sequence[Sequence[float]] | None = None,
        box: np.ndarray | Sequence[float] | None = None,
    ) -> list[Reconstruction]:
        """Reconstructs the faces of a photo, the largest first.

        With `landmarks` ([68 2] or [68 3] iBUG points, x y or x y z) or `box` (left, top, right,
        bottom around them, from brows to chin), both in photo pixels, nothing is detected and
        this one face is made.

        Raises:
            NoFaceError: if no face is found.
            InputError: if the photo, landmarks or box cannot be used, or the volume is empty.
        """
        pixels = read_photo(photo)
        if landmarks is not None:
            return [self._reconstruct(pixels, *_given_landmarks(landmarks))]
        if box is not None:
            return [self._reconstruct(pixels, _given_box(box), None)]
        faces = self._detector(pixels)
        if not faces:
            raise NoFaceError(
                f"no face found in this photo of {pixels.shape[1]} x {pixels.shape[0]} pixels; "
                "give its place by hand (landmarks or box), or a photo that shows it larger"
            )
        return [self._reconstruct(pixels, face.box, face.landmarks) for face in faces]

    def volumes(
        self,
        crops: UInt8[Array | np.ndarray, "b height width 3"],
        landmarks: Float[Array | np.ndarray, "b l 2"] | None = None,
    ) -> Float[Array, "b height width d"]:
        """Occupancy probabilities of RGB crops, as the network gives them: nothing is cleaned.

        A guided network needs the `landmarks` too, in crop pixels.
        """
        logits = _logits(self._model, self.info, self._variables, crops, landmarks)
        return _probabilities(logits)

    def _reconstruct(
        self,
        photo: UInt8[np.ndarray, "h w 3"],
        box: Float[np.ndarray, " 4"],
        landmarks: Float[np.ndarray, "68 c"] | None,
    ) -> Reconstruction:
        crop = crop_face(photo, box, 0 if landmarks is None else quarter_turns(landmarks))
        on_crop = None
        if landmarks is not None:
            on_crop = apply_similarity(crop.crop_from_photo, landmarks)[None, :, :2]
        cleaned = _cleaned_volumes(
            self._model,
            self.info,
            self._settings,
            self._mirror,
            self._variables,
            crop.image[None],
            on_crop,
        )
        photo_from_crop = np.linalg.inv(crop.crop_from_photo)
        scale = similarity_scale(photo_from_crop)
        eye_distance = BOX_SIDE / BOX_SIDE_IN_EYE_DISTANCES * scale
        if landmarks is not None and landmarks.shape[1] == 3:
            eye_distance = outer_eye_distance(landmarks)
        return Reconstruction(
            mesh=moved(self._surface(cleaned), photo_from_crop, "photo"),
            occupancy=cleaned.occupancy[0],
            crop=crop,
            landmarks=landmarks,
            box=box,
            metres_per_pixel=OUTER_EYE_METRES / eye_distance,
            photo=photo,
        )

    def _surface(self, cleaned: Cleaned) -> Mesh:
        """Fetches the occupied box, and no more, from the device and meshes it."""
        low, high = np.asarray(cleaned.box[0]).T
        low = low // _BOX_ROUNDING * _BOX_ROUNDING
        high = -(-high // _BOX_ROUNDING) * _BOX_ROUNDING
        region = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        if (high == 0).any():
            raise InputError(
                f"nothing in this crop is occupied at the threshold {self._settings.threshold}; "
                "lower the threshold, or check that box or landmarks are on a face"
            )
        occupied = np.asarray(cleaned.occupancy[0][region])
        return isosurface(occupied, self.info.grid, threshold=self._settings.threshold, corner=low)


def _given_box(box: np.ndarray | Sequence[float]) -> Float[np.ndarray, " 4"]:
    sides = np.asarray(box, np.float64)
    if sides.shape != (4,):
        raise InputError(f"a box is (left, top, right, bottom), got {sides.shape} numbers")
    return sides


def _given_landmarks(
    landmarks: np.ndarray | Sequence[Sequence[float]],
) -> tuple[Float[np.ndarray, " 4"], Float[np.ndarray, "68 c"]]:
    points = np.asarray(landmarks, np.float64)
    if points.shape not in ((68, 2), (68, 3)) or not np.isfinite(points).all():
        raise InputError(
            "landmarks are 68 finite iBUG points [68 2] or [68 3] in photo pixels, got "
            f"{points.shape}{'' if np.isfinite(points).all() else ' with NaN or infinity'}"
        )
    return landmark_box(points), points


@partial(jax.jit, static_argnums=(0, 1))
def _logits(model: VRN, info: WeightsInfo, variables, crops, landmarks) -> Array:
    x = crops.astype(jnp.float32) * info.input_scale + info.input_offset
    if model.config.task == "guided":
        if landmarks is None:
            raise InputError("the guided network needs the landmarks of every crop, got none")
        x = jnp.concatenate([x, landmark_channels(landmarks, x.shape[1:3])], axis=-1)
    return cast(Logits, model.apply(variables, x)).volume


@jax.jit
def _probabilities(logits: Array) -> Array:
    return jax.nn.sigmoid(upsample(logits.astype(jnp.float32), STRIDE))


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _cleaned_volumes(
    model: VRN,
    info: WeightsInfo,
    settings: PostprocessSettings,
    mirror: bool,
    variables,
    crops: Array,
    landmarks: Array | None,
) -> Cleaned:
    """Network and clean-up in one compiled program."""
    logits = _logits(model, info, variables, crops, landmarks)
    mirrored = None
    if mirror:
        flipped = None if landmarks is None else mirrored_landmarks(landmarks, crops.shape[2])
        mirrored = _logits(model, info, variables, crops[:, :, ::-1], flipped)
    return clean(logits, mirrored_logits=mirrored, settings=settings)
