"""The page on contributing, followed to the letter in a copy of the package: a data set and a recipe."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/howto/contribute.md").read_text()
KINDS = "circle cross line ring square star arc dot hook spiral".split()


def blocks() -> list[str]:
    return re.findall(r"```(?:text|toml)\n(.*?)```", PAGE, re.S)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path}: {old!r}"
    path.write_text(text.replace(old, new))


def test_each_file_is_short():
    data, _, recipe, _ = blocks()
    assert max(len(data.splitlines()), len(recipe.splitlines())) <= 40


@pytest.mark.slow
def test_a_data_set_and_a_recipe_as_the_page_has_them(tmp_path):
    package = tmp_path / "jaxmeta"
    shutil.copytree(ROOT / "jaxmeta", package, ignore=shutil.ignore_patterns("__pycache__"))
    data, data_row, recipe, rows = blocks()
    (package / "datasets/_shapes.py").write_text(data)
    imported = re.search(r"`(from \._shapes import .*?)`", PAGE)[1]
    registry = package / "datasets/_registry.py"
    edit(registry, "from ._tfds import", f"{imported}\nfrom ._tfds import")
    edit(registry, "    **{name: DataSet(partial", f"{data_row}    **{{name: DataSet(partial")
    exported = package / "datasets/__init__.py"
    edit(exported, "from ._tfds import", "from ._shapes import shapes as shapes\nfrom ._tfds import")
    edit(exported, "__all__ = [", '__all__ = ["shapes",')
    (package / "recipes/_shapes_protonet.py").write_text(recipe)
    edit(
        package / "recipes/__init__.py",
        "_RECIPES = (",
        "from ._shapes_protonet import shapes_protonet\n_RECIPES = (shapes_protonet,",
    )
    with open(package / "recipes/tables.toml", "a") as file:
        file.write("\n" + rows)
    noise = np.random.default_rng(0)
    for i, kind in enumerate(KINDS):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for k in range(20):
            pixels = np.uint8(20 * i + noise.integers(0, 20, (28, 28)))
            Image.fromarray(pixels).save(tmp_path / "data" / kind / f"{k}.png")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "JAXMETA_CACHE": str(tmp_path / "cache")}
    run = lambda *words: subprocess.run(
        [sys.executable, "-m", "jaxmeta", *words], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    small = ["--num-steps", "3", "--test-tasks", "8"]
    done = run("reproduce", "shapes_protonet", "--only", "*_2w1s", "--data-dir", "data", *small)
    assert done.returncode == 0 and "91.2 ± 0.4 %" in done.stdout, done.stdout + done.stderr
    done = run("train", "shapes_protonet_2w5s", "--help")
    assert "Published: 96.0 ± 0.2 %" in done.stdout and "folder or zip of the class folders" in done.stdout
    assert "shapes" in run("list", "datasets").stdout
