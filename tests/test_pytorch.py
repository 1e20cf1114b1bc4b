"""Beside PyTorch: the original's whole way, and `vrn compare`. Skipped without torch."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image
from test_models import SMALL, random_variables

from vrn_jax.cli import main
from vrn_jax.geometry.original_crop import crop_as_original
from vrn_jax.interop.mapping import layer_tensors
from vrn_jax.models.vrn import VRN

torch = pytest.importorskip("torch")

BOX = (180.0, 60.0, 262.0, 168.0)


@pytest.mark.parametrize("shrink", [1, 2])
def test_both_compute_the_same(shrink):
    from vrn_jax.interop.pytorch import torch_vrn

    config = dataclasses.replace(SMALL, shrink=shrink)
    variables = random_variables(config)
    image = np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype(np.float32)
    theirs = torch_vrn(layer_tensors(variables), config)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2))).numpy()
    ours = jax.jit(VRN(config).apply)(variables, jax.numpy.asarray(image)).volume
    np.testing.assert_allclose(ours, expected.transpose(0, 2, 3, 1), rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:.*align_corners")
def test_photos_become_what_the_original_makes_of_them(tmp_path, astronaut):
    """Its crop, its network in training mode, its bytes; from one of its weights files."""
    from released_torch import randomize, released_vrn

    network = released_vrn(1, 8, 200).train()
    randomize(network)
    torch.save(network.state_dict(), tmp_path / "official.pth")
    Image.fromarray(astronaut).save(tmp_path / "me.png")
    crop = crop_as_original(astronaut, np.array(BOX), None, "run.sh").image
    with torch.no_grad():
        x = torch.from_numpy(crop.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        expected = (network(x)[0][0] * 255).byte().numpy()
    weights = str(tmp_path / "official.safetensors")
    assert main(["convert", str(tmp_path / "official.pth"), weights]) == 0
    command = ["reconstruct", str(tmp_path / "me.png"), "-o", str(tmp_path), "--save", "raw"]
    assert main([*command, "--weights", weights, "--box", *map(str, BOX)]) == 0
    found = np.fromfile(tmp_path / "me.raw", np.int8)  # so the original's scripts read it
    found = found.reshape(200, 192, 192).view(np.uint8)
    assert expected.std() > 10
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_compare_measures_both_and_draws_both(tmp_path, capsys):
    """On the portrait, with the default weights."""
    out = tmp_path / "parity.json"
    assert main(["compare", "default", "-o", str(out)]) == 0
    assert "| stack0.level4.merge " in capsys.readouterr().out
    (run,) = json.loads(out.read_text())["runs"]
    names = [stage["stage"] for stage in run["stages"]]
    assert names[:2] == ["stem", "stack0.level1.skip"]
    assert names[-3:] == ["logits", "upsample", "probability"]
    for stage in run["stages"]:
        assert stage["relative"] < 1e-5
        assert stage["largest_value"] >= 0.99
    assert run["volume_iou"] > 0.9999
    assert run["mesh_distance_px"]["mean"] < 0.001
    assert run["costs"]["jax"]["seconds"] > 0
    picture = np.asarray(Image.open(out.with_suffix(".png"))).astype(int)
    upper, lower = np.split(picture, 2)
    assert upper.std() > 20
    assert np.abs(upper - lower).mean() < 0.1
