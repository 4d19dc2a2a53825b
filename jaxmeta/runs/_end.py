"""Write the end of a run: results, pictures, report, and last of all the mark of completion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .. import plots
from ..experiment import Experiment
from ..types import Variables
from . import _folder
from ._config import FORMAT
from ._events import Drawing, Measured, Report, Wrote
from ._journal import Journal
from ._json import write_json
from ._machine import about
from ._measure import Measurement
from ._pictures import pictures
from ._report import write_report

Status = Literal["finished", "interrupted", "diverged"]
MEASURED = "measured"  # the status in results.json while pictures are drawn; "finished" is written last


class Result(NamedTuple):
    """The end of a run.

    Attributes:
      status: ``"finished"``, ``"interrupted"`` by a signal, or ``"diverged"``.
      step: meta-steps made; fewer than the experiment's where a signal, the time limit or divergence ended training.
      meta: the meta-parameters that were reached; of a diverged run the last good ones.
      measurements: of the trained learner and its baselines on held-out tasks; empty if training did not end.
      folder: the run folder.
      message: the reason of a divergence, or ``""``.
    """

    status: Status
    step: int
    meta: Variables
    measurements: list[Measurement]
    folder: Path
    message: str = ""

    def __repr__(self) -> str:
        return f"Result(status={self.status!r}, step={self.step}, folder={str(self.folder)!r})"


def write_end(
    e: Experiment,
    result: Result,
    rows: Journal,
    title: str,
    *,
    tell: Report,
    stopped: Callable[[], bool],
) -> Result:
    """Write results, pictures and the report. ``"finished"`` is written last: a run killed before is not complete."""
    folder = result.folder
    write_json(
        folder / _folder.RESULTS, _results(e, result, MEASURED if result.status == "finished" else result.status)
    )
    if result.measurements:
        tell(Measured(tuple(result.measurements), e.published))
    drawn = {}
    if rows.rows:
        drawn[_folder.LEARNING] = lambda: plots.learning_curve(rows.rows, folder / _folder.LEARNING, title=title)
    if result.status == "finished":
        drawn |= pictures(folder, e, result.meta)
    for number, (file, draw) in enumerate(drawn.items(), 1):
        if result.status == "finished" and stopped():
            result = result._replace(status="interrupted")
            break
        tell(Drawing(file, number, len(drawn)))
        draw()
    results = _results(e, result, result.status)
    write_report(folder, results)
    write_json(folder / _folder.RESULTS, results)
    tell(Wrote(folder / _folder.REPORT))
    return result


def _results(e: Experiment, result: Result, status: str) -> dict[str, Any]:
    message = {"message": result.message} if result.message else {}
    return {
        "format": FORMAT, "status": status, "step": result.step, "num_steps": e.num_steps, **message,
        "rows": [row._asdict() for row in result.measurements], "published": e.published, "about": about(),
    }  # fmt: skip
