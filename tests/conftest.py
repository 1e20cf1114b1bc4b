"""Settings for all tests: no silent rank promotion, and shared expensive objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import jax
import pytest

if TYPE_CHECKING:
    import vrn_jax

pytest_plugins = ["demo_server", "glb_viewer"]

jax.config.update("jax_numpy_rank_promotion", "raise")

# Compilation makes first examples slow, and a busy machine any; a deadline would only be noise.
hypothesis.settings.register_profile("vrn", deadline=None)
hypothesis.settings.load_profile("vrn")


@pytest.fixture(scope="session")
def reconstructor() -> vrn_jax.Reconstructor:
    """The default weights, compiled once a worker."""
    import vrn_jax

    return vrn_jax.load()


@pytest.fixture(scope="session")
def astronaut():
    """The portrait that ships with scikit-image: uint8 [512 512 3]."""
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture(scope="session")
def astronaut_face(reconstructor, astronaut) -> vrn_jax.Reconstruction:
    return reconstructor(astronaut)[0]


@pytest.fixture(scope="session")
def ball() -> vrn_jax.Mesh:
    from solids import make_ball

    return make_ball()


@pytest.fixture(scope="session")
def textured(ball) -> vrn_jax.Mesh:
    from solids import painted_photo

    from vrn_jax.geometry.texture import texture_from_photo

    return texture_from_photo(ball, painted_photo())
