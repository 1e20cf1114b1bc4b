"""Results of an evaluation: a CSV that grows by a photo at a time, and the summary made of it."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vrn_jax.errors import InputError
from vrn_jax.evaluation.measure import METRICS, Row
from vrn_jax.metrics.statistics import YAW_BINS, Interval, mean_interval, yaw_bin

__all__ = [
    "append_rows",
    "finished_rows",
    "paired_differences",
    "read_rows",
    "summarize",
    "values_of",
]

_FIRST = ("name", "method", "yaw", "groups", "failure")
_MISSING = math.nan


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Adds the rows of one photo to the file, which is begun with a line of names."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow([*_FIRST, *METRICS])
        for row in rows:
            groups = "; ".join(f"{name}={value}" for name, value in row.groups.items())
            first = [row.name, row.method, repr(row.yaw), groups, row.failure]
            writer.writerow(
                [*first, *(repr(row.values[m]) if m in row.values else "" for m in METRICS)]
            )


def read_rows(path: Path) -> list[Row]:
    """The rows of such a file.

    Raises:
        InputError: if it is another kind of file, or one of another version.
    """
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    if not lines or lines[0] != [*_FIRST, *METRICS]:
        raise InputError(f"{path} is no table of this version of `vrn evaluate`; remove it")
    return [_row(path, line) for line in lines[1:] if len(line) == len(lines[0])]


def finished_rows(path: Path, methods: Sequence[str]) -> list[Row]:
    """What an interrupted evaluation left: the photos that all methods were measured on.

    The file is cut down to those. Empty where there is no file.

    Raises:
        InputError: if the file is of other methods, or no such file.
    """
    if not path.exists():
        return []
    rows, count = read_rows(path), len(methods)
    whole = rows[: len(rows) // count * count]
    if any(row.method != methods[i % count] for i, row in enumerate(whole)):
        raise InputError(
            f"{path} holds other methods than {', '.join(methods)}; give another folder with -o"
        )
    path.unlink()
    for first in range(0, len(whole), count):
        append_rows(path, whole[first : first + count])
    return whole


def summarize(rows: Sequence[Row]) -> dict:
    """Means with 95 % bootstrap intervals by method: of all, by yaw, by group; failures by name.

    An interval is [mean, low, high, number of faces]; what was not measured on a face is not in its
    mean, so a method's failures stand beside its numbers.
    """
    methods = list(dict.fromkeys(row.method for row in rows))
    summary: dict = {
        "photos": len(rows) // max(1, len(methods)),
        "methods": {
            method: _of_method([row for row in rows if row.method == method]) for method in methods
        },
        "faces": [
            {
                "name": row.name,
                "method": row.method,
                "yaw": None if math.isnan(row.yaw) else row.yaw,
                "groups": row.groups,
                "failure": row.failure,
                **row.values,
            }
            for row in rows
        ],
    }
    if {"ours", "mean head"} <= set(methods):
        pairs = paired_differences(summary, summary, "mean head", "ours")
        summary["ours_minus_mean_head"] = {metric: _plain(found) for metric, found in pairs.items()}
    return summary


def paired_differences(
    first: dict, second: dict, method: str, second_method: str | None = None
) -> dict[str, Interval]:
    """Mean of second minus first for every metric, over the faces that both summaries measured.

    Of one method, or of one in the first summary and another in the second.

    Raises:
        InputError: if one lacks the method, or they share no face of it.
    """
    sides = []
    for summary, name in ((first, method), (second, second_method or method)):
        if name not in summary["methods"]:
            known = ", ".join(summary["methods"])
            raise InputError(f"one of the results has no method {name!r}, only {known}")
        sides.append({f["name"]: f for f in summary["faces"] if f["method"] == name})
    shared = [name for name in sides[0] if name in sides[1]]
    if not shared:
        raise InputError("these results share no face; compare evaluations of the same data")
    found = {}
    for metric in METRICS:
        differences = [
            sides[1][name][metric] - sides[0][name][metric]
            for name in shared
            if metric in sides[0][name] and metric in sides[1][name]
        ]
        if differences:
            found[metric] = mean_interval(np.array(differences))
    return found


def values_of(rows: Sequence[Row], metric: str) -> Float[np.ndarray, " n"]:
    """One metric of all rows, NaN where it was not measured."""
    return np.array([row.values.get(metric, _MISSING) for row in rows], np.float64)


def _of_method(rows: list[Row]) -> dict:
    known = np.array([not math.isnan(row.yaw) for row in rows], bool)
    bins = np.full(len(rows), -1)
    bins[known] = yaw_bin(np.array([row.yaw for row in rows])[known])
    by_yaw = {"all": np.ones(len(rows), bool)}
    by_yaw |= {name: bins == number for number, name in enumerate(YAW_BINS)}
    groups: dict[str, dict[str, np.ndarray]] = {}
    for row in rows:
        for name, value in row.groups.items():
            members = np.array([other.groups.get(name) == value for other in rows], bool)
            groups.setdefault(name, {}).setdefault(value, members)
    return {
        "by_yaw": {name: _means(rows, members) for name, members in by_yaw.items()},
        "by_group": {
            name: {value: _means(rows, members) for value, members in sorted(values.items())}
            for name, values in groups.items()
        },
        "failures": {row.name: row.failure for row in rows if row.failure},
    }


def _means(rows: list[Row], members: np.ndarray) -> dict[str, list[float | int | None]]:
    chosen = [row for row, member in zip(rows, members, strict=True) if member]
    means = {}
    for metric in METRICS:
        values = values_of(chosen, metric)
        values = values[np.isfinite(values)]
        if len(values):
            means[metric] = _plain(mean_interval(values))
    return means


def _plain(interval: Interval) -> list[float | int | None]:
    """JSON has no NaN: an end that a single value leaves open is None."""
    return [None if math.isnan(number) else number for number in interval]


def _row(path: Path, line: list[str]) -> Row:
    name, method, yaw, groups, failure = line[: len(_FIRST)]
    try:
        pairs = [pair.split("=", 1) for pair in groups.split("; ") if pair]
        numbers = zip(METRICS, line[len(_FIRST) :], strict=True)
        values = {metric: float(text) for metric, text in numbers if text}
        return Row(name, method, float(yaw), {key: value for key, value in pairs}, values, failure)
    except ValueError as error:
        raise InputError(f"{path} is damaged at {name}: {error}; remove it") from error
