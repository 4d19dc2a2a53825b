"""Meta-curvature, T-Net and ALFA: closed forms, and the starts at which each is MAML, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

pytestmark = pytest.mark.usefixtures("x64")
wide = lambda tree: jax.tree.map(lambda a: a.astype(float), tree)
RATE = 0.3
KEY = jax.random.key(0)


def images() -> Task:
    """Two classes of images that a small convolutional network can tell apart."""
    x = jax.random.normal(jax.random.key(1), (8, 16, 16, 1))
    batch = lambda rows: Batch(x[rows], jnp.array([0, 1, 0, 1]), ways=jnp.ones(2, bool))
    return Task(batch(slice(0, 4)), batch(slice(4, 8)))


@pytest.mark.parametrize(
    "make",
    [
        lambda net, loss: jm.meta_curvature(net, loss, inner_lr=RATE, num_steps=2),
        lambda net, loss: jm.t_net(net, loss, inner_optimizer=optax.sgd(RATE), num_steps=2),
        lambda net, loss: jm.alfa(net, loss, init_lr=RATE, num_steps=2),
    ],
    ids=["meta_curvature", "t_net", "alfa"],
)
@pytest.mark.heavy
def test_the_start_is_maml(make):
    """Loss and the meta-gradient of the weights, on convolutions, normalisation and a head."""
    net, task = jm.from_linen(jm.backbones.Conv4(num_outputs=2, features=3)), images()
    learner = make(net, jm.losses.cross_entropy)
    maml = jm.maml(net, jm.losses.cross_entropy, inner_optimizer=optax.sgd(RATE), num_steps=2)
    meta = wide(learner.init(KEY, task))
    value = lambda params: learner.loss(Variables(params, meta.state), task, KEY)[0]
    loss, grads = jax.jit(jax.value_and_grad(value))(meta.params)
    plain = lambda params: maml.loss(Variables(params, meta.state), task, KEY)[0]
    wanted, wanted_grads = jax.jit(jax.value_and_grad(plain))(meta.params["model"])
    np.testing.assert_allclose(loss, wanted, rtol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10), grads["model"], wanted_grads)


def quadratic(outputs, targets):
    return 0.5 * jnp.sum((outputs - targets) ** 2)


def test_meta_curvature_in_closed_form():
    """On |P - C|^2 / 2 a step is P - a M_i (P - C) M_o^T, and its derivatives follow by hand."""
    rng = np.random.default_rng(0)
    start, target = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    left, right = rng.normal(size=(2, 2)), rng.normal(size=(3, 3))
    model = jm.from_functions(lambda key, x: {"kernel": jnp.zeros((2, 3))}, lambda v, x: v.params["kernel"] + 0 * x)
    batch = Batch(jnp.zeros((2, 3)), jnp.array(target))
    learner, task = jm.meta_curvature(model, quadratic, inner_lr=RATE), Task(batch, batch)
    assert jax.tree.map(jnp.shape, learner.init(KEY, task).params["curvature"]) == {
        "kernel": {"axis0": (2, 2), "axis1": (3, 3)}
    }
    params = {"model": {"kernel": jnp.array(start)}, "curvature": {"kernel": {"axis0": left, "axis1": right}}}
    params = jax.tree.map(jnp.array, params)
    grads = jax.grad(lambda params: learner.loss(Variables(params), task, KEY)[0])(params)
    gap = start - target
    end = gap - RATE * left @ gap @ right.T
    np.testing.assert_allclose(learner.adapt(Variables(params), batch).params["kernel"], target + end, rtol=1e-12)
    np.testing.assert_allclose(grads["model"]["kernel"], end - RATE * left.T @ end @ right, rtol=1e-12)
    np.testing.assert_allclose(grads["curvature"]["kernel"]["axis0"], -RATE * end @ right @ gap.T, rtol=1e-12)
    np.testing.assert_allclose(grads["curvature"]["kernel"]["axis1"], -RATE * end.T @ left @ gap, rtol=1e-12)


def test_a_convolution_has_three_matrices():
    """Places, inputs and outputs; a permutation of the places moves the gradient's."""
    from jaxmeta.algorithms._meta_curvature import multiplied

    g = np.random.default_rng(0).normal(size=(3, 3, 2, 4))
    rng = np.random.default_rng(1)
    f, i, o = rng.normal(size=(9, 9)), rng.normal(size=(2, 2)), rng.normal(size=(4, 4))
    found = multiplied(jnp.array(g), {"axis0": jnp.array(f), "axis1": jnp.array(i), "axis2": jnp.array(o)})
    wanted = np.einsum("ap,bi,co,pio->abc", f, i, o, g.reshape(9, 2, 4)).reshape(g.shape)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_t_net_steps_in_the_metric_of_its_map():
    """For y = (x W + b) T, one step moves W T by -a x^T r T^T T and b T by -a r T^T T, with residuals r."""
    rng = np.random.default_rng(0)
    kernel, bias, t = rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=(3, 3))
    x, y = rng.normal(size=(4, 2)), rng.normal(size=(4, 3))
    apply = lambda v, x: x @ v.params["layer"]["kernel"] + v.params["layer"]["bias"][None]
    model = jm.from_functions(lambda key, x: {"layer": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}}, apply)
    learner = jm.t_net(model, quadratic, inner_optimizer=optax.sgd(0.1))
    params = {"model": {"layer": {"kernel": kernel, "bias": bias}}, "maps": {"layer": t}}
    meta = Variables(jax.tree.map(jnp.array, params))
    batch = Batch(jnp.array(x), jnp.array(y))
    assert learner.init(KEY, Task(batch, batch)).params["maps"]["layer"].tolist() == np.eye(3).tolist()
    r = (x @ kernel + bias) @ t - y
    moved = (x @ kernel + bias) @ t - 0.1 * (x @ x.T + 1) @ r @ t.T @ t
    np.testing.assert_allclose(learner.predict(meta, learner.adapt(meta, batch), x), moved, rtol=1e-12)


def test_t_net_needs_a_kernel():
    model = jm.from_functions(lambda key, x: {"scale": jnp.ones(())}, lambda v, x: x * v.params["scale"])
    batch = Batch(jnp.ones((1, 1)), jnp.ones((1, 1)))
    with pytest.raises(ValueError, match=r"no `kernel` to put a map behind. Its parameters: \['scale'\]"):
        jm.t_net(model, quadratic).init(KEY, Task(batch, batch))


def test_alfa_step_by_step():
    """Two steps written out in NumPy, on |p - c|^2 / 2 with two arrays, a rule that is not zero and its own rates."""
    rng = np.random.default_rng(0)
    theta = {"a": rng.normal(size=2), "b": rng.normal(size=3)}
    c = rng.normal(size=5)
    apply = lambda v, x: jnp.concatenate([v.params["a"], v.params["b"]])[None] + 0 * x
    model = jm.from_functions(lambda key, x: jax.tree.map(jnp.array, theta), apply)
    batch = Batch(jnp.zeros((1, 5)), jnp.array(c)[None])
    learner = jm.alfa(model, quadratic, num_steps=2)
    meta = wide(learner.init(KEY, Task(batch, batch)))
    rule = jax.tree.map(lambda a: rng.normal(size=a.shape), meta.params["rule"])
    rates, decays = rng.uniform(0.1, 0.5, (2, 2)), rng.uniform(0.9, 1.1, (2, 2))
    params = {"model": theta, "rule": rule, "rates": rates, "decays": decays}
    p = {name: value.copy() for name, value in theta.items()}
    for k in range(2):
        grads = {"a": p["a"] - c[:2], "b": p["b"] - c[2:]}
        seen = np.array([grads["a"].mean(), grads["b"].mean(), p["a"].mean(), p["b"].mean()])
        hidden = np.maximum(seen @ rule["dense0"]["kernel"] + rule["dense0"]["bias"], 0)
        factor = 1 + hidden @ rule["dense1"]["kernel"] + rule["dense1"]["bias"]
        for i, name in enumerate("ab"):
            p[name] = factor[2 + i] * decays[k, i] * p[name] - factor[i] * rates[k, i] * grads[name]
    adapted = learner.adapt(Variables(jax.tree.map(jnp.array, params)), batch).params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), adapted, p)
