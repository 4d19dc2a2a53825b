"""Rows of papers' tables: each builds, says its own figure, and has the protocol that the paper has."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta as jm
from jaxmeta import arguments
from jaxmeta.recipes import RECIPES, TABLES, Figure, Row
from jaxmeta.recipes._tables import as_recipe

ROWS = {row.name: row for row in TABLES["omniglot"]}

# From the papers, typed again: mean, interval, tasks, transductive.
SAMPLE = {
    "omniglot_maml_5w1s": (98.7, 0.4, 600, True),
    "omniglot_maml_20w1s": (95.8, 0.3, 600, True),
    "omniglot_maml_mlp_5w1s": (89.7, 1.1, 600, True),
    "omniglot_fomaml_20w1s": (89.4, 0.5, None, True),
    "omniglot_reptile_20w5s": (96.65, 0.33, 10_000, False),
    "omniglot_reptile_transductive_5w1s": (97.68, 0.04, 10_000, True),
    "omniglot_protonet_20w1s": (96.0, None, 1_000, False),
    "omniglot_protonet_20w5s": (98.9, None, 1_000, False),
    "omniglot_matching_20w1s": (93.8, None, None, False),
    "omniglot_relation_20w1s": (97.6, 0.2, None, True),
    "omniglot_meta_sgd_5w1s": (99.53, 0.26, None, False),
    "omniglot_maml_plus_plus_5w5s": (99.93, None, 600, False),
    "omniglot_anil_20w5s": (98.0, 0.3, None, False),
    "omniglot_imaml_20w1s": (94.46, None, 600, True),
    "omniglot_r2d2_5w1s": (98.9, None, 10_000, False),
}

# What the authors' code sets, where it decides the figure.
PROTOCOL = {
    "omniglot_maml_5w1s": {"tasks_per_step": 32, "num_inner_steps": 1, "num_test_steps": 10, "num_steps": 60_000},
    "omniglot_maml_20w5s": {"tasks_per_step": 16, "num_inner_steps": 5, "num_queries": 5, "num_test_queries": 5},
    "omniglot_fomaml_5w1s": {"first_order": True, "network": "conv", "num_inner_steps": 1},
    "omniglot_maml_mlp_5w5s": {"network": "mlp", "first_order": False, "num_shots": 5},
    "omniglot_reptile_5w5s": {"num_train_shots": 10, "batch_size": 10, "num_inner_steps": 5, "norm": "support",
                              "tasks_per_step": 5, "num_steps": 100_000, "test_batch_size": 5, "num_test_steps": 50,
                              "num_test_queries": 1, "inner_lr": 1e-3, "meta_lr": 1.0},
    "omniglot_reptile_transductive_20w1s": {"batch_size": 20, "num_inner_steps": 10, "num_steps": 200_000,
                                            "test_batch_size": 10, "inner_lr": 5e-4, "norm": "transductive"},
    "omniglot_protonet_20w5s": {"num_train_ways": 60, "num_queries": 5, "num_test_queries": 15, "test_tasks": 1_000,
                                "meta_lr": 1e-3, "halve_every": 2_000, "norm": "running"},
    "omniglot_relation_20w1s": {"num_queries": 10, "num_steps": 1_000_000, "halve_every": 100_000,
                                "max_grad_norm": 0.5},
    "omniglot_maml_plus_plus_20w1s": {"tasks_per_step": 8, "num_inner_steps": 5, "num_steps": 50_000, "inner_lr": 0.1,
                                      "multi_step_until": 5_000, "num_queries": 1, "test_tasks": 600},
    "omniglot_imaml_5w5s": {"inner_lr": 0.1, "num_inner_steps": 16, "strength": 2.0, "cg_steps": 5, "num_queries": 5,
                            "tasks_per_step": 32, "num_steps": 20_000, "meta_lr": 1e-3},
    "omniglot_r2d2_5w1s": {"num_train_ways": 60, "meta_lr": 5e-3, "halve_every": 2_000, "test_tasks": 10_000},
}  # fmt: skip


@pytest.fixture(autouse=True)
def drawings(monkeypatch):
    """A data set of Omniglot's shape, with 80 characters: what is built here is not trained."""
    data = jm.datasets.from_arrays(np.zeros((1600, 28, 28, 1), np.uint8), np.arange(1600) // 20)
    monkeypatch.setattr(jm.datasets, "omniglot", lambda split, **options: data)


def defaults(name):
    return arguments.defaults(RECIPES[name])


@pytest.mark.parametrize("name", SAMPLE)
def test_figures_are_those_of_the_papers(name):
    figure = ROWS[name].figure
    assert (figure.mean, figure.ci95, figure.num_tasks, figure.norm == "transductive") == SAMPLE[name]


def test_figures_from_memory_say_so():
    unsure = {name for name, row in ROWS.items() if row.figure.known == "memory"}
    assert unsure == {f"omniglot_r2d2_{size}" for size in ("5w1s", "5w5s", "20w1s", "20w5s")} | {
        f"omniglot_{paper}_20w{k}s" for paper in ("meta_sgd", "maml_plus_plus") for k in (1, 5)
    }
    assert "from memory, unverified" in str(ROWS["omniglot_r2d2_5w1s"].figure)


@pytest.mark.parametrize("name", PROTOCOL)
def test_protocol_is_that_of_the_paper(name):
    assert {knob: defaults(name)[knob] for knob in PROTOCOL[name]} == PROTOCOL[name]


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_what_their_names_say(name):
    ways, shots = map(int, re.search(r"_(\d+)w(\d)s$", name).groups())
    e = RECIPES[name]()
    support = jax.eval_shape(e.test, jax.random.key(0)).support
    assert support.x.shape == (ways * shots, 28, 28, 1) and len(support.ways) == ways
    assert e.published == str(ROWS[name].figure) and e.val is None and e.test_tasks >= 600
    assert RECIPES[name].about.endswith(f"Published: {ROWS[name].figure.short}.")
    assert getattr(jm.recipes, name) is RECIPES[name] and RECIPES[name].name == name


@pytest.mark.parametrize(
    "name",
    ["omniglot_maml_20w1s", "omniglot_maml_mlp_5w1s", "omniglot_reptile_5w1s", "omniglot_reptile_transductive_20w5s",
     "omniglot_protonet_5w5s", "omniglot_matching_5w1s", "omniglot_relation_20w5s", "omniglot_meta_sgd_5w1s",
     "omniglot_maml_plus_plus_5w1s", "omniglot_anil_20w1s", "omniglot_imaml_5w1s", "omniglot_r2d2_20w5s"],
)  # fmt: skip
def test_learner_and_samplers_fit(name):
    e, key = RECIPES[name](), jax.random.key(0)
    train, test = (jax.eval_shape(sampler, key) for sampler in (e.train, e.test))
    meta = jax.eval_shape(e.learner.init, key, train)
    loss, _ = jax.eval_shape(e.learner.loss, meta, train, key)
    learner = e.learner if e.make_learner is None else e.make_learner(num_steps=e.test_steps[-1])
    adapted = jax.eval_shape(learner.adapt, meta, test.support, key)
    outputs = jax.eval_shape(learner.predict, meta, adapted, test.query.x)
    assert loss.shape == () and outputs.shape == (len(test.query.y), len(test.support.ways))


def test_the_first_rows_are_the_functions_themselves():
    assert defaults("omniglot_maml_5w1s") == defaults("omniglot_maml")
    assert defaults("omniglot_protonet_5w1s") == defaults("omniglot_protonet")


def test_reptile_goes_all_of_the_way_first_and_none_last():
    e = RECIPES["omniglot_reptile_5w1s"](num_steps=2)
    one = jnp.float32(1.0)
    state, moves = e.optimizer.init(one), []
    for _ in range(3):
        update, state = e.optimizer.update(one, state)
        moves.append(float(update))
    assert moves == [-1.0, -0.5, 0.0]


def test_settings_without_a_figure_say_so():
    assert RECIPES["omniglot_maml"](num_ways=7).published == "none; there is no figure for omniglot_maml_7w1s"
    assert RECIPES["omniglot_anil"](num_ways=5).published.startswith("none")


def test_validation_is_there_on_request():
    e = RECIPES["omniglot_relation_5w1s"](train_split="train")
    assert e.val is not None and e.eval_every == 1_000


def test_a_default_that_is_no_argument_is_refused():
    with pytest.raises(ValueError, match="x: there is no argument 'num_wayz'; did you mean 'num_ways'"):
        as_recipe(Row("x", "glyphs_maml", Figure("1", "x"), {"num_wayz": 3}), RECIPES["glyphs_maml"])


@pytest.mark.parametrize("name", ["glyphs_maml", "sinusoid_maml", "omniglot_maml_20w1s", "omniglot_anil_20w1s"])
def test_remat_and_dtype_reach_the_computation(name):
    def program(**options):
        e, key = RECIPES[name](num_inner_steps=2, **options), jax.random.key(0)
        task = jax.eval_shape(e.train, key)
        meta = jax.eval_shape(e.learner.init, key, task)
        return str(jax.make_jaxpr(e.learner.loss)(meta, task))

    assert "bf16" not in program() and "remat" not in program()
    assert "bf16" in program(dtype="bfloat16") and "remat" in program(remat=1)


def test_rows_trained_as_another_differ_in_the_measurement_alone():
    """Where a name of a knob says nothing of a test, it is one that training does not see (tested by training both)."""
    pairs = [(row.name, row.trained_as) for row in ROWS.values() if row.trained_as]
    assert len(pairs) == 2 + 3 + 6
    for name, other in pairs:
        mine, theirs = defaults(name), defaults(other)
        differ = {knob for knob in mine if mine[knob] != theirs[knob]}
        protonet = {"num_ways"} if "protonet" in name else {"num_ways", "num_shots"}
        assert differ <= (protonet if "reptile" not in name else {"num_shots", "norm"}), name
        assert ROWS[other].trained_as is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["omniglot_reptile_transductive_5w5s", "omniglot_r2d2_20w5s"])
def test_rows_trained_as_another_end_with_its_parameters(name):
    def trained(name):
        small = {"num_train_ways": 6} if "r2d2" in name else {}
        e = RECIPES[name](features=2, **small)
        state = jm.init(e.learner, e.train, e.optimizer, key=jax.random.key(0))
        return jm.fit(e.learner, e.train, e.optimizer, state, num_steps=2, tasks_per_step=1)[0].meta

    jax.tree.map(np.testing.assert_array_equal, trained(name), trained(ROWS[name].trained_as))


def test_tables_hold_every_row_once():
    names = [row.name for row in TABLES["omniglot"]]
    assert len(names) == len(set(names)) and set(names) < set(RECIPES)
    papers = [table for table in TABLES if table.startswith("omniglot_")]
    assert [row for table in papers for row in TABLES[table]] == list(TABLES["omniglot"])
    assert [row.at for row in TABLES["sinusoid"]] == ["after 1 step", "after 10 steps"]
