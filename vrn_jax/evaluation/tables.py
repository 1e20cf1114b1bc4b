"""Summaries as Markdown that is readable as plain text too."""

import math
from collections.abc import Iterable, Mapping

from vrn_jax.metrics.statistics import YAW_BINS, Interval

__all__ = ["PAPER", "aligned", "comparison_table", "evaluation_tables"]

PAPER = {
    "VRN": (0.0676, 0.0605),
    "VRN-Multitask": (0.0698, 0.0625),
    "VRN-Guided": (0.0637, 0.0543),
    "3DDFA": (0.1012, 0.1012),
    "EOS": (0.0971, 0.0890),
}
"""NME on AFLW2000-3D, and with ICP's alignment: Jackson et al., ICCV 2017, section 4."""

_TITLES = {
    "depth_error": "depth error",
    "coverage": "coverage",
    "landmark_depth": "landmark depth",
    "nme": "NME",
    "nme_aligned": "NME, ICP-aligned",
    "chamfer": "Chamfer",
    "f_score": "F-score",
    "normal_consistency": "normals",
    "landmarks_2d": "68 points 2D",
    "landmarks_3d": "68 points 3D",
    "iou": "IoU",
}
_DIGITS = {"depth_error": 4, "nme": 4, "nme_aligned": 4, "chamfer": 4, "landmark_depth": 4}
_IN_GROUPS = ("depth_error", "iou")


def evaluation_tables(summary: dict) -> str:
    """Every metric by yaw, then by group, then what failed; quoted rows where there are any."""
    methods = summary["methods"]
    weights = summary["weights"]["name"]
    lines = [f"{summary['described']}. Weights `{weights}`, {summary['photos']} photos.", ""]
    for metric, title in _TITLES.items():
        cells = {name: found["by_yaw"] for name, found in methods.items()}
        if any(metric in of_bin for bins in cells.values() for of_bin in bins.values()):
            lines += [*_metric_table(metric, title, cells, ("all", *YAW_BINS)), ""]
    if pairs := summary.get("ours_minus_mean_head"):
        found = {
            metric: Interval(mean, *((math.nan, math.nan) if low is None else (low, high)), n=n)
            for metric, (mean, low, high, n) in pairs.items()
        }
        text = "Ours minus mean head, over the faces that both were measured on:"
        lines += [text, "", comparison_table(found, "ours - mean head"), ""]
    if constant := summary.get("constant_volume"):
        text = f"The best volume that is the same for everybody: IoU {constant['iou']:.3f}"
        lines += [f"{text} (on the first {constant['faces']} faces).", ""]
    lines += _group_tables(methods)
    if summary["data"] == "aflw2000":
        lines += _quoted()
    return "\n".join([*lines, *_failures(methods, summary["photos"])])


def comparison_table(differences: Mapping[str, Interval], title: str = "second - first") -> str:
    """Mean paired differences, with a star where the interval does not contain 0."""
    rows = [["metric", title, "95 % interval", "faces", ""]]
    for metric, found in differences.items():
        known = found.n > 1
        ends = f"{found.low:+.4f} .. {found.high:+.4f}" if known else ""
        star = "*" if known and found.low * found.high > 0 else ""
        rows.append([_TITLES[metric], f"{found.mean:+.4f}", ends, str(found.n), star])
    return "\n".join(aligned(rows))


def _metric_table(
    metric: str, title: str, cells: Mapping[str, dict], columns: Iterable[str]
) -> list[str]:
    names = list(columns)
    rows = [[title, *names]]
    for method, found in cells.items():
        rows.append([method, *(_cell(found.get(name, {}).get(metric), metric) for name in names)])
    return aligned(rows)


def _cell(interval: list | None, metric: str) -> str:
    if interval is None:
        return ""
    mean, low, high, count = interval
    digits = _DIGITS.get(metric, 3)
    ends = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{mean:.{digits}f}{ends} ({count})"


def _group_tables(methods: Mapping[str, dict]) -> list[str]:
    """The breakdown of every kind of group, a column a method."""
    lines = []
    for metric in _IN_GROUPS:
        rows = [[f"{_TITLES[metric]} by group", *methods]]
        groups = {
            (name, value): None
            for found in methods.values()
            for name, values in found["by_group"].items()
            for value in values
        }
        for name, value in groups:
            found = (m["by_group"].get(name, {}).get(value, {}) for m in methods.values())
            cells = [_cell(of_group.get(metric), metric) for of_group in found]
            if any(cells):
                rows.append([f"{name}: {value}", *cells])
        if len(rows) > 1:
            lines += [*aligned(rows), ""]
    return lines


def _quoted() -> list[str]:
    rows = [["quoted from the paper", "NME", "NME, ICP-aligned"]]
    rows += [[name, f"{plain:.4f}", f"{aligned:.4f}"] for name, (plain, aligned) in PAPER.items()]
    note = (
        "Quoted, not measured here: their mask of about 19,000 vertices is not public. Ours is the "
        "region named above, so compare the order of methods rather than the digits."
    )
    return [*aligned(rows), "", note, ""]


def _failures(methods: Mapping[str, dict], photos: int) -> list[str]:
    rows = [["failures", f"of {photos}", "why"]]
    for method, found in methods.items():
        reasons: dict[str, int] = {}
        for reason in found["failures"].values():
            reasons[reason] = reasons.get(reason, 0) + 1
        why = "; ".join(f"{count} x {reason}" for reason, count in reasons.items())
        rows.append([method, str(len(found["failures"])), why[:200]])
    return aligned(rows)


def aligned(rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table, its columns as wide as they have to be; headings first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return [
        f"| {' | '.join(cell.ljust(n) for cell, n in zip(row, widths, strict=True))} |"
        for row in rows
    ]
