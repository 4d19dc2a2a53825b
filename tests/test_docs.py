"""Run the code of the pages on fewer steps; check that the reference has every public name and that the site builds."""

import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pretrained.tiny import publish
from test_api import MODULES, public

import jaxmeta as jm
from jaxmeta.cli import COMMANDS, main
from jaxmeta.cli._completion import table

ROOT = Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT / "docs").as_posix(): path.read_text() for path in (ROOT / "docs").rglob("*.md")}
WAY = PAGES["explanation/way_of_a_batch.md"]
FENCE = re.compile(r"(?:^`(\w+\.py)`:\n\n)?^```python\n(.*?)^```", re.S | re.M)  # a block, and the file that it is
BLOCKS = {name: FENCE.findall(text) for name, text in PAGES.items()}
NAMED = re.findall(r"^::: jaxmeta\.(\S+)$", "\n".join(PAGES.values()), re.M)
SMALLER = [
    (r"\b(num_steps|num_tasks|eval_every|eval_tasks|every|log_every)=[\d_]{2,}", r"\1=4"),
    (r"\btasks_per_step=\d+", "tasks_per_step=4"),
    (r"\b(features|num_queries|horizon|num_episodes)=\d{2,}", r"\1=8"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with six classes of pictures and a tiny sentence encoder in it."""
    noise = np.random.default_rng(0)
    for i in range(6):
        (tmp_path / f"photos/kind{i}").mkdir(parents=True)
        for k in range(16):
            pixels = noise.integers(0, 60, (40, 40, 3)) + 30 * i
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"photos/kind{i}/{k}.png")
    publish(tmp_path / "all-MiniLM-L6-v2", tokenizer=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


LONG = {
    "tutorials/first_learner.md",
    "howto/algorithm.md",
    "howto/memory.md",
    "howto/migration.md",
    "howto/recommendation.md",
}  # they compile much


@pytest.mark.parametrize(
    "page", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in BLOCKS if BLOCKS[name]]
)
@pytest.mark.usefixtures("folder")
def test_the_code_of_a_page_runs_in_order(page):
    names: dict = {"__name__": "page"}
    for number, (file, block) in enumerate(BLOCKS[page], 1):
        for pattern, small in SMALLER:
            block = re.sub(pattern, small, block)
        if file:
            Path(file).write_text(block)
        exec(compile(block, f"{page}, block {number}", "exec"), names)
    for test in [value for name, value in names.items() if name.startswith("test_")]:  # as pytest would
        test()


def home(name: str) -> str:
    """Return an object's name in the module that defines it: ``rows.take_rows`` for ``learner.take_rows``."""
    module, _, attribute = name.rpartition(".")
    value = getattr(import_module(f"jaxmeta.{module}" if module else "jaxmeta"), attribute)
    return f"{getattr(value, '__module__', '')}.{attribute}".removeprefix("jaxmeta.")


def test_the_reference_has_every_public_name_once():
    names = {parameter.id.removeprefix("jaxmeta.") for parameter in public()}
    names |= {f"{name}.{n}" for name in MODULES for n in getattr(import_module(f"jaxmeta.{name}"), "__all__", ())}
    at_the_top = lambda name: (
        name.split(".")[-1] in jm.__all__ and name.split(".")[0] in ("algorithms", "learner", "models", "estimator")
    )
    names = {name.split(".")[-1] if at_the_top(name) else name for name in names} | set(jm.__all__)
    missing = {name for name in names if not {name, home(name)} & {*NAMED, *MODULES}}
    assert not missing, f"no page of docs/reference says `::: jaxmeta.{sorted(missing)[0]}`: {sorted(missing)}"
    assert len(NAMED) == len(set(NAMED))


@pytest.mark.parametrize("name", jm.recipes.RECIPES)
def test_recipes_are_in_the_reference(name):
    paper = jm.recipes.RECIPES[name].function.__name__  # a row of a table has the paper's
    assert f"recipes.{paper}" in NAMED


def test_links_between_pages_lead_somewhere():
    for page, text in PAGES.items():
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            assert (ROOT / "docs" / page).parent.joinpath(link).exists(), f"{page} links to {link}"


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text()
    assert [page for page in PAGES if f": {page}\n" not in nav] == []


def commands():
    for page, text in PAGES.items():
        for line in re.findall(rf"^    (?:srun .*?)?(jaxmeta (?:{'|'.join(COMMANDS)}) .*)$", text, re.M):
            yield pytest.param(line.split("  #")[0].strip(), id=f"{page}: {line[:40]}")


@pytest.mark.parametrize("command", list(commands()))
def test_commands_name_what_there_is(command, capsys):
    """Recipes and flags of the commands on the pages; nothing is run."""
    words = command.split()
    flags = {word.split("=")[0] for word in words[1:] if word.startswith("--")}
    resumed = ["--resume", "RUN"] if "--resume" in flags else []
    again = "--again" in flags
    named = words[1] in ("train", "plan", "data") and not (resumed or again) and words[2:3] != ["--help"]
    recipe = words[2:3] if named else []  # or, of data, what is done
    assert main([words[1], *recipe, *resumed, "--help"]) == 0
    shown = capsys.readouterr().out
    if again:  # its further flags are those of some recipe
        shown = {"--again", *(flag for (command, *_), known in table().items() if command == "train" for flag in known)}
    assert [flag for flag in flags if flag not in shown] == []


def test_every_table_of_results_is_on_a_page():
    shown = set(re.findall(r"<!-- results: (\w+) -->", "\n".join(PAGES.values())))
    spec = spec_from_file_location("_results", ROOT / "docs/_results.py")
    assert spec and spec.loader
    results = module_from_spec(spec)
    spec.loader.exec_module(results)
    assert shown == set(results.TABLES)
    for name in shown:
        rows = [line for line in results.table(name).splitlines() if line.startswith("|")]
        assert len(rows) > 2 and len({line.count(" | ") for line in (rows[0], *rows[2:])}) == 1


@pytest.mark.skipif(
    find_spec("mkdocs") is None, reason='the site is not built: `pip install "jaxmeta[docs]"` is missing'
)
@pytest.mark.slow  # `.ci/run` builds it too
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "reference/algorithms.html").read_text()
    assert "<math" in page and 'id="jaxmeta.maml"' in page and "fonts.googleapis" not in page
    assert "98.1 ± 0.4" in (tmp_path / "results/accuracy.html").read_text()  # a table of benchmarks/results
    fetched = r"""<(?:script|link|img|iframe)[^>]*(?:src|href)="https?://"""
    assert not [page.name for page in tmp_path.rglob("*.html") if re.search(fetched, page.read_text())]


def test_the_way_of_a_batch_names_files_that_exist_once():
    files = re.findall(r"`([\w/]+(?:\.py)?)`", "\n".join(re.findall(r"^\| \d+ \| ([^|]+) \|", WAY, re.M)))
    assert len(files) > 20 and len(files) == len(set(files))
    package = ROOT / "jaxmeta"
    assert [file for file in files if not ((package / file).exists() or (package / f"{file}.py").exists())] == []
