"""From the files of the data sets, as they are downloaded, to a table, by the commands alone."""

import csv
import json

import numpy as np
import pytest
from fitted_files import write_300w_lp, write_aflw2000_3d
from PIL import Image

from vrn_jax.cli import main

PRESET = """
from vrn_jax.config import ComputeConfig, DataConfig, ModelConfig, RunConfig, TrainConfig

config = TrainConfig(
    model=ModelConfig(stacks=1, features=4),
    data=DataConfig(split="train", held_out_split="test_portion"),
    compute=ComputeConfig(batch_size=2, loss_stride=8, loss_planes=100),
    run=RunConfig(steps=2, log_every=1, evaluate_samples=2),
)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("quick_to_compile")
def test_prepared_trained_on_and_evaluated(bfm, tmp_path, capsys):
    preset = tmp_path / "preset.py"
    preset.write_text(PRESET, encoding="utf-8")
    downloads, folders = tmp_path / "downloads", {}
    sets = {"300w-lp": write_300w_lp(downloads), "aflw2000-3d": write_aflw2000_3d(downloads)}
    for name, download in sets.items():
        folders[name] = tmp_path / name
        assert (
            main(["data", "prepare", name, "--from", str(download), "-o", str(folders[name])]) == 0
        )
    run = tmp_path / "run"
    options = ["--data.dataset", str(folders["300w-lp"]), "--data.bfm", str(bfm)]
    assert main(["train", str(preset), *options, "--run.folder", str(run)]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["step"], summary["records_skipped"]) == (2, 0)

    measured = tmp_path / "measured"
    weights = ["-w", str(run / "weights.safetensors"), "-o", str(measured)]
    aflw = ["--data", "aflw2000", "--path", str(folders["aflw2000-3d"]), "--bfm", str(bfm)]
    assert main(["evaluate", *aflw, *weights, "--limit", "2"]) == 0
    with (measured / "faces.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"image00002", "image00004"}
    baselines = [row for row in rows if row["method"] in ("mean head", "flat plane")]
    assert len(baselines) == 4
    assert all(0 < float(row["nme"]) < 1 for row in baselines)
    assert "VRN-Guided" in (measured / "table.md").read_text(encoding="utf-8")
    assert "flat plane" in capsys.readouterr().out


def test_photos_of_ones_own(astronaut, astronaut_face, tmp_path, capsys):
    """The truth are the landmarks that were found, a tenth of their box to the side."""
    photos, measured = tmp_path / "photos", tmp_path / "measured"
    photos.mkdir()
    Image.fromarray(astronaut).save(photos / "astronaut.png")
    landmarks = np.asarray(astronaut_face.landmarks)[:, :2]
    size = np.sqrt(np.prod(np.ptp(landmarks, axis=0)))  # the protocol's, of the landmarks' box
    np.savetxt(photos / "astronaut.txt", landmarks + np.array([0.1 * size, 0.0]))
    assert main(["evaluate", "--data", "photos", "--path", str(photos), "-o", str(measured)]) == 0
    summary = json.loads((measured / "summary.json").read_text(encoding="utf-8"))
    assert summary["photos"] == 1
    assert list(summary["methods"]) == ["ours", "mean head", "flat plane", "FaceMesh"]
    assert summary["faces"][0]["landmarks_2d"] == pytest.approx(0.1, rel=1e-3)
    assert "ours" in capsys.readouterr().out
