"""Errors a caller may want to catch. Messages say what was got, what was expected, what to do."""

__all__ = ["InputError", "NoFaceError", "TrainingError", "VrnError", "WeightsError"]


class VrnError(ValueError):
    """Base of all errors this package raises on purpose; the command line prints it as one line."""


class InputError(VrnError):
    """A photo, an array, a landmark list or a path that cannot be used as given."""


class NoFaceError(InputError):
    """No face was found in a photo."""


class WeightsError(VrnError):
    """A weights file that is damaged, incomplete or made for another network.

    `problems` lists every tensor that does not fit; the message names the first few.
    """

    def __init__(self, message: str, problems: tuple[str, ...] = ()):
        super().__init__(message)
        self.problems = problems


class TrainingError(VrnError):
    """A training run that cannot go on, such as one whose loss is no longer a number."""
