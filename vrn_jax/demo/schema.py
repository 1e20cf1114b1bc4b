"""What answers in JSON look like; OpenAPI is made of these."""

from typing import Any

from pydantic import BaseModel, Field

from vrn_jax.types import Face

__all__ = [
    "About",
    "Example",
    "FaceBox",
    "Failure",
    "FoundFaces",
    "Health",
    "NewSession",
    "PhotoSize",
    "failures",
    "found",
]


class Failure(BaseModel):
    """Any answer with a status of 400 or more."""

    error: str = Field(description="A word for programs.", examples=["no_face"])
    message: str = Field(description="A sentence for people.")


class PhotoSize(BaseModel):
    """Size of the photo as the server works on it: upright, the longer side reduced."""

    width: int
    height: int


class FaceBox(BaseModel):
    """Where a face is, in pixels of that photo."""

    box: tuple[float, float, float, float] = Field(description="Left, top, right, bottom.")
    score: float = Field(description="The detector's, 0 to 1.")
    landmarks: list[tuple[float, float]] | None = Field(
        description="68 iBUG points; null where they cannot be told."
    )


class FoundFaces(BaseModel):
    """The faces of a photo, the largest first."""

    photo: PhotoSize
    faces: list[FaceBox]


class NewSession(FoundFaces):
    """A photo kept in memory for the page, for a while after its last use."""

    id: str
    seconds: float = Field(description="How long it is kept after its last use.")


class Health(BaseModel):
    """Whether the server is ready."""

    status: str = Field(description="'ok', or 'starting' while programs are compiled.")
    version: str


class Example(BaseModel):
    """A picture to try."""

    title: str
    url: str


class About(BaseModel):
    """What the page needs to know."""

    version: str
    weights: str
    threshold: float
    sigma_px: float
    upload_bytes: int
    session_minutes: float
    examples: list[Example]


_TEXTS = {
    400: "The request is empty, cut off or no form that can be read",
    403: "The request comes from a page of another origin",
    404: "There is nothing of this name, or no longer",
    408: "The request took too long to arrive",
    413: "The picture has too many bytes or pixels",
    415: "This is not a picture",
    421: "The Host header names another server",
    422: "No face, a damaged picture, or a parameter out of its range",
    429: "Too many requests from this address; see Retry-After",
    503: "Busy; see Retry-After",
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of these errors, and of those that any request may meet."""
    return {
        status: {"model": Failure, "description": _TEXTS[status]}
        for status in sorted({*statuses, 421, 429})
    }


def found(shape: tuple[int, ...], faces: list[Face]) -> dict[str, Any]:
    """The fields of `FoundFaces` for a photo [h w 3]."""
    return {
        "photo": PhotoSize(width=shape[1], height=shape[0]),
        "faces": [_face_box(face) for face in faces],
    }


def _face_box(face: Face) -> FaceBox:
    points = None
    if face.landmarks is not None:
        points = [(float(x), float(y)) for x, y in face.landmarks[:, :2]]
    left, top, right, bottom = face.box.tolist()
    return FaceBox(box=(left, top, right, bottom), score=face.score, landmarks=points)
