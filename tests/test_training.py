"""Training against closed forms, and runs that are stopped against runs that are not."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from domes import domes

import vrn_jax
from vrn_jax.cli import main
from vrn_jax.cli.train import parse
from vrn_jax.config import (
    ComputeConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)
from vrn_jax.errors import InputError, TrainingError
from vrn_jax.faces.sample import Example
from vrn_jax.geometry.resample import upsample
from vrn_jax.geometry.solid import occupancy
from vrn_jax.losses import heatmap_loss, volume_loss
from vrn_jax.models.convolution import convolve_3x3
from vrn_jax.models.vrn import VRN
from vrn_jax.presets import from_dict, load_preset
from vrn_jax.training import loop
from vrn_jax.training.checkpoint import Checkpoints
from vrn_jax.training.data import examples
from vrn_jax.training.evaluate import best_constant_iou, heatmap_points
from vrn_jax.training.loop import compile_step, train
from vrn_jax.training.optimizers import learning_rate_schedule, make_optimizer, torch_rmsprop
from vrn_jax.training.parallel import device_mesh
from vrn_jax.training.state import initial_state, random_variables, state_at_start
from vrn_jax.training.step import batch_indices, guidance, train_step

ROOT = Path(__file__).parent.parent
PRESETS = sorted((ROOT / "configs").glob("*.py"))


@pytest.fixture(scope="module")
def pool() -> Example:
    return domes(4)


def shrunken(path: Path, folder: Path = Path("nowhere"), **run) -> TrainConfig:
    """A preset with a narrow network, a coarse loss and few samples; all else is its own."""
    config = load_preset(path)
    compute = dataclasses.replace(config.compute, batch_size=2, loss_stride=4, loss_planes=40)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, features=4),
        data=dataclasses.replace(config.data, pool=4),
        optim=dataclasses.replace(config.optim, warmup_steps=0, learning_rate=1e-3),
        compute=compute,
        run=RunConfig(folder=str(folder), evaluate_samples=4, **({"steps": 3} | run)),
    )


TINY = TrainConfig(
    model=ModelConfig(stacks=1, features=4),
    data=DataConfig(pool=4),
    optim=OptimConfig(kind="adamw", schedule="cosine", learning_rate=1e-2, ema_decay=0.5),
    compute=ComputeConfig(batch_size=2, loss_stride=4, loss_planes=40),
)


@pytest.fixture
def on_domes(monkeypatch):
    """Runs of `train` see domes in the place of faces."""
    monkeypatch.setattr(loop, "training_source", lambda config: domes(config.pool))
    monkeypatch.setattr(loop, "held_out_faces", lambda config, count: domes(count))


# Losses and optimizers


@pytest.mark.parametrize("stride", [1, 2])
def test_the_chunked_loss_is_the_plain_one(pool, stride):
    solids = jax.tree.map(lambda leaf: leaf[:2], pool.solid)
    logits = 3 * jax.random.normal(jax.random.key(0), (2, 48, 48, 200))
    targets = jax.vmap(occupancy)(solids)[:, ::stride, ::stride].astype(jnp.float32)

    def plain(logits):
        enlarged = upsample(logits)[:, ::stride, ::stride]
        return optax.sigmoid_binary_cross_entropy(enlarged, targets).mean()

    chunked = jax.value_and_grad(lambda x: 2 * volume_loss(x, solids, stride=stride))
    loss, gradient = jax.jit(chunked)(logits)
    expected, expected_gradient = jax.jit(jax.value_and_grad(lambda x: 2 * plain(x)))(logits)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-12)
    without_gradient = volume_loss(logits, solids, stride=stride)
    np.testing.assert_allclose(without_gradient, expected / 2, rtol=1e-6)


def test_the_loss_needs_no_float_volume(pool):
    logits = jax.ShapeDtypeStruct((4, 48, 48, 200), jnp.float32)
    step = jax.jit(jax.value_and_grad(lambda x: volume_loss(x, pool.solid)))
    temporary = step.lower(logits).compile().memory_analysis().temp_size_in_bytes
    assert temporary < 0.5 * 4 * 192 * 192 * 200 * 4 / 2  # a quarter of one such volume


def test_loss_planes_must_divide_the_depth(pool):
    with pytest.raises(ValueError, match="does not divide 200"):
        volume_loss(jnp.zeros((4, 48, 48, 200)), pool.solid, planes_at_once=7)


def test_heatmap_loss_of_uninformed_logits_is_log_2():
    loss = heatmap_loss(jnp.zeros((1, 4, 4, 2)), jnp.ones((1, 4, 4, 2)))
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


def test_rmsprop_is_torchs():
    """Three steps of m <- .99 m + .01 g^2, x <- x - .1 g / (sqrt(m) + 1e-8), one g almost zero."""
    x = np.array([1.0, -2.0, 3.0], np.float64)
    m = np.zeros(3)
    optimizer = torch_rmsprop(0.1)
    params = jnp.asarray(x, jnp.float32)
    state = optimizer.init(params)
    for gradient in ([0.5, 1e-9, -2.0], [0.1, 1e-9, 1.0], [-3.0, 1e-9, 0.0]):
        g = np.array(gradient)
        m = 0.99 * m + 0.01 * g**2
        x = x - 0.1 * g / (np.sqrt(m) + 1e-8)
        updates, state = optimizer.update(jnp.asarray(g, jnp.float32), state)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, x, rtol=1e-5)


def test_schedules():
    paper = learning_rate_schedule(OptimConfig(learning_rate=1e-4, drop_at=0.5), 100)
    np.testing.assert_allclose([paper(0), paper(49), paper(51)], [1e-4, 1e-4, 1e-5], rtol=1e-5)
    config = OptimConfig(schedule="cosine", learning_rate=1.0, warmup_steps=10)
    cosine = learning_rate_schedule(config, 110)
    np.testing.assert_allclose([cosine(5), cosine(10), cosine(60)], [0.5, 1.0, 0.5], rtol=1e-5)
    assert cosine(110) == pytest.approx(0, abs=1e-6)


def test_weight_decay_touches_kernels_only():
    params = {"a": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}
    optimizer = make_optimizer(OptimConfig("adamw", learning_rate=0.1, weight_decay=0.5), 10)
    updates, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    np.testing.assert_allclose(updates["a"]["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(updates["a"]["bias"], 0)


def test_convolution_and_its_gradients_are_those_of_lax():
    keys = jax.random.split(jax.random.key(0), 3)
    x, kernel = jax.random.normal(keys[0], (2, 6, 8, 3)), jax.random.normal(keys[1], (3, 3, 3, 5))
    weight = jax.random.normal(keys[2], (2, 6, 8, 5))

    def plain(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)

    found, expected = (
        jax.value_and_grad(lambda x, k, f=f: (f(x, k) * weight).sum(), argnums=(0, 1))(x, kernel)
        for f in (convolve_3x3, plain)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )


def test_first_weights_are_lecun_normal():
    """Kernels have variance 1 / (inputs of a cell) and end at two deviations, as flax's do."""
    config = ModelConfig(stacks=1, features=16, depth=8)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(VRN(config).init, jax.random.key(1), image)
    ours = jax.device_get(random_variables(config, 0))
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, shapes)
    for path, leaf in jax.tree.leaves_with_path(ours):
        if path[-1].key == "kernel" and leaf.size > 5000:
            deviation = np.prod(leaf.shape[-4:-1]) ** -0.5
            np.testing.assert_allclose(np.std(leaf), deviation, rtol=0.1)
            np.testing.assert_allclose(np.abs(leaf).max(), 2 * deviation / 0.8796, rtol=0.05)
        elif path[-1].key != "kernel":
            np.testing.assert_array_equal(leaf, 1.0 if path[-1].key in ("scale", "var") else 0.0)


# Steps and runs


def steps(config: TrainConfig, source: Example, count: int) -> list[float]:
    mesh = device_mesh(config.compute)
    state = jax.jit(initial_state, static_argnums=0)(config)
    update = compile_step(config, mesh, state, source)  # one program: it refuses other shapes
    losses = []
    for _ in range(count):
        # The same samples again and again, so that the loss must fall.
        state, metrics = update(state, batch_indices(config, 0), source)
        losses.append(float(metrics["loss"]))
        assert all(np.isfinite(value) for value in metrics.values())
    assert int(state.step) == count
    return losses


@pytest.mark.slow
@pytest.mark.usefixtures("quick_to_compile")
@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_trains(path, pool):
    losses = steps(shrunken(path), pool, 3)
    assert losses[2] < losses[0]


@pytest.mark.usefixtures("quick_to_compile")
def test_gradients_accumulate_to_those_of_one_batch(pool):
    """With statistics of single images the samples do not see each other."""
    compute = dataclasses.replace(TINY.compute, norm="image", remat="blocks")
    optim = OptimConfig("adamw", learning_rate=1e-3)
    whole = dataclasses.replace(
        TINY, optim=optim, compute=dataclasses.replace(compute, batch_size=4)
    )
    halves = dataclasses.replace(
        TINY, compute=compute, optim=dataclasses.replace(optim, accumulate=2)
    )
    found = []
    for config in (whole, halves):
        state = initial_state(config)
        step = jax.jit(train_step, static_argnums=0)
        new, metrics = step(config, state, batch_indices(config, 0), pool)
        found.append([float(metrics[name]) for name in ("loss", "gradient_norm")])
        assert jax.tree.all(jax.tree.map(jnp.array_equal, new.batch_stats, state.batch_stats))
    # Not the weights: Adam's first step is a sign, which rounding turns where a gradient is zero.
    # A sum or a half in the place of the mean would be off by a factor of two.
    np.testing.assert_allclose(*found, rtol=1e-3)


def test_a_pool_is_drawn_from_by_sample_number(pool):
    first = examples(pool, TINY.data, jnp.arange(0, 64))
    again = examples(pool, TINY.data, jnp.arange(32, 96))
    np.testing.assert_array_equal(first.landmarks[32:], again.landmarks[:32])
    assert len(np.unique(np.asarray(first.attributes.yaw))) == 4


def test_guidance_is_noisy_and_dropped_as_asked(pool):
    data = DataConfig(landmark_noise_px=2.0, guidance_dropout=0.3)
    numbers = jnp.arange(400)
    batch = examples(pool, data, numbers)
    landmarks, shown = guidance(data, batch, numbers)
    assert jnp.std(landmarks - batch.landmarks[..., :2]) == pytest.approx(2.0, rel=0.02)
    assert 1 - shown.mean() == pytest.approx(0.3, abs=0.08)
    np.testing.assert_array_equal(guidance(data, batch, numbers)[0], landmarks)


def logged(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def tiny(folder: Path, **run) -> TrainConfig:
    run = {"steps": 6, "log_every": 1, "evaluate_samples": 2, "evaluate_every": 4} | run
    return dataclasses.replace(TINY, run=RunConfig(folder=str(folder), **run))


@pytest.fixture(scope="module")
def straight(tmp_path_factory, quick_to_compile) -> Path:
    """The folder of a run of six steps that nobody stopped."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "training_source", lambda config: domes(config.pool))
        patch.setattr(loop, "held_out_faces", lambda config, count: domes(count))
        assert train(tiny(folder, profile=True))["finished"]
    return folder


def assert_same_run(folder: Path, straight: Path) -> None:
    """Weights and logs agree bit for bit, but for the time it took."""
    ours, theirs = (
        vrn_jax.interop.weights.load_weights(f / "weights.safetensors") for f in (folder, straight)
    )
    assert ours.info.sha256 == theirs.info.sha256
    lines = [
        [{k: v for k, v in line.items() if k != "images_per_second"} for line in logged(f)]
        for f in (folder, straight)
    ]
    assert lines[0] == lines[1]


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")  # of jaxlib's reader
def test_the_trace_shows_the_traced_steps(straight):
    (trace,) = (straight / "profile").rglob("*.xplane.pb")
    planes = jax.profiler.ProfileData.from_file(str(trace)).planes
    events = [event for plane in planes for line in plane.lines for event in line.events]
    steps = sorted(dict(event.stats)["step_num"] for event in events if event.name == "train")
    assert steps == [3, 4, 5]


def test_a_run_starts_from_the_weights_of_another(straight, tmp_path):
    start = str(straight / "weights.safetensors")
    state = state_at_start(tiny(tmp_path, init_from=start))
    expected = vrn_jax.interop.weights.load_weights(start).variables
    for found in ({"params": state.params, "batch_stats": state.batch_stats}, state.ema):
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert int(state.step) == 0


def test_a_run_leaves_its_files(straight):
    names = {path.name for path in straight.iterdir()}
    assert names >= {
        "checkpoints", "config.json", "events", "metrics.jsonl", "preview.png", "summary.json",
        "weights.safetensors",
    }  # fmt: skip
    summary = json.loads((straight / "summary.json").read_text(encoding="utf-8"))
    assert summary["step"] == 6
    assert summary["held_out"]["iou"] == logged(straight)[-1]["held_out/iou"]
    assert 0 < summary["best_constant_iou"] < 1
    best = max(
        (line["held_out/iou"], line["step"]) for line in logged(straight) if "held_out/iou" in line
    )
    assert summary["best_checkpoint"] == [best[1], best[0]]
    config = json.loads((straight / "config.json").read_text(encoding="utf-8"))
    assert from_dict(TrainConfig, config) == tiny(straight, profile=True)


def test_what_is_written_reconstructs_as_it_was_evaluated(straight, pool):
    reconstructor = vrn_jax.load(straight / "weights.safetensors")
    info = reconstructor.info
    assert (info.grid.origin, info.grid.origin_plane, info.norm) == ("front", 178.0, "running")
    volumes = np.asarray(reconstructor.volumes(np.asarray(pool.image[:2]))) > 0.5
    truth = np.asarray(jax.vmap(occupancy)(jax.tree.map(lambda leaf: leaf[:2], pool.solid)))
    ious = (volumes & truth).sum((1, 2, 3)) / (volumes | truth).sum((1, 2, 3))
    assert ious.mean() == pytest.approx(logged(straight)[-1]["held_out/iou"], abs=1e-3)


def test_a_stopped_run_goes_on_bit_for_bit(straight, tmp_path, on_domes, monkeypatch):
    """SIGTERM during step 3: saved, and resumed by the same call."""
    note = loop.RunLog.step

    def terminate(self, step, metrics):
        if step == 3:
            signal.raise_signal(signal.SIGTERM)
        note(self, step, metrics)

    config = tiny(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(loop.RunLog, "step", terminate)
        summary = train(config)
    assert (summary["finished"], summary["step"]) == (False, 3)
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert train(config)["resumed_at"] == 3
    assert_same_run(tmp_path / "run", straight)


def test_a_killed_run_goes_on_from_its_last_checkpoint(straight, tmp_path):
    config = tiny(tmp_path / "run", checkpoint_every=1)
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(dataclasses.asdict(config)), encoding="utf-8")
    command = [sys.executable, str(ROOT / "tests" / "domes.py"), str(settings)]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    checkpoints = tmp_path / "run" / "checkpoints"
    while not (checkpoints / "2").exists():
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout)["resumed_at"] >= 2
    assert_same_run(tmp_path / "run", straight)


@pytest.mark.usefixtures("quick_to_compile")
def test_a_loss_that_is_no_number_stops_the_run(tmp_path, on_domes):
    config = dataclasses.replace(
        tiny(tmp_path / "run", checkpoint_every=1, evaluate_every=100),
        optim=OptimConfig("rmsprop", learning_rate=1e30),
    )
    with pytest.raises(TrainingError, match=r"step 1 is not finite .* samples 0 to 1 of seed 0"):
        train(config)
    with Checkpoints(tmp_path / "run", config) as checkpoints:
        assert checkpoints.restore(device_mesh(TINY.compute)) is None  # it was due, and not written


def test_another_configuration_does_not_resume(straight):
    config = dataclasses.replace(tiny(straight), data=DataConfig(pool=4, seed=1))
    with (
        Checkpoints(straight, config) as checkpoints,
        pytest.raises(InputError, match=r"data.seed was 0, is 1"),
    ):
        checkpoints.restore(device_mesh(TINY.compute))


@pytest.mark.usefixtures("quick_to_compile")
def test_the_average_follows_the_weights(pool):
    """ema <- ema + (1 - d) (weights - ema), d = min(.5, (1 + t) / (10 + t)) = .1 at t = 0."""
    state = initial_state(TINY)
    new, _ = jax.jit(train_step, static_argnums=0)(TINY, state, batch_indices(TINY, 0), pool)
    kernel = [s["params"]["head"]["out"]["kernel"] for s in (state.ema, new.ema)]
    expected = kernel[0] + 0.9 * (new.params["head"]["out"]["kernel"] - kernel[0])
    np.testing.assert_allclose(kernel[1], expected, rtol=1e-5, atol=1e-7)


# Evaluation


def test_heatmap_points_find_the_middle_of_a_blob():
    """In crop pixels, with the corners of both grids aligned."""
    row, column = np.mgrid[:48, :48]
    blob = 3 - 2 * ((row - 20) ** 2 + (column - 31.3) ** 2)
    point = heatmap_points(jnp.asarray(blob, jnp.float32)[None, :, :, None])
    np.testing.assert_allclose(point[0, 0] * 47 / 191, [31.3, 20], atol=0.1)


def test_the_best_constant_volume_of_equal_faces_is_that_face(pool):
    same = jax.tree.map(lambda leaf: jnp.stack([leaf[1]] * 3), pool)
    assert best_constant_iou(same) == 1
    assert best_constant_iou(pool) < 1


# Configuration


def test_overrides():
    arguments = [str(ROOT / "configs" / "vrn.py"), "--optim.learning-rate", "0.5", "--profile"]
    config = parse(arguments)
    assert (config.optim.learning_rate, config.run.profile) == (0.5, True)
    assert config.model == load_preset(arguments[0]).model


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--optim.lr", "1"], 2, "--optim.lr"),
        (["--optim.kind", "sgd"], 2, "rmsprop"),
        (["--run.steps", "many"], 2, "many"),
    ],
)
def test_wrong_overrides_are_refused(arguments, code, message, capsys):
    with pytest.raises(SystemExit) as raised:
        main(["train", str(ROOT / "configs" / "smoke.py"), *arguments])
    assert raised.value.code == code
    assert message in capsys.readouterr().err


def test_presets_that_are_none_are_refused(tmp_path, capsys):
    assert main(["train", "--optim.learning-rate", "1"]) == 1
    assert "a preset first" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none.py")]) == 1
    (tmp_path / "empty.py").write_text("")
    assert main(["train", str(tmp_path / "empty.py")]) == 1
    assert "must set `config`" in capsys.readouterr().err


@pytest.mark.usefixtures("quick_to_compile")
def test_weights_of_another_network_cannot_start_a_run(tmp_path, on_domes):
    with pytest.raises(InputError, match="this run trains"):
        train(tiny(tmp_path, init_from="default"))
