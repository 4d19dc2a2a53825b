"""Low-rank adapters: a model whose parameters are factors, beside weights that are shared and stay.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen, 2021, https://arxiv.org/abs/2106.09685. Letters: I inputs, O
outputs, R rank.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..passes import with_passes
from ..paths import path_name
from ..types import Key, Model, PyTree, Variables


def lora(
    model: Model,
    rank: int,
    *,
    base: Variables | None = None,
    where: Callable[[str], bool] | None = None,
    alpha: float | None = None,
) -> Model:
    r"""Return the model with kernels $W + \frac{\alpha}{R} A B$, whose only parameters are $A$ and $B$.

    $W$ ``[I, O]`` is that of ``base``, a constant that all tasks share: it is not differentiated, averaged, or part of
    a task's fast weights, which are the factors alone. At the start $A$ is random and $B$ is zero, so that the outputs
    are bit for bit those of ``base``. Any gradient learner then adapts the factors: ``maml(lora(...))`` meta-learns
    their initialisation. The sum is formed anew in each pass.

    A kernel of more than two axes is a matrix too: a convolution's ``[h, w, I, O]`` has h w I inputs; a projection to
    heads, ``[I, heads, O]`` of flax's attention, has heads x O outputs, and the one back, named ``out``, has heads x I
    inputs.

    Args:
      model: any model whose kernels are leaves named ``kernel``: linen and nnx Dense, Linear, Einsum attention, Conv.
      rank: $R$; no matrix may have fewer rows or columns.
      base: trained or published variables. By default ``model.init`` gives them, as for `pretrained.bert`.
      where: predicate on the path of a kernel, for instance ``lambda path: "query" in path``; None chooses all.
      alpha: $\alpha$; $R$ by default, a factor of 1.

    Returns:
      A `Model`; its ``params`` are ``{... "kernel": {"a": [I, R], "b": [R, O]}}`` at the chosen paths.

    Raises:
      ValueError: if ``rank`` is not a whole number from 1 or exceeds a chosen matrix, or ``where`` chooses no kernel.

    Example:
      >>> import jaxmeta as jm
      >>> x = jnp.ones((4, 3))
      >>> model = jm.from_linen(jm.backbones.MLP((8,), num_outputs=2))
      >>> base = model.init(jax.random.key(0), x)
      >>> small = lora(model, 1, base=base, where=lambda path: "head" in path)
      >>> variables = small.init(jax.random.key(1), x)
      >>> jax.tree.map(jnp.shape, variables.params)
      {'head': {'kernel': {'a': (8, 1), 'b': (1, 2)}}}
      >>> bool((small.apply(variables, x)[0] == model.apply(base, x)[0]).all())
      True
    """
    if type(rank) is not int or rank < 1:
        raise ValueError(f"`rank` must be a whole number from 1, got {rank!r}.")
    if base is None:
        base = model.init(jax.random.key(0), None)
    shapes = _chosen(base.params, rank, where)
    scale = 1.0 if alpha is None else alpha / rank

    def init(key: Key, x: PyTree) -> Variables:
        del x
        params: dict[str, Any] = {}
        for i, (path, (rows, columns, dtype)) in enumerate(shapes.items()):
            inside, (*folders, leaf) = params, path.split("/")
            for folder in folders:
                inside = inside.setdefault(folder, {})
            a = jax.random.normal(jax.random.fold_in(key, i), (rows, rank), dtype) / math.sqrt(rows)
            inside[leaf] = {"a": a, "b": jnp.zeros((rank, columns), dtype)}
        return Variables(params, base.state)

    return with_passes(model, params=lambda factors: _merged(base.params, factors, scale))._replace(init=init)


def merge_lora(base: Variables, factors: Variables, *, alpha: float | None = None) -> Variables:
    r"""Return plain variables with $W + \frac{\alpha}{R} A B$ for each chosen kernel, as the model without `lora` has.

    Args:
      base: the variables that `lora` was given.
      factors: what its model's ``init``, or training, returned.
      alpha: as for `lora`.

    Raises:
      ValueError: if a factor belongs to no kernel of ``base``.

    Example:
      >>> base = Variables({"kernel": jnp.zeros((2, 2))})
      >>> factors = Variables({"kernel": {"a": jnp.ones((2, 1)), "b": jnp.array([[1.0, 2.0]])}})
      >>> merge_lora(base, factors).params["kernel"].tolist()
      [[1.0, 2.0], [1.0, 2.0]]
    """
    pairs = _factors(factors.params)
    rank = next(iter(pairs.values()))["a"].shape[-1] if pairs else 1
    known = {path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(base.params)}
    if not pairs or not pairs.keys() <= known:
        odd = sorted(pairs.keys() - known)[:3]
        raise ValueError(
            f"`factors` has {odd or 'no factors'}, and `base` has no such kernels. Pass those of its `lora`."
        )
    return Variables(_merged(base.params, factors.params, 1.0 if alpha is None else alpha / rank), factors.state)


def _chosen(params: PyTree, rank: int, where: Callable[[str], bool] | None) -> dict[str, tuple[int, int, Any]]:
    """Map the path of each chosen kernel to its rows, columns and dtype as a matrix."""
    kernels = {
        path_name(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path_name(path[-1:]) == "kernel" and jnp.ndim(leaf) >= 2
    }
    chosen = {path: kernel for path, kernel in kernels.items() if where is None or where(path)}
    if not chosen:
        raise ValueError(f"`where` chooses no kernel, so nothing would adapt. The kernels are {sorted(kernels)}.")
    found: dict[str, tuple[int, int, Any]] = {}
    for path, kernel in chosen.items():
        rows = math.prod(kernel.shape[: _inputs(path, kernel.ndim)])
        columns = kernel.size // rows
        if rank > min(rows, columns):
            raise ValueError(f"`rank` is {rank}, but {path!r} is a {rows} x {columns} matrix. Choose a smaller rank.")
        found[path] = rows, columns, kernel.dtype
    return found


def _inputs(path: str, ndim: int) -> int:
    """Return how many leading axes of a kernel are inputs."""
    return 1 if ndim == 3 and path.split("/")[-2:-1] != ["out"] else ndim - 1


def _factors(params: PyTree) -> dict[str, dict[str, jax.Array]]:
    """Map the path of each kernel to its factors."""
    pairs: dict[str, dict[str, jax.Array]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        pairs.setdefault(path_name(path[:-1]), {})[path_name(path[-1:])] = leaf
    return pairs


def _merged(base: PyTree, factors: PyTree, scale: float) -> PyTree:
    pairs = _factors(factors)

    def add(path: Any, leaf: jax.Array) -> jax.Array:
        pair = pairs.get(path_name(path))
        if pair is None:
            return leaf
        return leaf + (scale * (pair["a"] @ pair["b"])).reshape(leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(add, base)
