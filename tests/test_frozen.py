"""Frozen faces: what is written is read again, whole, by TFDS too, and never half done."""

import json
import resource
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vrn_jax.cli import main
from vrn_jax.data import Export, open_frozen, unpack_occupancy
from vrn_jax.data.record import pack_occupancy
from vrn_jax.errors import InputError
from vrn_jax.faces.builtin import builtin_head
from vrn_jax.faces.model import FaceModel, face_model
from vrn_jax.faces.sample import Attributes, Example
from vrn_jax.faces.source import FaceSource
from vrn_jax.geometry.solid import Solid, occupancy

MADE_FROM = {"head": "a bowl"}


@dataclass(frozen=True, eq=False)
class Bowls(FaceSource):
    """Noise for pictures and bowls for heads: a source that need not be compiled."""

    def batch(self, indices) -> Example:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(self._bowl, indices))

    def _bowl(self, index) -> Example:
        rng = np.random.default_rng([self.seed, self.held_out, int(index)])
        x, y = np.meshgrid(np.linspace(-12, 12, 480), np.linspace(12, -12, 480))
        height = np.where(x**2 + y**2 < 64, rng.uniform(0, 2) - (x**2 + y**2) / 20, -np.inf)
        matrix = np.array([[5.5, 0, 0, 96], [0, -5.5, 0, 96], [0, 0, 5.5, 0]])
        attributes = {name: rng.uniform() for name in Attributes._fields}
        attributes |= {"glasses": True, "hat": False, "portrait": np.int32(-1)}
        return Example(
            jnp.asarray(rng.integers(0, 256, (192, 192, 3)), jnp.uint8),
            jnp.asarray(rng.normal(size=(68, 3)), jnp.float32),
            jnp.asarray(rng.uniform(size=68) < 0.5),
            Solid(*(jnp.asarray(leaf, jnp.float32) for leaf in (height, -9.0, matrix))),
            Attributes(**{k: jnp.asarray(v) for k, v in attributes.items()}),
        )


def bowls(seed=0, held_out=False) -> Bowls:
    model = FaceModel(*(jnp.zeros(1) for _ in FaceModel._fields))
    return Bowls(model, seed=seed, held_out=held_out)


def export_bowls(folder, count=5, seed=0, **settings) -> Export:
    return Export(folder, [(bowls(seed), count)], made_from=MADE_FROM, **settings)


def assert_same(frozen, batch, row, number):
    """A frozen face is row `row` of these made ones, to the bit."""
    example = jax.tree.map(lambda leaf: leaf[row], batch)
    np.testing.assert_array_equal(frozen.image, example.image)
    np.testing.assert_array_equal(frozen.landmarks, example.landmarks)
    np.testing.assert_array_equal(frozen.visible, example.visible)
    np.testing.assert_array_equal(frozen.packed, pack_occupancy(batch.solid)[row])
    # Not to the bit: compiled programs round in other ways, and some voxels lie on the surface.
    assert (unpack_occupancy(frozen.packed) != occupancy(example.solid)).sum() <= 8
    for stored, made in zip(frozen.attributes, example.attributes, strict=True):
        assert stored == made
        assert stored.dtype == made.dtype
    assert frozen.number == number


def test_made_faces_are_the_same_on_disk_and_read_without_tensorflow(tmp_path, capsys):
    folder = tmp_path / "faces"
    options = ["--count", "3", "--held-out", "1", "--seed", "5", "--faces-per-shard", "2"]
    assert main(["data", "export", "-o", str(folder), *options]) == 0
    assert capsys.readouterr().out.split()[:3] == ["faces", "made", "4"]
    model = face_model(builtin_head())
    for split, numbers in (("train", [0, 1, 2]), ("test", [0])):
        source = FaceSource(model, seed=5, held_out=split == "test")
        frozen = open_frozen(folder, split)
        assert len(frozen) == len(numbers)
        made = [source.batch(pair) for pair in ([0, 1], [2, 2])]  # of the length compiled already
        for number in numbers:
            assert_same(frozen[number], made[number // 2], number % 2, number)
    assert frozen.plan["made_from"]["head"] == builtin_head().source
    assert (open_frozen(folder)[0].image != open_frozen(folder, "test")[0].image).any()
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [
        int(open_frozen(folder)[2].image.sum()),
        int(unpack_occupancy(open_frozen(folder)[2].packed).sum()),
    ]


WITHOUT_TENSORFLOW = textwrap.dedent("""
    import json, sys
    import numpy as np

    class Without:
        def __init__(self, finder):
            self.finder = finder
        def find_spec(self, name, *rest):
            known = name.partition(".")[0] != "tensorflow"
            return self.finder.find_spec(name, *rest) if known else None
        def __getattr__(self, name):
            return getattr(self.finder, name)

    sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
    try:
        import tensorflow
    except ModuleNotFoundError:
        import tensorflow_datasets as tfds
        builder = tfds.builder_from_directory(sys.argv[1])
        assert builder.info.full_name == "vrn_made_faces/1.0.0"
        assert "MakeHuman" in builder.info.redistribution_info.license
        assert builder.info.metadata["splits"]["train"]["seed"] == 5
        face = builder.as_data_source("train")[2]
        assert face["number"] == 2 and face["landmarks"].shape == (68, 3)
        occupied = np.unpackbits(face["volume"], axis=-1)
        assert occupied.shape == (192, 192, 200)
        print(json.dumps([int(face["image"].sum()), int(occupied.sum())]))
""")


def test_unpacking_is_that_of_numpy():
    volume = np.random.default_rng(0).uniform(size=(2, 3, 4, 200)) < 0.5
    np.testing.assert_array_equal(unpack_occupancy(np.packbits(volume, axis=-1)), volume)
    assert unpack_occupancy(np.packbits(volume, axis=-1)).dtype == bool


def test_any_order_and_batches(tmp_path):
    export_bowls(tmp_path / "out", faces_per_shard=2).write()
    frozen = open_frozen(tmp_path / "out")
    made = bowls().batch(range(5))
    for number in (4, 0, 3):
        assert_same(frozen[number], made, number, number)
    assert frozen[-1].number == 4
    batch = frozen.batch([3, 1])
    np.testing.assert_array_equal(batch.number, [3, 1])
    assert unpack_occupancy(batch.packed).shape == (2, 192, 192, 200)
    assert batch.attributes.yaw.dtype == np.float32
    with pytest.raises(IndexError):
        frozen[5]


def test_an_interrupted_export_goes_on_and_is_no_data_set_before(tmp_path):
    stopped, straight = tmp_path / "stopped", tmp_path / "straight"

    def interrupt(faces):
        done.append(faces)
        if sum(done) > 2:
            raise KeyboardInterrupt

    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        export_bowls(stopped, faces_per_shard=2).write(interrupt)
    shard = "vrn_made_faces-train.array_record-00000-of-00003"
    assert sorted(path.name for path in stopped.iterdir()) == ["metadata.json", shard]
    with pytest.raises(InputError, match="not finished"):
        open_frozen(stopped)
    time = (stopped / shard).stat().st_mtime_ns
    # Other faces would make a data set of two minds.
    with pytest.raises(InputError, match=r"splits\.train\.seed 0, not 1"):
        export_bowls(stopped, seed=1, faces_per_shard=2)
    (stopped / f".{shard}.1.partial").write_bytes(b"of a killed run")
    export = export_bowls(stopped, faces_per_shard=2)
    assert (export.written, export.faces) == (2, 5)
    export.write()
    assert (stopped / shard).stat().st_mtime_ns == time
    export_bowls(straight, faces_per_shard=2).write()
    assert {p.name for p in stopped.iterdir()} == {p.name for p in straight.iterdir()}
    for path in straight.glob("*.array_record-*"):
        assert path.read_bytes() == (stopped / path.name).read_bytes()


def test_a_full_disk_is_told_and_leaves_whole_shards_only(tmp_path):
    export = export_bowls(tmp_path / "out")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            export.write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metadata.json"]
    export.write()
    assert len(open_frozen(tmp_path / "out")) == 5


def test_data_sets_that_cannot_be_opened(tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(InputError, match="no data set in"):
        open_frozen(folder)
    export_bowls(folder, count=2, faces_per_shard=1).write()
    with pytest.raises(InputError, match="no split 'test', only train"):
        open_frozen(folder, "test")
    shard = sorted(folder.glob("*.array_record-*"))[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1000])
    with pytest.raises(InputError, match="cut off or changed"):
        open_frozen(folder)
    shard.unlink()
    with pytest.raises(InputError, match="00001-of-00002 is missing"):
        open_frozen(folder)
    shard.write_bytes(whole)
    info = folder / "dataset_info.json"
    text = info.read_text()
    info.write_text(text.replace('"version": "1.0.0"', '"version": "2.0.0"'))
    with pytest.raises(InputError, match=r"vrn_made_faces 2\.0\.0, not"):
        open_frozen(folder)
    info.write_text(text[:-20])
    with pytest.raises(InputError, match=r"metadata in .* cannot be read"):
        open_frozen(folder)
    info.write_text(text)
    assert open_frozen(folder)[1].number == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "new", "--count", "0"], "1 face or more, got --count 0"),
        (["-o", "new", "--count", "-3", "--held-out", "9"], "got --count -3"),
        (["-o", "new", "--faces-per-shard", "0"], "a shard holds 1 face or more"),
        (["-o", "file"], "file is no folder"),
        (["-o", "file/new"], "cannot write to file/new"),
        (["-o", "full"], "full is not empty and holds no export"),
        (["-o", "broken"], "metadata.json is damaged"),
        (["-o", "new", "--count", "1000000000000"], "need about 90,000,000.0 GB"),
        (["-o", "new", "--head", "absent.npz"], "no head file absent.npz"),
        (["-o", "new", "--seed", "-1"], "a seed is a number from 0 to 2**31 - 1, got -1"),
    ],
)
def test_errors_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    if not {"--head", "--seed"} & set(arguments):
        monkeypatch.setattr("vrn_jax.faces.source.face_source", lambda *a, **k: bowls())
    (tmp_path / "file").write_text("")
    for name in ("full/notes.txt", "broken/metadata.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("hello")
    assert main(["data", "export", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vrn: error: ")
    assert message in line
    assert not (tmp_path / "new").exists()


def test_a_platform_without_array_record_is_told_so(tmp_path, monkeypatch):
    export_bowls(tmp_path / "out", count=1).write()
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    with pytest.raises(InputError, match="need the package array_record"):
        export_bowls(tmp_path / "new")
    with pytest.raises(InputError, match="need the package array_record"):
        open_frozen(tmp_path / "out")


def test_interrupted_on_the_command_line(tmp_path, monkeypatch, capsys):
    def interrupt(self, on_faces):
        raise KeyboardInterrupt

    monkeypatch.setattr("vrn_jax.faces.source.face_source", lambda *a, **k: bowls())
    monkeypatch.setattr(Export, "write", interrupt)
    assert main(["data", "export", "-o", str(tmp_path / "out"), "--count", "7"]) == 130
    assert "7 faces are left; the same command goes on" in capsys.readouterr().err
