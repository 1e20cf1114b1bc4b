"""Settings from Python presets and from JSON."""

import dataclasses
import runpy
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

from vrn_jax.config import TrainConfig
from vrn_jax.errors import InputError

__all__ = ["from_dict", "load_preset"]

T = TypeVar("T")


def load_preset(path: str | Path) -> TrainConfig:
    """Runs a Python file of `configs/` and returns its `config`.

    Raises:
        InputError: if the file is missing, fails, or leaves no TrainConfig named config behind.
    """
    try:
        config = runpy.run_path(str(path)).get("config")
    except Exception as error:
        raise InputError(f"cannot run the preset {path}: {error}") from error
    if not isinstance(config, TrainConfig):
        raise InputError(
            f"{path} is no preset: it must set `config` to a TrainConfig, got {config!r}"
        )
    return config


def from_dict(cls: type[T], values: Any) -> T:
    """Rebuilds the frozen dataclass `cls` from the dict that `dataclasses.asdict` made of it.

    Nested dataclasses and tuples are rebuilt, also from JSON.

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
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name} must be a list, got {value!r}")
        return tuple(value)
    return value
