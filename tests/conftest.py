"""Settings for all tests: no silent rank promotion, and shared expensive objects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

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


@pytest.fixture(scope="module")
def quick_to_compile(tmp_path_factory):
    """Equal programs are compiled once, and with little optimisation."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    _set_compiler(optimise_little=True, cache=folder, cache_above_s=0.2)
    yield
    _set_compiler(optimise_little=False, cache=None, cache_above_s=1.0)


def _set_compiler(*, optimise_little: bool, cache: str | None, cache_above_s: float) -> None:
    jax.config.update("jax_disable_most_optimizations", optimise_little)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", cache_above_s)
    compilation_cache.reset_cache()  # JAX looks at the folder once, at the first compilation


@pytest.fixture(scope="session")
def bfm(tmp_path_factory) -> Path:
    """A folder with a made-up face model in 3DDFA's layout."""
    from basel_folder import write_basel

    return write_basel(tmp_path_factory.mktemp("bfm"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """A made-up 300W-LP, prepared."""
    from fitted_files import write_300w_lp

    from vrn_jax.data.builders import prepare_300w_lp

    folder = tmp_path_factory.mktemp("data")
    prepare_300w_lp(write_300w_lp(folder / "in"), folder / "lp").write()
    return folder / "lp"
