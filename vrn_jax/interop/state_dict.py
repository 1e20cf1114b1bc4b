"""PyTorch's state dicts (``.pth``, ``.pt``), read and written without PyTorch.

Such a file is a pickle beside raw storages: since PyTorch 1.6 a zip archive, before that one pickle
after another, then the storages. Python's `pickle` would run what a file says. Here the pickle's
few instructions that state dicts use are followed one by one; anything else is an error, so nothing
of a file is ever run, and no step costs more than the bytes that ask for it.
"""

import io
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vrn_jax.errors import WeightsError
from vrn_jax.interop.strided import strided_view
from vrn_jax.interop.tensor_pickle import Storage, Tensor, follow_pickle, write_pickle

__all__ = ["read_state_dict", "state_dict_bytes"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_LARGEST_PICKLE = 1 << 20  # bytes; the released network's has a fifth of it
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the tensors of a state dict, also one that lies in a checkpoint's dict, by their keys.

    The prefix "module.", which `DataParallel` puts before every key, is taken off.

    Raises:
        WeightsError: if the file cannot be read, or holds anything but a state dict.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error}") from error
    read = _read_zip if data[:4] == b"PK\x03\x04" else _read_legacy
    try:
        value, storages = read(data)
        state = {
            key.removeprefix("module."): _array(tensor, storages)
            for key, tensor in _tensors(value).items()
        }
    except (ValueError, struct.error, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise WeightsError(
            f"{path} is not the file of a PyTorch state dict, torch.save(model.state_dict(), ...): "
            f"{error}"
        ) from error
    if not state:
        raise WeightsError(f"{path} holds no tensors by name; save a model's state_dict()")
    return state


def state_dict_bytes(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The ``.pth`` file of a state dict of float32 tensors; `torch.load` reads it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes) -> None:
            # A fixed date, so that equal tensors give equal files.
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0)), data)

        add("data.pkl", write_pickle({key: tensor.shape for key, tensor in tensors.items()}))
        add("byteorder", b"little")
        for i, tensor in enumerate(tensors.values()):
            add(f"data/{i}", np.ascontiguousarray(tensor, "<f4").tobytes())
        add("version", b"3\n")
    return buffer.getvalue()


def _tensors(value: object) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the state dict within a checkpoint."""
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}")
    wrapped = (value[name] for name in _WRAPPERS if isinstance(value.get(name), dict))
    state = next(wrapped, value)
    return {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, Tensor)}


def _array(tensor: Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    storage = storages.get(tensor.storage.key)
    if storage is None:
        raise ValueError("a tensor's storage is missing")
    if storage.dtype != tensor.storage.dtype or len(storage) != tensor.storage.count:
        raise ValueError("a storage is not of the type and length that its tensor says")
    return strided_view(storage, tensor.offset, tensor.size, tensor.stride)


def _read_zip(data: bytes) -> tuple[object, dict[str, np.ndarray]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {member.filename: member for member in archive.infolist()}
        names = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError(f"the archive holds {len(names)} files data.pkl, expected one")
        folder = names[0].removesuffix("data.pkl")
        left = len(data)  # entries may overlap; together they may not be larger than the file

        def member(name: str) -> bytes:
            nonlocal left
            entry = members.get(folder + name)
            if entry is None:
                raise ValueError(f"the archive lacks {name}")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise ValueError("the archive is compressed or encrypted, which PyTorch never does")
            left -= entry.file_size
            if left < 0:
                raise ValueError("the archive claims more bytes than it has")
            return archive.read(entry)

        if folder + "byteorder" in members and member("byteorder") != b"little":
            raise ValueError("it is big-endian; save it on a little-endian machine")
        value, wanted = follow_pickle(io.BytesIO(_bounded(member("data.pkl"))))
        storages = {
            storage.key: _storage(member(f"data/{storage.key}"), storage) for storage in wanted
        }
    return value, storages


def _storage(data: bytes, storage: Storage) -> np.ndarray:
    if len(data) != storage.count * storage.dtype.itemsize:
        raise ValueError(f"a storage has {len(data)} bytes and claims {storage.count} elements")
    return np.frombuffer(data, storage.dtype)


def _read_legacy(data: bytes) -> tuple[object, dict[str, np.ndarray]]:
    """The format before PyTorch 1.6: magic number, version, system, value, keys, storages."""
    stream = io.BytesIO(data[:_LARGEST_PICKLE])
    head = [follow_pickle(stream)[0] for _ in range(2)] if data[:1] == b"\x80" else []
    if head != [_LEGACY_MAGIC, _LEGACY_VERSION]:
        raise ValueError(
            "neither a zip archive nor a legacy PyTorch file "
            "(a .tar from before PyTorch 0.2 must be saved again with a newer one)"
        )
    system = follow_pickle(stream)[0]
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it is big-endian; save it on a little-endian machine")
    value, wanted = follow_pickle(stream)
    keys = follow_pickle(stream)[0]
    if not isinstance(keys, list):
        raise ValueError("the list of its storages is missing")
    described = {storage.key: storage for storage in wanted}
    storages, start = {}, stream.tell()
    for key in keys:
        if not isinstance(key, str) or key not in described:
            raise ValueError("a storage that no tensor uses")
        dtype = described[key].dtype
        (count,) = struct.unpack_from("<q", data, start)
        size = count * dtype.itemsize
        start += 8
        if not 0 <= size <= len(data) - start:
            raise ValueError("a storage reaches beyond the end of the file")
        storages[key] = np.frombuffer(data, dtype, count, start)
        start += size
    return value, storages


def _bounded(pickle: bytes) -> bytes:
    if len(pickle) > _LARGEST_PICKLE:
        raise ValueError(f"its pickle has {len(pickle)} bytes, more than any state dict needs")
    return pickle
