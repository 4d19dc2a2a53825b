"""The notebooks run from top to bottom, on tiny settings; the .ipynb holds the same cells as its .py pair."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path):
    code = re.sub(r"NUM_STEPS, INNER_LR = \d+", "NUM_STEPS, INNER_LR = 5", path.read_text())
    exec(compile(code, path.name, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_pair_agrees(path):
    cells = json.loads(path.with_suffix(".ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    text = path.read_text()
    assert code and all(source.strip() in text for source in code)
    assert all(not cell.get("outputs") for cell in cells)
