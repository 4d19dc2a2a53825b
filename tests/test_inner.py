"""`inner.descend`: finite differences through optimizers, agreement of all its variants, hoisting."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from jaxmeta.inner import adam, descend, hoist

OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": adam(0.05),
    "rmsprop": optax.rmsprop(0.05),
    "adagrad": optax.adagrad(0.1),
    "schedule": optax.sgd(optax.cosine_decay_schedule(0.2, 7)),
}
STEPS = 7
optimizers = pytest.mark.parametrize("name", OPTIMIZERS)


def problem(dtype=jnp.float64):
    keys = jax.random.split(jax.random.key(0), 4)
    draw = lambda key, *shape: 0.5 * jax.random.normal(key, shape, dtype)
    params = {"body": draw(keys[0], 3, 4), "head": draw(keys[1], 4, 3)}
    return params, draw(keys[2], 5, 3), jnp.array([0, 1, 2, 0, 1])


def outer(params, name, **options):
    """Adapts the head with integer labels, noise keys and a carried state, all closed over or passed on."""
    _, x, y = problem(params["head"].dtype)

    def objective(head, state, key):
        features = jnp.tanh(x @ params["body"])
        logits = features @ head + 0.1 * jax.random.normal(key, (5, 3), head.dtype) + state
        loss = optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, 0.5 * state + 0.1

    inputs = jax.random.split(jax.random.key(1), STEPS)
    state = jnp.zeros((), params["head"].dtype)
    end = descend(objective, params["head"], OPTIMIZERS[name], STEPS, state=state, inputs=inputs, **options)
    return jnp.sum(jnp.sin(jnp.tanh(x @ params["body"]) @ end.params))


@optimizers
@pytest.mark.usefixtures("x64")
def test_finite_differences(name):
    check_grads(lambda params: outer(params, name), problem()[:1], order=1, modes=["rev"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "name", [name if name in ("sgd", "adam") else pytest.param(name, marks=pytest.mark.slow) for name in OPTIMIZERS]
)
@pytest.mark.usefixtures("x64")
def test_mixed_reverse_and_rematerialised_agree(name):
    variants = [("mixed", 0), ("mixed", 1), ("mixed", 3), ("mixed", STEPS + 1), ("reverse", 1), ("reverse", "sqrt")]
    grad = lambda params, gradient, remat: jax.grad(outer)(params, name, gradient=gradient, remat=remat)
    reference = jax.jit(lambda params: grad(params, "reverse", 0))(problem()[0])
    for result in jax.jit(lambda params: [grad(params, *variant) for variant in variants])(problem()[0]):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), result, reference)


@pytest.mark.usefixtures("x64")
def test_unrolled_by_hand():
    """An independent five-line MAML: the loop written out, differentiated in reverse."""
    params, x, y = problem()
    loss = lambda head, body: optax.losses.softmax_cross_entropy_with_integer_labels(
        jnp.tanh(x @ body) @ head, y
    ).mean()

    def by_hand(params):
        head = params["head"]
        for _ in range(3):
            head = head - 0.2 * jax.grad(loss)(head, params["body"])
        return loss(head, params["body"])

    def ours(params):
        objective = lambda head, state, _: (loss(head, params["body"]), state)
        return loss(descend(objective, params["head"], optax.sgd(0.2), 3).params, params["body"])

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), jax.grad(ours)(params), jax.grad(by_hand)(params)
    )


@pytest.mark.usefixtures("x64")
def test_second_order_of_the_meta_gradient_by_reverse():
    check_grads(
        lambda params: outer(params, "sgd", gradient="reverse"), problem()[:1], order=2, modes=["rev"], rtol=1e-5
    )


def test_adam_is_finite_where_a_gradient_is_zero_and_optax_is_not():
    x = jnp.array([[1.0, 0.0], [2.0, 0.0]])  # the second input is a background pixel
    objective = lambda w, state, _: (jnp.mean((x @ w - 1) ** 2), state)
    end = lambda w, optimizer: jnp.sum(descend(objective, w, optimizer, 2).params ** 2)
    assert bool(jnp.isfinite(jax.grad(end)(jnp.ones(2), adam(0.1))).all())
    assert not bool(jnp.isfinite(jax.grad(end)(jnp.ones(2), optax.adam(0.1))).any())


def test_what_does_not_depend_on_the_parameters_is_computed_once():
    """A frozen trunk inside the objective leaves one matrix product per pass in the loop, the head's."""
    x, body = jnp.ones((5, 3)), jnp.ones((3, 4))
    objective = lambda head, state, _: (jnp.sum((jnp.tanh(x @ body) @ head) ** 2), state)
    explicit, consts = hoist(objective, jnp.ones((4, 2)), (), None)
    inside = str(jax.make_jaxpr(explicit)(jnp.ones((4, 2)), (), None, consts))
    assert inside.count("dot_general") == 1 and "tanh" not in inside
    assert [const.shape for const in consts] == [(5, 4)]


def test_residuals_of_the_mixed_mode_do_not_grow_with_the_width_of_the_network():
    """Temporary memory through 64 steps, in bytes, against reverse over reverse."""
    x, params = jnp.ones((512, 8)), jnp.ones((8, 8)) / 8

    def end(params, gradient):
        objective = lambda p, state, _: (jnp.mean(jnp.tanh(jnp.tanh(x @ p) @ p) ** 2), state)
        return jnp.sum(descend(objective, params, optax.sgd(0.1), 64, gradient=gradient).params)

    memory = {
        gradient: jax.jit(jax.grad(end), static_argnums=1)
        .lower(params, gradient)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for gradient in ("mixed", "reverse")
    }
    assert memory["mixed"] < 0.2 * memory["reverse"]


def test_an_optimizer_may_ask_for_the_loss():
    """Polyak's step on |p|^2 / 2 halves p: the rate is the loss over the squared gradient."""
    objective = lambda p, state, _: (0.5 * jnp.sum(p**2), state)
    end = descend(objective, jnp.ones(3), optax.polyak_sgd(), 3)
    np.testing.assert_allclose(end.params, 0.125 * np.ones(3), rtol=1e-6)


def test_zero_steps_are_the_identity():
    params = {"w": jnp.ones(3)}
    assert descend(lambda p, state, _: (p["w"].sum(), state), params, optax.adam(0.1), 0).params is params


@pytest.mark.parametrize(
    "options, text",
    [
        ({"num_steps": -1}, "`num_steps` must be >= 0, got -1"),
        ({"num_steps": 1, "gradient": "forward"}, "`gradient` must be one of"),
        ({"num_steps": 3, "inputs": jnp.ones(2)}, "`inputs` needs a leading axis of `num_steps` = 3"),
        ({"num_steps": 1, "truncate": -1}, "`truncate` must be a number of steps >= 0 or None, got -1"),
        ({"num_steps": 1, "remat": "all"}, "`remat` must be 0, a group size in steps, or 'sqrt', got 'all'"),
    ],
)
def test_errors(options, text):
    with pytest.raises(ValueError, match=text):
        descend(lambda p, state, _: (p, state), jnp.ones(()), optax.sgd(0.1), **options)
