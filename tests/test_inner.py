"""`inner.descend`: finite differences through optimizers, agreement of all its variants, hoisting."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from jax.test_util import check_grads
from registry import KEY, KINDS, LEARNERS, build, stack

import jaxmeta as jm
from jaxmeta import inner
from jaxmeta.extra_arguments import update_of
from jaxmeta.finite_derivatives import finite_derivatives
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
@pytest.mark.heavy
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


def third(f, x, u, v):
    """The gradient of the derivative of ``f`` along ``u`` and ``v``, reverse over reverse over reverse."""
    along = lambda f, u: lambda x: jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, jax.grad(f)(x), u))
    return jax.grad(along(along(f, u), v))(x)


def directions(tree, num=3):
    """Trees of normal numbers, shaped as ``tree``."""
    leaves, treedef = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(3), num * len(leaves)).reshape(num, -1)
    draw = lambda key, a: jax.random.normal(key, a.shape, a.dtype)
    return [treedef.unflatten(map(draw, row, leaves)) for row in keys]


def assert_close(a, b, rtol):
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(b))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale), a, b)


slow = lambda *values: pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "name, num_steps, remat",
    [("sgd", 2, 0), *map(slow, ["sgd", "sgd", "adam", "momentum", "schedule"], [1, 3, 3, 5, 4], [0, 1, 0, 2, "sqrt"])],
)
@pytest.mark.usefixtures("x64")
def test_derivatives_of_any_order_and_mode(name, num_steps, remat, monkeypatch):
    """Unrolled, in a loop and rematerialised; in the weights, what the objective closes over, and both at once."""
    monkeypatch.setattr(f"{__name__}.STEPS", num_steps)
    at, unravel = ravel_pytree(problem()[0])
    u, v, w = jax.random.normal(jax.random.key(3), (3, len(at)))
    mixed = lambda p: outer(unravel(p), name, remat=remat)
    plain = lambda p: outer(unravel(p), name, gradient="reverse")
    push = lambda f, u: lambda p: jax.jvp(f, (p,), (u,))[1]

    @jax.jit
    def derivatives(p):
        second, three = push(jax.grad(plain), u)(p), third(plain, p, u, v)
        return {
            "reverse, thrice": (third(mixed, p, u, v), three),
            "forward, thrice": (push(push(push(mixed, u), v), w)(p), jnp.vdot(three, w)),
            "linearize": (jax.linearize(jax.grad(mixed), p)[1](u), second),
            "forward over reverse": (jax.hessian(mixed)(p) @ u, second),
            "reverse over forward": (jax.grad(push(mixed, u))(p), second),
        }

    for mode, (ours, reverse) in derivatives(at).items():
        np.testing.assert_allclose(ours, reverse, rtol=1e-9, atol=1e-12, err_msg=mode)


@pytest.mark.usefixtures("x64")
def test_a_second_derivative_across_two_closed_over_values_is_that_of_the_loop_by_hand():
    """Two steps: as a `jax.custom_vjp` in a loop, the mixed step gave another number here, without an error."""
    m, w, c = jnp.array([0.1, 0.5, 0.9]), jnp.arange(3.0) / 3, jnp.cos(jnp.arange(3.0))
    loss = lambda p, m, w: jnp.sum(jnp.sin(p * m - w) ** 2 * m + w**2 * p)

    def by_hand(m, w):
        p = jnp.ones(3)
        for _ in range(2):
            p = p - 0.1 * jax.grad(loss)(p, m, w)
        return jnp.sum(p**2)

    def ours(m, w):
        objective = lambda p, state, _: (loss(p, m, w), state)
        return jnp.sum(descend(objective, jnp.ones(3), optax.sgd(0.1), 2).params ** 2)

    second = lambda f: jax.grad(lambda m: jnp.vdot(jax.grad(f, 1)(m, w), c))(m)
    np.testing.assert_allclose(second(ours), second(by_hand), rtol=1e-12)
    np.testing.assert_allclose(second(ours), [0.15344231, 0.33506472, -0.2836614], rtol=1e-7)


@pytest.mark.usefixtures("x64")
def test_descend_inside_descend_is_that_of_reverse(monkeypatch):
    """MAML whose inner objective is itself a MAML, differentiated again."""

    def end(params):
        def inner(p, state, x):
            low = lambda q, state, _: (jnp.sum(jnp.cos(q * p - x) ** 2), state)
            return jnp.sum(jnp.sin(descend(low, p * params, optax.sgd(0.1), 2).params)), state

        return jnp.sum(descend(inner, params, adam(0.1), 2, inputs=jnp.ones((2, 3))).params ** 3)

    params, u = jnp.array([0.3, 0.7, -0.4]), jnp.array([1.0, -2.0, 0.5])
    both = lambda: jax.jit(lambda p: (jax.grad(end)(p), jax.jvp(jax.grad(end), (p,), (u,))[1]))(params)
    ours = both()
    monkeypatch.setitem(inner._GRADIENTS, "mixed", inner._reverse)
    assert_close(ours, both(), 1e-9)


STEPPING = "anil boil maml_plus_plus meta_sgd maml_adam lstm learned_optimizer imaml reptile".split()


@pytest.mark.parametrize("name", [*map(slow, ["maml", *STEPPING])])
@pytest.mark.usefixtures("x64")
def test_third_derivatives_of_learners(name, monkeypatch):
    """Of a batch of tasks: as by reverse over reverse, and as by central differences of the second ones.

    The learned optimizer has units with a kink. The published LSTM takes gradients as constants: not this one.
    """
    kind = KINDS[LEARNERS[name].kind]
    learner = build(name, LEARNERS[name].kind)
    if name == "lstm":
        learner = jm.lstm(jm.from_linen(kind.net), kind.loss_fn, num_steps=3, hidden=4, init_lr=0.1, first_order=False)
    wide = lambda tree: jax.tree.map(lambda a: a.astype(float) if a.dtype == jnp.float32 else a, tree)
    tasks, keys = wide(stack(kind.sampler, 2)), jax.random.split(KEY, 2)
    meta = wide(jm.init(learner, jax.tree.map(lambda a: a[0], tasks), optax.sgd(0.1), key=KEY).meta)
    u, v, w = directions(meta.params)

    def outer_loss(params):
        return jax.vmap(lambda task, key: learner.loss(meta._replace(params=params), task, key)[0])(tasks, keys).mean()

    dot = lambda a, b: sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))
    ours = jax.jit(lambda p: third(outer_loss, p, u, v))(meta.params)
    with monkeypatch.context() as patch:
        patch.setitem(inner._GRADIENTS, "mixed", inner._reverse)
        assert_close(ours, jax.jit(lambda p: third(outer_loss, p, u, v))(meta.params), 1e-9)
    if name == "learned_optimizer":
        return
    second = jax.jit(lambda p: dot(jax.jvp(jax.grad(outer_loss), (p,), (u,))[1], v))
    at = lambda h: second(jax.tree.map(lambda p, w: p + h * w, meta.params, w))
    size = 1e-5 if name in ("lstm", "maml_adam") else 1e-4  # of large curvature
    slope = (8 * (at(size) - at(-size)) - (at(2 * size) - at(-2 * size))) / (12 * size)
    np.testing.assert_allclose(dot(ours, w), slope, rtol=1e-6)


SINGULAR = {
    "adaptive_grad_clip": optax.chain(optax.adaptive_grad_clip(0.1), optax.sgd(0.1)),
    "in a branch": optax.apply_if_finite(optax.lars(0.1), 2),
    "clip_by_global_norm": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
    "clip_by_block_rms": optax.chain(optax.clip_by_block_rms(1.0), optax.sgd(0.1)),
    "normalize_by_update_norm": optax.chain(optax.normalize_by_update_norm(), optax.sgd(0.1)),
    "adam": optax.adam(0.1),
    "lars": optax.lars(0.1),
    "lamb": optax.lamb(0.1),
    "nadam": optax.nadam(0.1),
    "radam": optax.radam(0.1),
    "adafactor": optax.adafactor(0.1),
    "novograd": optax.novograd(0.1),
    "polyak_sgd": optax.polyak_sgd(),
    "muon": optax.contrib.muon(0.1),
    "every second": optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
}


def update_twice(update, optimizer, grads):
    params, state = {"b": jnp.zeros(2), "w": jnp.ones((2, 2))}, optimizer.init(grads)
    for _ in range(2):
        updates, state = update(grads, state, params, value=jnp.float32(1.5))
        params = optax.apply_updates(params, updates)
    return ravel_pytree(params)[0]


@pytest.mark.parametrize("name", SINGULAR)
def test_optimizers_have_finite_derivatives_where_a_gradient_is_zero_and_their_own_elsewhere(name):
    optimizer = SINGULAR[name]
    own = partial(update_twice, update_of(optimizer), optimizer)
    ours = partial(update_twice, finite_derivatives(update_of(optimizer)), optimizer)
    grads = {"b": jnp.array([1.0, -2.0]), "w": jnp.array([[0.5, -1.0], [2.0, 0.3]])}
    zeros = jax.tree.map(jnp.zeros_like, grads)
    slope = jax.jit(jax.jacrev(ours))
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, slope(grads), jax.jit(jax.jacrev(own))(grads))
    np.testing.assert_array_equal(jax.jit(ours)(zeros), jax.jit(own)(zeros))
    assert bool(jnp.isfinite(ravel_pytree(slope(zeros))[0]).all())


def test_inner_steps_are_differentiable_where_a_gradient_is_zero():
    x = jnp.array([[1.0, 0.0], [2.0, 0.0]])  # the second input is a background pixel
    objective = lambda w, state, _: (jnp.mean((x @ w - 1) ** 2), state)
    end = lambda w, optimizer: jnp.sum(descend(objective, w, optimizer, 2).params ** 2)
    for optimizer in (adam(0.1), optax.adam(0.1)):
        assert bool(jnp.isfinite(jax.grad(end)(jnp.ones(2), optimizer)).all())
    quadratic = lambda p, state, _: (0.5 * jnp.sum(p**2), state)
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))  # at zero nothing is clipped
    slope = jax.jacrev(lambda p: descend(quadratic, p, clipped, 2).params)(jnp.zeros(2))
    np.testing.assert_allclose(slope, 0.81 * np.eye(2), rtol=1e-6)


def test_parameters_that_no_task_reaches_have_their_derivatives_through_vmap(x64):
    """An unused head, and one that only weight decay moves: their gradients are the same for all tasks."""

    def end(meta, x, gradient):
        def objective(p, state, _):
            return 0.5 * (p["used"] - x) ** 2 + 0.5 * p["decayed"] ** 2 + 0 * p["unused"].sum(), state

        params = descend(objective, meta, optax.sgd(0.1), 3, gradient=gradient).params
        return params["used"] ** 2 + 3 * params["decayed"] + params["unused"].sum()

    meta = {"used": jnp.float64(2.0), "decayed": jnp.float64(1.0), "unused": jnp.ones(2)}
    for gradient in ("mixed", "reverse"):
        one = partial(end, gradient=gradient)
        found = jax.grad(lambda meta, one=one: jax.vmap(partial(one, meta))(jnp.arange(4.0)).mean())(meta)
        left = 0.9**3
        used = 2 * left * (1.5 + left * 0.5)  # the mean end is 1.5 + left (2 - 1.5)
        expected = {"used": used, "decayed": 3 * left, "unused": np.ones(2)}
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


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


@pytest.mark.usefixtures("x64")
def test_the_loss_that_an_optimizer_reads_is_differentiated():
    """Polyak steps: the rate is the loss over the squared gradient. In the start, and in what the loss closes over."""

    def end(at, gradient="mixed"):
        objective = lambda p, state, _: (jnp.sum((at["a"] * p - 1) ** 4) + 0.3 * jnp.sum(jnp.sin(p)) + 1, state)
        return jnp.sum(descend(objective, at["p"], optax.polyak_sgd(0.1), 3, gradient=gradient).params ** 2)

    at = {"p": jnp.array([0.3, -0.2]), "a": jnp.array([1.5, 0.7])}
    check_grads(end, (at,), order=2, modes=("fwd", "rev"), rtol=1e-6, atol=1e-6)
    assert_close(jax.grad(end)(at), jax.grad(partial(end, gradient="reverse"))(at), 1e-12)


def test_an_optimizer_that_names_its_arguments_is_given_no_other():
    """SAM with one adversarial step: the second of two steps moves from the start, by the gradient at 1.1 p."""
    objective = lambda p, state, _: (0.5 * jnp.sum(p**2), state)
    adversary = optax.chain(optax.contrib.normalize(), optax.sgd(0.1))
    sam = optax.contrib.sam(optax.sgd(0.5), adversary, sync_period=2)
    end = descend(objective, jnp.ones(1), sam, 2)
    np.testing.assert_allclose(end.params, [1 - 0.5 * 1.1], rtol=1e-6)


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
