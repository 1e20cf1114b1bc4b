"""From frames to shapes: faces followed, cropped, given to the network, meshed; all in order.

While the device works on one batch of frames, a thread decodes the next one and follows the faces
in it, and whoever takes the shapes draws those of the batch before.
"""

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from vrn_jax.batches import batch_sizes, batches, cut_out
from vrn_jax.detection import FaceTracker
from vrn_jax.errors import InputError
from vrn_jax.inference import Reconstructor
from vrn_jax.io.video import Frame
from vrn_jax.types import Face, FaceCrop, Mesh
from vrn_jax.video.stabilize import Stabilizer
from vrn_jax.video.stopwatch import Stopwatch
from vrn_jax.video.surface import coarse_mesh, coarse_volumes

__all__ = ["Shape", "ShapeMaker"]


class Shape(NamedTuple):
    """A face's mesh in crop pixels, and the crop that leads back to the frame.

    `number` is the face's, as long as it is not lost; `middle_z` the depth of the grid's middle.
    """

    number: int
    mesh: Mesh
    crop: FaceCrop
    middle_z: float


class _Found(NamedTuple):
    """A face in a frame, ready for the network; `weight` is that of its volume over time."""

    number: int
    face: Face
    crop: FaceCrop
    weight: float


_Batch = list[tuple[Frame, list[_Found]]]


@dataclass
class ShapeMaker:
    """Turns the frames of one video, in their order, into shapes. `time_base_s` scales `pts`."""

    reconstructor: Reconstructor
    tracker: FaceTracker
    time_base_s: float
    smooth: bool = True
    batch: int = 8
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    _stabilizers: defaultdict[int, Stabilizer] = field(
        default_factory=lambda: defaultdict(Stabilizer)
    )

    def __call__(self, frames: Iterable[Frame]) -> Generator[tuple[Frame, list[Shape]]]:
        """Yields every frame with the shapes of its faces, the face that was there first first."""
        source = iter(frames)
        with ThreadPoolExecutor(1, "vrn-video") as pool:
            following = pool.submit(self._read, source)
            waiting: tuple[_Batch, list[Array]] | None = None
            while batch := following.result():
                following = pool.submit(self._read, source)
                with self.stopwatch.part("network"):
                    started = batch, self._start([one for _, found in batch for one in found])
                if waiting is not None:
                    yield from self._finish(*waiting)
                waiting = started
            if waiting is not None:
                yield from self._finish(*waiting)

    def _read(self, source: Iterator[Frame]) -> _Batch:
        """The next frames, and the faces in them; none at the end."""
        batch: _Batch = []
        while len(batch) < self.batch:
            with self.stopwatch.part("decode"):
                frame = next(source, None)
            if frame is None:
                break
            with self.stopwatch.part("follow"):
                batch.append((frame, list(self._faces(frame))))
        return batch

    def _faces(self, frame: Frame) -> Iterator[_Found]:
        for number, face in self.tracker(frame.pixels):
            weight = 1.0
            if self.smooth:
                stabilizer = self._stabilizers[number]
                face, weight = stabilizer.face(face, frame.pts * self.time_base_s)
            try:
                crop = cut_out(frame.pixels, face, self.reconstructor.info.crop)
            except InputError:  # on its way out of the picture
                continue
            yield _Found(number, face, crop, weight)

    def _start(self, found: list[_Found]) -> list[Array]:
        """The volumes of these faces, one after the other on a CPU, where that is no slower."""
        guided = self.reconstructor.info.model.task == "guided"
        sizes = (min(self.batch, batch_sizes()[-1]),)
        volumes: list[Array] = []
        faces, crops = [one.face for one in found], [one.crop for one in found]
        for images, points, count in batches(faces, crops, guided=guided, sizes=sizes):
            made = coarse_volumes(self.reconstructor, images, points)
            volumes += [made[i] for i in range(count)]
        return volumes

    def _finish(self, batch: _Batch, volumes: list[Array]) -> Iterator[tuple[Frame, list[Shape]]]:
        remaining = iter(volumes)
        for frame, found in batch:
            shapes = [self._shape(one, next(remaining)) for one in found]
            yield frame, [shape for shape in shapes if shape is not None]

    def _shape(self, found: _Found, volume: Float[Array, "h w d"]) -> Shape | None:
        with self.stopwatch.part("network"):
            occupancy = np.asarray(volume)
        with self.stopwatch.part("mesh"):
            if self.smooth:
                occupancy = self._stabilizers[found.number].volume(occupancy, found.weight)
            grid = self.reconstructor.info.grid
            threshold = self.reconstructor.settings.threshold
            mesh = coarse_mesh(occupancy, grid, threshold)
        if mesh is None:
            return None
        return Shape(found.number, mesh, found.crop, float(grid.plane_z.mean()))
