"""What the server accepts, and how much of it at a time."""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Limits of the server. Whoever goes over one is told so, and nobody else notices."""

    upload_bytes: int = 20_000_000
    """Largest body of a request."""
    uploads_bytes: int = 200_000_000
    """Bodies being read at one time, together."""
    pixels: int = 40_000_000
    """Largest photo, in pixels, known before it is decoded."""
    photo_side: int = 2048
    """A photo's longer side is reduced to this many pixels, which bounds memory and time."""
    faces: int = 16
    """Faces of a photo, the largest ones; others are left out."""
    queue: int = 16
    """Requests being worked on or waiting for it; more are told to come back."""
    rate: int = 120
    """Photos and meshes a minute that another machine may ask for. This one may always."""
    upload_seconds: float = 30.0
    """Time for a request to arrive."""
    work_seconds: float = 60.0
    """Time for an answer to be made, and then again for it to be taken."""
    session_seconds: float = 900.0
    """How long the page's faces are kept in memory after their last use."""
    sessions_bytes: int = 500_000_000
    """Memory for them, together; beyond it the ones used longest ago are dropped."""
