"""`vrn render`: pictures of a mesh file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vrn_jax.cli.process import writable_folder
from vrn_jax.errors import InputError
from vrn_jax.rendering import Look

__all__ = ["Render", "render"]

_PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


@dataclass(frozen=True)
class Render:
    """Draw a mesh: a picture from one side or several, or a turntable. Needs no display."""

    mesh: tyro.conf.Positional[Path]
    """A .glb, .obj, .ply or .stl file, of this program or any other."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A picture (.png, .jpg, .webp), or a turntable (.gif; .mp4, .mov, .mkv with the video
    extra)."""
    yaw: tuple[float, ...] = (-35.0,)
    """Pictures: where the camera stands, degrees: 0 in front, 90 on the right. Several make several
    pictures side by side."""
    pitch: float = 8.0
    """How high the camera stands, degrees: 90 looks down from above."""
    size: int = 512
    """Pixels a side."""
    look: Look = "auto"
    """Colours as they are, colours lit, clay, depth or normals; auto is colour, else clay."""
    background: tuple[int, int, int] | None = None
    """Pictures: RGB. Default: a studio's soft backdrop."""
    frames: int = 60
    """Turntables: pictures in a full turn."""
    rate: int = 20
    """Turntables: pictures a second."""
    swing: float | None = None
    """Turntables: to and fro by so many degrees instead of around."""


def render(options: Render) -> int:
    """Does what `vrn render` says. Raises VrnError or OSError."""
    from vrn_jax.io.animation import ANIMATION_SUFFIXES

    suffix = options.output.suffix.lower()
    if suffix not in (*_PICTURES, *ANIMATION_SUFFIXES):
        known = ", ".join((*_PICTURES, *ANIMATION_SUFFIXES))
        raise InputError(f"{options.output} ends in none of {known}")
    if not 1 <= options.size <= 4096 or min(options.frames, options.rate, len(options.yaw)) < 1:
        raise InputError(
            "a size is 1 to 4096 pixels, and there is at least one frame, frame a second and yaw; "
            f"got {options.size}, {options.frames}, {options.rate} and {len(options.yaw)}"
        )
    writable_folder(options.output.parent).mkdir(parents=True, exist_ok=True)
    if suffix in _PICTURES:
        _picture(options, _PICTURES[suffix])
    else:
        _animation(options)
    print(options.output)
    return 0


def _picture(options: Render, form: str) -> None:
    import numpy as np
    from PIL import Image

    from vrn_jax import rendering
    from vrn_jax.io.atomic import writing
    from vrn_jax.io.mesh import read_mesh

    mesh = read_mesh(options.mesh)
    pictures = [
        rendering.render(
            mesh,
            yaw_deg=yaw_deg,
            pitch_deg=options.pitch,
            size=options.size,
            look=options.look,
            background=options.background,
        )
        for yaw_deg in options.yaw
    ]
    with writing(options.output) as partial:
        Image.fromarray(np.concatenate(pictures, axis=1)).save(partial, format=form, quality=92)


def _animation(options: Render) -> None:
    from tqdm import tqdm

    from vrn_jax.io.animation import write_animation
    from vrn_jax.io.mesh import read_mesh
    from vrn_jax.rendering import turntable

    pictures = turntable(
        read_mesh(options.mesh),
        pitch_deg=options.pitch,
        size=options.size,
        frames=options.frames,
        swing_deg=options.swing,
        look=options.look,
    )
    bar = tqdm(pictures, total=options.frames, unit="frame", disable=None)
    write_animation(options.output, iter(bar), rate=options.rate)
