"""The README's code runs as written, on fewer steps; it is short, and what it shows is there."""

import re
from pathlib import Path

import pytest

import jaxmeta as jm

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_as_a_library(capsys):
    names: dict = {}
    exec(BLOCKS[0].replace("num_steps=2_000", "num_steps=20").replace("num_tasks=600", "num_tasks=60"), names)
    assert "mse" in capsys.readouterr().out
    assert names["outputs"].shape == (1, 1)


def test_as_scikit_learn():
    names: dict = {"jm": jm}
    exec(BLOCKS[1], names)
    assert list(names["classifier"].classes_) == ["bird", "cat", "dog"]


def test_it_takes_two_minutes():
    assert len(README.splitlines()) < 150
    assert len(BLOCKS) == 2 and len([line for line in BLOCKS[0].splitlines() if line]) <= 15


def test_links_and_pictures_are_there():
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert len([link for link in links if link.endswith(".png")]) >= 1


@pytest.mark.parametrize("name", jm.algorithms.__all__)
def test_the_table_has_every_algorithm(name):
    assert f"`{name}`" in README and f"| `{name}" in (ROOT / "docs/algorithms.md").read_text()


def test_the_plot_of_the_headline_is_that_of_the_results(tmp_path):
    """Compare sizes only: versions of matplotlib differ by pixels. `python benchmarks/headline.py` draws it again."""
    import runpy

    from PIL import Image

    runpy.run_path(str(ROOT / "benchmarks/headline.py"))["draw"](tmp_path / "headline.png")
    with Image.open(tmp_path / "headline.png") as drawn, Image.open(ROOT / "docs/images/headline.png") as kept:
        assert drawn.size == kept.size
