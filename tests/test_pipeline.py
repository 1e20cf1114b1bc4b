"""The input pipeline: which samples, in which order, on how many processes, and what is damaged."""

import dataclasses
import json
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest
from fitted_files import NAMES_300W_LP

from vrn_jax.config import (
    ComputeConfig,
    DataConfig,
    FaceSettings,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)
from vrn_jax.data.bfm import read_basel
from vrn_jax.data.pipeline import Reading, SkippedRecords, batches
from vrn_jax.data.sources import DataSet, open_for_training
from vrn_jax.errors import InputError
from vrn_jax.training import loop
from vrn_jax.training.data import feed, part_of, training_source
from vrn_jax.training.parallel import device_mesh

SETTINGS = FaceSettings(turn_deg=45.0, shift_px=15.0, zoom=(0.85, 1.15), flip_chance=0.5)


@pytest.fixture(scope="module")
def data(prepared, bfm) -> DataSet:
    return open_for_training(prepared, "train", SETTINGS, read_basel(bfm))


def take(data: DataSet, count: int, **options) -> list:
    return list(islice(batches(data, seed=3, **({"batch_size": 4} | options)), count))


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_every_record_comes_once_an_epoch_in_another_order_each(data):
    assert len(data) == 6
    shapes = {data.plain(i).value.parameters.tobytes(): i for i in range(6)}
    epochs = [
        [shapes[data.sample(number, 5).value.parameters.tobytes()] for number in range(e, e + 6)]
        for e in (0, 6, 12, 18)
    ]
    for epoch in epochs:
        assert sorted(epoch) == list(range(6))
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_sample_depends_on_seed_and_number_alone(data):
    assert_equal(data.sample(17, 5).value, data.sample(17, 5).value)
    one, other = data.sample(17, 5).value, data.sample(17 + 6 * 50, 5).value
    assert (one.crop_from_head != other.crop_from_head).any()


def test_batches_go_on_from_any_step(data):
    straight = take(data, 5)
    for first in (0, 3):
        for batch, other in zip(straight[first:], take(data, 2, first_batch=first), strict=False):
            assert_equal(batch, other)
    assert straight[0].image.shape == (4, 192, 192, 3)
    assert straight[0].image.dtype == np.uint8


def test_processes_share_the_batch_that_one_would_read(data):
    """What two hosts read side by side is what one reads alone: counts may change on resuming."""
    whole = take(data, 3)
    halves = [take(data, 3, share=range(*share)) for share in ((0, 2), (2, 4))]
    for batch, *parts in zip(whole, *halves, strict=True):
        assert_equal(batch, jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts))


def test_worker_processes_read_the_same(data):
    for batch, other in zip(take(data, 2), take(data, 2, reading=Reading(2, 1)), strict=True):
        assert_equal(batch, other)


def damaged(data: DataSet, places: set[int]) -> DataSet:
    records = [data.records[i] for i in range(len(data))]
    records = [r[:40] if i in places else r for i, r in enumerate(records)]
    return dataclasses.replace(data, records=records)


def test_damaged_records_are_named_once_and_replaced(data):
    broken = damaged(data, {1, 4})
    skipped: set[str] = set()
    with pytest.warns(SkippedRecords) as caught:
        found = take(broken, 6, most_skipped=0.5, skipped=skipped)
    assert len(skipped) == 2
    named = sorted(str(warning.message).split(":")[0] for warning in caught)
    assert named == ["skipped record 1 of vrn_300w_lp", "skipped record 4 of vrn_300w_lp"]
    shapes = {data.plain(i).value.parameters.tobytes(): i for i in range(6)}
    seen = {shapes[row.tobytes()] for batch in found for row in batch.parameters}
    assert seen == {0, 2, 3, 5}
    # The others are where they were.
    for batch, whole in zip(found, take(data, 6), strict=True):
        for row, expected in zip(batch.parameters, whole.parameters, strict=True):
            place = shapes[expected.tobytes()]
            assert shapes[row.tobytes()] == {1: 2, 4: 5}.get(place, place)


@pytest.mark.filterwarnings("ignore::vrn_jax.data.pipeline.SkippedRecords")
def test_too_many_damaged_records_stop(data):
    with pytest.raises(InputError, match=r"2 of 6 records .* more than the allowed 20\.0%"):
        take(damaged(data, {1, 4}), 6, most_skipped=0.2)
    with pytest.raises(InputError, match="100 records in a row cannot be read"):
        damaged(data, set(range(6))).sample(0, 0)


def test_a_run_needs_the_face_model(prepared):
    with pytest.raises(InputError, match=r"set --data\.bfm to the folder"):
        open_for_training(prepared, "train", SETTINGS, None)


# Training


def config_of(prepared: Path, bfm: Path, folder: Path, steps: int, **data) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig(stacks=1, features=4),
        data=DataConfig(
            dataset=str(prepared),
            bfm=str(bfm),
            held_out_split="test_portion",
            faces=SETTINGS,
            **data,
        ),
        optim=OptimConfig(kind="adamw", schedule="cosine", learning_rate=1e-3),
        compute=ComputeConfig(batch_size=2, loss_stride=4, loss_planes=40),
        run=RunConfig(folder=str(folder), steps=steps, log_every=1, evaluate_samples=2),
    )


@pytest.mark.slow
@pytest.mark.usefixtures("quick_to_compile")
def test_two_steps_and_a_resumed_run_see_the_same_samples(prepared, bfm, tmp_path):
    """Made-up files in the real layout, prepared, trained on, stopped and gone on with."""
    straight = loop.train(config_of(prepared, bfm, tmp_path / "straight", 2))
    assert straight["finished"]
    assert 0 <= straight["held_out"]["iou"] < 1
    loop.train(config_of(prepared, bfm, tmp_path / "stopped", 1))
    resumed = loop.train(config_of(prepared, bfm, tmp_path / "stopped", 2))
    assert resumed["step"] == 2
    logs = []
    for name in ("straight", "stopped"):
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        logs.append({e["step"]: e["loss"] for e in entries if "loss" in e})
    assert logs[0][2] == logs[1][2]  # the very same samples, to the last bit of the loss


def test_accumulated_steps_take_their_parts_of_the_batch(prepared, bfm):
    """Two updates of two batches of two are the stream's samples in their order, each once."""
    config = TrainConfig(
        data=DataConfig(dataset=str(prepared), bfm=str(bfm)),
        optim=OptimConfig(accumulate=2),
        compute=ComputeConfig(batch_size=2),
    )
    mesh = device_mesh(config.compute, jax.devices()[:1])
    fed = feed(config, mesh, training_source(config.data), first=0).sources
    data = open_for_training(prepared, "train", config.data.faces, read_basel(bfm))
    stream = batches(data, seed=0, batch_size=4)
    for source, straight in islice(zip(fed, stream, strict=False), 2):
        parts = [part_of(source, number).batch for number in (0, 1)]
        assert_equal(straight, jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts))
    assert len(NAMES_300W_LP) == 12
