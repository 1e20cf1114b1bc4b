"""Post-processing on the device against scipy.ndimage on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from vrn_jax import postprocess
from vrn_jax.geometry.resample import gaussian_kernels, smooth
from vrn_jax.postprocess import PostprocessSettings, clean, fill_holes, largest_component

# One compilation serves every mask of a shape.
fast_largest, fast_fill = jax.jit(largest_component), jax.jit(fill_holes)
fast_box = jax.jit(postprocess.bounding_box)
SHAPE = (21, 21, 37)  # of the adversarial volumes


def scipy_largest(mask: np.ndarray) -> np.ndarray:
    labels, count = scipy.ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if count else mask


def assert_agrees_with_scipy(mask: np.ndarray, largest=fast_largest, fill=fast_fill) -> None:
    np.testing.assert_array_equal(largest(mask), scipy_largest(mask))
    np.testing.assert_array_equal(fill(mask), scipy.ndimage.binary_fill_holes(mask))


@pytest.fixture(scope="module", params=[64, 0], ids=["flood first", "labelling only"])
def largest_and_fill(request):
    """Both algorithms, each on its own: without a turn no flood comes to rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postprocess, "_MAX_TURNS", request.param)
        return [
            jax.jit(lambda mask, f=f: f(mask)).lower(np.zeros(SHAPE, bool)).compile()
            for f in (largest_component, fill_holes)
        ]


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 9), (4, 6, 32), (3, 2, 65)], ids=str)
@given(density=st.sampled_from([0.05, 0.2, 0.31, 0.5, 0.69, 0.9]), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_small_noise(shape, density, seed):
    assert_agrees_with_scipy(np.random.default_rng(seed).random(shape) < density)


def serpentine(h: int, w: int, d: int) -> np.ndarray:
    """One corridor, a voxel wide, that runs to and fro through the whole block."""
    mask = np.zeros((h, w, d), bool)
    mask[::2, ::2] = True
    ends = 0
    for i, row in enumerate(range(0, h, 2)):
        columns = list(range(0, w, 2))[:: 1 if i % 2 == 0 else -1]
        for j, column in enumerate(columns):
            end = (-1, 0)[ends % 2]
            if j + 1 < len(columns):
                mask[row, (column + columns[j + 1]) // 2, end] = True
            elif row + 1 < h - 1:
                mask[row + 1, column, end] = True
            ends += 1
    return mask


def spiral(size: int, d: int) -> np.ndarray:
    """A square spiral, `d` planes deep, with walls as thick as the way between them."""
    mask = np.zeros((size, size), bool)
    mask[row := 0, column := 0] = True
    lengths = [size - 1, *(n for n in range(size - 1, 0, -2) for _ in range(2))]
    for turn, length in enumerate(lengths):
        down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[turn % 4]
        for _ in range(length):
            row, column = row + down, column + right
            mask[row, column] = True
    return np.repeat(mask[..., None], d, axis=2)


def shells() -> np.ndarray:
    """Four shells, one in another, the innermost round a cavity."""
    centre = np.array(SHAPE).reshape(3, 1, 1, 1) // 2
    distance = np.abs(np.indices(SHAPE) - centre).max(0)
    return (distance <= 10) & (distance % 3 == 1)


def equal_components() -> np.ndarray:
    """Two of one size: the second in memory has the fullest column, where the flood starts."""
    mask = np.zeros(SHAPE, bool)
    mask[1:3, 1:5, 2:6] = True
    mask[5, 5, 2:34] = True
    return mask


def leak_over_an_edge() -> np.ndarray:
    """A cavity that touches a way out along an edge only, so it is closed."""
    mask = np.zeros(SHAPE, bool)
    mask[1:6, 1:6, 1:35] = True
    mask[3, 3, 3:33] = False
    mask[:3, 2, 10] = False
    return mask


VOLUMES = {
    "serpentine": serpentine(*SHAPE),
    "walls of a serpentine": ~serpentine(*SHAPE),
    "serpentine cavity": np.pad(~serpentine(19, 19, 35), 1, constant_values=True),
    "spiral": spiral(21, 37),
    "walls of a spiral": ~spiral(21, 37),
    "spiral cavity": np.pad(~spiral(19, 35), 1, constant_values=True),
    "checkerboard": np.indices(SHAPE).sum(0) % 2 == 0,
    "shells": shells(),
    "space between shells": ~shells(),
    "equal components": equal_components(),
    "leak over an edge": leak_over_an_edge(),
    "full": np.ones(SHAPE, bool),
    "empty": np.zeros(SHAPE, bool),
    "single voxel": np.arange(np.prod(SHAPE)).reshape(SHAPE) == 5000,
}


@pytest.mark.parametrize("name", VOLUMES)
def test_adversarial_volumes(name, largest_and_fill):
    assert_agrees_with_scipy(VOLUMES[name], *largest_and_fill)


def test_the_adversaries_are_what_they_claim_to_be():
    sizes = {
        name: np.bincount(scipy.ndimage.label(mask)[0].ravel())[1:].tolist()
        for name, mask in VOLUMES.items()
    }
    assert [len(sizes[name]) for name in ("serpentine", "spiral", "shells")] == [1, 1, 4]
    assert sizes["equal components"] == [32, 32]
    filled = scipy.ndimage.binary_fill_holes(VOLUMES["leak over an edge"])
    assert filled[3, 3, 10]
    assert not filled[2, 2, 10]
    assert scipy.ndimage.binary_fill_holes(VOLUMES["serpentine cavity"]).all()


def test_serpentine_is_too_long_for_the_flood():
    opened = postprocess._pack(jnp.asarray(VOLUMES["serpentine"]))
    seed = jnp.zeros_like(opened).at[0, 0, 0].set(1)
    assert not jax.jit(postprocess._flood)(seed, opened)[1]


@pytest.mark.parametrize("density", [0.1, 0.3116, 0.5, 0.6884])
def test_noise(density):
    assert_agrees_with_scipy(np.random.default_rng(7).random((64, 63, 66)) < density)


def face(h: int = 192, w: int = 192, d: int = 200) -> np.ndarray:
    """Half an ellipsoid with a flat back and a nose, three specks and two cavities."""
    row, column, plane = np.ogrid[:h, :w, :d]

    def ellipsoid(centre: tuple, radii: tuple) -> np.ndarray:
        r, c, p = centre
        scaled = ((row / h - r) / radii[0]) ** 2 + ((column / w - c) / radii[1]) ** 2
        return scaled + ((plane / d - p) / radii[2]) ** 2 < 1

    solid = ellipsoid((0.5, 0.5, 0.2), (0.31, 0.24, 0.6)) & (plane >= d // 5)
    solid = solid | ellipsoid((0.55, 0.5, 0.78), (0.06, 0.05, 0.15))
    solid = solid & ~ellipsoid((0.5, 0.5, 0.45), (0.04, 0.05, 0.02))
    solid[h // 2, w // 3, d // 3] = False
    for corner in ((1, 2, 3), (-9, -8, -7), (h // 2, 2, d // 2)):
        solid[tuple(slice(c, c + 4) for c in corner)] = True
    return solid


def test_full_size_face():
    mask = face()
    component = fast_largest(mask)
    np.testing.assert_array_equal(component, scipy_largest(mask))
    filled = fast_fill(component)
    np.testing.assert_array_equal(filled, scipy.ndimage.binary_fill_holes(component))
    assert filled[96, 64, 66]
    assert not mask[96, 64, 66]


@given(density=st.sampled_from([0, 0.01, 0.03, 0.1, 1]), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_bounding_box(density, seed):
    mask = np.random.default_rng(seed).random((4, 5, 6)) < density
    slices = scipy.ndimage.find_objects(mask.astype(int))
    expected = [[s.start, s.stop] for s in slices[0]] if slices else np.zeros((3, 2))
    np.testing.assert_array_equal(fast_box(mask), expected)


@pytest.mark.parametrize("sigma_px", [0.3, 1.0, 2.2])
def test_smooth(sigma_px):
    occupancy = np.random.default_rng(0).random((11, 14, 23))
    expected = scipy.ndimage.gaussian_filter(
        occupancy, (sigma_px, sigma_px, sigma_px / 0.5), mode="constant"
    )
    kernels = gaussian_kernels(occupancy.shape, sigma_px, 0.5)
    smoothed = smooth(jnp.asarray(occupancy, jnp.float32), kernels)
    np.testing.assert_allclose(smoothed, expected, atol=2e-6)


def scipy_clean(logits: np.ndarray, mirrored: np.ndarray | None, settings: PostprocessSettings):
    """`clean` once more for one volume, in float64 on the host.

    Returns the occupancy, the solid, and which voxels are clear: a value within a rounding of the
    threshold may fall to either side.
    """

    def probabilities(x: np.ndarray) -> np.ndarray:
        enlarged = scipy.ndimage.zoom(x.astype(np.float64), (*[settings.stride] * 2, 1), order=1)
        return 1 / (1 + np.exp(-enlarged))

    occupancy = probabilities(logits)
    if mirrored is not None:
        occupancy = (occupancy + probabilities(mirrored)[:, ::-1]) / 2
    if settings.sigma_px:
        sigmas = np.array([1, 1, 1 / settings.plane_depth]) * settings.sigma_px
        occupancy = scipy.ndimage.gaussian_filter(occupancy, sigmas, mode="constant")
    clear = np.abs(occupancy - settings.threshold) > 2**-11
    component = scipy_largest(occupancy > settings.threshold)
    solid = scipy.ndimage.binary_fill_holes(component)
    occupancy[(occupancy > settings.threshold) & ~component] = 0
    occupancy[solid & ~component] = 1
    return occupancy, solid, clear


def soft_logits(seed: int, shape: tuple = (2, 12, 10, 40)) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    field = scipy.ndimage.gaussian_filter(noise, (0, 1.2, 1.2, 2.5))
    return (3 * field / field.std()).astype(np.float32)


CASES = {
    "plain": (PostprocessSettings(), False),
    "mirrored": (PostprocessSettings(), True),
    "official threshold": (PostprocessSettings(threshold=10 / 255), False),
    "half the resolution": (PostprocessSettings(stride=8), True),
    "smooth": (PostprocessSettings(threshold=0.4, sigma_px=0.7, plane_depth=0.5), True),
}


def test_settings_given_as_arrays_are_those_given_as_settings():
    logits = soft_logits(3)
    fixed = PostprocessSettings(threshold=0.4, sigma_px=0.7)
    expected = clean(logits, settings=fixed)
    shape = (4 * logits.shape[1], 4 * logits.shape[2], logits.shape[3])
    given = {
        "threshold": jnp.float32(0.4),
        "kernels": gaussian_kernels(shape, 0.7, fixed.plane_depth),
    }
    cleaned = clean(logits, settings=PostprocessSettings(), **given)
    np.testing.assert_array_equal(cleaned.box, expected.box)
    np.testing.assert_allclose(cleaned.occupancy, expected.occupancy, atol=1e-3)  # float16
    compiled = clean._cache_size()
    given["threshold"] = jnp.float32(0.2)
    clean(logits, settings=PostprocessSettings(), **given)
    assert clean._cache_size() == compiled


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_clean(name, seed):
    settings, mirror = CASES[name]
    logits, mirrored = soft_logits(seed), soft_logits(seed + 100) if mirror else None
    cleaned = clean(logits, mirrored, settings=settings)
    for i in range(len(logits)):
        pair = None if mirrored is None else mirrored[i]
        occupancy, solid, clear = scipy_clean(logits[i], pair, settings)
        assert clear.mean() > 0.99
        got = np.asarray(cleaned.occupancy[i], np.float32)
        np.testing.assert_allclose(got[clear], occupancy[clear], atol=2**-11)
        kept = got > settings.threshold
        np.testing.assert_array_equal(kept[clear], solid[clear])
        np.testing.assert_array_equal(cleaned.box[i], fast_box(kept))


def test_clean_of_nothing_is_empty():
    cleaned = clean(np.full((2, 12, 10, 40), -9.0, np.float32), settings=PostprocessSettings())
    assert not cleaned.box.any()
    assert cleaned.occupancy.max() < 1e-3


@pytest.mark.parametrize("threshold", [0.5, 10 / 255])
def test_rounding_leaves_nothing_at_the_threshold_outside(threshold):
    # Many values within a few roundings of the threshold, on both sides of it.
    level = np.log(threshold / (1 - threshold))
    noise = np.random.default_rng(3).normal(size=(2, 12, 10, 40)) * 1e-3
    cleaned = clean((level + noise).astype(np.float32), settings=PostprocessSettings(threshold))
    occupancy = np.asarray(cleaned.occupancy[0], np.float32)
    component = occupancy > threshold
    assert component.any()
    np.testing.assert_array_equal(component, scipy_largest(component))
    np.testing.assert_array_equal(component, scipy.ndimage.binary_fill_holes(component))
    np.testing.assert_array_equal(component, occupancy >= threshold)


def test_float16_moves_the_surface_by_less_than_a_fiftieth_of_a_voxel():
    rng = np.random.default_rng(4)
    inside, outside = rng.uniform(0.5, 1, 100_000), rng.uniform(0, 0.5, 100_000)
    steep = inside - outside > 0.0125

    def crossing(inside, outside):
        return ((inside - 0.5) / (inside - outside))[steep]

    rounded = crossing(*(x.astype(np.float16).astype(float) for x in (inside, outside)))
    assert np.abs(rounded - crossing(inside, outside)).max() < 0.02


def test_clean_stays_on_the_device():
    text = clean.lower(soft_logits(0), settings=PostprocessSettings(sigma_px=0.5)).as_text()
    assert "stablehlo.while" in text
    assert "callback" not in text


def test_fill_holes_lowers_for_accelerators():
    # The branch of `platform_dependent` that a CPU never takes.
    traced = jax.jit(fill_holes).trace(np.zeros((5, 7, 40), bool))
    for platform in ("cuda", "tpu"):
        assert "callback" not in traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("values", [{"threshold": 0.0}, {"sigma_px": -1.0}, {"plane_depth": 0.0}])
def test_settings_refuse_nonsense(values):
    with pytest.raises(ValueError, match="threshold"):
        PostprocessSettings(**values)
