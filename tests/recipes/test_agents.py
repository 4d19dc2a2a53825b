"""Recipes of reinforcement learning: every algorithm fits its environments, and a run is killed, resumed and drawn."""

import json

import jax
import numpy as np
import pytest

import jaxmeta as jm
from jaxmeta.cli import main
from jaxmeta.recipes import RECIPES

SMALL = {"num_episodes": 2, "hidden": 4}
CALL = "--num-steps 12 --tasks-per-step 2 --num-episodes 3 --horizon 5 --hidden 4 --test-tasks 4 --num-test-updates 2"


@pytest.mark.parametrize("algorithm", ["maml_trpo", "rl2", "e_maml", "promp"])
@pytest.mark.parametrize("name", ["navigation", "bandits", "tabular", "cartpole"])
def test_every_algorithm_takes_a_step(name, algorithm):
    horizon = {} if name == "bandits" else {"horizon": 4}
    e = RECIPES[name](algorithm=algorithm, tasks_per_step=4, **SMALL, **horizon)
    state = jm.init(e.learner, e.train, e.optimizer, key=jax.random.key(0))
    tasks = jax.vmap(e.train)(jax.random.split(jax.random.key(1), 4))
    new, metrics = jax.eval_shape(e.step, state, tasks)
    assert jax.tree.structure(new) == jax.tree.structure(state) and all(m.shape == () for m in metrics.values())
    assert (e.make_learner is None) == (algorithm == "rl2")


def test_a_rate_that_a_trust_region_would_ignore_is_refused():
    with pytest.raises(ValueError, match="`meta_lr` is 0.5, but the steps of maml_trpo are as long"):
        RECIPES["navigation"](meta_lr=0.5)
    RECIPES["navigation"](meta_lr=0.5, algorithm="promp")


@pytest.mark.slow
def test_a_run_that_was_cut_short_ends_as_the_whole_one(tmp_path, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    call = ["train", "navigation", *CALL.split(), "--checkpoint-every", "10"]
    assert main([*call, "--out", str(whole)]) == 0
    assert main([*call, "--out", str(cut), "--minutes", "0"]) == 0 and main(["train", "--resume", str(cut)]) == 0
    for a, b in zip(*(jax.tree.leaves(jm.runs.load(path).meta) for path in (whole, cut)), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = json.loads((whole / "results.json").read_text())["rows"]
    assert [row["metric"] for row in rows if row["name"] == "after 2 steps"] == [
        "loss", "return/0", "return/1", "return/2",
    ]  # fmt: skip
    assert (whole / "adaptation_curve.png").is_file() and (whole / "report.html").is_file()
    capsys.readouterr()
    assert main([*call, "--guard", "task", "--out", str(tmp_path / "other")]) == 2
    assert "`--guard` is 'task', but this experiment has an outer step of its own" in capsys.readouterr().err
