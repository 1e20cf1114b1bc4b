"""Real data sets in made-up files: what is prepared is what was downloaded, whole or told of."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from fitted_files import (
    NAMES_300W_LP,
    TEST_PORTION,
    made_up_fit,
    made_up_photo,
    write_300w_lp,
    write_aflw2000_3d,
)

from vrn_jax.cli import main
from vrn_jax.data.archive import is_test_portion
from vrn_jax.data.builders import FIT_DATA_SETS, prepare_300w_lp
from vrn_jax.data.fit_record import decode_fit
from vrn_jax.data.prepare import CHECKSUMS, SKIPPED
from vrn_jax.data.stored import open_data_set, split_records
from vrn_jax.errors import InputError


@pytest.fixture(scope="module")
def download(tmp_path_factory) -> Path:
    return write_300w_lp(tmp_path_factory.mktemp("300w_lp"))


@pytest.fixture(scope="module")
def prepared(download, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "lp"
    prepare_300w_lp(download, folder, records_per_shard=4).write()
    return folder


def fits_in(folder: Path, split: str, numbers: int = 2) -> dict:
    builder = open_data_set(folder, FIT_DATA_SETS)
    records = split_records(builder, folder, split)
    fits = [decode_fit(records[i], numbers) for i in range(len(records))]
    return {fit.name: fit for fit in fits}


def test_every_photo_and_its_parameters_are_there(prepared):
    splits = {
        split: fits_in(prepared, split)
        for split in ("train", "train_flip", "test_portion", "test_portion_flip")
    }
    assert set(splits["test_portion"]) == TEST_PORTION
    assert set(splits["test_portion_flip"]) == {"HELEN_Flip/HELEN_30427236_1_2"}
    assert {name for fits in splits.values() for name in fits} == set(NAMES_300W_LP)
    for seed, name in enumerate(NAMES_300W_LP):
        fit = next(fits[name] for fits in splits.values() if name in fits)
        wanted = made_up_fit(seed)
        assert fit.image == made_up_photo(seed)
        assert fit.size.tolist() == [450, 450]
        np.testing.assert_array_equal(fit.shape, wanted["Shape_Para"][:, 0].astype(np.float32))
        np.testing.assert_array_equal(fit.expression, wanted["Exp_Para"][:, 0].astype(np.float32))
        np.testing.assert_array_equal(fit.pose, wanted["Pose_Para"][0])
        points = np.random.default_rng(seed).uniform(100, 350, (2, 68))
        np.testing.assert_allclose(fit.landmarks, points.T - 1, rtol=1e-6)


def test_test_portions_by_name():
    """Names of both portions of HELEN as iBUG distributes it, and both of LFPW."""
    for name in ("HELEN_30427236_1_0", "HELEN_3266693323_1_9", "LFPW_image_test_0236_16"):
        assert is_test_portion(f"HELEN_Flip/{name}")
    for name in ("HELEN_232194_1_0", "HELEN_2960256451_1_3", "LFPW_image_train_0095_5"):
        assert not is_test_portion(f"x/{name}")
    assert not is_test_portion("AFW/AFW_4492032921_1_0")
    assert not is_test_portion("IBUG/IBUG_image_130_1")


def test_a_zip_gives_the_files_of_a_folder(download, prepared, tmp_path, capsys):
    archive = shutil.make_archive(str(tmp_path / "300W-LP"), "zip", download)
    command = ["data", "prepare", "300w-lp", "--from", archive, "-o", str(tmp_path / "out")]
    assert main([*command, "--records-per-shard", "4"]) == 0
    assert "train                       6 records" in capsys.readouterr().out
    names = {path.name for path in prepared.iterdir()}
    assert names == {path.name for path in (tmp_path / "out").iterdir()}
    for shard in prepared.glob("*.array_record-*"):
        assert shard.read_bytes() == (tmp_path / "out" / shard.name).read_bytes()


def test_card_statistics_and_checksums(prepared):
    builder = tfds.builder_from_directory(str(prepared))
    assert builder.info.full_name == "vrn_300w_lp/1.0.0"
    assert "Not to be passed on" in builder.info.redistribution_info.license
    statistics = builder.info.metadata["statistics"]
    assert statistics["train"]["records"] == builder.info.splits["train"].num_examples == 6
    assert statistics["train"]["subset"] == {"AFW": 2, "HELEN": 2, "IBUG": 1, "LFPW": 1}
    assert statistics["train"]["size"] == {"450x450": 6}
    yaws = [abs(made_up_fit(i)["Pose_Para"][0, 1]) for i, n in enumerate(NAMES_300W_LP)]
    seen = [sum(s["yaw"].values()) for s in statistics.values()]
    assert sum(seen) == len(yaws) == 12
    assert "`test_portion`: 3 records, 0 skipped" in (prepared / "README.md").read_text()
    for line in (prepared / CHECKSUMS).read_text().splitlines():
        checksum, name = line.split("  ")
        assert hashlib.sha256((prepared / name).read_bytes()).hexdigest() == checksum
    record = builder.as_data_source("train")[0]  # by TFDS's own decoders
    assert record["image"].shape == (450, 450, 3)


def test_aflw2000_3d(tmp_path):
    write_aflw2000_3d(tmp_path / "in")
    command = ["data", "prepare", "aflw2000-3d", "--from", str(tmp_path / "in")]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    fits = fits_in(tmp_path / "out", "test", 3)
    assert list(fits) == ["image00002", "image00004", "image00006"]
    mat = scipy.io.loadmat(tmp_path / "in/AFLW2000/image00004.mat")
    expected = mat["pt3d_68"].T - [1, 1, 0]
    np.testing.assert_allclose(fits["image00004"].landmarks, expected, rtol=1e-6)


def test_interrupted_and_gone_on_with(download, prepared, tmp_path):
    folder = tmp_path / "out"

    def interrupt(count):
        done.append(count)
        if len(done) == 6:
            raise KeyboardInterrupt

    done: list[int] = []
    preparation = prepare_300w_lp(download, folder, records_per_shard=4)
    with pytest.raises(KeyboardInterrupt):
        preparation.write(interrupt)
    assert (preparation.done, preparation.items) == (4, 12)
    with pytest.raises(InputError, match="repeat its `vrn data prepare` to go on"):
        open_data_set(folder, FIT_DATA_SETS)
    with pytest.raises(InputError, match="records_per_shard 4, not 5"):
        prepare_300w_lp(download, folder, records_per_shard=5)
    again = prepare_300w_lp(download, folder, records_per_shard=4)
    left: list[int] = []
    statistics = again.write(left.append)
    assert sum(left) == 8
    assert statistics == json.loads((prepared / "metadata.json").read_text())["statistics"]
    assert {p.name for p in folder.iterdir()} == {p.name for p in prepared.iterdir()}
    for path in prepared.glob("*.array_record-*"):
        assert path.read_bytes() == (folder / path.name).read_bytes()
    # Finished: the same command does nothing, and says the same.
    assert prepare_300w_lp(download, folder, records_per_shard=4).write() == statistics


def damage(folder: Path, names: list[str]) -> Path:
    for name, how in zip(names, ("cut", "lacks", "shape", "picture"), strict=False):
        path = folder / "300W_LP" / name
        mat = path.with_suffix(".mat")
        values = made_up_fit(0) | {"pt2d": np.zeros((2, 68))}
        if how == "cut":
            mat.write_bytes(mat.read_bytes()[:200])
        elif how == "lacks":
            del values["Pose_Para"]
            scipy.io.savemat(mat, values)
        elif how == "shape":
            scipy.io.savemat(mat, values | {"Exp_Para": np.zeros((28, 1))})
        else:
            path.with_suffix(".jpg").write_bytes(b"no picture")
    return folder


def test_what_cannot_be_read_is_named_and_left_out(tmp_path, capsys):
    bad = NAMES_300W_LP[:4]
    download = damage(write_300w_lp(tmp_path / "in"), bad)
    command = ["data", "prepare", "300w-lp", "--from", str(download)]
    assert main([*command, "-o", str(tmp_path / "few")]) == 1
    error = capsys.readouterr().err
    assert "3 of 12 photos cannot be used, more than the 1.0% allowed" in error
    assert main([*command, "-o", str(tmp_path / "out"), "--most-skipped", "0.5"]) == 0
    assert "3 skipped: see skipped.txt" in capsys.readouterr().out
    skipped = (tmp_path / "out" / SKIPPED).read_text()
    for name in bad:
        assert name in skipped
    assert len(skipped.splitlines()) == 4
    names = {name for split in ("train", "train_flip") for name in fits_in(tmp_path / "out", split)}
    assert not names & set(bad)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["300w-lp", "--from", "absent", "-o", "new"], "neither a folder nor a zip"),
        (["300w-lp", "--from", "text", "-o", "new"], "neither a folder nor a zip"),
        (["300w-lp", "--from", "empty", "-o", "new"], "empty holds no 300W-LP"),
        (["aflw2000-3d", "--from", "empty", "-o", "new"], "empty holds no AFLW2000-3D"),
        (["scans", "--from", "empty", "-o", "new"], "empty holds no scans"),
    ],
)
def test_errors_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").mkdir()
    assert main(["data", "prepare", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_else(download, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="not empty and holds no data set"):
        prepare_300w_lp(download, tmp_path)
    assert io.BytesIO(made_up_photo(0)).getbuffer().nbytes > 10_000  # of a photo's size
