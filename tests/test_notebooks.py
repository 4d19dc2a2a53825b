"""Notebooks run on tiny settings, through their first cells' constants; an .ipynb holds the same cells as its .py."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))
TINY = {
    "NUM_STEPS": 4, "NUM_TASKS": 4, "TASKS_PER_STEP": 2, "CHECK_STEPS": 100, "LENGTHS": (2, 4), "NUM_UPDATES": 3,
    "SIZE": 16, "NUM_SHOTS": 2,
}  # fmt: skip


def cells(text: str) -> list[str]:
    """The code cells of a notebook in the percent format."""
    parts = re.split(r"^# %%(.*)$", text, flags=re.M)
    return [body for kind, body in zip(parts[1::2], parts[2::2], strict=True) if "[markdown]" not in kind]


def tiny(first: str, own: dict) -> str:
    """The first cell, followed by small values for the constants that it sets."""
    sets = lambda name: re.search(rf"^(?:\w+, )*{name}\b(?:, \w+)* = ", first, re.M)
    return "\n".join([first, *(f"{name} = {value!r}" for name, value in (TINY | own).items() if sets(name))])


@pytest.fixture
def pictures(tmp_path):
    """Four classes of six pictures, told apart by their colour."""
    noise = np.random.default_rng(0)
    for i in range(4):
        (tmp_path / f"kind{i}").mkdir()
        for k in range(6):
            pixels = noise.integers(0, 60, (16, 20, 3)) + 60 * i
            Image.fromarray(np.minimum(pixels, 255).astype(np.uint8)).save(tmp_path / f"kind{i}/{k}.png")
    return tmp_path


@pytest.fixture
def settings(request, path):
    """What a notebook needs that a test has elsewhere."""
    if path.stem == "omniglot":
        return {"DATA_DIR": str(request.getfixturevalue("omniglot_dir"))}
    if path.stem == "your_own_images":
        return {"FOLDER": str(request.getfixturevalue("pictures"))}
    return {}


QUICK = {"maml_by_hand", "your_own_images"}


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=[] if p.stem in QUICK else [pytest.mark.slow]) for p in NOTEBOOKS]
)
def test_it_runs(path, settings):
    first, *rest = cells(path.read_text())
    assert re.search(r"^[A-Z_]+(, [A-Z_]+)* = ", first, re.M), "its first cell sets what the test makes small"
    names: dict = {"__name__": "__main__"}
    for number, cell in enumerate([tiny(first, settings), *rest], 1):
        exec(compile(cell, f"{path.name}, code cell {number}", "exec"), names)


def test_your_own_images_with_a_run_folder(pictures, tmp_path_factory):
    """The notebook as it is meant: with what a run has learned, here before its first step."""
    import jax

    import jaxmeta as jm
    from jaxmeta.runs import Config, write_config

    run = tmp_path_factory.mktemp("run")
    task = jm.Task(*(jm.Batch(np.zeros((4, 16, 16, 3), np.float32), np.arange(4), ways=np.ones(4, bool)),) * 2)
    learner = jm.protonet(jm.from_linen(jm.backbones.Conv4(features=4, pool="max"), norm="running"))
    write_config(run, Config("photographs", {"features": 4, "size": 16}, 0, task=jax.eval_shape(lambda: task)))
    jm.checkpoint.save(run / "params", learner.init(jax.random.key(0), task))
    path = next(path for path in NOTEBOOKS if path.stem == "your_own_images")
    first, *rest = cells(path.read_text())
    code = [tiny(first, {"FOLDER": str(pictures), "RUN": str(run), "SIZE": 16}), *rest]
    exec(compile("\n".join(code), path.name, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_pair_agrees(path):
    kept = json.loads(path.with_suffix(".ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in kept if cell["cell_type"] == "code"]
    commented = [re.sub(r"^%", "# %", source, flags=re.M).strip() for source in code]
    assert code and commented == [cell.strip() for cell in cells(path.read_text())]
    parts = re.split(r"^# %%(.*)$", path.read_text(), flags=re.M)
    prose = [body for kind, body in zip(parts[1::2], parts[2::2], strict=True) if "[markdown]" in kind]
    shown = [re.sub(r"^# ?", "", body.strip(), flags=re.M) for body in prose]
    assert shown == ["".join(cell["source"]) for cell in kept if cell["cell_type"] == "markdown"]
