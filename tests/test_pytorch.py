"""Our networks beside the same graph in PyTorch. Skipped without torch (the `torch` extra)."""

import jax
import numpy as np
import pytest
from test_models import SMALL, random_variables

from vrn_jax.interop.mapping import layer_tensors
from vrn_jax.models.vrn import VRN

torch = pytest.importorskip("torch")


def test_both_compute_the_same():
    from vrn_jax.interop.pytorch import torch_vrn

    variables = random_variables(SMALL)
    image = np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype(np.float32)
    theirs = torch_vrn(layer_tensors(variables), SMALL.stacks)
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2))).numpy()
    ours = jax.jit(VRN(SMALL).apply)(variables, jax.numpy.asarray(image)).volume
    np.testing.assert_allclose(ours, expected.transpose(0, 2, 3, 1), rtol=1e-3, atol=1e-3)
