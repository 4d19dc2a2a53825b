"""Run a frozen model once over a class set, so that training and adaptation run on vectors. Letters: M examples."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.rows import scale_bytes
from jaxmeta.types import ClassSet, Key, Model, PyTree, Variables

STEP = 8  # tokens: texts are cut to a multiple of it, so that few programs are compiled


def features(
    data: ClassSet,
    model: Model,
    batch_size: int = 64,
    *,
    variables: Variables | None = None,
    key: Key | None = None,
) -> ClassSet:
    r"""Return the class set of a model's outputs, $f_\theta(x_i)$, in evaluation mode.

    Texts, ``{"ids", "length"}``, are computed in the order of their lengths and without the padding that a batch has
    in common: short sentences cost little.

    Args:
      data: the examples. Bytes are scaled to [0, 1], as in a task.
      model: any model whose outputs are a pytree of arrays ``[N, ...]``.
      batch_size: examples of one pass.
      variables: $\theta$, what ``model.init`` or training returned; by default the weights of a pretrained model.
      key: to initialise a model without ``variables``; a pretrained one needs none.

    Returns:
      A `ClassSet` with the classes of ``data``, whose `x` are the outputs ``[M, ...]`` as numpy arrays. Rows of
      ``data`` that belong to no class are computed too.

    Raises:
      ValueError: if ``batch_size`` is below 1, or an output is not finite.
      TypeError: if ``model`` is no `Model`.

    Example:
      >>> import jaxmeta as jm
      >>> data = jm.datasets.from_arrays(np.eye(3, dtype=np.float32), [0, 0, 1])
      >>> model = jm.from_functions(lambda key, x: (), lambda variables, x: 2 * x)
      >>> jm.datasets.features(data, model, 2).x.tolist()
      [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]]
    """
    given: Any = model
    if not isinstance(given, Model):
        raise TypeError(f"`model` must be a `jaxmeta.Model`, got {type(given).__name__}. `from_nnx` makes one.")
    if type(batch_size) is not int or batch_size < 1:
        raise ValueError(f"`batch_size` must be a whole number from 1, got {batch_size!r}.")
    x = jax.tree.map(np.asarray, data.x)
    total = len(jax.tree.leaves(x)[0])
    if variables is None:
        variables = model.init(jax.random.key(0) if key is None else key, _inputs(x, np.arange(min(total, 1))))
    run = jax.jit(lambda variables, x: model.apply(variables, x)[0])
    order = np.argsort(x["length"], kind="stable") if _is_text(x) else np.arange(total)
    parts: list[Any] = []
    for i in range(0, total, batch_size):
        rows = order[i : i + batch_size]
        full = np.pad(rows, (0, batch_size - len(rows)), mode="edge")  # one shape, one program
        parts.append(jax.tree.map(np.asarray, run(variables, _inputs(x, full))))
    outputs = jax.tree.map(lambda *arrays: np.concatenate(arrays)[:total][np.argsort(order)], *parts)
    if any(not np.isfinite(leaf).all() for leaf in jax.tree.leaves(outputs)):
        raise ValueError("`model` returned NaN or infinity for some examples. Check its weights, and the data.")
    return data._replace(x=outputs)


def _is_text(x: PyTree) -> bool:
    return isinstance(x, dict) and x.keys() == {"ids", "length"}


def _inputs(x: PyTree, rows: np.ndarray) -> PyTree:
    """Take rows of the examples as a task has them; of texts, no more columns than the longest needs."""
    taken = jax.tree.map(lambda a: a[rows], x)
    if _is_text(x):
        longest = int(taken["length"].max(initial=1))
        taken["ids"] = taken["ids"][:, : STEP * -(-longest // STEP)]
    return jax.tree.map(lambda a: scale_bytes(jnp.asarray(a)), taken)
