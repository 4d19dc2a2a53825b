"""Recipes: documented knobs, protocols, and the baseline that learns nothing."""

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import get_type_hints

import jax
import jax.numpy as jnp
import pytest

import jaxmeta as jm
from jaxmeta.arguments import MISSING, arguments_of
from jaxmeta.recipes import RECIPES, Experiment, nearest_neighbour
from jaxmeta.recipes._omniglot import Omniglot
from jaxmeta.settings import Convolutions, Episodes, Halving, Inner, Memory, Outer, Points, Precision

OMNIGLOT = Path(__file__).parents[3] / "shared" / "data" / "omniglot"
needs_omniglot = pytest.mark.skipif(not OMNIGLOT.is_dir(), reason=f"needs the official Omniglot zips in {OMNIGLOT}")


@pytest.mark.parametrize("name", RECIPES)
def test_every_argument_is_typed_and_explained_once(name):
    recipe = RECIPES[name]
    for argument in arguments_of(recipe).values():
        assert argument.default is not MISSING, f"{name}: {argument.name} has no default"
        explained = re.search(rf"^      {argument.name}: \w", recipe.function.__doc__, re.M)
        assert bool(explained) == (argument.group is None), f"{name}: {argument.name}"


@pytest.mark.parametrize("group", [Outer, Halving, Inner, Precision, Memory, Convolutions, Episodes, Points, Omniglot])
def test_every_shared_setting_is_explained_and_has_a_range(group):
    source = inspect.getsource(group)
    for field in dataclasses.fields(group):
        if field.name in inspect.get_annotations(group):
            assert re.search(rf'    {field.name}: .*\n    """\w', source), field.name
        assert get_type_hints(group, include_extras=True)[field.name] not in (int, float), field.name


RESOLVED = json.loads((Path(__file__).parent / "resolved.json").read_text())


@pytest.mark.parametrize("name", RECIPES)
def test_the_resolved_configuration_is_the_stored_one(name):
    """A change here is a change of a protocol: the stored configurations were written before recipes were rewritten."""
    stored, e = RESOLVED[name], RECIPES[name]()
    expected = dict(stored["experiment"])
    assert json.loads(json.dumps(e.arguments)) == stored["arguments"] and e.recipe == name
    assert (e.make_learner is not None, list(e.beside)) == (expected.pop("make_learner"), expected.pop("beside"))
    assert {field: json.loads(json.dumps(getattr(e, field))) for field in expected} == expected


def test_recipes_with_a_network_have_a_precision_and_those_through_inner_steps_can_recompute():
    arguments = {name: arguments_of(recipe) for name, recipe in RECIPES.items()}
    assert {name for name in RECIPES if "dtype" not in arguments[name]} == {
        "quadratics",
        "intents",
        "navigation",
        "bandits",
        "tabular",
        "cartpole",
        "ratings",
    }  # without a network, or with a small one of its own
    papers = {name for name in RECIPES if "remat" in arguments[name]}
    single = {n for n in RECIPES if re.match("(glyphs|sinusoid|omniglot)_(fo)?(maml|meta_sgd|anil)(_mlp|_[0-9]|$)", n)}
    assert papers == single | {"characters", "curves", "quadratics", "photographs", "intents"}


def program(e, transform=lambda value: value):
    """What a meta-step differentiates, or what is made of it, as a program."""
    task, key = jax.eval_shape(e.train, jax.random.key(0)), jax.random.key(0)
    meta = jax.eval_shape(e.learner.init, key, task)
    value = lambda params, state, task: e.learner.loss(jm.Variables(params, state), task, key)[0]
    return str(jax.make_jaxpr(transform(value))(meta.params, meta.state, task))


@pytest.mark.parametrize("recipe, algorithm", [("curves", "maml"), ("curves", "r2d2"), ("characters", "protonet")])
def test_the_precision_reaches_the_network(recipe, algorithm):
    for dtype in ("float32", "bfloat16"):
        e = RECIPES[recipe](algorithm=algorithm, dtype=dtype)
        assert ("bf16" in program(e)) == (dtype == "bfloat16")


@pytest.mark.parametrize("algorithm", ["maml", "anil", "lstm", "meta_sgd"])
def test_inner_steps_are_recomputed_and_the_gradient_stays(algorithm):
    kept, recomputed = (RECIPES["curves"](algorithm=algorithm, remat=remat, num_steps=5) for remat in (0, 2))
    task = jax.jit(kept.train)(jax.random.key(0))
    steps = algorithm != "meta_sgd"  # takes one, which is no loop
    assert ("remat" in program(recomputed, jax.grad)) == steps and "remat" not in program(kept, jax.grad)
    meta = jax.jit(kept.learner.init)(jax.random.key(1), task)
    loss = lambda e: lambda params: e.learner.loss(jm.Variables(params), task, jax.random.key(2))[0]
    gradient = lambda e: jax.jit(jax.grad(loss(e)))(meta.params)
    for a, b in zip(jax.tree.leaves(gradient(kept)), jax.tree.leaves(gradient(recomputed)), strict=True):
        assert jnp.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_other_recipes_recompute_too():
    for name, algorithm in (("quadratics", {}), ("characters", {"algorithm": "anil"})):
        kept, recomputed = (program(RECIPES[name](remat=remat, **algorithm), jax.grad) for remat in (0, 2))
        assert "remat" in recomputed and "remat" not in kept


@pytest.mark.parametrize("recipe, algorithm", [("curves", "r2d2"), ("characters", "reptile"), ("photographs", "rfs")])
def test_knobs_that_an_algorithm_has_not(recipe, algorithm):
    with pytest.raises(
        ValueError, match=f"`remat` is 2, but the meta-gradient of {algorithm} does not pass .*maml, foma"
    ):
        RECIPES[recipe](algorithm=algorithm, remat=2)
    with pytest.raises(ValueError, match="`dtype` is 'bfloat16', but snail has a small network of its own, in float32"):
        RECIPES["curves"](algorithm="snail", dtype="bfloat16")


@pytest.mark.parametrize("name", ["glyphs_maml", "sinusoid_maml"])
def test_samplers_and_learner_fit(name):
    experiment = RECIPES[name]()
    assert isinstance(experiment, Experiment) and experiment.published
    key = jax.random.key(0)
    for sampler in (experiment.train, experiment.val, experiment.test):
        task = jax.eval_shape(sampler, key)
        meta = jax.eval_shape(experiment.learner.init, key, task)
        jax.eval_shape(experiment.learner.loss, meta, task, key)
    for k in (0, *experiment.test_steps):
        assert experiment.make_learner(num_steps=k) is experiment.make_learner(num_steps=k)


def test_glyphs_splits_are_disjoint():
    experiment = RECIPES["glyphs_maml"]()
    draws = [s.draw(jax.random.key(0)).classes for s in (experiment.train, experiment.val, experiment.test)]
    assert len({int(c) for classes in draws for c in classes}) == 15


@needs_omniglot
@pytest.mark.parametrize("name, rows, ways", [("omniglot_maml_5w1s", 5, 5), ("omniglot_protonet_5w1s", 60, 60)])
def test_omniglot_protocol(name, rows, ways):
    experiment = RECIPES[name](data_dir=str(OMNIGLOT))
    task = jax.jit(lambda sampler, key: sampler(key))(experiment.train, jax.random.key(0))
    assert task.support.x.shape == (rows, 28, 28, 1) and len(task.support.ways) == ways
    values = {float(v) for v in jnp.unique(task.support.x)}
    assert values == {0.0, 1.0}  # nearest neighbour keeps ink and paper, ink is 1
    assert task.support.x.mean() < 0.3
    assert len(experiment.train.count) == 1200 and len(experiment.test.count) == 423 and experiment.val is None


@needs_omniglot
@pytest.mark.parametrize("name", ["omniglot_maml_5w1s", "omniglot_protonet_5w1s"])
def test_omniglot_with_validation(name):
    experiment = RECIPES[name](data_dir=str(OMNIGLOT), train_split="train")
    assert len(experiment.train.count) == 1028 and len(experiment.val.count) == 172 and experiment.eval_every


def test_nearest_neighbour_by_hand():
    learner, empty = nearest_neighbour(), jm.Variables({})
    x, ways = jnp.array([[0.0], [4.0], [1.0]]), jnp.ones(2, bool)
    support = jm.Batch(x, jnp.array([0, 0, 1]), ways=ways)
    outputs = learner.predict(empty, learner.adapt(empty, support), jnp.array([[0.4], [0.9], [3.0]]))
    assert outputs.argmax(-1).tolist() == [0, 1, 0]
    hidden = support._replace(weight=jnp.array([1.0, 1.0, 0.0]))
    assert learner.predict(empty, learner.adapt(empty, hidden), x).argmax(-1).tolist() == [0, 0, 0]


def test_nearest_neighbour_needs_ways():
    with pytest.raises(ValueError, match="number of ways"):
        nearest_neighbour().adapt(jm.Variables({}), jm.Batch(jnp.ones((1, 1)), jnp.zeros(1, int)))
