"""RFS: the optimality of its logistic regression, normalised features, and what a teacher adds."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables
from jaxmeta.algorithms._rfs import logistic_regression

KEY = jax.random.key(0)
BODY = jm.from_functions(lambda key, x: (), lambda variables, x: x)  # features as they are


def features(num_examples, size, dtype=jnp.float64):
    z = jax.random.normal(KEY, (num_examples, size), dtype)
    return z / jnp.linalg.norm(z, axis=1, keepdims=True)


def gradient(fitted, z, batch, penalty):
    """Of the objective, written out with NumPy."""
    kernel, bias = np.asarray(fitted["kernel"]), np.asarray(fitted["bias"])
    ways = np.ones(len(bias), bool) if batch.ways is None else np.asarray(batch.ways)
    odds = np.where(ways, np.exp(np.asarray(z) @ kernel + bias), 0.0)
    residual = odds / odds.sum(1, keepdims=True) - np.eye(len(bias))[np.asarray(batch.y)]
    residual = residual * (1.0 if batch.weight is None else np.asarray(batch.weight)[:, None])
    return np.asarray(z).T @ residual + penalty * kernel, residual.sum(0)


@pytest.mark.parametrize("shape", [(6, 9), (12, 4)], ids=["more features", "more examples"])
@pytest.mark.parametrize("penalty", [1.0, 1e-3])
@pytest.mark.usefixtures("x64")
def test_logistic_regression_is_optimal(shape, penalty):
    z, batch = features(*shape), Batch(None, jnp.arange(shape[0]) % 3)
    for fill in (batch, batch._replace(weight=jnp.linspace(0, 2, shape[0]), ways=jnp.array([1, 1, 1, 0], bool))):
        fitted = logistic_regression(z, fill, 3 if fill.ways is None else 4, penalty=penalty)
        for part in gradient(fitted, z, fill, penalty):
            np.testing.assert_allclose(part, 0, atol=1e-10)


def test_float32_is_optimal_to_rounding():
    z, batch = features(25, 64, jnp.float32), Batch(None, jnp.arange(25) // 5)
    fitted = logistic_regression(z, batch, 5)
    assert max(np.abs(part).max() for part in gradient(fitted, z, batch, 1.0)) < 1e-5


@pytest.mark.usefixtures("x64")
def test_adapt_normalises_hides_padding_and_masks_absent_ways():
    learner, x = jm.rfs(BODY), 3 * jax.random.normal(KEY, (6, 5))
    ways = jnp.array([True, True, False])
    support = Batch(x, jnp.array([0, 1, 0, 1, 0, 1]), ways=ways)
    adapted = learner.adapt(Variables({"model": ()}), support)
    z = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(gradient(adapted.params, z, support, 1.0)[0], 0, atol=1e-10)
    outputs = learner.predict(Variables({"model": ()}), adapted, 7 * x)
    expected = z @ adapted.params["kernel"] + adapted.params["bias"][None]
    np.testing.assert_allclose(outputs[:, :2], expected[:, :2], rtol=1e-12)
    assert (outputs[:, 2] == jnp.finfo(outputs.dtype).min).all()

    padded = Batch(jnp.concatenate([x, 9 + x[:2]]), jnp.array([0, 1, 0, 1, 0, 1, 0, 0]), jnp.arange(8) < 6.0, ways)
    hidden = learner.adapt(Variables({"model": ()}), padded)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), adapted.params, hidden.params)


@pytest.mark.usefixtures("x64")
def test_a_teacher_adds_its_divergence():
    """The sum over examples and classes written out; no share of it is the plain loss, and equal logits add nothing."""
    x, y = jax.random.normal(KEY, (5, 3)), jnp.array([0, 1, 2, 3, 0])
    weight = jnp.array([1.0, 1.0, 0.0, 2.0, 1.0])
    task, heads = Task(None, Batch(x, y, weight)), jax.random.normal(jax.random.key(1), (2, 3, 4))
    student, teacher = (Variables({"model": (), "head": {"kernel": k, "bias": jnp.zeros(4)}}) for k in heads)
    log_p, log_q = (jax.nn.log_softmax(x @ k / 2.5) for k in heads)
    divergence = np.sum(weight[:, None] * np.exp(log_q) * (log_q - log_p)) / np.sum(weight) * 2.5**2
    plain = jm.rfs(BODY, num_classes=4).loss(student, task)[0]
    taught = lambda teacher, share: jm.rfs(BODY, teacher=teacher, distillation=share, temperature=2.5, num_classes=4)
    for share in (0.0, 0.3):
        value, aux = taught(teacher, share).loss(student, task)
        np.testing.assert_allclose(value, (1 - share) * plain + share * divergence, rtol=1e-10)
        np.testing.assert_allclose(aux.metrics["distillation"], divergence, rtol=1e-10)
    np.testing.assert_allclose(taught(student, 1.0).loss(student, task)[0], 0, atol=1e-12)


def test_a_student_learns_from_its_teacher():
    """A fresh learner of the same model, trained on mini-batches towards the fixed logits of an earlier meta."""
    data = jm.datasets.from_arrays(np.eye(8, dtype=np.float32).repeat(4, 0), np.arange(8).repeat(4))
    sampler, adam, model = (
        jm.tasks.batches(data, batch_size=32),
        optax.adam(1e-2),
        jm.from_linen(jm.backbones.MLP((16,))),
    )
    teacher = jm.rfs(model).init(KEY, sampler(KEY))
    learner = jm.rfs(model, teacher=teacher, distillation=1.0)
    state = jm.init(learner, sampler, adam, key=jax.random.key(5))
    _, history = jm.fit(learner, sampler, adam, state, num_steps=40, tasks_per_step=1)
    assert history["distillation"][-1] < history["distillation"][0] / 5


@pytest.mark.parametrize("options", [{"penalty": 0.0}, {"temperature": -1.0}, {"distillation": 1.5}])
def test_bad_arguments(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}`"):
        jm.rfs(BODY, **options)
