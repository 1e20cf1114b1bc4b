"""What the server says no with: a status, a word for programs and a sentence for people."""

from fastapi.responses import JSONResponse

from vrn_jax.errors import InputError, NoFaceError, VrnError, WeightsError

__all__ = ["Refusal", "answer", "busy", "refusal_of"]


class Refusal(VrnError):
    """An answer with an error status.

    `code` is the word programs tell errors apart by; `headers` go out with the answer.
    """

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


def busy(message: str, seconds: int = 2) -> Refusal:
    """The server has as much to do as it takes on; the client may come back after `seconds`."""
    return Refusal(503, "busy", message, {"Retry-After": str(seconds)})


def answer(refusal: Refusal) -> JSONResponse:
    """What the client gets."""
    content = {"error": refusal.code, "message": str(refusal)}
    return JSONResponse(content, refusal.status, headers=refusal.headers)


def refusal_of(error: VrnError) -> Refusal:
    """The answer to an error of this package: what was sent cannot be used."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, NoFaceError):
        return Refusal(422, "no_face", str(error))
    if isinstance(error, WeightsError):
        return Refusal(500, "weights", str(error))
    code = "unusable" if isinstance(error, InputError) else "failed"
    return Refusal(422, code, str(error))
