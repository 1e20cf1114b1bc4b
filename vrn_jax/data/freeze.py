"""A prepared data set to bit-packed volumes on disk, for other frameworks and exact comparisons.

The records are those of frozen made faces (`data.record`), so everything that reads the ones reads
the others. Training needs none of it: it makes the volumes on the device.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorflow_datasets as tfds

from vrn_jax.data.fits import FitModel
from vrn_jax.data.record import (
    NAME,
    VERSION,
    FrozenExample,
    encode_face,
    face_features,
    pack_occupancy,
)
from vrn_jax.data.shards import record_writer, shard_template
from vrn_jax.data.sources import DataSet, examples_of
from vrn_jax.errors import InputError
from vrn_jax.io.atomic import writing
from vrn_jax.version import __version__

__all__ = ["freeze"]

_BATCH = 16
_ABOUT = """Crops of a prepared data set, {name}, with their occupancy, by vrn_jax {version}: as \
vrn_made_faces has them. number: of the record. Not to be passed on."""


def freeze(
    data: DataSet,
    model: FitModel | None,
    folder: Path,
    *,
    count: int | None = None,
    on_faces: Callable[[int], object] = lambda count: None,
) -> None:
    """Writes the first `count` records, or all, plainly cropped, as the split "train".

    About 90 kB a face. The folder is a data set when all is written.

    Raises:
        InputError: if the folder is not empty, or the data set is frozen already.
        OSError: if a file cannot be written.
    """
    if data.name == NAME:
        raise InputError("this data set is frozen already")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    total = len(data) if count is None else min(count, len(data))
    plan = {"vrn_jax": __version__, "made_from": {"data": data.name}, "count": total}
    template = shard_template(folder, NAME, "train")
    path = Path(template.sharded_filepath(shard_index=0, num_shards=1))
    make = jax.jit(lambda batch: examples_of(model, batch))
    with writing(path) as partial, record_writer(partial) as write:
        for face in _faces(data, make, total):
            write(encode_face(face))
            on_faces(1)
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder),
        features=face_features(),
        split_infos=[
            tfds.core.SplitInfo(
                name="train",
                shard_lengths=[total],
                num_bytes=path.stat().st_size,
                filename_template=template,
            )
        ],
        version=VERSION,
        check_data=False,  # it would read by TensorFlow
        description=_ABOUT.format(name=data.name, version=__version__),
        license="Those of the photos and fits apply; vrn_jax adds none of its own.",
        metadata=tfds.core.MetadataDict(plan),
        disable_shuffling=True,
    )


def _faces(data: DataSet, make: Callable[[Any], Any], total: int) -> Iterator[FrozenExample]:
    size = min(_BATCH, total)
    for first in range(0, total, size):
        numbers = np.minimum(np.arange(first, first + size), total - 1)  # one length, one program
        samples = [data.plain(int(number)).value for number in numbers]
        examples = make(jax.tree.map(lambda *leaves: np.stack(leaves), *samples))
        packed = np.asarray(pack_occupancy(examples.solid))
        examples = jax.device_get(examples)
        for row in range(min(size, total - first)):
            example = jax.tree.map(lambda leaf, row=row: leaf[row], examples)
            yield FrozenExample(
                example.image,
                example.landmarks,
                example.visible,
                packed[row],
                example.attributes,
                np.array(numbers[row]),
            )
