"""`vrn data prepare` and `vrn data freeze`: real data sets to files that training reads."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vrn_jax.cli.process import keep_compiled_programs, writable_folder

__all__ = ["DataFreeze", "DataPrepare", "data_freeze", "data_prepare"]


@dataclass(frozen=True)
class DataPrepare:
    """Turn a data set's official download into a TFDS data set (ArrayRecord), without TensorFlow.

    An interrupted preparation goes on where it was when the command is repeated.
    """

    data: tyro.conf.Positional[Literal["300w-lp", "aflw2000-3d", "scans"]]
    """Which data set; "scans" is a folder of meshes with photos, see docs/data.md."""
    source: Annotated[Path, tyro.conf.arg(name="from")]
    """The zip file as it was downloaded, or the folder it was unpacked to."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The folder: a new or empty one, or that of an interrupted preparation."""
    records_per_shard: int = 1024
    """Photos in a file; so many are lost at most when the preparation is interrupted."""
    most_skipped: float = 0.01
    """Share of the photos that may be left out because they cannot be read."""


@dataclass(frozen=True)
class DataFreeze:
    """Write a prepared data set with its volumes, eight planes to a byte: about 90 kB a face.

    Training does not need it. The files are those of `vrn data export`.
    """

    dataset: tyro.conf.Positional[Path]
    """Folder of the prepared data set."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The folder to write, new or empty."""
    bfm: Path | None = None
    """Folder with Model_Shape.mat and Model_Exp.mat, for data sets of fits."""
    bfm_region: Path | None = None
    """File with the numbers of the model's vertices that belong to the face."""
    split: str = "train"
    """Which split."""
    count: int | None = None
    """So many records only."""


def data_freeze(options: DataFreeze) -> int:
    """Does what `vrn data freeze` says. Raises VrnError or OSError."""
    writable_folder(options.output)
    keep_compiled_programs()
    from tqdm import tqdm

    from vrn_jax.config import FaceSettings
    from vrn_jax.data.bfm import read_basel
    from vrn_jax.data.fits import fit_model
    from vrn_jax.data.freeze import freeze
    from vrn_jax.data.sources import open_for_training

    model = None if options.bfm is None else read_basel(options.bfm, options.bfm_region)
    data = open_for_training(options.dataset, options.split, FaceSettings(), model)
    on_device = None if model is None else fit_model(model)
    total = len(data) if options.count is None else min(options.count, len(data))
    with tqdm(total=total, unit="face", disable=None) as bar:
        freeze(data, on_device, options.output, count=options.count, on_faces=bar.update)
    print(f"{total:,} faces written to {options.output.resolve()}")
    return 0


def data_prepare(options: DataPrepare) -> int:
    """Does what `vrn data prepare` says. Raises VrnError or OSError."""
    writable_folder(options.output)
    from tqdm import tqdm

    from vrn_jax.data.builders import prepare_300w_lp, prepare_aflw2000_3d
    from vrn_jax.data.prepare import SKIPPED
    from vrn_jax.data.scans import prepare_scans

    prepare = {
        "300w-lp": prepare_300w_lp,
        "aflw2000-3d": prepare_aflw2000_3d,
        "scans": prepare_scans,
    }[options.data]
    preparation = prepare(
        options.source,
        options.output,
        records_per_shard=options.records_per_shard,
        most_skipped=options.most_skipped,
    )
    start, before = time.perf_counter(), preparation.done
    try:
        with tqdm(total=preparation.items, initial=before, unit="photo", disable=None) as bar:
            statistics = preparation.write(on_items=bar.update)
    except KeyboardInterrupt:
        left = preparation.items - preparation.done
        print(f"vrn: {left:,} photos are left; the same command goes on with them", file=sys.stderr)
        raise
    seconds = time.perf_counter() - start
    for name, part in statistics.items():
        skipped = f", {part['skipped']:,} skipped: see {SKIPPED}" if part["skipped"] else ""
        print(f"{name:20} {part['records']:8,} records{skipped}")
    size = sum(path.stat().st_size for path in options.output.iterdir())
    done = preparation.items - before
    print(f"{size / 1e6:,.1f} megabytes, {done:,} photos in {seconds:.1f} s")
    print(f"written to {options.output.resolve()}")
    return 0
