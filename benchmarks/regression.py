"""Few-shot regression: the error of each algorithm over shots, on sine waves and on a mixture of those and lines.

    python benchmarks/regression.py

Trained by the recipe `curves` with 10 shots for the same time of one core each, measured with 5, 10 and 20 on the same
1,000 held-out functions: mean squared error at the query points. Those that adapt by steps are trained with 5 of them
and measured after 1, 5 and 10.
"""

import argparse
from typing import get_args

from _budget import trained
from _resume import resume

import jaxmeta as jm
from jaxmeta.recipes import curves
from jaxmeta.recipes._curves import Algorithm, functions

FAMILIES = ("sinusoid", "mixture")


def run(family: str, algorithm: str, minutes: float, num_steps: int) -> dict:
    e = curves(algorithm=algorithm, family=family, num_steps=num_steps)
    state = trained(e, minutes)
    row = {"CPU minutes": minutes, "meta-steps": int(state.step)}
    learners = (
        {f", {k} steps": e.make_learner(num_steps=k) for k in e.test_steps} if e.make_learner else {"": e.learner}
    )
    for steps, learner in learners.items():
        for shots in (5, 10, 20):
            found = jm.evaluate(learner, state.meta, functions(family, shots, 50), num_tasks=1_000)["mse"]
            row |= {f"{shots} shots{steps}": found.mean, f"{shots} shots{steps} ± 95 %": found.ci95}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="of training, in time of one core")
    parser.add_argument("--num-steps", type=int, default=5_000, help="where the cosine ends, if the time allows")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    o = parser.parse_args()
    items = [f"{family}/{algorithm}" for family in FAMILIES for algorithm in get_args(Algorithm)]
    resume("regression", items, lambda item: run(*item.split("/"), o.minutes, o.num_steps), o.one)


if __name__ == "__main__":
    main()
