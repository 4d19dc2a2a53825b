"""The wheel runs the main job on every Python that is installed. These tests install packages from an index."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLAIMED = ("3.11", "3.12", "3.13")  # pyproject.toml's classifiers


def interpreter(version: str) -> str | None:
    """Return the path of a Python of this version: the running one, pyenv's, or one on the path."""
    if sys.version.startswith(f"{version}."):
        return sys.executable
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("build") is None:
        pytest.skip('no wheel is built: `pip install "jaxmeta[test]"` is missing')
    dist = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT)], check=True, capture_output=True)
    subprocess.run([sys.executable, str(ROOT / ".ci/check_dist.py"), str(dist)], check=True)
    return next(dist.glob("*.whl"))


def test_the_claims_agree():
    text = (ROOT / "pyproject.toml").read_text()
    assert [version for version in CLAIMED if f'"Programming Language :: Python :: {version}"' not in text] == []
    oldest = [line for line in (ROOT / ".ci/oldest.txt").read_text().splitlines() if "==" in line]
    for name, version in (line.split("==") for line in oldest):
        bound = next(line for line in text.splitlines() if line.strip().startswith(f'"{name}>='))
        assert f"{version}.".startswith(f"{bound.split('>=')[1].split(chr(34))[0]}."), f"{name} {version}: {bound}"


@pytest.mark.slow
@pytest.mark.parametrize("version", CLAIMED)
def test_the_main_job_runs_from_the_wheel(version, wheel):
    python = interpreter(version)
    if python is None or subprocess.run([python, "-c", ""]).returncode:
        pytest.skip(f"Python {version} is not installed")
    done = subprocess.run([ROOT / ".ci/try_wheel", python, wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "accuracy" in done.stdout
