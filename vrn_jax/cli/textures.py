"""`vrn data textures`: portraits to the colours of a head."""

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vrn_jax.cli.process import writable_folder
from vrn_jax.errors import InputError, NoFaceError, VrnError

__all__ = ["DataTextures", "data_textures"]


@dataclass(frozen=True)
class DataTextures:
    """Fit a head to every portrait of a folder and take over its colours.

    One face a picture, the largest one, best seen from the front. An interrupted run goes on where
    it was. Pictures that cannot be used are named and left out.
    """

    folder: tyro.conf.Positional[Path]
    """Portraits; names tell which one in eight is held out from training."""
    head: Path
    """Head file that `vrn data head` wrote."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("textures.npz")
    """File to write. While at it, finished portraits are kept in a folder beside it."""
    processes: int = os.cpu_count() or 1
    """Portraits to do at the same time; each takes about 0.4 GB of memory."""


def data_textures(options: DataTextures) -> int:
    """Does what `vrn data textures` says. Raises VrnError or OSError."""
    if not options.folder.is_dir():
        raise InputError(f"{options.folder} is no folder; give one with portraits in it")
    if options.processes < 1:
        raise InputError(f"--processes must be 1 or more, got {options.processes}")
    writable_folder(options.output.parent)
    import shutil

    from tqdm import tqdm

    from vrn_jax.faces.head import load_head
    from vrn_jax.faces.portraits import read_portraits
    from vrn_jax.faces.textures import save_textures
    from vrn_jax.runs import find_photos

    photos = find_photos([str(options.folder)])
    head = load_head(options.head)
    finished = options.output.with_name(f".{options.output.name}.parts")
    reasons: Counter[str] = Counter()
    start = time.perf_counter()
    with tqdm(total=len(photos), unit="portrait", disable=None) as bar:

        def on_photo(photo: Path, error: VrnError | None) -> None:
            if error is not None:
                reasons["without a face" if isinstance(error, NoFaceError) else "unusable"] += 1
                bar.write(f"{photo.name}: {error}", file=sys.stderr)
            bar.update()

        textures = read_portraits(
            head, photos, finished, processes=options.processes, on_photo=on_photo
        )
    save_textures(options.output, textures)
    shutil.rmtree(finished)
    seconds = time.perf_counter() - start
    print(f"portraits used   {len(textures.names):6}   held out {textures.held_out.sum()}")
    print(f"without a face   {reasons['without a face']:6}")
    print(f"else unusable    {reasons['unusable']:6}")
    print(f"fit residual     {textures.residual.mean():6.3f}   of the outer eye distance")
    print(f"face seen        {textures.seen.mean():6.0%}")
    print(f"seconds          {seconds:6.1f}   {len(photos) / seconds:.2f} portraits/s")
    print(f"written to       {options.output.resolve()}")
    return 0
