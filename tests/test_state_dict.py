"""PyTorch's files without PyTorch: against PyTorch where it is installed, and damage anywhere."""

import io
import pickle
import time
import zipfile

import ml_dtypes
import numpy as np
import pytest
from malformed import malformed

from vrn_jax.errors import WeightsError
from vrn_jax.interop.state_dict import read_state_dict, state_dict_bytes
from vrn_jax.interop.tensor_pickle import write_pickle


def small_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"0.weight": (4, 3, 7, 7), "0.bias": (4,), "1.running_var": (4,)}
    return {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}


@pytest.fixture
def read(tmp_path):
    """Reads the bytes given as a file."""

    def read_bytes(data: bytes) -> dict[str, np.ndarray]:
        path = tmp_path / "state.pth"
        path.write_bytes(data)
        return read_state_dict(path)

    return read_bytes


def saved(value, **options) -> bytes:
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def with_pickle(data: bytes) -> bytes:
    """A file of today's format around any pickle; its storages are those of `small_tensors`."""
    plain, buffer = zipfile.ZipFile(io.BytesIO(state_dict_bytes(small_tensors()))), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in plain.namelist():
            archive.writestr(name, data if name.endswith("data.pkl") else plain.read(name))
    return buffer.getvalue()


def test_written_state_dicts_are_read_back(read):
    tensors = small_tensors()
    found = read(state_dict_bytes(tensors))
    assert list(found) == list(tensors)
    for key, expected in tensors.items():
        np.testing.assert_array_equal(found[key], expected)


def test_pytorch_loads_what_we_write():
    torch = pytest.importorskip("torch")
    data = io.BytesIO(state_dict_bytes(small_tensors()))
    found = torch.load(data, weights_only=True)
    for key, expected in small_tensors().items():
        np.testing.assert_array_equal(found[key].numpy(), expected)
        assert found[key].is_contiguous()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_pytorch_writes_is_read(read, zipped, protocol):
    """Also shared storages, views, parameters, and every type of element."""
    torch = pytest.importorskip("torch")
    rows = torch.arange(24.0).reshape(4, 6)
    state = {
        "rows": rows,
        "view": rows[1:, ::2].T,
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "half": torch.ones(2, dtype=torch.half),
        "bfloat16": torch.full((2,), 1.5, dtype=torch.bfloat16),
        "double": torch.full((2,), 0.1, dtype=torch.double),
        "num_batches_tracked": torch.tensor(7),
        "empty": torch.zeros(0),
    }
    options = {"_use_new_zipfile_serialization": zipped, "pickle_protocol": protocol}
    found = read(saved(state, **options))
    np.testing.assert_array_equal(found["view"], rows.numpy()[1:, ::2].T)
    np.testing.assert_array_equal(found["parameter"], np.ones(3, np.float32))
    assert found["half"].dtype == np.float16
    assert found["bfloat16"].dtype == ml_dtypes.bfloat16
    assert found["bfloat16"].tolist() == [1.5, 1.5]
    assert found["double"].tolist() == [0.1, 0.1]
    assert found["num_batches_tracked"] == 7
    assert found["empty"].size == 0
    checkpoint = {"epoch": 3, "state_dict": {f"module.{key}": t for key, t in state.items()}}
    assert list(read(saved(checkpoint, **options))) == list(state)


def test_whole_modules_are_refused(read):
    torch = pytest.importorskip("torch")
    with pytest.raises(WeightsError, match="state_dict"):
        read(saved(torch.nn.Linear(2, 3)))


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither a zip"),
        (b"hello", "neither a zip"),
        (pickle.dumps({"a": 1}, 2), "pickle exhausted"),
        (pickle.dumps(Evil(), 2), "neither a zip|calls"),
        (with_pickle(pickle.dumps({"a": Evil()}, 2)), "calls"),
        (with_pickle(pickle.dumps([1], 2)), "holds a list"),
        (with_pickle(pickle.dumps({"a": 1}, 2)), "no tensors"),
        (with_pickle(pickle.dumps({(1, 2): 1}, 2)), "tuple as a key"),
        (with_pickle(b"\x80\x02}r\xff\xff\xff\x7f."), "no tensors"),  # a huge memo index
        (with_pickle(b"\x80\x02X\xff\xff\xff\x7f."), "expected 2147483647 bytes"),
        (with_pickle(b"\x80\x02" + b"(" * 100_000 + b"."), "takes more values"),
        (with_pickle(write_pickle({"a": (2**20, 2**10)})), "claims 1073741824"),
        (with_pickle(write_pickle({"a": (4, 3, 7, 7), "b": (4,), "c": (4,), "d": (1,)})), "lacks"),
        (with_pickle(b"\0" * (1 << 21)), "more than any"),
        (state_dict_bytes(small_tensors())[:-200], "not a zip"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_files_are_refused(read, data, message):
    with pytest.raises(WeightsError, match=message):
        read(data)


def test_archives_that_unpack_to_more_than_they_are_are_refused(read):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (1 << 24))
    with pytest.raises(WeightsError, match="compressed"):
        read(buffer.getvalue())


def test_damage_costs_an_error_and_no_time(read):
    tensors = small_tensors()
    pickles = malformed(write_pickle({key: t.shape for key, t in tensors.items()}), 300)
    files = [*malformed(state_dict_bytes(tensors), 300), *map(with_pickle, pickles)]
    refused = 0
    for data in files:
        start = time.perf_counter()
        try:
            read(data)
        except WeightsError:
            refused += 1
        assert time.perf_counter() - start < 1
    assert refused > 400
