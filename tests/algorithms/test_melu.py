"""MeLU and factorisation in closed form, and the recommender on top of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import Ridge

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

KEY = jax.random.key(0)


@pytest.mark.usefixtures("x64")
def test_only_the_decision_layer_moves_and_the_meta_gradient_is_the_closed_form():
    """y = w e[i]: one step from w, with the outer derivative by hand."""
    model = jm.from_functions(lambda key, x: (), lambda v, x: v.params["w"] * v.params["embed_item"][x])
    e, w, lr = jnp.array([1.0, 2.0, -1.0]), 0.5, 0.1
    learner = jm.melu(model, inner_optimizer=optax.sgd(lr))
    task = Task(Batch(jnp.array([0, 1]), jnp.array([2.0, 1.0])), Batch(jnp.array([1, 2]), jnp.array([3.0, 0.0])))
    meta = Variables({"w": jnp.array(w), "embed_item": e})
    adapted = learner.adapt(meta, task.support).params
    step = lambda w, e: w - lr * ((w * e[0] - 2) * e[0] + (w * e[1] - 1) * e[1])
    np.testing.assert_allclose(adapted["w"], step(w, e), atol=1e-14)
    np.testing.assert_array_equal(adapted["embed_item"], e)
    loss = lambda params: learner.loss(meta._replace(params=params), task, KEY)[0]
    grad, new = jax.grad(loss)(meta.params), step(w, e)
    outer = (new * e[1] - 3) * e[1] + (new * e[2]) * e[2]  # d loss / d new
    by_e = -lr * jnp.array([2 * w * e[0] - 2, 2 * w * e[1] - 1, 0])  # d new / d e
    direct = jnp.array([0, (new * e[1] - 3) * new, new * e[2] * new])
    np.testing.assert_allclose(grad["w"], outer * (1 - lr * (e[0] ** 2 + e[1] ** 2)), atol=1e-13)
    np.testing.assert_allclose(grad["embed_item"], outer * by_e + direct, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_a_user_is_folded_in_by_ridge_regression():
    learner = jm.factorisation(6, rank=2, init_penalty=0.7)
    rng = np.random.default_rng(0)
    items, y, weight = np.array([0, 2, 3, 5, 1]), rng.normal(size=(5, 1)), np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    support = Batch({"item": jnp.array(items)}, jnp.array(y), jnp.array(weight))
    params = learner.init(KEY, Task(support, support)).params
    params = jax.tree.map(lambda a: jnp.array(rng.normal(size=a.shape)), params) | {
        "log_penalty": jnp.log(jnp.array([0.7, 0.7]))
    }
    shared = params["mean"] + params["bias"]
    design = np.concatenate([np.ones((6, 1)), params["factors"]], 1)
    ridge = Ridge(alpha=0.7, fit_intercept=False, solver="cholesky").fit(
        design[items[:4]], (y[:, 0] - shared[items])[:4]
    )
    meta = Variables(params)
    ours = learner.predict(meta, learner.adapt(meta, support), {"item": jnp.arange(6)})
    np.testing.assert_allclose(ours[:, 0], shared + design @ ridge.coef_, rtol=1e-10)
    nothing = learner.adapt(meta, support._replace(weight=jnp.zeros(5)))
    np.testing.assert_allclose(learner.predict(meta, nothing, {"item": jnp.arange(6)})[:, 0], shared, rtol=1e-12)
    with pytest.raises(ValueError, match="`item` is 'item', but the inputs have no such"):
        learner.adapt(meta, support._replace(x={"other": support.x["item"]}))


def test_the_network_of_pairs_by_hand():
    x = {"age": jnp.array([1, 0]), "genre": jnp.array([[1.0, 1.0], [0.0, 0.0]]), "ignored": jnp.zeros(2)}
    net = jm.backbones.Interactions({"age": 2, "genre": 2}, width=1, features=(), num_outputs=1, centre=3.0)
    params = {
        "embed_age": {"embedding": jnp.array([[5.0], [7.0]])},
        "embed_genre": {"kernel": jnp.array([[2.0], [4.0]])},
        "head": {"kernel": jnp.array([[10.0], [1.0]]), "bias": jnp.array([0.5])},
    }
    assert net.apply({"params": params}, x).tolist() == [[3 + 70 + 3 + 0.5], [3 + 50 + 0 + 0.5]]
    with pytest.raises(ValueError, match=r"`sizes` names \['year'\], but the features"):
        net.clone(sizes={"year": 3}).init(KEY, x)


def test_a_recommender_ranks_what_its_user_has_not_rated():
    data, world = jm.datasets.invented_ratings(num_users=9, num_items=20, num_ratings=12, key=KEY)
    learner = jm.recipes._ratings.best_possible(lambda: world)
    items, ratings = [3, 7, 11], [5.0, 1.0, 4.0]
    user = jm.Recommender(learner, Variables({}), data=data).fit([data.item_names[i] for i in items], ratings, "user 4")
    best = world.predict(4, np.array(items), np.array(ratings), np.arange(20))[0]
    np.testing.assert_allclose(user.predict(), best, rtol=1e-4)
    order = [i for i in np.argsort(-best) if i not in items]
    assert [r.item for r in user.rank(top=5)] == [f"item {i}" for i in order[:5]]
    assert [r.item for r in user.rank([0, 3, "item 5"])] == [f"item {i}" for i in order if i in (0, 5)]
    for call, text in (
        (lambda: user.fit(["tea"], [3]), "`items` has 'tea'"),
        (lambda: user.fit([0], [3, 4]), "one finite number for each of 1 items"),
        (lambda: user.fit([0], [3], "bob"), "`user` is 'bob'"),
        (lambda: user.fit([0], [3], {"size": 3}), "feature 'size', but users have"),
        (lambda: jm.Recommender(learner, data=data), "`meta` is None"),
        (lambda: jm.Recommender(learner, Variables({}), data=data).rank(), "Call `fit`"),
    ):
        with pytest.raises(ValueError, match=text):
            call()


@pytest.mark.slow
def test_factorisation_keeps_the_laws():
    data, _ = jm.datasets.invented_ratings(num_users=30, num_items=20, num_ratings=16, key=KEY)
    tasks = jm.tasks.ratings(data, num_shots=8, num_queries=6)
    outcome = jm.testing.check_learner(jm.factorisation(20, rank=2, centre=3.5), tasks)
    assert set(outcome.values()) == {"holds"}
