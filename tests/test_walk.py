"""Run a newcomer's commands as written, on photographs of groceries: the README's and the tutorial's."""

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ZIP = ROOT.parent / "shared" / "data" / "grocery" / "grocery84_jpeg.zip"
README = (ROOT / "README.md").read_text().partition("\n## Install and train\n")[2].partition("\n## ")[0]
TUTORIAL = (ROOT / "docs/tutorials/photographs.md").read_text()
pytestmark = pytest.mark.skipif(not ZIP.is_file(), reason=f"needs the photographs of Grocery, {ZIP}")


def command(page: str, start: str) -> str:
    """Return the first command of a page that begins so, without its comment."""
    commands = re.findall(r"^    (jaxmeta .*)$", page, re.M)
    return next(line for line in commands if line.startswith(start)).partition("  #")[0].strip()


def sh(folder: Path, line: str) -> str:
    """Run a command line with the `jaxmeta` of this environment and return its output.

    It runs as a user's would: without the tests' XLA flags, which save compilation and make training 30 times slower.
    """
    words = [sys.executable, "-m", *shlex.split(line)]
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def photographs(folder: Path, part: str, kinds: list[str], first: int, number: int) -> None:
    """Write ``folder/part/<kind>/*.jpg`` from the zip; a kind is everything below it there."""
    with zipfile.ZipFile(ZIP) as archive:
        for kind in kinds:
            names = sorted(n for n in archive.namelist() if f"/{kind}/" in n and n.endswith(".jpg"))
            (folder / part / Path(kind).name).mkdir(parents=True)
            for name in names[first : first + number]:
                (folder / part / Path(kind).name / Path(name).name).write_bytes(archive.read(name))


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a user's photographs: three of each of four kinds to learn from, six to recognise."""
    kinds = ["Fruit/Banana", "Fruit/Kiwi", "Vegetables/Carrots", "Vegetables/Cucumber"]
    photographs(tmp_path, "few", kinds, 0, 3)
    photographs(tmp_path, "more", kinds, 3, 6)
    return tmp_path


@pytest.mark.slow
def test_install_and_train(folder):
    """Run `jaxmeta train` as it is, then the README's commands for its run."""
    assert "nearest neighbour on pixels" in sh(folder, command(README, "jaxmeta train"))
    assert "1,000 held-out tasks" in sh(folder, command(README, "jaxmeta evaluate"))
    said = sh(folder, command(README, "jaxmeta adapt"))
    assert "precision" in said and "Banana" in said and (folder / "predictions-1.csv").is_file()
    assert "<script" not in (folder / "runs" / "glyphs_maml-1" / "report.html").read_text()


@pytest.mark.slow
def test_ones_own_photographs(folder):
    """Train on photographs of other kinds, adapt, and continue in Python; training has a few steps."""
    photographs(
        folder, "photos/train", [f"Fruit/{kind}" for kind in ("Apple", "Lemon", "Melon", "Plum", "Mango")], 0, 20
    )
    photographs(
        folder, "photos/test", [f"Fruit/{kind}" for kind in ("Lime", "Orange", "Pear", "Peach", "Papaya")], 0, 20
    )
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for file in sorted((folder / "photos").rglob("*.jpg")):
            archive.write(file, file.relative_to(folder / "photos"))
    assert "0 problems" in sh(folder, command(TUTORIAL, "jaxmeta data check"))
    small = " --num-steps 4 --features 8 --num-queries 2 --test-tasks 4 --size 32"
    sh(folder, command(TUTORIAL, "jaxmeta train photographs") + small)
    assert "precision" in sh(folder, command(TUTORIAL, "jaxmeta adapt"))
    sh_python(folder, re.findall(r"^    (classifier.*)$", TUTORIAL, re.M))


def sh_python(folder: Path, lines: list[str]) -> None:
    """Run the tutorial's lines of Python on the photographs of `few` and `more`."""
    before = """if True:
        import numpy, jaxmeta as jm
        few, more = (jm.datasets.from_folder(part, size=32) for part in ("few", "more"))
        images, labels, others = few.x, numpy.repeat(few.names, few.count), more.x
    """
    code = "\n".join([before.replace("        ", "    "), *lines])
    code += "\nassert jm.FewShotClassifier.load('classifier').predict(others).shape == (24,)\n"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_notebook_on_ones_own_images(folder):
    text = (ROOT / "notebooks" / "your_own_images.py").read_text()
    assert 'FOLDER, RUN = "photos", None' in text
    text = text.replace('FOLDER, RUN = "photos", None', 'FOLDER, RUN = "more", None')
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", text], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "by chance 0.250" in done.stdout, done.stderr
