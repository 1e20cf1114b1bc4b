"""The search: proposals at every scale, a second look at each, landmarks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from vrn_jax.detection.blazeface import BlazeFace, Proposal
from vrn_jax.detection.boxes import areas, overlaps, shares_of_smaller
from vrn_jax.detection.facemesh import (
    FACEMESH_OF_IBUG,
    FACEMESH_SIZE,
    MARGIN,
    FaceMesh,
    mesh_region,
)
from vrn_jax.detection.views import BORDER, TILE_SIZES, Pyramid, halvings, region, tiles, warp
from vrn_jax.geometry.crop import landmark_box, quarter_turns
from vrn_jax.geometry.transforms import apply_similarity, similarity
from vrn_jax.types import Face

__all__ = ["FaceDetector"]

FAINT_SCORE = 0.2  # of any look: all faces that were measured, and many other things
CERTAIN_SCORE = 0.9  # of a second look: not of one that shows the face upside down
GOOD_SCORE = 0.7  # of a second look: covered faces reach it, few other things do
PRESENCE = 0.25  # from FaceMesh; of things with a good score that are no faces, all under 0.05
PRESENCE_IN_DOUBT = 0.95  # the same where the score is not good: knots of ties pass 0.8
PRESENCE_FOLLOWED = 0.5  # the same in the next frame of a video, where no second look is taken
FOLLOWING_PASSES = 2  # there: a second one halves what a moving face would lag behind
SURE_SCORE = 0.85  # of a second look: a face even where FaceMesh sees none

LOOK_SIZE = TILE_SIZES[0]
LOOK_MARGIN = 2.5  # side of the square of a second look over the proposal's: a face of 51 pixels
SAME_FACE = 0.25  # shared area over the smaller box above which faces of a photo are one
SAME_PLACE = 0.5  # intersection over union above which a rejected proposal is not tried again
MESH_AGREES = 0.3  # intersection over union of landmarks' box and detector's box, at least

SMALLEST = 18.0  # pixels of a level, landmark box, that a face needs to be proposed at any angle
WANTED = 40.0  # photo pixels: faces as large as this are looked for whatever else is found
MAX_ENLARGED = 2.0  # scale
SCALE_STEP = 4.0  # between levels: a face of 18 pixels on one has 72 on the next finer one
LONGEST_OF_SMALLEST = 96.0  # pixels, longer side: even a face that fills the frame is proposed

# Right half of the hull of the 68 landmarks around the middle of BlazeFace's box, in units of its
# side and in the face's upright frame. Mean of 250 near-frontal portraits; the sides of the box it
# gives scatter by 0.03 to 0.04 (standard deviation; chin 0.02).
HALF_OUTLINE = np.array(
    [
        [0.25, -0.38],
        [0.43, -0.30],
        [0.444, -0.11],
        [0.39, 0.19],
        [0.31, 0.33],
        [0.19, 0.43],
        [0, 0.494],
    ]
)
OUTLINE = np.concatenate([HALF_OUTLINE, HALF_OUTLINE * (-1.0, 1.0)])


@dataclass(frozen=True)
class Effort:
    """How far a search goes: scores, in [0, 1], that proposals and second looks at them need."""

    first_score: float
    second_score: float  # in the upright or in the upside-down view
    max_rejected: int  # in a row, the best first: then the search ends


CLEAR = Effort(0.4, 0.5, 8)  # nearly all whole faces, upside-down ones too, at little cost
FAINT = Effort(FAINT_SCORE, 0.4, 24)  # also faces that are half hidden


class FaceDetector:
    """Finds the faces of a photo and their landmarks. Runs on the CPU; threads may share it.

    Faces of 40 pixels or more (root of the landmark box's area) are looked for in every photo, at
    every in-plane angle; smaller ones, down to about 20, only where there is no other. A face needs
    a score of `min_score`, in [0, 1], in a view that shows it upright and enlarged. Faces that the
    landmark network does not see, half covered ones for example, come without landmarks when they
    score 0.85.
    """

    def __init__(self, *, min_score: float = 0.5):
        self._min_score = min_score
        self._blazeface = {size: BlazeFace(size) for size in TILE_SIZES}
        self._facemesh = FaceMesh()

    def __call__(self, photo: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """The faces of an RGB photo, the largest box first; empty when there is none."""
        pyramid = halvings(photo)
        scales, finer = search_scales(max(photo.shape[:2]))
        proposals = self._propose(pyramid, scales)
        faces = self._confirm(pyramid, proposals, CLEAR)
        if not faces:
            faces = self._confirm(pyramid, proposals + self._propose(pyramid, finer), FAINT)
        order = np.argsort(-areas(boxes(faces)), kind="stable")
        return [faces[i] for i in order]

    def follow(self, frame: UInt8[np.ndarray, "h w 3"], face: Face) -> Face | None:
        """A face of the frame before in the next one of a video; None where it is lost.

        Only FaceMesh runs, around where the points were: some 10 ms, whatever the frame's size.
        """
        if face.facemesh is None:
            return None
        around = mesh_region(face.facemesh)
        points = self._facemesh(halvings(frame), around, PRESENCE_FOLLOWED, FOLLOWING_PASSES)
        if points is None:
            return None
        landmarks = points[list(FACEMESH_OF_IBUG)]
        box = landmark_box(landmarks)
        return Face(box, landmarks, face.score, quarter_turns(landmarks), points)

    def _propose(self, pyramid: Pyramid, scales: list[float]) -> list[Proposal]:
        """What may be a face, from the whole photo at some scales, in photo pixels."""
        return [
            proposal.moved(tile.photo_from_tile)
            for scale in scales
            for tile in tiles(pyramid, scale)
            for proposal in self._blazeface[len(tile.image)](tile.image, FAINT_SCORE)
        ]

    def _confirm(self, pyramid: Pyramid, proposals: list[Proposal], effort: Effort) -> list[Face]:
        """The faces among the proposals; of those at one place the best-scored.

        Ends when too many in a row are rejected: those that follow have lower scores still.
        """
        faces: list[Face] = []
        rejected: list[Proposal] = []
        in_a_row = 0
        clear = [one for one in proposals if one.score >= effort.first_score]
        for proposal in sorted(clear, key=lambda proposal: -proposal.score):
            tried = overlaps(proposal.box, boxes(rejected)) > SAME_PLACE
            if tried.any() or not is_new(proposal.box, faces):
                continue
            face = self._face(pyramid, proposal, effort.second_score)
            if face is not None and is_new(face.box, faces):
                faces.append(face)
                in_a_row = 0
                continue
            rejected.append(proposal)
            in_a_row += 1
            if in_a_row == effort.max_rejected:
                break
        return faces

    def _face(self, pyramid: Pyramid, proposal: Proposal, second_score: float) -> Face | None:
        """What a proposal turns out to be: a face with landmarks, one without, or none."""
        seen = self._look_again(pyramid, proposal, second_score)
        if seen is None:
            return None
        box = face_box(seen)
        around = region(seen.points[0], MARGIN * seen.side, seen.roll_rad, FACEMESH_SIZE)
        presence = PRESENCE if seen.score >= GOOD_SCORE else PRESENCE_IN_DOUBT
        points = self._facemesh(pyramid, around, presence)
        if points is not None:
            landmarks = points[list(FACEMESH_OF_IBUG)]
            mesh_box = landmark_box(landmarks)
            if overlaps(box, mesh_box[None])[0] >= MESH_AGREES:
                return Face(mesh_box, landmarks, seen.score, quarter_turns(landmarks), points)
        turns = round(seen.roll_rad / (np.pi / 2.0)) % 4
        return Face(box, None, seen.score, turns) if seen.score >= SURE_SCORE else None

    def _look_again(
        self, pyramid: Pyramid, proposal: Proposal, second_score: float
    ) -> Proposal | None:
        """The proposal as seen by the view that shows it upright; None where it is no face.

        A proposal that is badly placed cuts the face off in these views; a good one that they show
        elsewhere is looked at once more, in its own place.
        """
        seen = self._upright(pyramid, proposal, second_score)
        if seen is None:
            return None
        if GOOD_SCORE <= seen.score < CERTAIN_SCORE and has_moved(proposal, seen):
            again = self._upright(pyramid, seen, second_score)
            seen = again if again is not None and again.score > seen.score else seen
        return seen if seen.score >= self._min_score else None

    def _upright(
        self, pyramid: Pyramid, proposal: Proposal, second_score: float
    ) -> Proposal | None:
        """The best view of a proposal, or None where neither side up looks like a face.

        Upside down, faces are proposed too, but with lower scores and wrong points: the best of
        four quarter turns tells how a face lies, and a fifth view is turned by just that angle.
        """
        best: Proposal | None = None
        for turns in ((0, 2), (1, 3)):
            looks = [self._look(pyramid, proposal, turn * np.pi / 2.0) for turn in turns]
            best = max(filter(None, [best, *looks]), key=lambda one: one.score, default=None)
            if best is None or best.score < second_score:
                return None
        upright = best and self._look(pyramid, best, best.roll_rad)
        return best if upright is None or best.score > upright.score else upright

    def _look(self, pyramid: Pyramid, at: Proposal, angle_rad: float) -> Proposal | None:
        """The best proposal at this place, seen enlarged and turned, in photo pixels."""
        view = region(at.points[0], LOOK_MARGIN * at.side, angle_rad, LOOK_SIZE)
        proposals = self._blazeface[LOOK_SIZE](warp(pyramid, view, LOOK_SIZE), FAINT_SCORE)
        moved = (proposal.moved(np.linalg.inv(view)) for proposal in proposals)
        return next((one for one in moved if is_same(one, at)), None)


def search_scales(longer_side: int) -> tuple[list[float], list[float]]:
    """The scales to search a photo at, and those to search where these show no face.

    The first show faces from 40 photo pixels to such as fill the frame with 18 to 96 pixels, and
    fill one tile at least; the others show faces of half that size.
    """
    room = (TILE_SIZES[-1] - 2 * BORDER) / longer_side
    finest = float(np.clip(room, SMALLEST / WANTED, MAX_ENLARGED))
    scales = [finest]
    while scales[-1] * longer_side > LONGEST_OF_SMALLEST:
        scales.append(scales[-1] / SCALE_STEP)
    return scales, [min(2.0 * finest, MAX_ENLARGED)] if finest < MAX_ENLARGED else []


def face_box(proposal: Proposal) -> Float[np.ndarray, " 4"]:
    """The box that the 68 landmarks of a proposed face would have, level in the photo."""
    photo_from_face = similarity(proposal.side, proposal.roll_rad, np.zeros(2), proposal.points[0])
    return landmark_box(apply_similarity(photo_from_face, OUTLINE))


def is_same(one: Proposal, other: Proposal) -> bool:
    """Whether two proposals are of one face."""
    distance = float(np.linalg.norm(one.points[0] - other.points[0]))
    return distance < other.side / 2.0 and 0.5 < one.side / other.side < 2.0


def has_moved(proposal: Proposal, seen: Proposal) -> bool:
    """Whether a face is seen away from where it was proposed, or in another size."""
    distance = float(np.linalg.norm(proposal.points[0] - seen.points[0]))
    return distance > 0.15 * seen.side or not 1 / 1.2 < seen.side / proposal.side < 1.2


def is_new(box: Float[np.ndarray, " 4"], faces: list[Face]) -> bool:
    """Whether no face of the list is at the place of this box."""
    return not (shares_of_smaller(box, boxes(faces)) > SAME_FACE).any()


def boxes(found: Sequence[Face | Proposal]) -> Float[np.ndarray, "n 4"]:
    """The boxes of faces or proposals, of none too."""
    return np.array([one.box for one in found]).reshape(-1, 4)
