"""`vrn video`: the shapes of faces in every frame of a video."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from vrn_jax.cli.process import keep_compiled_programs, writable_folder
from vrn_jax.config import VideoSettings
from vrn_jax.errors import InputError

__all__ = ["Video", "video"]


@dataclass(frozen=True)
class Video:
    """Draw the shape of a face over every frame of a video, or beside it."""

    source: tyro.conf.Positional[str]
    """A video file, or the number of a camera, such as 0, which is read until you press Ctrl-C."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The new video: .mp4, .mov or .mkv."""
    settings: tyro.conf.OmitArgPrefixes[VideoSettings] = field(default_factory=VideoSettings)
    weights: str = "default"
    """Name of embedded weights, or a .safetensors file."""
    threshold: float | None = None
    """Occupancy at the surface, 0 to 1. Default: that of the weights."""
    sigma_px: float | None = None
    """Gaussian smoothing of the volume, sigma in crop pixels, at least 1 here. Default: that of the
    weights."""


def video(options: Video) -> int:
    """Does what `vrn video` says. Raises VrnError or OSError."""
    is_camera = options.source.isdecimal() and not Path(options.source).exists()
    source = int(options.source) if is_camera else Path(options.source)
    if isinstance(source, Path) and not source.is_file():
        raise InputError(f"no video at {source}; give a file or the number of a camera")
    if isinstance(source, Path) and options.output.absolute() == source.absolute():
        raise InputError(f"{source} would be overwritten while it is read; write to another file")
    writable_folder(options.output.parent).mkdir(parents=True, exist_ok=True)
    keep_compiled_programs()
    from tqdm import tqdm

    from vrn_jax.inference import load
    from vrn_jax.video import reconstruct_video

    reconstructor = load(options.weights, threshold=options.threshold, sigma_px=options.sigma_px)
    frames = 0
    with tqdm(unit="frame", disable=None) as bar:

        def on_frame(expected: int | None) -> None:
            nonlocal frames
            frames += 1
            bar.total = expected
            bar.update()

        with_face = reconstruct_video(
            reconstructor, source, options.output, options.settings, on_frame=on_frame
        )
    print(f"{options.output}: a face in {with_face} of {frames} frames")
    return 0
