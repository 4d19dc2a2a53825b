"""Recipes: documented knobs, protocols, and the baseline that learns nothing."""

import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import jaxmeta as jm
from jaxmeta.recipes import RECIPES, Experiment, nearest_neighbour

OMNIGLOT = Path(__file__).parents[3] / "shared" / "data" / "omniglot"
needs_omniglot = pytest.mark.skipif(not OMNIGLOT.is_dir(), reason=f"needs the official Omniglot zips in {OMNIGLOT}")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """The prepared images are left nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXMETA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("name", RECIPES)
def test_every_knob_is_typed_keyword_only_and_documented(name):
    recipe = RECIPES[name]
    for parameter in inspect.signature(recipe).parameters.values():
        assert parameter.kind is parameter.KEYWORD_ONLY and parameter.annotation is not parameter.empty
        assert parameter.default is not parameter.empty, f"{name}: {parameter.name} has no default"
        assert re.search(rf"^      {parameter.name}: \w", recipe.__doc__, re.M), (
            f"{name}: {parameter.name} is undocumented"
        )


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
    task = experiment.train(jax.random.key(0))
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
