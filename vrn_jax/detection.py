"""Faces and their 68 landmarks in a photo, by the two MediaPipe networks in ``assets/``.

BlazeFace (128x128 input; arXiv 1907.05047) proposes faces in views of the photo; FaceMesh (192x192
input, 468 points; arXiv 1907.06724) confirms a proposal and places the landmarks. A view, like the
region around one face, is a square of the photo that may be turned: one similarity
`input_from_photo`. The networks count from the corner of their input, not from a pixel's centre.
"""

import importlib.resources
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import PIL.Image
from jaxtyping import Float, UInt8
from scipy.special import expit

from vrn_jax.geometry.transforms import apply_similarity, similarity, similarity_scale
from vrn_jax.types import Face

__all__ = ["FACEMESH_OF_IBUG", "FaceDetector"]

# fmt: off
FACEMESH_OF_IBUG: tuple[int, ...] = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # outline
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
)
# fmt: on
"""Which of FaceMesh's 468 points stands for each of the 68 iBUG points."""

BLAZEFACE_SIZE, FACEMESH_SIZE = 128, 192
MARGIN = 1.5  # side of FaceMesh's region over the longer side of the face's box
OUTER_EYES = [33, 263]  # FaceMesh's outer corners of the subject's right and left eye
MESH_PASSES = 3
MIN_PRESENCE = 0.5  # probability from FaceMesh below which its region holds no face
SAME_PROPOSAL = 0.3  # intersection over union above which proposals of one view are one face
SAME_FACE = 0.25  # shared area over the smaller box above which faces of a photo are one

Pyramid: TypeAlias = list[PIL.Image.Image]  # a photo and its halves, quarters, ...: see `halvings`


class FaceDetector:
    """Finds the faces of a photo and their landmarks. Runs on the CPU; threads may share it.

    Proposals that BlazeFace scores below `min_score`, in [0, 1], are dropped. The search ends at
    the first of `search_views` that shows a face: one much smaller than another may be missed.
    """

    def __init__(self, *, min_score: float = 0.5):
        self._min_score = min_score
        self._blazeface = _Network("face_detection_short_range.tflite")
        self._facemesh = _Network("face_landmark.tflite")

    def __call__(self, photo: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """The faces of an RGB photo, the largest box first; empty when there is none."""
        pyramid = halvings(photo)
        for views in search_views(*photo.shape[:2]):
            found = [proposal for view in views for proposal in self._propose(pyramid, view)]
            if faces := self._confirm(pyramid, found):
                return sorted(faces, key=lambda face: -area(face.box))
        return []

    def _propose(
        self, pyramid: Pyramid, input_from_photo: Float[np.ndarray, "3 3"]
    ) -> "list[Proposal]":
        """BlazeFace's proposals in one view, in photo pixels."""
        image = warp(pyramid, input_from_photo, BLAZEFACE_SIZE)
        regressed, logits = self._blazeface(image / 127.5 - 1.0)
        proposals = decode(regressed[0], logits[0, :, 0], self._min_score)
        return [one.moved(np.linalg.inv(input_from_photo)) for one in merge(proposals)]

    def _confirm(self, pyramid: Pyramid, proposals: "list[Proposal]") -> list[Face]:
        """The faces among the proposals of several views; of those at one place the best-scored.

        BlazeFace proposes most upside-down faces in an upright view too, but scores them lower.
        """
        faces: list[Face] = []
        for proposal in sorted(proposals, key=lambda proposal: -proposal.score):
            if is_new(proposal.box, faces):  # spares FaceMesh
                face = self._place(pyramid, proposal)
                if face is not None and is_new(face.box, faces):
                    faces.append(face)
        return faces

    def _place(self, pyramid: Pyramid, proposal: "Proposal") -> Face | None:
        """The landmarks of a proposal, or None where FaceMesh sees no face.

        FaceMesh runs several times, each time on the region around its last points, which at least
        halves the error that a badly placed proposal or a turned view leaves.
        """
        centre, right_eye, left_eye = proposal.points
        angle = float(np.angle(complex(*(left_eye - right_eye))))
        around = region(centre, MARGIN * proposal.side, angle, FACEMESH_SIZE)
        landmarks = np.empty((68, 3))
        for _ in range(MESH_PASSES):
            points = self._mesh(pyramid, around)
            if points is None:
                return None
            around, landmarks = mesh_region(points), points[list(FACEMESH_OF_IBUG)]
        box = np.concatenate([landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)])
        return Face(box, landmarks, proposal.score)

    def _mesh(
        self, pyramid: Pyramid, input_from_photo: Float[np.ndarray, "3 3"]
    ) -> Float[np.ndarray, "468 3"] | None:
        """FaceMesh's points in the photo frame, or None where it sees no face in its region."""
        numbers, logit = self._facemesh(warp(pyramid, input_from_photo, FACEMESH_SIZE) / 255.0)
        if expit(logit).item() < MIN_PRESENCE:
            return None
        # Its z grows away from the viewer, in the unit of x and y.
        points = numbers.reshape(468, 3) * (1.0, 1.0, -1.0) - (0.5, 0.5, 0.0)
        return apply_similarity(np.linalg.inv(input_from_photo), points)


@dataclass(frozen=True)
class Proposal:
    """A square box that may hold a face, in pixels of some frame.

    `points` are the box's centre and the subject's right and left eye; `score` is in [0, 1].
    """

    points: Float[np.ndarray, "3 2"]
    side: float
    score: float

    @property
    def box(self) -> Float[np.ndarray, " 4"]:
        """(left, top, right, bottom); level even where the view was turned."""
        return np.concatenate([self.points[0] - self.side / 2, self.points[0] + self.side / 2])

    def moved(self, target_from_source: Float[np.ndarray, "3 3"]) -> "Proposal":
        """The same proposal in another frame."""
        points = apply_similarity(target_from_source, self.points)
        return Proposal(points, self.side * similarity_scale(target_from_source), self.score)


def blazeface_anchors() -> Float[np.ndarray, "896 2"]:
    """BlazeFace's anchors (x, y) in [0, 1], from the corner of its input in units of its side.

    The cells' centres of a 16x16 grid, each twice, then of an 8x8 grid, each six times.
    """
    grids = []
    for cells, repeats in ((16, 2), (8, 6)):
        y, x = (np.indices((cells, cells)) + 0.5) / cells
        grids.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), repeats, axis=0))
    return np.concatenate(grids)


def decode(
    regressed: Float[np.ndarray, "896 16"], logits: Float[np.ndarray, " 896"], min_score: float
) -> list[Proposal]:
    """BlazeFace's outputs as proposals in pixels of its input, without those under `min_score`.

    A row holds a box's centre, its width and height, and six points of which the first two are the
    eyes. Centre and points count from the anchor; all are in pixels.
    """
    scores = expit(logits)
    kept = (scores >= min_score) & (regressed[:, 2:4] > 0.0).all(axis=1)
    pairs = regressed[kept].reshape(-1, 8, 2)
    points = pairs[:, [0, 2, 3]] + blazeface_anchors()[kept, None] * BLAZEFACE_SIZE - 0.5
    sides = pairs[:, 1].max(axis=1).tolist()
    return [Proposal(*one) for one in zip(points, sides, scores[kept].tolist(), strict=True)]


def merge(proposals: list[Proposal]) -> list[Proposal]:
    """Weighted non-maximum suppression, best score first (the "blending" of BlazeFace's paper).

    The best proposal left and all that overlap it become their mean weighted by the scores, with
    the best one's score; and so on with the rest.
    """
    merged = []
    left = sorted(proposals, key=lambda proposal: -proposal.score)
    while left:
        best = left[0]
        same = [overlap(best.box, one.box) > SAME_PROPOSAL for one in left]
        group = list(itertools.compress(left, same))
        weights = [one.score for one in group]
        points = np.average([one.points for one in group], axis=0, weights=weights)
        side = float(np.average([one.side for one in group], weights=weights))
        merged.append(Proposal(points, side, best.score))
        left = [one for one, gone in zip(left, same, strict=True) if not gone]
    return merged


def is_new(box: Float[np.ndarray, " 4"], faces: list[Face]) -> bool:
    """Whether no face of the list is at the place of this box."""
    shares = [shared_area(box, face.box) / min(area(box), area(face.box)) for face in faces]
    return max(shares, default=0.0) <= SAME_FACE


def overlap(one: Float[np.ndarray, " 4"], other: Float[np.ndarray, " 4"]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    shared = shared_area(one, other)
    return shared / (area(one) + area(other) - shared)


def shared_area(one: Float[np.ndarray, " 4"], other: Float[np.ndarray, " 4"]) -> float:
    """Area that two boxes have in common."""
    return area(np.concatenate([np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])]))


def area(box: Float[np.ndarray, " 4"]) -> float:
    """Area of a box (left, top, right, bottom); zero where it is inside out."""
    return float(np.prod(np.maximum(box[2:] - box[:2], 0.0)))


def region(
    centre: Float[np.ndarray, " 2"], side: float, angle_rad: float, size: int
) -> Float[np.ndarray, "3 3"]:
    """`input_from_photo` that shows a square of the photo as size x size pixels.

    The square has its middle at `centre` and sides of `side` photo pixels; its rows run at
    `angle_rad`, from x towards y, to those of the photo.
    """
    return similarity(size / side, -angle_rad, centre, np.full(2, (size - 1) / 2.0))


def mesh_region(points: Float[np.ndarray, "468 3"]) -> Float[np.ndarray, "3 3"]:
    """FaceMesh's region around the points it found, turned so that the outer eyes are level."""
    angle = float(np.angle(complex(*np.diff(points[OUTER_EYES, :2], axis=0)[0])))
    level_from_photo = similarity(1.0, -angle, np.zeros(2), np.zeros(2))
    level = apply_similarity(level_from_photo, points[:, :2])
    low, high = level.min(axis=0), level.max(axis=0)
    (centre,) = apply_similarity(np.linalg.inv(level_from_photo), (low + high)[None] / 2.0)
    return region(centre, MARGIN * float((high - low).max()), angle, FACEMESH_SIZE)


def search_views(height: int, width: int) -> Iterator[list[Float[np.ndarray, "3 3"]]]:
    """Lists of BlazeFace's views (`input_from_photo`), the cheapest list first.

    The whole photo, upright and turned by quarters; then upright tiles of half and of a quarter of
    its longer side.
    """
    middle, side = np.array([width - 1, height - 1]) / 2.0, float(max(height, width))
    yield [region(middle, side, turn * np.pi / 2.0, BLAZEFACE_SIZE) for turn in range(4)]
    for tile in (side / 2.0, side / 4.0):
        rows, columns = tile_centres(height, tile), tile_centres(width, tile)
        centres = [np.array([x, y]) for y in rows for x in columns]
        yield [region(centre, tile, 0.0, BLAZEFACE_SIZE) for centre in centres]


def tile_centres(length: int, tile: float) -> Float[np.ndarray, " n"]:
    """Centres of the tiles that cover pixels 0 to length - 1, at most half a tile apart."""
    if tile >= length:
        return np.array([(length - 1) / 2.0])
    count = int(np.ceil(2.0 * length / tile)) - 1
    return np.linspace(tile / 2.0, length - tile / 2.0, count) - 0.5


def halvings(photo: UInt8[np.ndarray, "h w 3"]) -> Pyramid:
    """The photo and its area-averaged halves, quarters and so on, down to BlazeFace's size."""
    image = PIL.Image.fromarray(photo)
    levels = max(int(np.log2(max(image.size) / BLAZEFACE_SIZE)), 0)
    return [image] + [image.reduce(2**level) for level in range(1, levels + 1)]


def warp(
    pyramid: Pyramid, input_from_photo: Float[np.ndarray, "3 3"], size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """A network's size x size RGB input, bilinear, black beyond the photo.

    Reads the coarsest level of the pyramid that still has the wanted detail, against aliasing.
    """
    level = int(np.clip(-np.log2(similarity_scale(input_from_photo)), 0, len(pyramid) - 1))
    # Pillow counts from the corner of an image, where levels differ by nothing but their scale.
    corner_from_centre = similarity(1.0, 0.0, np.zeros(2), np.full(2, 0.5))
    photo_from_input = corner_from_centre @ np.linalg.inv(corner_from_centre @ input_from_photo)
    affine = tuple((photo_from_input[:2] / 2.0**level).flat)
    kind, how = PIL.Image.Transform.AFFINE, PIL.Image.Resampling.BILINEAR
    return np.asarray(pyramid[level].transform((size, size), kind, affine, how))


class _Network:
    """One of the embedded networks: a float image in, its float32 outputs out."""

    def __init__(self, name: str):
        from ai_edge_litert.interpreter import Interpreter

        model = (importlib.resources.files("vrn_jax") / "assets" / name).read_bytes()
        self._interpreter = Interpreter(model_content=model)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]
        self._lock = threading.Lock()

    def __call__(self, image: Float[np.ndarray, "h w 3"]) -> list[Float[np.ndarray, "..."]]:
        with self._lock:
            self._interpreter.set_tensor(self._input, image[None].astype(np.float32))
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(output) for output in self._outputs]
