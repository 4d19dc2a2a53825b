"""PGD on linear models, where the worst input is known; what moves, how far; accuracy under attack by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables
from jaxmeta.attacks import attacked, perturb, pgd

RADIUS = 0.3
rng = np.random.default_rng(0)
NEAREST = jm.protonet(jm.from_functions(lambda key, x: (), lambda variables, x: x), num_ways=2)


def logistic():
    """Logits (0, x w) with labels: the worst shift is r sign(w) for class 0 and -r sign(w) for class 1."""
    w, x = jnp.asarray(rng.normal(size=(4, 1))), jnp.asarray(rng.normal(size=(6, 4)))
    y = jnp.arange(6) % 2
    loss = lambda x: jm.losses.cross_entropy(jnp.concatenate([jnp.zeros((6, 1)), x @ w], 1), y)
    return w, x, y, loss


@pytest.mark.usefixtures("x64")
def test_a_linear_model_is_driven_to_its_optimum_and_never_back():
    w, x, y, loss = logistic()
    values = [loss(x)]
    for steps in (1, 2, 3, 8):
        moved = jax.jit(lambda x, steps=steps: pgd(radius=RADIUS, num_steps=steps, step_size=0.1)(loss, x))(x)
        assert float(jnp.abs(moved - x).max()) <= RADIUS * (1 + 1e-12)
        values.append(loss(moved))
    assert all(a < b for a, b in zip(values[:3], values[1:4], strict=True))  # three steps of 0.1 reach the radius
    np.testing.assert_allclose(values[3], values[4], rtol=1e-12)
    np.testing.assert_allclose(moved, x + RADIUS * jnp.where(y == 0, 1, -1)[:, None] * jnp.sign(w).T, rtol=1e-12)
    start = pgd(radius=RADIUS, num_steps=1, step_size=0.0)(loss, x, jax.random.key(0))  # the random start alone
    assert 0 < float(jnp.abs(start - x).min()) and float(jnp.abs(start - x).max()) <= RADIUS * (1 + 1e-12)
    drawn = pgd(radius=RADIUS, num_steps=8, step_size=0.1)(loss, x, jax.random.key(0))
    assert loss(start) < loss(drawn)
    np.testing.assert_allclose(drawn, moved, rtol=1e-12)  # 2 r / a steps reach it from anywhere


def test_the_shift_of_a_binary_margin_is_the_l1_norm():
    """The worst margin is lower by r |w|_1, the dual norm."""
    w = jnp.array([1.0, -2.0, 0.5])
    moved = pgd(radius=0.25, num_steps=4)(lambda x: -jnp.dot(x, w), jnp.zeros(3), jax.random.key(1))
    np.testing.assert_allclose(jnp.dot(moved, w), -0.25 * 3.5, rtol=1e-6)


def test_bounds_hold_and_the_ball_too():
    x = jnp.asarray(rng.uniform(size=(5, 7)), jnp.float32)
    direction = jnp.asarray(rng.normal(size=(5, 7)), jnp.float32)
    moved = pgd(radius=0.4, num_steps=5, bounds=(0, 1))(lambda x: jnp.sum(x * direction), x, jax.random.key(0))
    assert 0 <= moved.min() and moved.max() <= 1
    np.testing.assert_allclose(moved, jnp.clip(x + 0.4 * jnp.sign(direction), 0, 1), atol=1e-6)


def test_what_cannot_move_stays():
    x = {"a": jnp.ones(2), "tokens": jnp.array([1, 2])}
    moved = pgd(radius=1.0, num_steps=1)(lambda x: x["a"].sum(), x)
    np.testing.assert_array_equal(moved["a"], [2, 2])
    assert moved["tokens"] is x["tokens"]
    with pytest.raises(ValueError, match="no floating leaf"):
        pgd(radius=1.0)(lambda x: 0.0, x["tokens"])


def test_no_derivative_passes_through():
    end = lambda s: pgd(radius=0.1, num_steps=1)(lambda x: jnp.sum(s * x), jnp.ones(2) * s).sum()
    assert jax.grad(end)(jnp.float32(1.0)) == 0


@pytest.mark.usefixtures("x64")
def test_poisoning_by_hand():
    """f = w x, from w = 0 one step on (x, 1) gives w = 2 a x; the query (1, 0) has loss 4 a^2 x^2, worst at x + r."""
    model = jm.from_functions(lambda key, x: jnp.zeros(1), lambda v, x: x * v.params[None])
    learner = jm.maml(model, jm.losses.mse, inner_optimizer=optax.sgd(0.25), num_steps=1)
    task = Task(Batch(jnp.array([[1.5]]), jnp.ones((1, 1))), Batch(jnp.ones((1, 1)), jnp.zeros((1, 1))))
    attack, meta = pgd(radius=0.5, num_steps=3), Variables(jnp.zeros(1))
    hard = perturb(learner, meta, task, attack, jm.losses.mse, on="support")
    np.testing.assert_allclose([hard.support.x.item(), hard.query.x.item()], [2.0, 1.0], rtol=1e-12)
    both = perturb(learner, meta, task, attack, jm.losses.mse, on="both")
    np.testing.assert_allclose([both.support.x.item(), both.query.x.item()], [2.0, 1.5], rtol=1e-12)


def nearest_task(key):
    """Prototypes at 0 and 2: the boundary is at 1."""
    del key
    support = Batch(jnp.array([[0.0], [2.0]]), jnp.array([0, 1]))
    return Task(support, Batch(jnp.array([[0.0], [0.6], [0.9], [2.0], [0.2]]), jnp.array([0, 0, 0, 1, 1])))


@pytest.mark.parametrize("radius, expected", [(0.0, 0.8), (0.2, 0.6), (0.5, 0.4), (1.1, 0.0)])
def test_robust_accuracy_by_hand(radius, expected):
    """Of 0, .6, .9 | 2, .2 (wrong from the start), those within the radius of the boundary are lost."""
    found = jm.robust_accuracy(NEAREST, Variables(()), nearest_task, attack=pgd(radius=radius), num_tasks=3)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-6)
    assert not found.transductive


def test_an_attacked_sampler_is_a_sampler():
    base = jm.tasks.glyphs(num_ways=2, num_queries=1, size=8)
    hard = attacked(NEAREST, Variables(()), base, pgd(radius=0.1, num_steps=1, bounds=(0, 1)))
    key = jax.random.key(0)
    once, again = hard(key), hard.fetch(hard.draw(key))
    jax.tree.map(np.testing.assert_array_equal, once, again)
    np.testing.assert_array_equal(once.support.x, base(key).support.x)
    gap = jnp.abs(once.query.x - base(key).query.x)
    assert 0 < gap.max() <= 0.1 + 1e-6


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: pgd(radius=-1.0), "`radius` .* got -1.0"),
        (lambda: pgd(radius=1.0, num_steps=0), "`num_steps` .* got 0"),
        (lambda: pgd(radius=1.0, bounds=(1, 0)), r"`bounds` .* got \(1, 0\)"),
        (lambda: jm.adversarial(NEAREST, attack=pgd(radius=1.0), on="labels"), "`on` .* got 'labels'"),
        (lambda: jm.adversarial(NEAREST, attack=pgd(radius=1.0), clean_weight=3), "`clean_weight` .* got 3"),
    ],
)
def test_errors(make, text):
    with pytest.raises(ValueError, match=text):
        make()
