"""Draw docs/images/headline.png: speed beside other libraries, and accuracy beside the papers, from benchmarks/results.

python benchmarks/headline.py
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OURS, OTHERS, PAPER = "#1f6feb", "#8b949e", "#bc4c00"
PLACES = {"maml_speed": "CPU", "maml_speed_gpu": "GPU"}
STEPS = {"A": "1 inner step", "B": "5 inner steps"}
NAMES = {  # of the contenders in the JSON
    "learn2learn's scheme": "PyTorch, loop over tasks",
    "torch.func + vmap": "torch.func + vmap",
    "plain JAX vmap": "plain JAX, vmap",
}


def read(name: str) -> list[dict[str, Any]]:
    return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text())["rows"]


def draw_speed(axis: Any) -> None:
    """Bars: how many times longer a contender takes than this library."""
    marks: list[tuple[str, float]] = []
    for source, place in PLACES.items():
        for row in read(source):
            if row["work"] in STEPS:
                marks.append((f"{place}, {STEPS[row['work']]}", 0.0))
                marks += [(name, 1 / row[f"/ {key}"]) for key, name in NAMES.items()]
    y = -1.0
    for text, times in marks:
        y += 1.6 if not times else 1.0
        if not times:
            axis.text(1.04, y, text, fontsize=9, weight="bold", va="center")
            continue
        axis.barh(y, times - 1, left=1, height=0.72, color=OTHERS)
        axis.text(times * 1.08, y, f"{times:.0f}x" if times >= 10 else f"{times:.1f}x", fontsize=8, va="center")
        axis.text(0.93, y, text, fontsize=8, va="center", ha="right")
    axis.axvline(1, color=OURS, linewidth=2)
    axis.set(xscale="log", xlim=(1, 500), ylim=(y + 1, -0.6), yticks=[], xlabel="time / time of jaxmeta (blue line)")
    axis.set_xticks([1, 10, 100], ["1", "10", "100"])
    axis.set_title("One exact meta-gradient of MAML", fontsize=10)


def draw_accuracy(axis: Any) -> None:
    """Points with 95 % intervals: the paper and ours, for the rows that were run whole."""
    rows = [row for row in read("omniglot_rows") if row["runs"][0]["status"] == "finished" and row["ours"]]
    rows.sort(key=lambda row: -row["published"]["mean"])
    for y, row in enumerate(rows):
        for shift, figure, colour in ((-0.14, row["published"], PAPER), (0.14, row["ours"], OURS)):
            axis.errorbar(
                figure["mean"],
                y + shift,
                xerr=figure.get("ci95") or None,
                fmt="o",
                color=colour,
                markersize=4,
                capsize=2,
            )
    axis.set_yticks(range(len(rows)), [row["row"].removeprefix("omniglot_") for row in rows], fontsize=8)
    axis.set(xlabel="accuracy (%), 95 % interval", ylim=(len(rows) - 0.4, -0.6))
    axis.plot([], [], "o", color=PAPER, markersize=4, label="the paper")
    axis.plot([], [], "o", color=OURS, markersize=4, label="jaxmeta")
    axis.legend(frameon=False, fontsize=8, loc="upper left")
    axis.set_title("Omniglot, held-out characters", fontsize=10)


def draw(path: Path) -> None:
    """Write the picture to ``path``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), dpi=110, layout="constrained")
    speed, accuracy = figure.subplots(1, 2)
    draw_speed(speed)
    draw_accuracy(accuracy)
    for axis in (speed, accuracy):
        axis.spines[["top", "right"]].set_visible(False)
    speed.spines["left"].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    draw(ROOT / "docs/images/headline.png")
