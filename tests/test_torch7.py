"""Torch7 files: against bytes written by hand, another reader, and damage."""

import struct
import time

import numpy as np
import pytest
from malformed import malformed

from vrn_jax.errors import WeightsError
from vrn_jax.interop.released import Module
from vrn_jax.interop.torch7 import Table, TorchObject, read_torch7
from vrn_jax.interop.torch7_modules import check_graph, module_tensors, torch7_bytes

SMALL_GRAPH = Module(
    "Sequential",
    (
        Module("Convolution", layer="stem.conv"),
        Module("ConcatTable", (Module("Sequential", (Module("BatchNorm"),)), Module("Identity"))),
        Module("CAddTable"),
    ),
)


def small_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"0.weight": (4, 3, 7, 7), "0.bias": (4,), "1.0.0.weight": (4,), "1.0.0.bias": (4,)}
    shapes |= {"1.0.0.running_mean": (4,), "1.0.0.running_var": (4,)}
    return {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}


@pytest.fixture
def read(tmp_path):
    """Reads the bytes given as a file."""

    def read_bytes(*parts: bytes):
        path = tmp_path / "file.t7"
        path.write_bytes(b"".join(parts))
        return read_torch7(path)

    return read_bytes


def integer(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def text(value: bytes) -> bytes:
    return integer(len(value)) + value


def number(value: float) -> bytes:
    return integer(1) + struct.pack("<d", value)


def class_name(index: int, name: bytes) -> bytes:
    return integer(4, index) + text(b"V 1") + text(name)


def tensor(index: int, name: bytes, sizes, strides, offset: int, long: str = "q") -> bytes:
    """A tensor up to its storage, which follows."""
    longs = [*sizes, *strides, offset]
    return (
        class_name(index, name) + integer(len(sizes)) + struct.pack(f"<{len(longs)}{long}", *longs)
    )


def storage(index: int, name: bytes, values: np.ndarray, long: str = "q") -> bytes:
    return class_name(index, name) + struct.pack(f"<{long}", len(values)) + values.tobytes()


def test_plain_values(read):
    """A table of every plain type, byte by byte as the format is described."""
    entries = [
        (number(1), number(1.5)),
        (number(2), integer(5, 1)),
        (number(3), integer(3, 2) + integer(0)),
        (integer(2) + text(b"hello"), number(123)),
        (integer(5, 0), integer(0)),
    ]
    table = read(integer(3, 1), integer(len(entries)), *(k + v for k, v in entries))
    assert isinstance(table[3], Table)
    assert len(table[3]) == 0
    del table[3]
    assert dict(table) == {1: 1.5, 2: True, "hello": 123, False: None}


def test_tables_and_objects_may_hold_themselves(read):
    table = read(integer(3, 1), integer(1), integer(3, 1), integer(3, 1))
    assert table[table] is table
    module = read(
        class_name(1, b"A"), integer(3, 2), integer(1), integer(2) + text(b"a"), integer(4, 1)
    )
    assert isinstance(module, TorchObject)
    assert module.fields["a"] is module


def test_functions_are_skipped(read):
    """Lua functions carry compiled code; it is not kept."""
    function = integer(8, 2) + text(b"\x1bLJ compiled") + integer(0)
    table = read(integer(3, 1), integer(1), number(1), function)
    assert dict(table) == {1: None}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Float", "<f4"), ("Double", "<f8"), ("Half", "<f2"), ("Long", "<i8"), ("Byte", "u1"),
        ("Cuda", "<f4"), ("CudaDouble", "<f8"), ("CudaHalf", "<f2"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("long", ["q", "i"])
def test_tensors_of_every_type(read, name, code, long):
    """Of 64- and of 32-bit machines."""
    values = np.arange(1, 7).astype(code)
    found = read(
        tensor(1, f"torch.{name}Tensor".encode(), (2, 3), (3, 1), 1, long),
        storage(2, f"torch.{name}Storage".encode(), values, long),
    )
    assert found.dtype == np.dtype(code)
    np.testing.assert_array_equal(found, [[1, 2, 3], [4, 5, 6]])


def test_tensors_share_storages_with_strides_and_offsets(read):
    values = np.arange(24, dtype="<f4")
    table = read(
        integer(3, 1), integer(2),
        number(1), tensor(2, b"torch.FloatTensor", (3, 4), (1, 6), 2),
        storage(3, b"torch.FloatStorage", values),
        number(2), tensor(4, b"torch.FloatTensor", (2,), (12,), 6), integer(4, 3),
    )  # fmt: skip
    np.testing.assert_array_equal(table[1], values.reshape(4, 6).T[1:4])
    np.testing.assert_array_equal(table[2], [5, 17])


def test_another_reader_understands_what_we_write(tmp_path):
    torchfile = pytest.importorskip("torchfile")
    path, tensors = tmp_path / "net.t7", small_tensors()
    path.write_bytes(torch7_bytes(SMALL_GRAPH, tensors))
    network = torchfile.load(str(path))
    assert network.torch_typename() == b"nn.Sequential"
    conv, concat, add = network.modules
    norm = concat.modules[0].modules[0]
    assert (conv.kW, conv.dW, conv.padW, conv.nInputPlane) == (7, 2, 3, 3)
    assert [m.torch_typename() for m in (conv, norm, concat.modules[1], add)] == [
        b"nn.SpatialConvolution", b"nn.SpatialBatchNormalization", b"nn.Identity", b"nn.CAddTable"
    ]  # fmt: skip
    np.testing.assert_array_equal(conv.weight, tensors["0.weight"])
    np.testing.assert_array_equal(norm.running_var, tensors["1.0.0.running_var"])
    assert norm.eps == 1e-5


def test_networks_are_written_and_read_back(read):
    tensors = small_tensors()
    network = read(torch7_bytes(SMALL_GRAPH, tensors))
    check_graph(network, SMALL_GRAPH)
    found = module_tensors(network)
    assert list(found) == list(tensors)
    for key, expected in tensors.items():
        np.testing.assert_array_equal(found[key], expected)


def test_other_graphs_are_refused_with_all_differences(read):
    network = read(torch7_bytes(SMALL_GRAPH, small_tensors()))
    expected = Module("Sequential", (Module("Convolution"), Module("MaxPool"), Module("ReLU")))
    with pytest.raises(WeightsError, match="not VRN's graph") as caught:
        check_graph(network, expected)
    assert caught.value.problems == (
        "module 1 is ConcatTable, not SpatialMaxPooling",
        "module 2 is CAddTable, not ReLU",
        "module 1.0 is left over",
        "module 1.0.0 is left over",
        "module 1.1 is left over",
    )


def test_networks_that_contain_themselves_are_refused(read):
    modules = integer(3, 3) + integer(1) + number(1) + integer(4, 1)
    fields = integer(3, 2) + integer(1) + integer(2) + text(b"modules") + modules
    network = read(class_name(1, b"nn.Sequential"), fields)
    with pytest.raises(WeightsError, match="contains itself"):
        module_tensors(network)


FLOATS = storage(2, b"torch.FloatStorage", np.zeros(6, "<f4"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot follow"),
        (b"not a torch file", "unknown type"),
        (b"4\n1\n3\nV 1\n13\nnn.Sequential\n", "ASCII"),
        (integer(9), "unknown type 9"),
        (integer(3, 1, 2**31 - 1), "cannot follow"),
        (integer(3, 1, -5), "cannot follow"),
        (integer(2, 2**31 - 1) + b"abc", "cannot follow"),
        (number(1) + b"more", "left over"),
        (b"".join(integer(3, i, 1) + number(1) for i in range(500)) + integer(0), "nested more"),
        (tensor(1, b"torch.FloatTensor", (2, 4), (4, 1), 1) + FLOATS, "in a storage of 6"),
        (tensor(1, b"torch.FloatTensor", (2, 3), (3, 1), 2) + FLOATS, "in a storage of 6"),
        (tensor(1, b"torch.FloatTensor", (2**40, 2**40), (0, 0), 1) + FLOATS, "in a storage"),
        (tensor(1, b"torch.FloatTensor", (2, 3), (-3, 1), 4) + FLOATS, "negative"),
        (tensor(1, b"torch.FloatTensor", (2, 3), (3, 1), 0) + FLOATS, "negative"),
        (tensor(1, b"torch.DoubleTensor", (2, 3), (3, 1), 1) + FLOATS, "storage of its type"),
        (tensor(1, b"torch.FloatTensor", (2,), (1,), 1) + integer(4, 1), "holds itself"),
        (class_name(1, b"torch.FloatStorage") + struct.pack("<q", 2**62), "cannot follow"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_files_are_refused(read, data, message):
    with pytest.raises(WeightsError, match=message):
        read(data)


def test_damage_costs_an_error_and_no_time(tmp_path):
    path = tmp_path / "damaged.t7"
    refused = 0
    for data in malformed(torch7_bytes(SMALL_GRAPH, small_tensors()), 300):
        path.write_bytes(data)
        start = time.perf_counter()
        try:
            module_tensors(read_torch7(path))
        except WeightsError:
            refused += 1
        assert time.perf_counter() - start < 1
    assert refused > 200
