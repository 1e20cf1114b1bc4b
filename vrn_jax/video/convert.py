"""A video in, a video out: with the face's shape over the face, or beside it."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from vrn_jax.config import VideoSettings
from vrn_jax.detection import FaceTracker
from vrn_jax.inference import Reconstructor
from vrn_jax.io.video import Frame, VideoReader, open_writer
from vrn_jax.video.compose import composed
from vrn_jax.video.shapes import ShapeMaker
from vrn_jax.video.stopwatch import Stopwatch

__all__ = ["reconstruct_video"]


def reconstruct_video(
    reconstructor: Reconstructor,
    source: Path | int,
    target: Path,
    settings: VideoSettings | None = None,
    *,
    on_frame: Callable[[int | None], None] = lambda expected: None,
    stopwatch: Stopwatch | None = None,
) -> int:
    """Draws the faces of a video file, or of the camera of that number, into a new video.

    Returns how many frames had a face; those without one are passed through. The times of frames
    and the audio stay as they are. `on_frame` is called after each frame with the number of frames
    that the source claims. The file is there as a whole or not at all; interrupting a camera
    (KeyboardInterrupt) is how it ends.

    Raises:
        InputError: if the video cannot be read or written as asked.
        OSError: if the file cannot be written.
    """
    settings, stopwatch = settings or VideoSettings(), stopwatch or Stopwatch()
    audio_from = source if isinstance(source, Path) else None
    with_face = 0
    with VideoReader(source) as reader, contextlib.ExitStack() as stack:
        writer = stack.enter_context(open_writer(target, like=reader, audio_from=audio_from))
        make = ShapeMaker(
            reconstructor,
            FaceTracker(followed=settings.faces),
            float(reader.time_base),
            smooth=settings.smooth,
            batch=settings.batch,
            stopwatch=stopwatch,
        )
        if audio_from is None:
            stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        # Closed before the reader is: a thread may be reading from it.
        frames = stack.enter_context(contextlib.closing(make(reader)))
        for frame, shapes in frames:
            with stopwatch.part("render"):
                pixels = composed(frame.pixels, shapes, settings.view, settings.opacity)
            with stopwatch.part("encode"):
                writer.write(Frame(pixels, frame.pts, frame.duration))
            with_face += bool(shapes)
            on_frame(reader.count)
    return with_face
