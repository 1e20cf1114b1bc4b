"""The tables of README and docs, made from the JSON that the benches wrote."""

import json
import re
from pathlib import Path

__all__ = ["inference_table", "with_tables"]

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
    packages = ", ".join(f"{name} {v}" for name, v in numbers["packages"].items() if v)
    lines += [
        "",
        f"`{numbers['command']}`, {numbers['date']}, commit {numbers['commit']}; "
        f"{numbers['machine']}; Python {numbers['python']}, {packages}.",
    ]
    return "\n".join(lines)


def with_tables(text: str, folder: Path) -> str:
    """Fills every ``<!-- table: NAME --> ... <!-- end -->`` with the table of NAME.json."""

    def table(match: re.Match[str]) -> str:
        numbers = json.loads((folder / f"{match[1]}.json").read_text(encoding="utf-8"))
        return f"<!-- table: {match[1]} -->\n\n{inference_table(numbers)}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end -->", table, text, flags=re.DOTALL)
