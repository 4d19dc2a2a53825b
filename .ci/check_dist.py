"""Check what is in the wheel and the sdist of a folder: `python .ci/check_dist.py DIST`."""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "jaxmeta").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}


def wheel_files(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel; RECORD, which lists them, is left out."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


def check(dist: Path) -> None:
    """Fail with an AssertionError that names what is missing, too much, or different."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    files = wheel_files(wheel)
    packed = {name for name in files if name.startswith("jaxmeta/")}
    assert packed == SOURCES, f"wheel and checkout differ in {sorted(packed ^ SOURCES)}"
    for needed in ("jaxmeta/py.typed", "jaxmeta/datasets/omniglot_split.txt", "jaxmeta/datasets/splits/cub.json"):
        assert needed in files, f"the wheel has no {needed}"
    info = {name.split("/", 1)[1] for name in files if ".dist-info/" in name}
    assert info == {"METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE"}, (
        f"the wheel's metadata is {sorted(info)}"
    )
    with tempfile.TemporaryDirectory() as work:
        with tarfile.open(sdist) as archive:
            archive.extractall(work, filter="data")
        (unpacked,) = Path(work).iterdir()
        for needed in ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"):
            assert (unpacked / needed).is_file(), f"the sdist has no {needed}"
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", f"{work}/dist", str(unpacked)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        (again,) = Path(work, "dist").glob("*.whl")
        assert wheel_files(again) == files, "the sdist builds another wheel"
    print(f"{wheel.name} and {sdist.name}: {len(packed)} files of the package, and the same wheel from both")


if __name__ == "__main__":
    check(Path(sys.argv[1]))
