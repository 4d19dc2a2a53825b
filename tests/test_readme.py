"""The README's code runs as written, on fewer steps; what needs files of one's own is given small ones."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxmeta as jm

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_blocks_in_order(capsys):
    """The library example, adapting to one's own task, and a network of one's own."""
    names: dict = {}
    for block in BLOCKS[:3]:
        exec(block.replace("num_steps=2_000", "num_steps=20").replace("num_tasks=600", "num_tasks=60"), names)
    assert "mse" in capsys.readouterr().out
    assert names["outputs"].shape == (1, 1)
    assert isinstance(names["model"], jm.Model)


def test_scaling_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(BLOCKS[0].replace("num_steps=2_000", "num_steps=4").replace("num_tasks=600", "num_tasks=4"), names)
    exec(BLOCKS[4].replace("num_steps=2_000", "num_steps=20"), names)
    assert int(names["state"].step) == 20 and names["keeper"].steps() == [20]


def test_class_sets_that_do_not_fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.zeros((240, 28, 28, 1), np.uint8).tofile("images.u8")
    names = {"jm": jm, "numpy": np}
    exec(BLOCKS[5], names)
    import jax

    assert names["sampler"](jax.random.key(0)).query.x.shape == (75, 28, 28, 1)


def test_ones_own_data(tmp_path):
    """The folder of the README becomes a sampler; from_tfds and omniglot have tests of their own."""
    for i in range(6):
        for k in range(16):
            (tmp_path / f"photos/c{i}").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (90, 84), (i * 40, k * 10, 0)).save(tmp_path / f"photos/c{i}/{k}.jpg")
    line = next(line for line in BLOCKS[3].splitlines() if "from_folder" in line)
    names = {"jm": jm}
    exec(line.replace('"photos"', repr(str(tmp_path / "photos"))), names)
    exec(BLOCKS[3].splitlines()[-1], names)
    import jax

    task = names["sampler"](jax.random.key(0))
    assert task.support.x.shape == (5, 84, 84, 3) and task.query.x.shape == (75, 84, 84, 3)
    assert float(np.max(task.query.x)) <= 1.0


@pytest.mark.parametrize("name", jm.algorithms.__all__)
def test_the_table_has_every_algorithm(name):
    assert f"`{name}`" in README
