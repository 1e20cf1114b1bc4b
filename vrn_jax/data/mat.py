"""MAT-files of version 5, the format of 3DDFA's model and of 300W-LP's fits, read and checked."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import scipy.io

from vrn_jax.errors import InputError

__all__ = ["read_mat"]


def read_mat(
    file: Path | BytesIO, names: Sequence[str], name: str | None = None
) -> dict[str, np.ndarray]:
    """The named arrays of a MAT-file as float64.

    `name` is what error messages call the file, if not its path.

    Raises:
        InputError: if it cannot be read, or an array is missing or holds no finite numbers.
    """
    name = str(file) if name is None else name
    if isinstance(file, Path) and not file.is_file():
        raise InputError(f"there is no {name}")
    try:
        values = scipy.io.loadmat(file, variable_names=list(names), appendmat=False)
    except NotImplementedError as error:  # what scipy says of HDF5
        raise InputError(
            f"{name} is a MAT-file of version 7.3; save it in MATLAB with -v7, or take the "
            "release's own file"
        ) from error
    except Exception as error:  # the parser raises whatever damaged bytes lead it to
        raise InputError(f"{name} is no MAT-file of version 5, or damaged: {error}") from error
    if missing := [wanted for wanted in names if wanted not in values]:
        raise InputError(f"{name} lacks {', '.join(missing)}")
    arrays = {}
    for wanted in names:
        array = values[wanted]
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or not array.size:
            raise InputError(f"{wanted} of {name} holds no numbers")
        arrays[wanted] = array.astype(np.float64)
        if not np.isfinite(arrays[wanted]).all():
            raise InputError(f"{wanted} of {name} holds numbers that are not finite")
    return arrays
