"""Enlargement with aligned corners against linear interpolation in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from vrn_jax.geometry.resample import upsample


def enlarge(x: np.ndarray, axis: int, factor: int) -> np.ndarray:
    samples = x.shape[axis]
    positions = np.linspace(0, samples - 1, factor * samples)
    return np.apply_along_axis(lambda line: np.interp(positions, range(samples), line), axis, x)


@pytest.mark.parametrize(
    ("shape", "factor"),
    [((2, 48, 48, 3), 4), ((1, 5, 7, 9), 4), ((3, 4, 1, 2), 3), ((1, 6, 5, 1), 1)],
)
def test_upsample_is_linear_interpolation_along_each_axis(shape, factor):
    x = np.random.default_rng(0).normal(size=shape) * 10
    expected = enlarge(enlarge(x, 1, factor), 2, factor)
    enlarged = upsample(jnp.asarray(x, jnp.float32), factor)
    assert enlarged.dtype == jnp.float32
    np.testing.assert_allclose(enlarged, expected, atol=1e-5)


def test_upsample_agrees_with_scipy_zoom():
    # `zoom` aligns the corners unless grid_mode is set.
    x = np.random.default_rng(1).normal(size=(12, 10))
    expected = scipy.ndimage.zoom(x, 4, order=1)
    enlarged = upsample(jnp.asarray(x, jnp.float32)[None, :, :, None])[0, :, :, 0]
    np.testing.assert_allclose(enlarged, expected, atol=1e-5)


def test_upsample_takes_bfloat16_and_keeps_its_precision_from_there():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(1, 8, 8, 4)), jnp.bfloat16)
    expected = enlarge(enlarge(np.asarray(x, np.float64), 1, 4), 2, 4)
    np.testing.assert_allclose(upsample(x), expected, atol=1e-5)


def test_upsample_adjoint_spreads_a_gradient_of_one_over_all_outputs():
    # Weights of every output sum to one, so the gradient of the sum sums to the number of outputs.
    gradient = jax.grad(lambda x: jnp.sum(upsample(x)))(jnp.zeros((1, 6, 5, 2)))
    np.testing.assert_allclose(jnp.sum(gradient, (0, 1, 2)), [480, 480], rtol=1e-5)


def test_half_pixel_is_what_jax_and_todays_pytorch_do():
    x = jnp.asarray(np.random.default_rng(3).normal(size=(1, 6, 5, 2)), jnp.float32)
    expected = jax.image.resize(x, (1, 24, 20, 2), "bilinear")
    np.testing.assert_allclose(upsample(x, 4, "half_pixel"), expected, atol=1e-6)


def test_asymmetric_repeats_the_last_sample():
    """TensorFlow 1's `resize_images`: output i is at i / 4, and nothing lies beyond the last."""
    x = jnp.array([0.0, 1, 3]).reshape(1, 3, 1, 1)
    expected = [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3, 3, 3]
    np.testing.assert_allclose(upsample(x, 4, "asymmetric")[0, :, 0, 0], expected, atol=1e-6)
