"""What all tests share: strictness, two CPU devices, float64 on request, real data where it is present."""

import os
from itertools import count
from pathlib import Path

# Tests compile much and compute little.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

SHARED_DATA = Path(__file__).resolve().parents[1] / "shared" / "data"


MODULES = count(1)


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """XLA crashed in a worker that kept thousands of programs, which take gigabytes; common ones stay a while."""
    yield
    if next(MODULES) % 3 == 0:
        jax.clear_caches()


@pytest.fixture
def x64():
    """float64 within one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """Compiled programs are shared between the runs of a file's tests, and left nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXMETA_CACHE", str(tmp_path_factory.mktemp("cache")))
        before = jax.config.jax_compilation_cache_dir
        yield
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def omniglot_dir() -> Path:
    """The folder of the real Omniglot zips; skips, saying why, where it is not there."""
    path = SHARED_DATA / "omniglot"
    if not (path / "images_background.zip").exists():
        pytest.skip("the real Omniglot zips are not there: expected shared/data/omniglot beside the repository")
    return path
