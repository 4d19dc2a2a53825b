"""The core of transfer learners: a classifier of global labels, and a new last layer for every task.

Training is on ``query`` of `tasks.batches`, where labels mean the same throughout; adapting is to the support
set of an episode. One `MetaLearner` does both, with ``meta.params = {"model": ..., "head": ...}``.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from ..embedding import embed_support, flat, output_shape
from ..learner import Adapted, batch_metrics, count_ways, descent, ignoring_hidden, mask_ways, split_key, with_passes
from ..losses import LossFn, batch_loss
from ..types import Aux, Batch, Key, MetaInit, MetaLearner, MetaLoss, Model, PyTree, Task, Variables
from ._metric import cosine_logits

FineTune = Literal["head", "all"]


class LastLayer(NamedTuple):
    """A last layer: ``init(key, size, num_ways, dtype) -> params``, ``apply(params, z [N, D]) -> logits [N, W]``."""

    init: Callable[..., Any]
    apply: Callable[..., jax.Array]


def linear_layer() -> LastLayer:
    """Return the layer $z W + b$."""

    def init(key: Key, size: int, num_ways: int, dtype: Any) -> dict[str, jax.Array]:
        return {"kernel": _xavier(key, (size, num_ways), dtype), "bias": jnp.zeros(num_ways, dtype)}

    return LastLayer(init, lambda params, z: z @ params["kernel"] + params["bias"][None])


def cosine_layer(scale: float) -> LastLayer:
    r"""Return the layer $s \cos(z, w_c)$."""

    def init(key: Key, size: int, num_ways: int, dtype: Any) -> dict[str, jax.Array]:
        return {"kernel": _xavier(key, (size, num_ways), dtype)}

    return LastLayer(init, lambda params, z: scale * cosine_logits(z, params["kernel"].T))


_xavier = jax.nn.initializers.glorot_uniform()


class Lesson(Protocol):
    """Change the loss of pre-training: ``(loss, logits, query) -> (loss, metrics)``."""

    def __call__(
        self, value: jax.Array, outputs: jax.Array, query: Batch, /
    ) -> tuple[jax.Array, dict[str, jax.Array]]: ...


def with_head(model: Model, head: LastLayer) -> Model:
    """Join an embedding and its head to one model, with parameters ``{"model": ..., "head": ...}``."""
    return with_passes(model, params=lambda p: p["model"], outputs=lambda z, p: head.apply(p["head"], flat(z)))


def pretraining(
    model: Model, head: LastLayer, loss_fn: LossFn, num_classes: int | None, lesson: Lesson | None = None
) -> tuple[MetaInit, MetaLoss]:
    """Return ``init`` and ``loss`` of a classifier of global labels; the loss is that of ``task.query`` alone.

    A ``lesson(loss, logits, query) -> (loss, metrics)`` may add the term of a teacher.
    """
    classifier = with_head(model, head)

    def init(key: Key, task: Task) -> Variables:
        k_model, k_head = jax.random.split(key)
        variables = model.init(k_model, task.query.x)
        z = output_shape(model, variables, task.query.x)
        width = count_ways(task.query, num_classes, "num_classes")
        params = head.init(k_head, math.prod(z.shape[1:]), width, z.dtype)
        return Variables({"model": variables.params, "head": params}, variables.state)

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        query = task.query
        outputs, state = classifier.apply(meta, query.x, train=True, weight=query.weight, key=key)
        outputs = mask_classes(outputs, query.ways)
        value, metrics = batch_loss(loss_fn, outputs, query), batch_metrics(outputs, query)
        value, more = (value, {}) if lesson is None else lesson(value, outputs, query)
        return value, Aux(state if model.keeps_state else meta.state, {"loss": value, **metrics, **more})

    return init, loss


def transfer(
    model: Model,
    head: LastLayer,
    loss_fn: LossFn,
    *,
    num_classes: int | None = None,
    fine_tune: FineTune = "head",
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.01, momentum=0.9),
    num_steps: int = 100,
    batch_size: int | None = None,
    num_ways: int | None = None,
) -> MetaLearner:
    """Make a learner: pre-training with a head, then gradient steps on a new head, or on everything, for each task."""
    if fine_tune not in ("head", "all"):
        raise ValueError(f"`fine_tune` must be 'head' or 'all', got {fine_tune!r}.")
    init, loss = pretraining(model, head, loss_fn, num_classes)
    classifier = with_head(model, head)
    only_head = Model(model.init, lambda variables, z, **_: (head.apply(variables.params["head"], z), variables.state))
    steps = descent(
        only_head if fine_tune == "head" else classifier,
        loss_fn,
        num_steps=num_steps,
        batch_size=batch_size,
        gradient="first_order",
    )

    def adapt(meta: Variables, support: Batch, key: Key | None = None) -> Adapted:
        k_head, k_steps = split_key(key)
        kernel = meta.params["head"]["kernel"]
        width = count_ways(support, num_ways, "num_ways")
        new = head.init(jax.random.key(0) if key is None else k_head, kernel.shape[0], width, kernel.dtype)
        if fine_tune == "all":
            start = Variables({"model": meta.params["model"], "head": new}, meta.state)
            return steps(start, inner_optimizer, support, k_steps)
        body = Variables(meta.params["model"], meta.state)
        z, state = embed_support(model, body, support)  # once: nothing below it moves
        start = Variables({"head": new})
        return steps(start, inner_optimizer, support._replace(x=z), k_steps)._replace(state=state)

    def predict(
        meta: Variables, adapted: Adapted, x: PyTree, key: Key | None = None, *, weight: jax.Array | None = None
    ):
        variables = Variables({**meta.params, **adapted.params}, adapted.state)
        return mask_ways(classifier.apply(variables, x, train=False, weight=weight, key=key)[0], adapted.ways)

    return ignoring_hidden(MetaLearner(init, adapt, predict, loss))


def mask_classes(outputs: jax.Array, ways: jax.Array | None) -> jax.Array:
    """Apply `mask_ways` to logits of global labels.

    Raises:
      ValueError: if the labels are not those of pre-training.
    """
    if ways is not None and len(ways) != outputs.shape[-1]:
        raise ValueError(
            f"The classifier was made for {outputs.shape[-1]} classes but this batch has {len(ways)}. Pre-train on "
            "`tasks.batches`, whose labels are global, and give `init` the same sampler; episodes are for `adapt`."
        )
    return mask_ways(outputs, ways)
