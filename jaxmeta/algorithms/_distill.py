"""Distillation: a student learns from the labels and from what a trained teacher, or an ensemble, predicts.

Hinton, Vinyals and Dean, 2015, https://arxiv.org/abs/1503.02531, on the query predictions after adaptation.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..embedding import at_least_float32
from ..learner import mask_ways, predict_rows, split_key
from ..losses import kl_divergence, mse, weighted_mean
from ..types import Aux, Batch, Key, MetaLearner, PyTree, Task, Variables


class Distillation(NamedTuple):
    """The state of distillation: the student's own state, and the teacher's frozen `meta`."""

    student: PyTree
    teacher: Variables


def distill(
    student: MetaLearner,
    teacher: MetaLearner,
    teacher_meta: Variables,
    *,
    temperature: float = 2.0,
    soft_weight: float = 0.5,
) -> MetaLearner:
    r"""Both adapt to the support set; the student's query predictions match the teacher's and the labels.

    $$ (1 - a) \, \ell(\theta) + a \, \tau^2 \, \mathrm{KL}\big(\mathrm{softmax}(t / \tau) \,\big\|\,
       \mathrm{softmax}(f_\theta / \tau)\big) $$

    with the student's own loss $\ell$, query logits $f_\theta$ and the teacher's $t$, which get no gradient. For
    targets that are no class labels the second term is the mean squared distance of the predictions.
    It is measured in evaluation mode, on predictions as they will be used: no dropout.

    Args:
      student: the learner to train. `meta.params` is its own: ``Variables(meta.params, meta.state.student)`` is a
        `meta` for the plain student.
      teacher: any learner with the same outputs: more inner steps, a larger network, a `bagging` ensemble.
      teacher_meta: the trained teacher. It is kept in `meta.state`, so that checkpoints have it and steps do not
        compile it in.
      temperature: $\tau$.
      soft_weight: $a$, from 0 (labels only) to 1 (the teacher only).

    Returns:
      A `MetaLearner`, with the second term as the metric ``"distillation"``.

    Raises:
      ValueError: if ``temperature`` is not positive or ``soft_weight`` is outside [0, 1].

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_linen(jm.backbones.MLP((8,), num_outputs=1))
      >>> teacher, sampler = jm.maml(model, jm.losses.mse, num_steps=5), jm.tasks.sinusoid()
      >>> trained = teacher.init(jax.random.key(0), sampler(jax.random.key(1)))
      >>> learner = distill(jm.maml(model, jm.losses.mse, num_steps=1), teacher, trained)
    """
    if not temperature > 0:
        raise ValueError(f"`temperature` must be positive, got {temperature}.")
    if not 0 <= soft_weight <= 1:
        raise ValueError(f"`soft_weight` is a share from 0 to 1, got {soft_weight}.")
    own = lambda meta: Variables(meta.params, meta.state.student)

    def init(key: Key, task: Task) -> Variables:
        variables = student.init(key, task)
        return Variables(variables.params, Distillation(variables.state, teacher_meta))

    def adapt(meta: Variables, support: Any, key: Key | None = None):
        return student.adapt(own(meta), support, key)

    def predict(meta: Variables, adapted: Any, x: PyTree, key: Key | None = None, *, weight: jax.Array | None = None):
        return predict_rows(student, own(meta), adapted, x, key, weight=weight)

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_labels, k_teacher, k_student = split_key(key, 3)
        value, (state, metrics) = student.loss(own(meta), task, k_labels)
        targets = jax.lax.stop_gradient(_query_outputs(teacher, meta.state.teacher, task, k_teacher))
        gap = soft_loss(_query_outputs(student, own(meta), task, k_student), targets, task.query, temperature)
        state = Distillation(state, meta.state.teacher)
        return (1 - soft_weight) * value + soft_weight * gap, Aux(state, {**metrics, "distillation": gap})

    return MetaLearner(init, adapt, predict, loss)


def soft_loss(outputs: jax.Array, targets: jax.Array, query: Batch, temperature: float = 1.0) -> jax.Array:
    r"""$\tau^2 \, \mathrm{KL}$ of softened logits ``[N, W]`` or ``[N, L, W]``; mean squared distance without labels.

    Example:
      >>> logits = jnp.array([[0.0, 3.0]])
      >>> print(soft_loss(logits, logits + 1, Batch(None, jnp.array([0]))))
      0.0
    """
    if not (jnp.issubdtype(query.y.dtype, jnp.integer) and outputs.shape[:-1] == query.y.shape):
        return mse(outputs, targets, query.weight)
    divergence = kl_divergence(at_least_float32(targets) / temperature, at_least_float32(outputs) / temperature)
    return temperature**2 * weighted_mean(divergence, query.weight)


def _query_outputs(learner: MetaLearner, meta: Variables, task: Task, key: Key | None) -> jax.Array:
    k_adapt, k_query = split_key(key)
    adapted = learner.adapt(meta, task.support, k_adapt)
    outputs = predict_rows(learner, meta, adapted, task.query.x, k_query, weight=task.query.weight)
    return mask_ways(outputs, task.support.ways)
