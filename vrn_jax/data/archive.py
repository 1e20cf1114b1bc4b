"""300W-LP and AFLW2000-3D as they are downloaded: a zip file or the folder it unpacks to."""

import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vrn_jax.errors import InputError

__all__ = ["Archive", "FitFiles", "is_test_portion", "list_300w_lp", "list_aflw2000_3d"]

_SUBSETS = {f"{name}{flip}" for name in ("AFW", "HELEN", "IBUG", "LFPW") for flip in ("", "_Flip")}

_FIRST_HELEN_TEST = "296814969_3"
"""iBUG's HELEN is cut into its two portions where the photos, in the order of their names as text,
reach this one: trainset ends with 2960256451_1, testset begins here."""


class FitFiles(NamedTuple):
    """A photo and its parameters in an archive. `name` is "AFW/AFW_134212_1_0" for example."""

    name: str
    image: str
    parameters: str

    @property
    def subset(self) -> str:
        """ "AFW_Flip" for example; empty for AFLW2000-3D."""
        return self.name.rpartition("/")[0]


class Archive:
    """Files by their names inside of a zip or a folder. Threads may share it.

    Raises:
        InputError: if it is neither.
    """

    def __init__(self, path: Path):
        self.path = path
        if path.is_dir():
            self.names = [p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()]
            self._read: Callable[[str], bytes] = lambda name: (path / name).read_bytes()
            return
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path} is neither a folder nor a zip file that can be read: {error}"
            ) from error
        self.names = [info.filename for info in archive.infolist() if not info.is_dir()]
        self._read = archive.read

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            InputError: if it cannot be read.
        """
        try:
            return self._read(name)
        except (OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"cannot read {name} of {self.path}: {error}") from error

    def _pairs(self, subset_of: Callable[[PurePosixPath], str | None]) -> list[FitFiles]:
        """Every photo that has parameters beside it, in the order of their names."""
        there = set(self.names)
        pairs = []
        for image in there:
            path = PurePosixPath(image)
            parameters = str(path.with_suffix(".mat"))
            subset = subset_of(path)
            if path.suffix.lower() == ".jpg" and parameters in there and subset is not None:
                name = f"{subset}/{path.stem}".removeprefix("/")
                pairs.append(FitFiles(name, image, parameters))
        return sorted(pairs)


def list_300w_lp(archive: Archive) -> list[FitFiles]:
    """The fits of all eight subsets, in the order of their names.

    Raises:
        InputError: if there is none.
    """
    found = archive._pairs(lambda path: path.parent.name if path.parent.name in _SUBSETS else None)
    if not found:
        raise InputError(
            f"{archive.path} holds no 300W-LP: expected .jpg with .mat beside it in folders named "
            "AFW, AFW_Flip, HELEN, ..."
        )
    return found


def list_aflw2000_3d(archive: Archive) -> list[FitFiles]:
    """The fits of AFLW2000-3D, in the order of their names.

    Raises:
        InputError: if there is none.
    """
    found = archive._pairs(lambda path: "" if re.fullmatch(r"image\d+", path.stem) else None)
    if not found:
        raise InputError(
            f"{archive.path} holds no AFLW2000-3D: expected image00002.jpg, image00002.mat, ..."
        )
    return found


def is_test_portion(name: str) -> bool:
    """Whether a photo of 300W-LP comes from the test portions of HELEN or LFPW.

    LFPW's say so: ``LFPW_image_test_0001_3``. HELEN's names, ``HELEN_30427236_1_0``, hold the
    number of the photo on Flickr; that the test portion is the last of them in the order of text is
    taken from how iBUG distributes HELEN.
    """
    stem = name.rpartition("/")[2]
    if stem.startswith("LFPW_"):
        return stem.startswith("LFPW_image_test_")
    return stem.startswith("HELEN_") and stem.removeprefix("HELEN_") >= _FIRST_HELEN_TEST
