"""A photo in, faces out: detection, crop, compiled network and clean-up, mesh."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from vrn_jax.batches import Regressed, Started, batches, cut_out
from vrn_jax.detection import FaceDetector
from vrn_jax.errors import InputError, NoFaceError
from vrn_jax.geometry.crop import BOX_SIDE
from vrn_jax.geometry.face import face_of_box, face_of_landmarks
from vrn_jax.geometry.isosurface import isosurface
from vrn_jax.geometry.mesh import OUTER_EYE_METRES, moved, outer_eye_distance
from vrn_jax.geometry.resample import gaussian_kernels
from vrn_jax.geometry.transforms import similarity_scale
from vrn_jax.interop.info import WeightsInfo
from vrn_jax.interop.weights import Weights, load_weights
from vrn_jax.io.image import Photo, read_photo
from vrn_jax.models.vrn import VRN
from vrn_jax.postprocess import Cleaned, PostprocessSettings, clean
from vrn_jax.programs import cleaned_volumes, network_logits, probabilities, view_logits
from vrn_jax.reconstruction import Reconstruction
from vrn_jax.types import Face, FaceCrop, Mesh

__all__ = ["Reconstructor", "Regressed", "Started", "load"]

BOX_SIDE_IN_EYE_DISTANCES = 1.54
"""Geometric mean of the landmark box's sides over the outer eye distance, for faces known by their
box alone: median of 774 near-frontal portraits (standard deviation 0.05)."""

_BOX_ROUNDING = 32  # voxels; boxes cut out on the device come in few shapes, each compiled once


def load(
    weights: str | os.PathLike[str] = "default",
    *,
    threshold: float | None = None,
    mirror: bool = False,
    sigma_px: float | None = None,
    detector: Callable[[np.ndarray], list[Face]] | None = None,
) -> "Reconstructor":
    """A `Reconstructor`, which see, with named weights or those of a file.

    Raises:
        WeightsError: if the weights cannot be read.
        InputError: if a setting is out of its range.
    """
    return Reconstructor(
        load_weights(weights),
        threshold=threshold,
        mirror=mirror,
        sigma_px=sigma_px,
        detector=detector,
    )


class Reconstructor:
    """Turns photos into 3D faces. Compiles on first use; threads may share it.

    Args:
        weights: network, grid and input range come from their header.
        threshold: occupancy at the surface; None takes that of the weights.
        mirror: average with the volume of the mirrored crop; takes twice the time.
        sigma_px: Gaussian smoothing of the volume in crop pixels; 0 for none, None takes that of
            the weights.
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
        sigma_px: float | None = None,
        detector: Callable[[np.ndarray], list[Face]] | None = None,
    ):
        _check_settings(threshold, sigma_px)
        self.info: WeightsInfo = weights.info
        self._given_detector = detector
        self._variables = jax.device_put(weights.variables)
        self._mirror = mirror
        self._model = VRN(weights.info.model, weights.info.norm)
        self._settings = PostprocessSettings(
            threshold=weights.info.threshold if threshold is None else threshold,
            sigma_px=weights.info.sigma_px if sigma_px is None else sigma_px,
            plane_depth=weights.info.grid.plane_depth,
            stride=weights.info.model.stride,
            upsampling=weights.info.upsampling,
            solid=weights.info.solid,
        )

    @property
    def settings(self) -> PostprocessSettings:
        """How volumes are cleaned unless something else is asked for."""
        return self._settings

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
        faces = self.find_faces(pixels, landmarks, box)
        started = self.start([(pixels, face) for face in faces])
        return self.finish(started, range(len(faces)))

    def find_faces(
        self,
        pixels: UInt8[np.ndarray, "h w 3"],
        landmarks: np.ndarray | Sequence[Sequence[float]] | None = None,
        box: np.ndarray | Sequence[float] | None = None,
    ) -> list[Face]:
        """The faces of a photo, the largest first, or the one given by landmarks or box.

        Raises:
            NoFaceError: if no face is found.
            InputError: if landmarks or box are not what they should be.
        """
        if landmarks is not None and box is not None:
            raise InputError("got both landmarks and a box; give one, they say the same thing")
        if landmarks is not None:
            return [face_of_landmarks(landmarks)]
        if box is not None:
            return [face_of_box(box)]
        faces = self._detector(pixels)
        if not faces:
            raise NoFaceError(
                f"no face found in this photo of {pixels.shape[1]} x {pixels.shape[0]} pixels; "
                "give its place by hand (landmarks or box), or a photo that shows it larger"
            )
        return faces

    def start(self, faces: Sequence[tuple[UInt8[np.ndarray, "_ _ 3"], Face]]) -> Started:
        """Cuts faces out of their photos and sets network and clean-up going, without waiting."""
        crops = [cut_out(pixels, face, self.info.crop) for pixels, face in faces]
        cleaned = []
        for images, points, count in self._batches(faces, crops):
            program = (self._model, self.info, self._settings, self._mirror, self._variables)
            batch = cleaned_volumes(*program, images, points)
            cleaned += [(batch, i) for i in range(count)]
        return Started(faces, crops, cleaned)

    def _batches(
        self, faces: Sequence[tuple[np.ndarray, Face]], crops: list[FaceCrop]
    ) -> Iterator[tuple[Array, Array | None, int]]:
        guided = self.info.model.task == "guided"
        return batches([face for _, face in faces], crops, guided=guided)

    def regress(self, faces: Sequence[tuple[UInt8[np.ndarray, "_ _ 3"], Face]]) -> list[Regressed]:
        """Runs the network alone on faces of photos, in batches as `start` does, and waits."""
        crops = [cut_out(pixels, face, self.info.crop) for pixels, face in faces]
        logits: list[tuple[np.ndarray, ...]] = []
        for images, points, count in self._batches(faces, crops):
            program = (self._model, self.info, self._mirror, self._variables)
            views = jax.device_get(view_logits(*program, images, points))
            logits += [tuple(view[i] for view in views) for i in range(count)]
        return [
            Regressed(*pair, crop, views)
            for pair, crop, views in zip(faces, crops, logits, strict=True)
        ]

    def clean(
        self, regressed: Regressed, *, threshold: float | None = None, sigma_px: float | None = None
    ) -> Started:
        """Sets the clean-up going, with these settings in place of the reconstructor's.

        Other settings compile nothing anew, and the network does not run again.

        Raises:
            InputError: if a setting is out of its range.
        """
        _check_settings(threshold, sigma_px)
        level = self._settings.threshold if threshold is None else threshold
        sigma_px = self._settings.sigma_px if sigma_px is None else sigma_px
        logits, *mirrored = (jnp.asarray(view)[None] for view in regressed.logits)
        cleaned = clean(
            logits,
            *mirrored,
            settings=self._settings,
            threshold=jnp.float32(level),
            kernels=gaussian_kernels(self.info.grid.shape, sigma_px, self._settings.plane_depth),
        )
        faces = [(regressed.photo, regressed.face)]
        return Started(faces, [regressed.crop], [(cleaned, 0)], threshold)

    def finish(self, started: Started, indices: Sequence[int]) -> list[Reconstruction]:
        """Waits for the device, and meshes these faces on the host.

        A face whose volume is empty is left out, unless all are.

        Raises:
            InputError: if all volumes are empty.
        """
        results, problem = [], None
        for index in indices:
            try:
                results.append(self._finish(started, index))
            except InputError as error:
                problem = error
        if problem is not None and not results:
            raise problem
        return results

    def _finish(self, started: Started, index: int) -> Reconstruction:
        (pixels, face), crop = started.faces[index], started.crops[index]
        cleaned, place = started.cleaned[index]
        threshold = self._settings.threshold if started.threshold is None else started.threshold
        photo_from_crop = np.linalg.inv(crop.crop_from_photo)
        eye_distance = BOX_SIDE / BOX_SIDE_IN_EYE_DISTANCES * similarity_scale(photo_from_crop)
        if face.landmarks is not None and face.landmarks.shape[1] == 3:
            eye_distance = outer_eye_distance(face.landmarks)
        return Reconstruction(
            mesh=moved(self._surface(cleaned, place, threshold), photo_from_crop, "photo"),
            occupancy=cleaned.occupancy[place],
            crop=crop,
            landmarks=face.landmarks,
            box=face.box,
            metres_per_pixel=OUTER_EYE_METRES / eye_distance,
            photo=pixels,
            weights=self.info,
        )

    def volumes(
        self,
        crops: Array | np.ndarray,
        landmarks: Float[Array | np.ndarray, "b l 2"] | None = None,
        *,
        stride: int = 1,
    ) -> Float[Array, "b h w d"]:
        """Occupancy probabilities of RGB crops, as the network gives them: nothing is cleaned.

        A guided network needs the `landmarks` too, in crop pixels. With a `stride` there is only
        every so-manieth row and column.

        Raises:
            InputError: if the crops are not uint8 [b 192 192 3].
        """
        expected = (*self.info.grid.shape[:2], 3)
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != expected:
            raise InputError(
                f"crops are uint8 [b {' '.join(map(str, expected))}] with values 0..255, got "
                f"{crops.dtype} {crops.shape}"
            )
        points = None if landmarks is None else jnp.asarray(landmarks)
        crops = jnp.asarray(crops)
        logits = network_logits(self._model, self.info, self._variables, crops, points)
        return probabilities(logits, self.info, stride)

    def _surface(self, cleaned: Cleaned, index: int, threshold: float) -> Mesh:
        """Fetches the occupied box, and no more, from the device and meshes it."""
        low, high = np.asarray(cleaned.box[index]).T
        low = low // _BOX_ROUNDING * _BOX_ROUNDING
        high = -(-high // _BOX_ROUNDING) * _BOX_ROUNDING
        region = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        if (high == 0).any():
            raise InputError(
                f"nothing in this crop is occupied at the threshold {threshold}; "
                "lower the threshold, or check that box or landmarks are on a face"
            )
        occupied = np.asarray(cleaned.occupancy[(index, *region)])
        return isosurface(
            occupied,
            self.info.grid,
            threshold=threshold,
            corner=low,
            has_cavities=not self._settings.solid,
        )


def _check_settings(threshold: float | None, sigma_px: float | None) -> None:
    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"the threshold lies between 0 and 1, got {threshold}")
    if sigma_px is not None and not 0 <= sigma_px <= 16:
        raise InputError(f"smoothing is a sigma of 0 to 16 crop pixels, got {sigma_px}")
