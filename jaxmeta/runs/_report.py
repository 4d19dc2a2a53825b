"""``report.html``: a run on one page, whole in itself, to look at, keep and pass on."""

import json
import platform
import shlex
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from ..storage import write_bytes
from . import _folder, _html
from ._config import command
from ._json import plain
from ._records import Record, clean, read_record, value

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "matplotlib")
PICTURES = {  # file: alternative text, caption
    _folder.LEARNING: (
        "Line chart of training metrics against meta-steps",
        "Learning curve: training tasks, and validation tasks with 95 % intervals where the run has them.",
    ),
    _folder.ADAPTATION: (
        "Line chart of held-out metrics against inner steps",
        "Adaptation: the trained learner on held-out tasks after more and more inner steps, with 95 % intervals.",
    ),
    _folder.EPISODES: (
        "Support and query images of four held-out tasks with predicted labels",
        "Four held-out tasks: support images, then queries with what was predicted, wrong ones with the true label.",
    ),
    _folder.RELIABILITY: (
        "Reliability diagram: accuracy against confidence on held-out tasks",
        "Calibration on held-out tasks: how often the learner is right when it is so sure, all queries together.",
    ),
    _folder.FITS: (
        "Fitted curves of four held-out functions before and after adaptation",
        "Four held-out functions: what the learner believes before and after it has adapted to the support points.",
    ),
    _folder.CONFUSION: (
        "Confusion matrix of one held-out task",
        "One larger held-out task: rows are true classes, columns what was predicted; colours are shares of a row.",
    ),
    _folder.EMBEDDING: (
        "Scatter plot of embedded queries and class prototypes of one held-out task",
        "The same task in the learned space, on its two principal components; stars are the classes' prototypes.",
    ),
}


def write_report(folder: Path, results: dict[str, Any] | None = None) -> None:
    """Write the page from the files of a run folder; ``results`` replaces those of ``results.json``."""
    record = read_record(folder)
    record = record if results is None else record._replace(results=plain(results))
    write_bytes(folder / _folder.REPORT, report(record).encode("utf-8", "replace"))


def report(record: Record) -> str:
    """The page of a run."""
    recipe = clean(record.config.get("recipe", "a run"))
    shown = [_html.picture(record.folder / name, *texts) for name, texts in PICTURES.items()]
    sections = [
        ("results", "Results", _results(record)),
        ("pictures", "Pictures", "\n".join(filter(None, shown))),
        ("configuration", "Configuration", _configuration(record)),
        ("environment", "Environment", _html.table("What computed it", ("", "version or kind"), _environment())),
        ("further", "How to go on", _html.commands(_commands(record))),
    ]
    sections = [entry for entry in sections if entry[2]]
    head = [f"<header>\n<h1>{_html.escape(recipe)}</h1>", _html.paragraph(_about(record), "about"), "</header>"]
    links = _html.contents((name, title) for name, title, _ in sections)
    return _html.page(f"{recipe}: jaxmeta run", [*head, links, *(_html.section(*entry) for entry in sections)])


def _about(record: Record) -> str:
    made, wanted = record.steps
    seconds = record.timing[-1].get("seconds", 0.0) if record.timing else 0.0
    time = f", {seconds / 60:,.1f} minutes of training" if seconds >= 60 else f", {seconds:,.0f} s of training"
    return f"{record.status}: {made:,} of {wanted:,} meta-steps{time}, seed {clean(record.config.get('seed', '?'))}"


def _results(record: Record) -> str:
    rows = record.results_rows()
    published, message = (clean(record.results.get(name) or "") for name in ("published", "message"))
    parts = [_html.paragraph(message)]
    if rows:
        tasks = f"{rows[0]['num_tasks']:,} held-out tasks" if isinstance(rows[0].get("num_tasks"), int) else "held out"
        cells = [(clean(row["name"]), clean(row["metric"]), value(row).replace(" ", "\u00a0")) for row in rows]
        parts.append(_html.table(f"{tasks}: mean ± 95 % interval", ("learner", "metric", "mean ± 95 %"), cells))
        if any(row["transductive"] for row in rows):
            parts.append(_html.paragraph("* the queries of a task see each other (batch statistics)", "about"))
    elif not message:
        parts.append(_html.paragraph("Not measured: training has not come to its end."))
    return "\n".join(filter(None, [*parts, _html.paragraph(published and f"Published: {published}")]))


def _configuration(record: Record) -> str:
    config = record.config
    arguments, compute = (config.get(name) for name in ("arguments", "compute"))
    rows = [("seed", config.get("seed", "?"))]
    for part in (arguments, compute):
        rows += part.items() if isinstance(part, dict) else ()
    return _html.table("What the run was asked to do", ("argument", "value"), [(clean(a), clean(v)) for a, v in rows])


def _environment() -> list[tuple[str, str]]:
    from jaxmeta import __version__

    devices = jax.devices()
    return [
        ("jaxmeta", __version__),
        *((name, _version(name)) for name in PACKAGES),
        ("Python", platform.python_version()),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("devices", f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform})"),
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"


def _commands(record: Record) -> Iterable[tuple[str, str]]:
    run, recipe = shlex.quote(clean(record.folder)), record.config.get("recipe")
    made, wanted = record.steps
    going_on = record.status != "finished" or made < wanted
    if isinstance(recipe, str):
        recipe = clean(recipe)
        if going_on:
            yield "go on where it ended", command(f"jaxmeta train --resume {run}", recipe)
        yield "measure again, on more tasks", command(f"jaxmeta evaluate {run}", recipe, "--num-tasks 10000")
        yield "the same with another seed", " ".join(["jaxmeta train", shlex.quote(recipe), *_flags(record)])
    else:  # an experiment of one's own in Python
        folder = json.dumps(clean(record.folder))
        if going_on:
            yield "go on where it ended, in Python", f"jm.runs.resume({folder}, experiment)"
        yield "its parameters, in Python", f"jm.runs.load({folder}, learner=experiment.learner).meta"
    yield "beside other runs", f"jaxmeta compare {run} OTHER_RUN --out compare.png"


def _flags(record: Record) -> Iterable[str]:
    """The arguments that are not the recipe's own, as flags, and the next seed."""
    from jaxmeta.arguments import defaults
    from jaxmeta.recipes import RECIPES

    recipe = RECIPES.get(str(record.config.get("recipe")))
    usual = defaults(recipe) if recipe else {}
    arguments, seed = record.config.get("arguments"), record.config.get("seed")
    for name, given in arguments.items() if isinstance(arguments, dict) else ():
        if given is None or (name in usual and usual[name] == given):
            continue
        flag = clean(name).replace("_", "-")
        if isinstance(given, bool):
            yield shlex.quote(f"--{flag}" if given else f"--no-{flag}")
        else:
            yield f"{shlex.quote(f'--{flag}')} {shlex.quote(clean(given))}"
    yield f"--seed {seed + 1 if isinstance(seed, int) else 1}"
