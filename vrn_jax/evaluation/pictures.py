"""Cumulative error curves as SVG, and a sheet of the worst and the best faces."""

from collections.abc import Mapping
from html import escape

import numpy as np
from jaxtyping import Float, UInt8

from vrn_jax.evaluation.cases import Case
from vrn_jax.evaluation.methods import Prediction
from vrn_jax.geometry.crop import crop_from_landmarks, warp
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.mesh import moved
from vrn_jax.metrics.statistics import area_under_curve, cumulative_error
from vrn_jax.rendering import labelled, render
from vrn_jax.types import Mesh

__all__ = ["case_tile", "curves_svg"]

_COLOURS = ("#1b6ca8", "#d1495b", "#66a182", "#edae49", "#8d6a9f", "#555555")
_WIDTH, _HEIGHT, _LEFT, _TOP = 640, 400, 56, 24
_STEPS = 101


def curves_svg(errors: Mapping[str, Float[np.ndarray, " n"]], title: str, limit: float) -> str:
    """The share of faces whose error is at most x, from 0 to `limit`; failures never reach one.

    The legend has the area under each curve, in [0, 1].
    """
    wide, high = _WIDTH - _LEFT - 20, _HEIGHT - _TOP - 56
    grid, text = [], []
    for i in range(6):
        x, y = _LEFT + wide * i / 5, _TOP + high * (1 - i / 5)
        grid.append(f"M{x:.1f} {_TOP}V{_TOP + high}M{_LEFT} {y:.1f}H{_LEFT + wide}")
        text.append(_text(x, _TOP + high + 18, f"{limit * i / 5:.3g}", "middle"))
        text.append(_text(_LEFT - 8, y + 4, f"{i * 20} %", "end"))
    text.append(_text(_LEFT + wide / 2, _HEIGHT - 12, title, "middle"))
    lines = [f'<path d="{"".join(grid)}" stroke="#ddd" fill="none"/>', *text]
    thresholds = np.linspace(0, limit, _STEPS)
    for number, (name, values) in enumerate(errors.items()):
        share = cumulative_error(values, thresholds)
        points = " ".join(
            f"{_LEFT + wide * x / limit:.1f},{_TOP + high * (1 - y):.1f}"
            for x, y in zip(thresholds, share, strict=True)
        )
        colour = _COLOURS[number % len(_COLOURS)]
        lines.append(
            f'<polyline points="{points}" stroke="{colour}" stroke-width="2" fill="none"/>'
        )
        label = f"{name} (area {area_under_curve(values, limit):.3f})"
        lines.append(_text(_LEFT + 10, _TOP + 18 * (number + 1), label, "start", colour))
    style = 'font-family="sans-serif" font-size="13"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {style}>\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>\n'
        + "\n".join(lines)
        + "\n</svg>\n"
    )


def case_tile(case: Case, prediction: Prediction, label: str) -> UInt8[np.ndarray, "h w 3"]:
    """The photo's crop, the guess from the front and the side, and the truth where it is known."""
    place = crop_from_landmarks(case.landmarks)
    size = VRN_GRID.columns
    pictures = [warp(case.photo, place, VRN_GRID.shape[:2]), *_looks(prediction.mesh, place, size)]
    if case.surface is not None:
        pictures += _looks(case.surface, place, size)
    return labelled(np.concatenate(pictures, axis=1), label)


def _looks(mesh: Mesh, place: Float[np.ndarray, "3 3"], size: int) -> list[np.ndarray]:
    upright = moved(mesh, place, "crop")
    return [render(upright, yaw_deg=yaw, size=size, view_width=150.0) for yaw in (0.0, 50.0)]


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#222") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(text)}</text>"
