"""Set up all tests: strictness, two CPU devices, shared compiled programs, float64 on request, real data if present."""

import atexit
import os
import shutil
import tempfile
from collections import Counter
from importlib.metadata import version
from itertools import count
from pathlib import Path

# Tests compile much and compute little.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
if version("jaxlib") < "0.11":  # an unknown flag is fatal, and a later XLA may not know this one
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"  # twice as fast to compile
# Both workers, and the commands that tests start, share compiled programs through a folder of this session.
if "PYTEST_XDIST_WORKER" not in os.environ:  # its workers inherit this
    os.environ["JAXMETA_CACHE"] = tempfile.mkdtemp(prefix="jaxmeta-tests-")  # images are decoded once
    atexit.register(shutil.rmtree, os.environ["JAXMETA_CACHE"], ignore_errors=True)
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxmeta-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_default_device", jax.devices()[0])  # `mesh="auto"` stays on it
jax.config.update("jax_numpy_rank_promotion", "raise")

QUICK_CASES = 2  # of a parametrised test, and 1 of a heavy one; `pytest -m slow` runs the others

SHARED_DATA = Path(__file__).resolve().parents[1] / "shared" / "data"


MODULES = count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave all but the first cases of a parametrised test to the slow tier."""
    cases = Counter()
    for item in items:
        function, is_case, _ = item.nodeid.partition("[")
        if is_case and item.get_closest_marker("slow") is None:
            cases[function] += 1
            if cases[function] > (QUICK_CASES if item.get_closest_marker("heavy") is None else 1):
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Clear compiled programs after every third file: thousands of them take gigabytes, and XLA has crashed."""
    yield
    if next(MODULES) % 3 == 0:
        jax.clear_caches()


@pytest.fixture
def x64():
    """Use float64 within one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def omniglot_dir() -> Path:
    """Return the folder of the real Omniglot zips, or skip the test."""
    path = SHARED_DATA / "omniglot"
    if not (path / "images_background.zip").exists():
        pytest.skip("the real Omniglot zips are not there: expected shared/data/omniglot beside the repository")
    return path


@pytest.fixture
def intents_dir() -> Path:
    """Return the folder that holds `clinc150` and `banking77`, or skip the test."""
    if not (SHARED_DATA / "clinc150" / "data_full.json").exists():
        pytest.skip("CLINC150 and BANKING77 are not there: expected shared/data/clinc150 beside the repository")
    return SHARED_DATA
