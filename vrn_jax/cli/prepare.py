"""`vrn data prepare`: downloads of real data sets to files that training reads."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vrn_jax.cli.process import writable_folder

__all__ = ["DataPrepare", "data_prepare"]


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
