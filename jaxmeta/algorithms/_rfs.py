"""Pre-train an embedding, then logistic regression on its normalised features; a second stage distils the first.

Tian, Wang, Krishnan, Tenenbaum and Isola, 2020, https://arxiv.org/abs/2003.11539 ("RFS", "a good embedding is all
you need")
"""

import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse.linalg import cg

from ..embedding import embed, embed_support
from ..learner import Adapted, count_ways, ignoring_hidden, mask_ways
from ..losses import LossFn, cross_entropy, weighted_mean
from ..types import Batch, Key, MetaLearner, Model, PyTree, Variables
from ._metric import unit
from ._pretraining import linear_layer, mask_classes, pretraining, with_head


def rfs(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    num_classes: int | None = None,
    teacher: Variables | None = None,
    distillation: float = 0.5,
    temperature: float = 4.0,
    penalty: float = 1.0,
    num_steps: int = 15,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""RFS: train on global labels; a task gets a logistic regression on $\hat z = f_\theta(x) / \|f_\theta(x)\|$.

    Training is that of `baseline`. A task's classifier is the exact minimiser of
    $\sum_i -\log \mathrm{softmax}(\hat z_i W + b)_{y_i} + \frac{\lambda}{2} \|W\|^2$ over its support set.

    Self-distillation ("born again") is a further stage: train a fresh ``rfs(model, teacher=state.meta)``, as often as
    it helps. Its loss is $(1 - \alpha) L + \alpha T^2 \, \mathrm{KL}(p^T_{\text{teacher}} \| p^T_\theta)$ with the
    softmax of logits divided by $T$; the teacher is fixed and in evaluation mode. `adapt` and `predict` are the same.
    The paper's five augmented copies of every support image are left to the sampler.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: $L$, of pre-training.
      num_classes, num_ways: as for `baseline`.
      teacher: the `Variables` that an earlier stage learned with the same model and classes.
      distillation: $\alpha$, the teacher's share of the loss; 0.5 in the paper.
      temperature: $T$.
      penalty: $\lambda$; 1 in the paper (``C=1`` of scikit-learn).
      num_steps: Newton steps; 15 solve any penalty above 1e-3 or so to machine precision.

    Returns:
      A `MetaLearner`; `adapt` returns `Adapted` with the parameters ``{"kernel": W [D, W], "bias": b [W]}``.

    Raises:
      ValueError: for a ``penalty`` or ``temperature`` that is not positive, a ``distillation`` outside [0, 1], and as
        for `baseline`.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_linen(jm.backbones.MLP((8,)))
      >>> task = jm.Task(None, Batch(jnp.ones((4, 3)), jnp.arange(4)))
      >>> first = rfs(model, num_classes=4)
      >>> again = rfs(model, num_classes=4, teacher=first.init(jax.random.key(0), task))
      >>> loss, aux = again.loss(again.init(jax.random.key(1), task), task)
      >>> sorted(aux.metrics)
      ['accuracy', 'distillation', 'loss']
    """
    _check(distillation, temperature, penalty)
    head = linear_layer()
    classifier = with_head(model, head)

    def lesson(value: jax.Array, outputs: jax.Array, query: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        assert teacher is not None
        taught = classifier.apply(teacher, query.x, train=False, weight=query.weight)[0]
        log_mine, log_taught = (_soft(logits, temperature, query) for logits in (outputs, taught))
        each = optax.losses.kl_divergence_with_log_targets(log_mine, jax.lax.stop_gradient(log_taught))
        gap = temperature**2 * weighted_mean(each, query.weight)
        return (1 - distillation) * value + distillation * gap, {"distillation": gap}

    def adapt(meta: Variables, support: Batch, key: Key | None = None) -> Adapted:
        width = count_ways(support, num_ways, "num_ways")
        body = Variables(meta.params["model"], meta.state)
        z, state = embed_support(model, body, support)
        fitted = logistic_regression(unit(z), support, width, penalty=penalty, num_steps=num_steps)
        return Adapted(fitted, state, support.ways)

    def predict(
        meta: Variables, adapted: Adapted, x: PyTree, key: Key | None = None, *, weight: jax.Array | None = None
    ):
        body = Variables(meta.params["model"], adapted.state)
        z, _ = embed(model, body, x, key, weight=weight)
        return mask_ways(head.apply(adapted.params, unit(z)), adapted.ways)

    init, loss = pretraining(model, head, loss_fn, num_classes, None if teacher is None else lesson)
    return ignoring_hidden(MetaLearner(init, adapt, predict, loss))


def logistic_regression(
    z: jax.Array, support: Batch, num_ways: int, *, penalty: float = 1.0, num_steps: int = 15
) -> dict[str, jax.Array]:
    r"""Return the minimiser of $\sum_i w_i (-\log \mathrm{softmax}(z_i W + b)_{y_i}) + \frac{\lambda}{2} \|W\|^2$.

    Newton steps, whole or $\log(1 + d) / d$ of them, whichever leaves the smaller loss, with $d$ the largest change of
    a difference of two logits: the latter falls from anywhere (Sun and Tran-Dinh, 2019,
    https://doi.org/10.1007/s10107-018-1282-4). The linear systems are solved by conjugate gradients. $W$ is a
    combination of the examples, so with fewer examples than features the problem is posed in their span. The biases
    of present ways sum to 0.

    Args:
      z: ``[N, D]``.
      support: its ``y``, ``weight`` and ``ways``.
      num_ways: W, static.
      penalty: $\lambda > 0$; $b$ is free.
      num_steps: Newton steps.

    Returns:
      ``{"kernel": [D, W], "bias": [W]}``, in at least float32.

    Example:
      >>> z, support = jnp.array([[-1.0], [1.0]]), Batch(None, jnp.array([0, 1]))
      >>> fitted = logistic_regression(z, support, 2)
      >>> (z @ fitted["kernel"] + fitted["bias"][None]).argmax(-1).tolist()
      [0, 1]
    """
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    size, dtype = z.shape, z.dtype
    basis, z = (None, z) if size[0] >= size[1] else _span(z)
    design = jnp.concatenate([z, jnp.ones((size[0], 1), dtype)], 1)
    weight = jnp.ones(size[0], dtype) if support.weight is None else support.weight.astype(dtype)
    target = jax.nn.one_hot(support.y, num_ways, dtype=dtype)
    decay = jnp.full((design.shape[1], 1), penalty, dtype).at[-1].set(0)
    damping = jnp.finfo(dtype).eps ** 0.5  # nothing depends on the mean of the biases

    present = jnp.ones(num_ways, bool) if support.ways is None else support.ways

    def objective(v: jax.Array) -> jax.Array:
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(mask_ways(design @ v, present), support.y)
        return jnp.where(weight > 0, weight * losses, 0).sum() + jnp.sum(decay * v**2) / 2

    def step(v: jax.Array, _: None) -> tuple[jax.Array, None]:
        p = jax.nn.softmax(mask_ways(design @ v, present))

        def hessian(d: jax.Array) -> jax.Array:
            moved = p * (design @ d)
            return design.T @ (weight[:, None] * (moved - p * moved.sum(-1, keepdims=True))) + (decay + damping) * d

        d = cg(hessian, design.T @ (weight[:, None] * (p - target)) + decay * v, tol=1e-4, maxiter=200)[0]
        moved = jnp.where(weight[:, None] > 0, design @ d, 0)
        size = jnp.max(moved.max(-1) - moved.min(-1))
        safe = v - jnp.where(size > 0, jnp.log1p(size) / jnp.where(size > 0, size, 1), 1) * d
        return jnp.where(objective(v - d) < objective(safe), v - d, safe), None

    v, _ = jax.lax.scan(step, jnp.zeros((design.shape[1], num_ways), dtype), length=num_steps)
    bias = jnp.where(present, v[-1] - jnp.mean(v[-1], where=present), 0)  # of all equal solutions, one
    return {"kernel": v[:-1] if basis is None else basis @ v[:-1], "bias": bias}


def _span(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return an orthonormal basis ``[D, N]`` of the examples' span, and their coordinates ``[N, N]`` in it."""
    basis, coordinates = jnp.linalg.qr(z.T)
    return basis, coordinates.T


def _soft(logits: jax.Array, temperature: float, query: Batch) -> jax.Array:
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jax.nn.log_softmax(mask_classes(logits / temperature, query.ways))


def _check(distillation: float, temperature: float, penalty: float) -> None:
    if not 0 <= distillation <= 1:
        raise ValueError(f"`distillation` is the teacher's share of the loss, 0 to 1, got {distillation}.")
    for name, value in (("temperature", temperature), ("penalty", penalty)):
        if not value > 0:
            raise ValueError(f"`{name}` must be positive, got {value}.")
