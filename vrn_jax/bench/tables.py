"""The tables of README and docs, made from the JSON that the benches wrote."""

import json
import re
from pathlib import Path

from vrn_jax.evaluation.tables import aligned, evaluation_tables

__all__ = [
    "data_table",
    "demo_table",
    "evaluation_table",
    "faces_table",
    "inference_table",
    "parity_table",
    "scaling_table",
    "train_table",
    "video_table",
    "with_tables",
]

_ROWS = {
    "detect": "find the faces (512 x 512)",
    "network_default": "network, embedded weights (1 stack) | PyTorch, channels last",
    "network_released": "network, released graph (2 stacks) | PyTorch, channels last",
    "clean_up": "enlarge, smooth, largest component, holes | scipy.ndimage",
    "isosurface": "surface | marching cubes on the whole volume",
    "texture": "texture",
    "photo_to_mesh": "**photo to mesh in memory**",
    "write_glb": "texture and write GLB",
    "write_preview.png": "texture and write the preview",
    "folder_photo": "a photo of a folder, to mesh in memory | one by one",
    "network_released_compile": "compile the released graph",
    "first_process": "whole `infer.py`, first time",
    "second_process": "whole `infer.py`, compiled before",
}


def inference_table(numbers: dict) -> str:
    """Markdown of what `bench.inference.measure_inference` returned."""
    seconds = numbers["seconds"]
    lines = ["| step | seconds | peer | peer's seconds | ratio |", "|---|---|---|---|---|"]
    for key, text in _ROWS.items():
        name, _, peer = text.partition(" | ")
        row = f"| {name} | {seconds[key]:.3f} |"
        other = seconds.get(f"{key}_peer")
        if other is not None:
            row += f" {peer} | {other:.3f} | {seconds[key] / other:.2f} |"
        else:
            row += " | | |"
        lines.append(row)
        slower = seconds.get(f"{key}_peer_default_layout")
        if slower is not None:
            ratio = seconds[key] / slower
            lines.append(f"| | | PyTorch, default layout | {slower:.3f} | {ratio:.2f} |")
    return "\n".join([*lines, "", _provenance(numbers)])


def faces_table(numbers: dict) -> str:
    """Markdown of what `bench.faces.measure_faces` returned."""
    errors, likeness = numbers["mean_head_depth_error"], numbers["detector"]
    lines = [
        "| yaw, degrees | mean head's depth error | face found | off the fit to FaceMesh |",
        "|---|---|---|---|",
    ]
    for name, row in likeness.items():
        error = f"{errors[name]:.3f}" if name in errors else ""
        lines.append(f"| {name} | {error} | {row['recall']:.0%} | {row['residual']:.4f} |")
    speed = numbers["speed"]
    lines += [
        "",
        f"{speed['samples_per_second']:.1f} complete samples/s (picture, landmarks, 192x192x200 "
        f"occupancy; batch {speed['batch']}), compiled in {speed['compile_seconds']:.0f} s; "
        f"{speed['temporary_bytes'] / 2**20:.0f} MiB to work in, "
        f"{speed['output_bytes_per_sample'] / 2**20:.1f} MiB a sample.",
    ]
    return "\n".join([*lines, "", _provenance(numbers)])


def data_table(numbers: dict) -> str:
    """Markdown of what `bench.data.measure_data` returned."""
    device = numbers["device"]
    rows = (
        ("photos decoded and cropped", numbers, "images"),
        ("parameters to solid and landmarks", device, "examples"),
        ("the same, to all 192 x 192 x 200 voxels", device, "volumes"),
    )
    lines = ["| what | a second | a second of one core |", "|---|---|---|"]
    for text, values, name in rows:
        core = values.get(f"{name}_per_second_core")
        row = f"| {text} | {values[f'{name}_per_second']:.0f} |"
        lines.append(f"{row} {'' if core is None else format(core, '.0f')} |")
    if model := numbers["model"]:
        lines += [
            "",
            f"A model of {model['vertices']:,} vertices, {model['region_vertices']:,} of them in "
            f"the face region; batches of {numbers['batch']}.",
        ]
    if "step_seconds" in numbers:
        lines += [
            "",
            f"Behind a train step of {numbers['step_seconds']:.1f} s one core that decodes hides "
            f"{numbers['hidden_share_core']:.0%} of the reading.",
        ]
    return "\n".join([*lines, "", _provenance(numbers)])


_TRAIN_ROWS = {
    "made": "faces made in the step",
    "ready": "ready faces",
    "making": "only making faces",
    "torch_eager": "PyTorch, eager, ready faces",
    "torch_compiled": "PyTorch, torch.compile, ready faces",
}


def train_table(numbers: dict) -> str:
    """Markdown of what `bench.train.measure_training` returned."""
    model = numbers["model"]
    lines = [
        f"{model['task']}, stacks: {model['stacks']}, features: {model['features']}; "
        f"{numbers['dtype']}, {numbers['batch']} images a step",
        "",
        "| | seconds a step | images/s | compile, s (CPU s) |",
        "|---|---|---|---|",
    ]
    for key, text in _TRAIN_ROWS.items():
        if row := numbers.get(key):
            compiling = ""
            if "compile_seconds" in row:
                compiling = f"{row['compile_seconds']:.0f} ({row['compile_cpu_seconds']:.0f})"
            lines.append(
                f"| {text} | {row['seconds']:.2f} | {row['images_per_second']:.2f} | {compiling} |"
            )
    share = f"Making the faces is {numbers['share_of_making']:.0%} of the step."
    return "\n".join([*lines, "", share, "", _provenance(numbers)])


def evaluation_table(numbers: dict) -> str:
    """Markdown of what `vrn evaluate` measured."""
    return "\n".join([evaluation_tables(numbers), "", _provenance(numbers)])


def parity_table(numbers: dict) -> str:
    """Markdown of what `vrn compare` measured, in columns that are readable as plain text too."""
    lines = [line for run in numbers["runs"] for line in _parity_lines(run)]
    return "\n".join([*lines, _provenance(numbers)])


def scaling_table(numbers: dict) -> str:
    """Markdown of what `bench.scaling.measure_scaling` returned."""
    first = numbers["topologies"][0]
    lines = [
        "| scaling | processes | simulated devices | images | s/step |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {run['kind']} | {run['processes']} | {run['devices']} | {run['images']} | "
        f"{run['step_s']:.2f} |"
        for run in numbers["timings"]
    ]
    lines += [
        "",
        f"{numbers['preset']}, {first['images_a_device']} images a device, "
        f"{first['images_a_device'] // first['accumulate']} at a time:",
        "",
        "| slice | devices | compiled in | memory a device | traffic an image | exchanges a step | "
        "estimated ms a step | of it exchange | MFU | exchange-bound below, images a device |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for report in numbers["topologies"]:
        found = report["collectives"].values()
        times, memory = report["roofline"], report["memory"]
        lines.append(
            f"| {report['topology']} | {report['devices']} | "
            f"{report['seconds']['compile']:.0f} s | "
            f"{memory['peak'] / 1e9:.1f} GB ({memory['share']:.0%}) | "
            f"{report['bytes_moved'] / report['images_a_device'] / 1e9:.2f} GB | "
            f"{sum(f['count'] for f in found)} ({sum(f['bytes'] for f in found) / 1e6:.0f} MB) | "
            f"{times['step_s'] * 1e3:.0f} | {times['exchange_s'] * 1e3:.1f} | "
            f"{times['mfu']:.0%} | {report['exchange_bound_below_images_a_device']:.2f} |"
        )
    return "\n".join([*lines, "", _provenance(numbers)])


def _parity_lines(run: dict) -> list[str]:
    peer = "float32" if run["dtype"] == "bfloat16" else run["dtype"]
    title = (
        f"**JAX {run['dtype']} (precision {run['precision']}), PyTorch {peer}**; weights "
        f"{run['weights']}, statistics: {run['norm']}, images: {run['images']}, {run['device']}"
    )
    rows = [["stage", "max", "mean", "relative", "largest value"]]
    for stage in run["stages"]:
        values = (stage[name] for name in ("max", "mean", "relative", "largest_value"))
        rows.append([stage["stage"], *(f"{value:.1e}" for value in values)])
    distance = run["mesh_distance_px"]
    summary = (
        f"Volumes: IoU {run['volume_iou']:.6f}. Meshes: {distance['mean']:.1e} px apart on "
        f"average, {distance['max']:.1e} at most."
    )
    for name, framework in (("jax", "JAX"), ("pytorch", "PyTorch")):
        cost = run["costs"][name]
        memory = "" if cost["megabytes"] is None else f", {cost['megabytes']:.0f} MB"
        summary += f" {framework}: {cost['seconds']:.3f} s an image{memory}."
    return [title, "", *aligned(rows), "", summary, ""]


def video_table(numbers: dict) -> str:
    """Markdown of what `bench.video.measure_video` returned."""
    clip = numbers["clip"]
    speed = numbers["speed"]
    parts = list(dict.fromkeys(part for view in speed.values() for part in view["milliseconds"]))
    lines = [
        f"{clip['frames']} frames of {clip['size'][0]} x {clip['size'][1]} pixels; milliseconds a "
        "frame. Decoding and following run in one thread, all others one after the other in "
        'another; "network" is how long that one hands over and waits.',
        "",
        f"| view | frames/s | {' | '.join(parts)} |",
        "|---" * (len(parts) + 2) + "|",
    ]
    for view, row in speed.items():
        cells = (f"{row['milliseconds'][part]:.0f}" for part in parts)
        lines.append(f"| {view} | {row['frames_per_second']:.1f} | {' | '.join(cells)} |")
    lines += [
        "",
        "| clip | faces found | surface, px | outline, px | crop, px | late, frames |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in numbers["trembling"].items():
        late = "" if row["late_frames"] is None else f"{row['late_frames']:.2f}"
        pixels = " | ".join(f"{row[key]:.2f}" for key in ("surface_px", "outline_px", "crop_px"))
        lines.append(f"| {name} | {row['faces']} | {pixels} | {late} |")
    return "\n".join([*lines, "", _provenance(numbers)])


def demo_table(numbers: dict) -> str:
    """Markdown of what `bench.demo.measure_demo` returned."""
    rounds = numbers["rounds"]
    lines = ["| round | answers by status | meshes/s | p50 | p95 |", "|---|---|---|---|---|"]
    for i, one in enumerate(rounds, 1):
        answers = ", ".join(f"{n} x {status}" for status, n in one["answers_by_status"].items())
        times = f"{one['p50_seconds']:.1f} s | {one['p95_seconds']:.1f} s"
        lines.append(f"| {i} | {answers} | {one['meshes_per_second']:.2f} | {times} |")
    ratios = ", ".join(f"{ratio:.2f}" for ratio in numbers["throughput_ratios"])
    lines += [
        "",
        f"{numbers['clients']} clients, rounds of {numbers['round_seconds']:g} s. Throughput over "
        f"the bare reconstructor's: **{numbers['throughput_ratio']:.2f}** (median of {ratios}). "
        f"Memory of the server: {numbers['memory_growth_mb']:+.0f} MB. From nothing to the first "
        f"mesh {numbers['cold_start_to_first_mesh_seconds']:.1f} s, a photo then "
        f"{numbers['warm_photo_seconds']:.2f} s.",
    ]
    return "\n".join([*lines, "", _provenance(numbers)])


def _provenance(numbers: dict) -> str:
    packages = ", ".join(f"{name} {v}" for name, v in numbers["packages"].items() if v)
    return (
        f"`{numbers['command']}`, {numbers['date']}, commit {numbers['commit']}; "
        f"{numbers['machine']}; Python {numbers['python']}, {packages}."
    )


def with_tables(text: str, folder: Path) -> str:
    """Fills every ``<!-- table: NAME --> ... <!-- end -->`` with the table of NAME.json.

    NAME begins with what was measured, a key of `_TABLES`.
    """

    def filled(match: re.Match[str]) -> str:
        numbers = json.loads((folder / f"{match[1]}.json").read_text(encoding="utf-8"))
        kind = match[1].split("_")[0]
        write = _TABLES[kind]
        return f"<!-- table: {match[1]} -->\n\n{write(numbers)}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end -->", filled, text, flags=re.DOTALL)


_TABLES = {
    "data": data_table,
    "demo": demo_table,
    "evaluation": evaluation_table,
    "faces": faces_table,
    "inference": inference_table,
    "parity": parity_table,
    "scaling": scaling_table,
    "train": train_table,
    "video": video_table,
}
