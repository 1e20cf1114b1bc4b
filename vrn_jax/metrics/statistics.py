"""From errors of faces to tables and curves: means with their uncertainty, bins, shares."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from vrn_jax.errors import InputError

__all__ = [
    "YAW_BINS",
    "Interval",
    "area_under_curve",
    "cumulative_error",
    "mean_interval",
    "means_by_bin",
    "yaw_bin",
]

YAW_BINS = ("0-30", "30-60", "60-90")
"""Degrees to either side, as AFLW2000-3D is reported (Zhu et al., CVPR 2016): up to and including
30, above 30 up to and including 60, and all above, the few beyond 90 as well."""

_YAW_EDGES = (30.0, 60.0)
_RESAMPLES = 2_000
_RESAMPLES_AT_ONCE = 100


class Interval(NamedTuple):
    """A mean, its confidence interval, and how many values it is of.

    NaN where there is nothing to tell: the ends for a single value, all three for none.
    """

    mean: float
    low: float
    high: float
    n: int


def mean_interval(
    values: Float[np.ndarray, " n"], confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The mean and its percentile bootstrap interval (Efron 1979), always the same for one seed.

    To compare two results, give the differences of the same faces: an interval that does not
    contain 0 is a difference.

    Raises:
        InputError: if values are not finite: what was refused is to be counted, not averaged.
    """
    if not np.isfinite(values).all():
        raise InputError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} values are not finite; leave "
            "out what could not be measured and say how many that were"
        )
    if len(values) < 2:
        return Interval(float(values[0]) if len(values) else np.nan, np.nan, np.nan, len(values))
    interval = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_RESAMPLES_AT_ONCE,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(values.mean()), float(interval.low), float(interval.high), len(values))


def yaw_bin(yaw_deg: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The index in `YAW_BINS` of every yaw, whichever its sign."""
    return np.digitize(np.abs(yaw_deg), _YAW_EDGES, right=True)


def means_by_bin(
    values: Float[np.ndarray, " n"],
    bins: Int[np.ndarray, " n"],
    names: Sequence[str] = YAW_BINS,
) -> dict[str, Interval]:
    """The mean of every bin by its name, empty ones included; `bins` index into `names`."""
    return {name: mean_interval(values[bins == index]) for index, name in enumerate(names)}


def cumulative_error(
    errors: Float[np.ndarray, " n"], thresholds: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """The share of all faces whose error is at most each threshold.

    A face that could not be measured (NaN or infinity) counts among all and never reaches one.
    """
    reached = np.sort(errors[np.isfinite(errors)])
    return np.searchsorted(reached, thresholds, side="right") / len(errors)


def area_under_curve(errors: Float[np.ndarray, " n"], limit: float) -> float:
    """The mean height, in [0, 1], of the cumulative error curve from 0 to `limit`."""
    measured = errors[np.isfinite(errors)]
    return float(np.maximum(1 - measured / limit, 0).sum() / len(errors))
