"""Videos in and out, through PyAV (FFmpeg's libraries): the only module that imports it.

Frames come upright, whatever the rotation in the file, each with its own time, so a variable frame
rate stays what it is. Audio is copied as it is, without being decoded.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vrn_jax.errors import InputError
from vrn_jax.io.atomic import writing

__all__ = ["VIDEO_SUFFIXES", "Frame", "VideoReader", "VideoWriter", "open_writer", "require_av"]

VIDEO_SUFFIXES = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Of files to write, and FFmpeg's names of these formats. What FFmpeg knows can be read."""

_CAMERA_FORMATS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}


def require_av() -> ModuleType:
    """PyAV.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError('videos need PyAV: pip install "vrn-jax[video]"') from error
    return av


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture of a video, upright RGB, and when it is shown: `pts` times the reader's time base.

    `duration` is in the same unit; 0 where the file does not say.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    pts: int
    duration: int = 0


class VideoReader:
    """Iterates over the frames of a file, or of camera number `source`. A context manager.

    `rate` is the average, frames a second; `time_base` the unit of times, seconds; `count` the
    number of frames that the file claims, or None.

    Raises:
        InputError: if it cannot be opened, holds no video, or cannot be decoded to its end.
    """

    def __init__(self, source: Path | int):
        av = require_av()
        self._errors: type[Exception] = av.error.FFmpegError
        self._name = f"camera {source}" if isinstance(source, int) else str(source)
        name, form = _camera(source) if isinstance(source, int) else (str(source), None)
        try:
            self._container: Any = av.open(name, format=form)
        except (self._errors, OSError, ValueError) as error:
            raise InputError(f"cannot open {self._name}: {_reason(error)}") from error
        if not self._container.streams.video:
            self._container.close()
            raise InputError(f"{self._name} holds no video")
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        self.time_base = Fraction(stream.time_base or 1 / self.rate)
        self.aspect = stream.codec_context.sample_aspect_ratio
        self.count: int | None = self._expected_frames(stream)

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        last: int | None = None
        decoded = self._container.decode(video=0)
        step = max(1, round(1 / (self.rate * self.time_base)))
        while True:
            try:
                frame = next(decoded)
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            except StopIteration:
                break
            except self._errors as error:
                raise InputError(f"cannot decode {self._name}: {_reason(error)}") from error
            # Times may be missing or go back in files that other programs have cut.
            earliest = 0 if last is None else last + 1
            expected = 0 if last is None else last + step
            pts = max(expected if frame.pts is None else int(frame.pts), earliest)
            last = pts
            yield Frame(np.ascontiguousarray(pixels), pts, frame.duration or 0)
        if last is None:
            raise InputError(f"{self._name} holds no frame that can be decoded")

    def _expected_frames(self, stream: Any) -> int | None:
        if stream.frames:
            return stream.frames
        seconds = (self._container.duration or 0) / 1_000_000
        return round(seconds * self.rate) or None


class VideoWriter:
    """Encodes frames as H.264, beside a copy of the audio of another file. See `open_writer`."""

    def __init__(self, container: Any, reader: VideoReader | None, rate: Fraction):
        self._container = container
        self._stream = container.add_stream("libx264", rate=rate.limit_denominator(100_000))
        self._stream.options = {"crf": "18", "preset": "veryfast"}
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        self._time_base = 1 / rate if reader is None else reader.time_base
        context.time_base = self._time_base
        if reader is not None and reader.aspect:
            context.sample_aspect_ratio = reader.aspect
        # BT.709, said in the file and done in `write`: what players take for granted in HD.
        context.colorspace = context.color_primaries = context.color_trc = 1
        self._audio: _AudioCopy | None = None
        self._started = False

    def copy_audio(self, source: Any) -> None:
        """Takes over all audio streams of an open container, before the first frame."""
        self._audio = _AudioCopy(source, self._container)

    def write(self, frame: Frame) -> None:
        """Encodes a frame. All have one size; odd ones are extended by a row or column.

        Raises:
            av.error.FFmpegError: if the format refuses a stream, or the file cannot be written.
        """
        import av

        height, width = frame.pixels.shape[:2]
        pixels = frame.pixels
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if not self._started:
            self._stream.height, self._stream.width = pixels.shape[:2]
            self._started = True
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
        picture.pts, picture.time_base = frame.pts, self._time_base
        if frame.duration:
            picture.duration = frame.duration
        self._mux(self._stream.encode(picture))
        if self._audio is not None:
            self._audio.write_until(frame.pts * self._time_base)

    def finish(self) -> None:
        """Writes what is still on its way."""
        if self._started:
            self._mux(self._stream.encode(None))
        if self._audio is not None:
            self._audio.write_until(None)

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self._container.mux(packet)


class _AudioCopy:
    """The packets of one container's audio on their way to another."""

    def __init__(self, source: Any, target: Any):
        streams = source.streams.audio
        self._target = target
        self._streams = {s.index: target.add_stream_from_template(s) for s in streams}
        self._packets: Iterator[Any] = (p for p in source.demux(streams) if p.dts is not None)
        self._next = next(self._packets, None)

    def write_until(self, time_s: Fraction | None) -> None:
        """Those up to a time, so that players find sound and picture side by side; None: all."""
        while self._next is not None:
            packet = self._next
            if time_s is not None and packet.dts * packet.time_base > time_s:
                return
            packet.stream = self._streams[packet.stream.index]
            self._target.mux(packet)
            self._next = next(self._packets, None)


@contextlib.contextmanager
def open_writer(
    path: Path,
    *,
    like: VideoReader | None = None,
    rate: Fraction = Fraction(25),
    audio_from: Path | None = None,
) -> Iterator[VideoWriter]:
    """A writer for a video file, which is there as a whole at the end, or not at all.

    Times count in the unit of the reader `like`, or else in frames of `rate` a second.

    Raises:
        InputError: if the suffix is not in `VIDEO_SUFFIXES`, or FFmpeg refuses.
    """
    av = require_av()
    form = VIDEO_SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise InputError(f"{path} ends in none of {', '.join(VIDEO_SUFFIXES)}")
    with contextlib.ExitStack() as stack:
        partial = stack.enter_context(writing(path))
        try:
            container = stack.enter_context(av.open(str(partial), "w", format=form))
            writer = VideoWriter(container, like, like.rate if like else rate)
            if audio_from is not None:
                source = stack.enter_context(av.open(str(audio_from)))
                if source.streams.audio:
                    writer.copy_audio(source)
            yield writer
            writer.finish()
        except av.error.FFmpegError as error:
            raise InputError(
                f"cannot write {path}: {_reason(error)}; if it is the audio that this format "
                "does not take, write .mkv, which takes any"
            ) from error


def _camera(number: int) -> tuple[str, str]:
    if sys.platform not in _CAMERA_FORMATS:
        raise InputError("cameras by number are read on Linux and macOS; record a file and give it")
    form, name = _CAMERA_FORMATS[sys.platform]
    return name.format(number), form


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
