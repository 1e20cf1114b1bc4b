"""Settings as frozen dataclasses of plain values, and their way to JSON and back."""

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

__all__ = ["ModelConfig", "Norm", "Task", "Upsampling", "from_dict"]

Task = Literal["unguided", "guided", "multitask"]
"""The three networks of the paper (section 4): image only; image and landmark channels in; image
in, volume and landmarks out."""

Norm = Literal["running", "batch", "image"]
"""Which statistics batch normalisation uses: the stored running averages; those of the batch, which
also update the averages; or those of each image alone, whatever the batch it travels in."""

Upsampling = Literal["align_corners", "half_pixel", "asymmetric"]
"""Where output i of N lies among n samples: at i (n - 1) / (N - 1), so that the first and the last
sample stay where they are (Torch7, and so the official network); at (i + 1/2) n / N - 1/2, where
the outer borders of the pixels agree (PyTorch since 0.4, `jax.image.resize`); or at i n / N
(TensorFlow 1 and the Keras port). Positions outside of the samples take the nearest one."""

T = TypeVar("T")


@dataclass(frozen=True)
class ModelConfig:
    """Which network. The defaults are the released VRN: 19,184,968 parameters."""

    task: Task = "unguided"
    """Which of the paper's three networks."""
    stacks: int = 2
    """Hourglasses between the image and the volume."""
    features: int = 256
    """Channels at 48x48 pixels; residual blocks work at half of it. Even."""
    depth: int = 200
    """Depth planes of the volume."""
    landmarks: int = 68
    """Landmark channels of the guided and multitask networks."""

    def __post_init__(self) -> None:
        if self.features % 2 or min(self.stacks, self.features, self.depth, self.landmarks) < 1:
            raise ValueError(f"sizes must be positive and features even, got {self}")
        if self.task == "multitask" and self.stacks < 2:
            raise ValueError(
                f"the multitask network forks after a first stack: two at least, got {self}"
            )


def from_dict(cls: type[T], values: Any) -> T:
    """Rebuilds the frozen dataclass `cls` from the dict that `dataclasses.asdict` made of it.

    Nested dataclasses are rebuilt.

    Raises:
        ValueError: on an unknown field, a missing one, or a value its Literal type does not allow.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{cls.__name__} must be an object of fields, got {values!r}")
    hints = typing.get_type_hints(cls)
    if unknown := sorted(set(values) - set(hints)):
        raise ValueError(
            f"{cls.__name__} has no field {', '.join(unknown)}; it has {sorted(hints)}"
        )
    fields = dataclasses.fields(typing.cast(Any, cls))
    if missing := sorted(f.name for f in fields if _is_required(f) and f.name not in values):
        raise ValueError(f"{cls.__name__} lacks {', '.join(missing)}")
    return cls(**{name: _rebuild(hints[name], name, value) for name, value in values.items()})


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _rebuild(hint: Any, name: str, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value)
    origin = typing.get_origin(hint)
    if origin is Literal and value not in typing.get_args(hint):
        raise ValueError(f"{name} must be one of {typing.get_args(hint)}, got {value!r}")
    if hint in (int, float, str, bool) and not isinstance(
        value, (int, float) if hint is float else hint
    ):
        raise ValueError(f"{name} must be of type {hint.__name__}, got {value!r}")
    return value
