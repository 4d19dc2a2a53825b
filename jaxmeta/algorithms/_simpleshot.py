"""SimpleShot: nearest class mean on the features of any embedding, centred and normalised.

Wang, Chao, Weinberger and van der Maaten, 2019, https://arxiv.org/abs/1911.04623
"""

import math
from collections.abc import Iterable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from ..embedding import at_least_float32, flat, output_shape, support_pass
from ..losses import LossFn, cross_entropy
from ..passes import with_passes
from ..types import Apply, Key, MetaLearner, Model, PyTree, Task, Variables
from ._metric import class_sums, unit
from ._protonet import protonet

Transform = Literal["cl2n", "l2n", "un"]


def simpleshot(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    transform: Transform = "cl2n",
    scale: float | None = None,
    momentum: float = 0.99,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""SimpleShot: logits are $-s \|z - c_w\|^2$ with $c_w$ the mean of the class's $z_i$ and $z = t(f_\theta(x))$.

    $t$ is $(f - \mu) / \|f - \mu\|$ (CL2N), $f / \|f\|$ (L2N) or $f$ itself (UN), with $\mu$ the mean of training
    features. For L2N and UN ``meta`` is the model's alone. For CL2N ``meta.state`` is
    ``{"model": ..., "mean": ..., "count": ...}``: training moves $\mu$ towards the mean of each task's query features,
    and `centre_features` gives any trained embedding one.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      transform: ``"cl2n"``, ``"l2n"`` or ``"un"``.
      scale: $s$, which training feels and nearest class means do not; 1 for UN and 10 otherwise by default.
      momentum: share of the old $\mu$ that a training step keeps, at most $k / (k + 1)$ in step $k$ so that the first
        steps count alike; 1 averages all steps.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Returns:
      A `MetaLearner`; `adapt` returns the `Prototypes` of the transformed features.

    Raises:
      ValueError: for an unknown ``transform``, a ``momentum`` outside [0, 1], a ``meta`` without $\mu$ for CL2N, or a
        support set without ``ways`` when ``num_ways`` is None.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_functions(lambda key, x: (), lambda variables, x: x)
      >>> meta = centre_features(model, Variables(()), [jnp.array([[1.0, 0.0], [3.0, 0.0]])])
      >>> support = jm.Batch(jnp.array([[2.0, 5.0], [9.0, 0.0]]), jnp.array([0, 1]))
      >>> simpleshot(model, num_ways=2).adapt(meta, support).means.tolist()
      [[0.0, 1.0], [1.0, 0.0]]
    """
    if transform not in ("cl2n", "l2n", "un"):
        raise ValueError(f"`transform` must be 'cl2n', 'l2n' or 'un', got {transform!r}.")
    if not 0 <= momentum <= 1:
        raise ValueError(f"`momentum` must be from 0 to 1, got {momentum}.")
    scale = (1.0 if transform == "un" else 10.0) if scale is None else scale
    embedding = {"cl2n": _centred(model, momentum), "l2n": _normalised(model), "un": model}[transform]
    learner = protonet(embedding, loss_fn, scale=scale, num_ways=num_ways)
    if transform != "cl2n" or model.keeps_state:
        return learner

    def loss(
        meta: Variables, task: Task, key: Key | None = None
    ):  # the mean outlives the episode, the model's statistics do not
        value, aux = learner.loss(meta, task, key)
        return value, aux._replace(state={**aux.state, "model": meta.state["model"]})

    return learner._replace(loss=loss)


def centre_features(model: Model, meta: Variables, batches: Iterable[Any]) -> Variables:
    r"""Return the ``meta`` of a trained embedding with the mean of its features, by which `simpleshot` centres.

    Args:
      model: the embedding, passed through in evaluation mode.
      meta: its variables, however they were trained; a mean that is there already is replaced.
      batches: inputs ``[N, ...]`` of the training classes, some or all of them.

    Raises:
      ValueError: if there is no example.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_functions(lambda key, x: (), lambda variables, x: x)
      >>> centre_features(model, Variables(()), [jnp.array([[1.0], [3.0]]), jnp.array([[8.0]])]).state["mean"]
      Array([4.], dtype=float32)
    """
    if _has_mean(meta.state):
        meta = meta._replace(state=meta.state["model"])

    @jax.jit
    def total(meta: Variables, x: PyTree) -> jax.Array:
        return at_least_float32(flat(model.apply(meta, x, train=False, weight=None, key=None)[0])).sum(0)

    sums, num_examples = [], 0
    for x in batches:
        sums.append(total(meta, x))
        num_examples += jax.tree.leaves(x)[0].shape[0]
    if num_examples == 0:
        raise ValueError("`batches` holds no example, so there is no mean. Pass inputs [N, ...] of training classes.")
    return Variables(meta.params, _state(meta.state, sum(sums) / num_examples, len(sums)))


def _normalised(model: Model) -> Model:
    """Return the model with features of length 1."""
    return with_passes(model, outputs=lambda z, _: unit(at_least_float32(flat(z))))


def _centred(model: Model, momentum: float) -> Model:
    """Return the model with centred features of length 1; the mean is state that query passes of training move."""

    def init(key: Key, x: PyTree) -> Variables:
        variables = model.init(key, x)
        z = output_shape(model, variables, x)
        mean = at_least_float32(jnp.zeros(math.prod(z.shape[1:]), z.dtype))
        return Variables(variables.params, _state(variables.state, mean, 0))

    def through(apply: Apply, moves: bool) -> Apply:
        def call(
            variables: Variables,
            x: PyTree,
            *,
            train: bool = False,
            weight: jax.Array | None = None,
            key: Key | None = None,
        ) -> tuple[Any, PyTree]:
            if not _has_mean(variables.state):
                raise ValueError(
                    "`meta.state` holds no mean of training features to centre by. Make one with "
                    "`centre_features(model, meta, batches)`, or use `transform='l2n'`."
                )
            given = Variables(variables.params, variables.state["model"])
            z, state = apply(given, x, train=train, weight=weight, key=key)
            z, mean, count = at_least_float32(flat(z)), variables.state["mean"], variables.state["count"]
            new = {**variables.state, "model": state}
            if train and moves:
                new |= _moved(z, mean, count, weight, momentum)
            return unit(z - mean[None]), new

        return call

    support = through(support_pass(model), False)
    return Model(init, through(model.apply, True), support, keeps_state=True)


def _moved(
    z: jax.Array, mean: jax.Array, count: jax.Array, weight: jax.Array | None, momentum: float
) -> dict[str, jax.Array]:
    """Return the mean after a step towards that of ``z``, and the number of steps."""
    sums, total = class_sums(z, jnp.zeros(z.shape[0], jnp.int32), 1, weight)
    rate = jnp.maximum(1 / (count + 1).astype(z.dtype), 1 - momentum)
    step = jnp.where(total == 0, 0, sums[0] / jnp.where(total == 0, 1, total) - mean)
    return {"mean": jax.lax.stop_gradient(mean + rate * step).astype(mean.dtype), "count": count + 1}


def _state(state: PyTree, mean: jax.Array, count: int) -> dict[str, PyTree]:
    return {"model": state, "mean": mean, "count": jnp.asarray(count, jnp.int32)}


def _has_mean(state: PyTree) -> bool:
    return isinstance(state, dict) and state.keys() == {"model", "mean", "count"}
