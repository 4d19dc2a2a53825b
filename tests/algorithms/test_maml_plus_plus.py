"""MAML++: MAML with everything off, and each extra against its definition."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from registry import KEY, Net, classification

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

pytestmark = pytest.mark.usefixtures("x64")
STEPS, RATE = 3, 0.3
OFF = {"multi_step_until": 0, "first_order_until": 0, "per_step_norm": False}


def setup(norm="running", **options):
    model = jm.from_linen(Net(norm=True), norm=norm)
    wide = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, tree)
    task = wide(classification(KEY))
    learner = jm.maml_plus_plus(model, jm.losses.cross_entropy, inner_lr=RATE, num_steps=STEPS, **options)
    meta = wide(learner.init(KEY, task))
    rates = jax.tree.map(lambda a: jnp.full_like(a, RATE), meta.params["lr"])  # not those rounded to float32
    return model, learner, meta._replace(params={**meta.params, "lr": rates}), task


def close(a, b, tol=1e-10):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=tol, atol=tol), a, b)


def value_and_grad(learner, meta, task):
    def loss(params):
        return learner.loss(Variables(params, meta.state), task, None)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(meta.params)


@pytest.mark.heavy
@pytest.mark.parametrize("norm", ["support", "running"])
def test_without_extras_it_is_maml(norm):
    model, learner, meta, task = setup(norm, **OFF)
    maml = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(RATE), num_steps=STEPS)
    plain = Variables(meta.params["model"], meta.state["model"])
    (value, aux), grads = value_and_grad(learner, meta, task)
    (expected, expected_aux), expected_grads = value_and_grad(maml, plain, task)
    close((value, aux.metrics, aux.state["model"]), (expected, expected_aux.metrics, expected_aux.state))
    close(grads["model"], expected_grads)
    assert aux.state["step"] == 1
    close(learner.adapt(meta, task.support), maml.adapt(plain, task.support))


def quadratic(multi_step_until=0, first_order_until=0):
    """L(p) = |p - c|^2 / 2, whose steps have a closed form."""
    theta, c = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.7])
    model = jm.from_functions(lambda key, x: {"p": theta}, lambda variables, x: variables.params["p"][None] + 0 * x)
    loss_fn = lambda outputs, targets: 0.5 * jnp.sum((outputs - targets) ** 2)
    batch = Batch(jnp.zeros((1, 2)), c[None])
    options = {"multi_step_until": multi_step_until, "first_order_until": first_order_until}
    learner = jm.maml_plus_plus(model, loss_fn, inner_lr=RATE, num_steps=STEPS, **options)
    task = Task(batch, batch)
    return learner, learner.init(KEY, task), task, theta - c


def test_rates_are_learned_for_each_step():
    """After steps with factors 1 - a_j the gradient of a_k is -(theta - c)^2 prod_j (1 - a_j)^2 / (1 - a_k)."""
    learner, meta, task, gap = quadratic()
    rates = jnp.array([0.1, 0.2, 0.4])
    meta = meta._replace(params={**meta.params, "lr": {"p": rates}})
    _, grads = value_and_grad(learner, meta, task)
    whole = jnp.prod(1 - rates)
    close(grads["lr"]["p"], -jnp.sum(gap**2) * whole**2 / (1 - rates))
    close(grads["model"]["p"], gap * whole**2)


@pytest.mark.parametrize("step", [0, 3, 10, 25])
def test_multi_step_weights_follow_the_counter(step):
    learner, meta, task, gap = quadratic(multi_step_until=10)
    meta = meta._replace(state={**meta.state, "step": jnp.int32(step)})
    (value, aux), grads = value_and_grad(learner, meta, task)
    early = max(0.0, 1 - step / 10) / STEPS
    weights = np.array([early, early, 1 - 2 * early])
    factors = (1 - RATE) ** (2 * np.arange(1, STEPS + 1))
    close((value, grads["model"]["p"]), (weights @ factors * jnp.sum(gap**2) / 2, weights @ factors * gap), 1e-6)
    close(aux.metrics["loss"], factors[-1] * jnp.sum(gap**2) / 2)
    assert aux.state["step"] == step + 1


def test_second_derivatives_begin_at_their_meta_step():
    learner, meta, task, gap = quadratic(first_order_until=2)
    step = jax.jit(jm.meta_step(learner, optax.sgd(0.0)))
    state = jm.MetaState(jnp.int32(0), meta, optax.sgd(0.0).init(meta.params), KEY)
    for done, power in enumerate([STEPS, STEPS, 2 * STEPS]):
        close(value_and_grad(learner, state.meta, task)[1]["model"]["p"], (1 - RATE) ** power * gap)
        state, _ = step(state, jax.tree.map(lambda a: a[None], task))
        assert state.meta.state["step"] == done + 1
    assert step._cache_size() == 1


def test_statistics_are_those_of_each_step():
    """Number k moves by 10 % towards the batch of the support set under phi_k; the last, of the query set."""
    model, learner, meta, task = setup()
    stats = lambda state: state["batch_stats"]["norm"]
    new = stats(learner.loss(meta, task, None)[1].state["model"])
    assert new["mean"].shape == (STEPS + 1, 8)
    first = lambda tree: jax.tree.map(lambda a: a[0], tree)
    plain = {**meta.params["model"], "norm": first(meta.params["model"]["norm"])}
    for k in range(STEPS + 1):
        # all steps have the same scale and bias still, so phi_k is plain MAML's, in training mode
        fast = _descend(model, plain, task.support, k)
        x = (task.support if k < STEPS else task.query).x
        hidden = x @ fast["body"]["kernel"] + fast["body"]["bias"][None]
        close(new["mean"][k], 0.1 * hidden.mean(0))
        close(new["var"][k], 0.9 + 0.1 * hidden.var(0), 1e-6)


def _descend(model, params, support, num_steps):
    def loss(params):
        state = {"batch_stats": {"norm": {"mean": jnp.zeros(8), "var": jnp.ones(8)}}}
        return jm.losses.cross_entropy(model.apply(Variables(params, state), support.x, train=True)[0], support.y)

    for _ in range(num_steps):
        grads = jax.grad(loss)(params)
        moved = jax.tree.map(lambda p, g: p - RATE * g, params, grads)
        params = {**moved, "norm": params["norm"]}  # does not adapt
    return params


def test_every_step_uses_its_own_statistics_scale_and_bias():
    """Those of step k < K move the fast weights, those of K only the predictions."""
    _, learner, meta, task = setup()
    adapt = jax.jit(lambda meta: learner.adapt(meta, task.support))
    body = lambda meta: adapt(meta).params["body"]["kernel"]
    predict = lambda meta: learner.predict(meta, adapt(meta), task.query.x)
    shifted = lambda tree, name, k: {"norm": {**tree["norm"], name: tree["norm"][name].at[k].add(0.5)}}
    for k in range(STEPS + 1):
        stats = {"batch_stats": shifted(meta.state["model"]["batch_stats"], "var", k)}
        for other in (
            meta._replace(state={**meta.state, "model": stats}),
            meta._replace(
                params={**meta.params, "model": {**meta.params["model"], **shifted(meta.params["model"], "bias", k)}}
            ),
        ):
            assert bool(jnp.allclose(body(other), body(meta), atol=1e-12)) == (k == STEPS)
            assert not jnp.allclose(predict(other), predict(meta), atol=1e-6)


def test_more_steps_at_test_time_repeat_the_last():
    model, _, meta, task = setup()
    longer = jm.maml_plus_plus(model, jm.losses.cross_entropy, num_steps=STEPS + 2)
    assert jnp.isfinite(longer.predict(meta, longer.adapt(meta, task.support), task.query.x)).all()
    with pytest.raises(ValueError, match="`num_steps` is 5 but `meta` has rates for 3 steps"):
        longer.loss(meta, task)


def test_no_steps_leave_the_statistics_of_the_queries():
    model, _, _, task = setup()
    learner = jm.maml_plus_plus(model, jm.losses.cross_entropy, num_steps=0)
    meta = learner.init(KEY, task)
    state = learner.loss(meta, task)[1].state["model"]["batch_stats"]["norm"]
    body = meta.params["model"]["body"]
    hidden = task.query.x @ body["kernel"] + body["bias"][None]
    np.testing.assert_allclose(state["mean"], 0.1 * hidden.mean(0)[None], rtol=1e-4, atol=1e-6)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`first_order_until` must be >= 0, got -1"):
        jm.maml_plus_plus(jm.from_linen(Net()), jm.losses.mse, first_order_until=-1)
