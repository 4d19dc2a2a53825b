"""The tables of docs/results and docs/choosing.md, made from benchmarks/results/*.json when the site is built.

A page says ``<!-- results: NAME -->``; NAME is a function of `TABLES`. Below each table stands what made its figures.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
Json = dict[str, Any]
PUBLISHED = {  # 5-way Omniglot at full length, 1-shot / 5-shot
    "protonet": "98.8 / 99.7",
    "matching": "98.1 / 98.9",
    "relation": "99.6 / 99.8",
    "mann": "82.8 / 94.9",
    "maml": "98.7 / 99.9",
    "fomaml": "98.3 / 99.2",
    "reptile": "97.7 / 99.5",
    "meta_sgd": "99.5 / 99.9",
    "imaml": "99.2 / 99.7",
    "maml_plus_plus": "99.5 / 99.9",
}
VERDICTS = {"overlaps": "overlapping", "reached": "better", "better": "better", "worse": "worse"}


def read(name: str) -> Json:
    """Return the contents of ``benchmarks/results/<name>.json``."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def table(name: str) -> str:
    """Return the table ``name`` as Markdown, followed by the command, hardware, versions and commit of its figures.

    Raises:
      KeyError: if there is no such table, with the names that there are.
    """
    if name not in TABLES:
        raise KeyError(f"there is no table {name!r} of results; there are {', '.join(sorted(TABLES))}")
    make, source = TABLES[name]
    return f"{make(read(source))}\n\n{origin(read(source), source)}"


def origin(result: Json, source: str) -> str:
    """Return one line that says how the figures of a result were made."""
    about = result.get("environment", result)
    if "rows" in result and "runs" in result["rows"][0]:
        about = result["rows"][0]["runs"][0]["about"] | {"command": result["command"]}
    versions = about.get("versions", {"jax": about.get("jax")})
    shown = ", ".join(f"{name} {versions[name]}" for name in ("jax", "torch") if versions.get(name))
    command = f"`{about['command']}`, " if "command" in about else ""
    hardware = about.get("hardware", about.get("cpu"))
    return f"*{command}{hardware}, {shown}, commit {about['commit'][:7]}; `benchmarks/results/{source}.json`*"


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of Markdown.

    Example:
      >>> print(markdown(["a", "b"], [[1, "x"]]))
      | a | b |
      |---|---|
      | 1 | x |
    """
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def percent(mean: float | None, ci95: float | None = None) -> str:
    """Return shares in per cent with one digit, as in ``98.1 ± 0.4``; empty without a value."""
    if mean is None:
        return ""
    return f"{100 * mean:.1f}" + (f" ± {100 * ci95:.1f}" if ci95 is not None else "")


def of(row: Json, name: str, show: Callable[..., str] = percent) -> str:
    return show(row.get(name), row.get(f"{name} ± 95 %"))


def plain(mean: float | None, ci95: float | None = None) -> str:
    return "" if mean is None else f"{mean:.2f}" + (f" ± {ci95:.2f}" if ci95 is not None else "")


def algorithms(result: Json) -> str:
    rows = [
        (f"`{r['item']}`", f"{r['meta-steps']:,}", of(r, "1-shot"), of(r, "5-shot"), "yes" if r["transductive"] else "")
        + (PUBLISHED.get(r["item"], ""),)
        for r in result["rows"]
    ]
    return markdown(["algorithm", "meta-steps", "1-shot", "5-shot", "transductive", "published"], rows)


def elsewhere(result: Json) -> str:
    found = {tuple(row["item"].split("/")): row for row in result["rows"]}
    sources, names = dict.fromkeys(key[0] for key in found), dict.fromkeys(key[1] for key in found)
    rows = [
        [source, target]
        + [" / ".join(percent(found[source, name][f"{target}, {shots} shot"]) for shots in (1, 5)) for name in names]
        for source in sources
        for target in sources
    ]
    return markdown(["trained on", "tested on", *(f"`{name}`" for name in names)], rows)


def regression(kind: str) -> Callable[[Json], str]:
    def make(result: Json) -> str:
        rows = []
        for row in result["rows"]:
            family, name = row["item"].split("/")
            if family != kind:
                continue
            shots = lambda n, row=row: row.get(f"{n} shots") and f"{n} shots" or f"{n} shots, 5 steps"
            if f"{5} shots" not in row and "5 shots, 5 steps" not in row:  # meta_sgd has one step
                shots = lambda n: f"{n} shots, 1 steps"
            cells = [of(row, shots(n), plain) for n in (5, 10, 20)]
            cells += [of(row, f"10 shots, {k} steps", plain) for k in (1, 10)]
            rows.append((f"`{name}`", f"{row['meta-steps']:,}", *cells))
        head = ["algorithm", "meta-steps", "5 shots", "10 shots", "20 shots", "10 shots, 1 step", "10 shots, 10 steps"]
        return markdown(head, rows)

    return make


def reuse(result: Json) -> str:
    found = {row["figure"]: row for row in result["rows"]}
    pairs = [
        ("`adversarial` under an attack that it has not seen", "adversarial robust", "its plain twin", "plain robust"),
        ("`adversarial`, not attacked", "adversarial clean", "its plain twin", "plain clean"),
        ("`bagging` of three", "bagging", "its mean member", "bagging: mean member"),
        ("`boosting` of three", "boosting", "its best member", "boosting: best member"),
        ("`stacking` of protonet, maml and anil", "stacking", "its best member", "stacking: best member"),
        ("`distill`: one network, taught by the ensemble", "distilled student", "its teacher", "teacher"),
        ("`replay`: forgetting after five alphabets", "replay: forgetting", "without memory", "no replay: forgetting"),
    ]  # fmt: skip
    cell = lambda name: percent(found[name]["mean"], found[name]["95 % interval"])
    rows = []
    for title, name, other, beside in pairs:
        difference = f"{name} less {beside}" if name != "replay: forgetting" else f"{beside} less {name}"
        rows.append((title, cell(name), other, cell(beside), cell(difference) if difference in found else ""))
    return markdown(["learner", "%", "beside", "%", "difference, paired by seed"], rows)


def omniglot(result: Json) -> str:
    paper = {"omniglot_maml": "98.7 ± 0.4", "omniglot_protonet": "98.8"}
    rows = [
        (f"`{r['recipe']}`", f"{r['meta-steps']:,}", percent(r["accuracy"], r["95 % interval"]))
        + (next(value for name, value in paper.items() if r["recipe"].startswith(name)),)
        for r in result["rows"]
    ]
    return markdown(["recipe", "meta-steps", "accuracy in 20 minutes", "the paper, at full length"], rows)


def omniglot_rows(result: Json) -> str:
    mark = lambda r: f"`{r['row']}`" + (" \\*" if r["transductive"] else "") + (" †" if "protonet" in r["row"] else "")
    rows = [
        (mark(r), f"{r['runs'][0]['num_steps']:,}", f"{r['published']['value']}")
        + (f"{r['ours']['mean']:.1f} ± {r['ours']['ci95']:.1f}", VERDICTS.get(r["verdict"], r["verdict"]))
        for r in result["rows"]
        if r["runs"][0]["status"] == "finished" and r["ours"]
    ]
    return markdown(["row", "meta-steps", "the paper, %", "ours, %", "ours is"], rows)


def _diverged(rows: list[Json]) -> str:
    shares = [100 * row["diverged at 10"] for row in rows]
    return f"{min(shares):.2f} to {max(shares):.2f} %" if max(shares) else "none"


def sinusoid(result: Json) -> str:
    groups: dict[tuple[float, str], list[Json]] = {}
    for row in result["rows"]:
        groups.setdefault((row["inner rate"], row["initialisation"]), []).append(row)

    def span(rows: list[Json], name: str) -> str:
        values = [row[name] for row in rows if isinstance(row[name], float)]
        if len(values) < len(rows):
            return "not finite"
        low, high = min(values), max(values)
        return f"{low:.3g}" if high - low < 5e-3 else f"{low:.3g} to {high:.3g}"

    rows = [
        (rate, init, *(span(rows, f"{k} steps") for k in (0, 1, 10)), _diverged(rows))
        for (rate, init), rows in groups.items()
    ]
    return markdown(["inner rate", "initialisation", "before", "1 step", "10 steps", "tasks diverged at 10"], rows)


def grocery(result: Json) -> str:
    cell = lambda pair: f"{pair[0]:.1f} ± {pair[1]:.1f}"
    names = ("after adaptation", "random initialisation, after adaptation", "nearest neighbour on pixels")
    rows = [
        (r["backbone"], f"`{r['flags']}`", *(cell(r[name]) for name in names), round(r["minutes of training"]))
        for r in result["rows"]
    ]
    return markdown(["backbone", "flags", "accuracy, %", "untrained", "pixels", "minutes"], rows)


WORKS = {
    "A": "A: Conv4-64 stride 2, 28x28, 1 query, 32 tasks, 1 inner step",
    "B": "B: the same, 15 queries, 5 inner steps",
    "C": "C: Conv4-32 max-pool, 84x84x3, 15 queries, 4 tasks, 5 inner steps",
    "D": "D: ResNet-12, 84x84x3, 4 tasks, 5 steps of the head (ANIL)",
}


def ratios(result: Json) -> str:
    peers = [name for name in result["rows"][0] if name.startswith("/ ")]
    digits = lambda value: f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
    rows = [
        (WORKS[r["work"]], r.get("jaxmeta") or f"{r['seconds']['jaxmeta']:.2f} s", *(digits(r[name]) for name in peers))
        for r in result["rows"]
    ]
    return markdown(["work", "jaxmeta", *(f"ours {name}" for name in peers)], rows)


def memory(result: Json) -> str:
    found = {(r["inner steps"], r["gradient"]): r for r in result["rows"]}
    names = [name for name in dict.fromkeys(key[1] for key in found)]
    cell = lambda r: f"{r['temporary MiB']:,.0f} MiB, {r['time / mixed']:.2f}" if r else ""
    rows = [(k, *(cell(found.get((k, name))) for name in names)) for k in dict.fromkeys(key[0] for key in found)]
    return markdown(["inner steps", *names], rows)


def matmul(result: Json) -> str:
    rows = [
        (r["work"], f"{r['GFLOP/s']:.0f}", f"{100 * r['share']:.0f} % ± {100 * r['spread']:.0f}")
        for r in result["rows"]
    ]
    return markdown(["work", "GFLOP/s in the step's products", "of one large product in the same run"], rows)


def end_to_end(result: Json) -> str:
    seen: dict[str, list[float]] = {}
    for row in result["rows"]:
        seen.setdefault(row["what"], []).append(row["value"])
    show = lambda values: f"{values[0]:.2f}" if len(values) == 1 else f"{min(values):.2f} to {max(values):.2f}"
    return markdown(["measured", "value"], [(what, show(values)) for what, values in seen.items()])


def pod(result: Json) -> str:
    rows = [
        (r["item"], f"{r['state and data MiB']:,.0f}, {r['temporary MiB']:,.0f}", r["collectives"] or "none")
        + (
            "100 %"
            if r["chips"] == 1
            else f"{100 * r['scaling, arithmetic']:.1f} to {100 * r['scaling, traffic']:.1f} %",
        )
        for r in result["rows"]
    ]
    head = [
        "program and chips",
        "MiB a chip: state and data, temporary",
        "communication of a step",
        "predicted efficiency",
    ]
    return markdown(head, rows)


def scaling(result: Json) -> str:
    rows = [
        (r["processes"], r["devices a process"], f"{r['/ one device']:.2f} ({r['from']:.2f} to {r['to']:.2f})")
        for r in result["rows"]
    ]
    return markdown(["processes", "devices of each", "tasks a second / one device (range)"], rows)


def streaming(result: Json) -> str:
    share = lambda r, unit: f"{r[f'share, {unit}']:.2f} ± {r[f'±, {unit}']:.2f}"
    rows = [(r["what"], share(r, "s"), share(r, "core s")) for r in result["rows"] if "share, s" in r]
    return markdown(["data on the host / data on the device", "by time", "by CPU seconds"], rows)


NAMES = {"banking77": "BANKING77", "clinc150": "CLINC150"}


def intents(result: Json) -> str:
    rows = [
        (NAMES[r["data"]], r["method"], *(of(r, f"{shots}-shot") for shots in (1, 5)))
        for r in result["rows"]
        if "1-shot" in r
    ]
    return markdown(["data", "method", "1-shot", "5-shot"], rows)


def intents_at_once(result: Json) -> str:
    found: dict[tuple[str, str], dict[int, Json]] = {}
    for row in result["rows"]:
        if "draws" in row:
            found.setdefault((row["data"], row["method"]), {})[row["shots"]] = row
    span = lambda r: f"{percent(r['mean'])} ({percent(min(r['draws']))} to {percent(max(r['draws']))})"
    rows = [(NAMES[data], method, span(by[5]), span(by[10])) for (data, method), by in found.items()]
    return markdown(["data", "method", "5 examples each", "10 examples each"], rows)


def minilm(result: Json) -> str:
    row = result["rows"][0]
    cells = row["sentences"], f"{row['largest difference']:.1e}", f"{row['mean difference']:.1e}", row["transformers"]
    return markdown(["sentences", "largest difference", "mean difference", "transformers"], [cells])


SITUATIONS = {
    "held_out": "held-out ratings",
    "new_users": "new users",
    "new_items": "new items",
    "both_new": "both new",
}


def ratings(result: Json) -> str:
    """Return the mean absolute error and nDCG@5 of each method in the four situations of cold start."""
    cell = lambda r: " / ".join(f"{r[m]:.3f} ± {r[f'{m} ± 95 %']:.3f}" for m in ("MAE", "nDCG@5"))
    found: dict[str, dict[str, str]] = {}
    for row in result["rows"]:
        found.setdefault(row["method"], {})[row["situation"]] = cell(row)
    rows = [(method, *(by[s] for s in SITUATIONS)) for method, by in found.items()]
    return markdown(["MAE / nDCG@5", *SITUATIONS.values()], rows)


def cavia(result: Json) -> str:
    steps = lambda r, k: f"{r[f'after {k} steps']:.3f} ± {r[f'after {k} steps ± 95 %']:.3f}"
    rows = [(r["learner"], steps(r, 0), steps(r, 1)) for r in result["rows"]]
    return markdown(["learner", "before adaptation", "after one step"], rows)


def navigation(result: Json) -> str:
    show = lambda mean, ci95: "" if mean is None else f"{mean:.1f} ± {ci95:.1f}"
    after = lambda row, k: of(row, f"{k} updates", show)
    rows = [(r["item"], *(after(r, k) for k in range(4)), r["published"]) for r in result["rows"]]
    return markdown(["algorithm and seed", "0 updates", "1 update", "2 updates", "3 updates", "published"], rows)


TABLES: dict[str, tuple[Callable[[Json], str], str]] = {
    "algorithms": (algorithms, "algorithms"),
    "cavia": (cavia, "cavia"),
    "elsewhere": (elsewhere, "elsewhere"),
    "end_to_end": (end_to_end, "end_to_end"),
    "grocery": (grocery, "grocery"),
    "intents": (intents, "intents"),
    "intents_at_once": (intents_at_once, "intents"),
    "maml_speed": (ratios, "maml_speed"),
    "maml_speed_gpu": (ratios, "maml_speed_gpu"),
    "matmul_share": (matmul, "matmul_share"),
    "memory": (memory, "memory"),
    "minilm": (minilm, "minilm"),
    "mixture": (regression("mixture"), "regression"),
    "navigation": (navigation, "navigation"),
    "omniglot": (omniglot, "omniglot"),
    "omniglot_rows": (omniglot_rows, "omniglot_rows"),
    "pod": (pod, "pod"),
    "ratings_invented": (ratings, "ratings_invented"),
    "ratings_movielens_100k": (ratings, "ratings_movielens_100k"),
    "resnet_head": (ratios, "resnet_head"),
    "reuse": (reuse, "reuse"),
    "scaling": (scaling, "scaling"),
    "sinusoid": (sinusoid, "sinusoid"),
    "streaming": (streaming, "streaming"),
    "waves": (regression("sinusoid"), "regression"),
}
