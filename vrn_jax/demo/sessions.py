"""What the page has in hand, briefly and in memory: photos, and the network's answers."""

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from vrn_jax.batches import Regressed
from vrn_jax.demo.refusal import Refusal
from vrn_jax.demo.settings import Limits
from vrn_jax.types import Face

__all__ = ["Session", "Sessions"]


@dataclass(eq=False)
class Session:
    """One photo of one visitor, its faces, and those of them that went through the network."""

    id: str
    photo: UInt8[np.ndarray, "h w 3"]
    faces: list[Face]
    regressed: dict[int, Regressed] = field(default_factory=dict)
    used: float = 0.0
    """When, in seconds of the monotonic clock."""

    @property
    def nbytes(self) -> int:
        """Memory it takes: photo, and logits and crop of each face."""
        faces = list(self.regressed.values())
        return self.photo.nbytes + sum(
            one.crop.image.nbytes + sum(view.nbytes for view in one.logits) for one in faces
        )


class Sessions:
    """Sessions by their random names. Those unused for long, or beyond the memory, are dropped.

    For the event loop's thread alone.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # used longest ago first

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def nbytes(self) -> int:
        """Memory that all sessions take."""
        return sum(session.nbytes for session in self._sessions.values())

    def add(self, photo: UInt8[np.ndarray, "h w 3"], faces: list[Face]) -> Session:
        """A new session."""
        session = Session(secrets.token_urlsafe(24), photo, faces, used=time.monotonic())
        self._sessions[session.id] = session
        self.drop_old()
        return session

    def get(self, name: str) -> Session:
        """The session of this name, which counts as used.

        Raises:
            Refusal: 404 if there is none, or no longer.
        """
        self.drop_old()
        session = self._sessions.get(name)
        if session is None:
            minutes = self._limits.session_seconds / 60
            raise Refusal(
                404,
                "no_session",
                f"this photo is gone, they are kept for {minutes:g} minutes; send it again",
            )
        session.used = time.monotonic()
        self._sessions.move_to_end(name)
        return session

    def remove(self, name: str) -> None:
        """Forgets a session, if there is one of this name."""
        self._sessions.pop(name, None)

    def drop_old(self) -> None:
        """Drops what is out of time, then what is beyond the memory, but the newest never."""
        before = time.monotonic() - self._limits.session_seconds
        while self._sessions and next(iter(self._sessions.values())).used < before:
            self._sessions.popitem(last=False)
        while len(self._sessions) > 1 and self.nbytes > self._limits.sessions_bytes:
            self._sessions.popitem(last=False)
