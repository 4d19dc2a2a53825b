"""The core of `r2d2`, `lrd2` and `metaoptnet`: embed, fit a linear head to the support set, score the queries."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ..embedding import at_least_float32, embed, embed_support
from ..learner import count_ways, episodic, mask_ways
from ..losses import LossFn
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables

Knobs = dict[str, jax.Array]  # the learned scalars of a head


class Fit(Protocol):
    """Fit a head: return its weights ``[D, W]``, and the distance of the fit from its optimum."""

    def __call__(
        self, knobs: Knobs, z: jax.Array, y: jax.Array, weight: jax.Array, ways: jax.Array | None, /
    ) -> tuple[jax.Array, jax.Array]: ...


class FittedHead(NamedTuple):
    """A linear head that was fitted to a support set.

    Attributes:
      weights: ``[D, W]``; the last row is the bias, where there is one.
      residual: distance of the fit from its optimum.
      ways: the classes that are present, bool ``[W]``.
      state: the model's state.
    """

    weights: jax.Array
    residual: jax.Array
    ways: jax.Array | None
    state: PyTree = ()


def fit_head(
    model: Model,
    loss_fn: LossFn,
    fit: Fit,
    init_head: Callable[[Task], dict[str, float]],
    *,
    name: str,
    num_ways: int | None,
    regresses: bool = False,
    bias_column: bool = True,
) -> MetaLearner:
    r"""Make a learner that fits a linear head $W$ on embedded support examples and outputs $s \, f_\theta(x) W + b$.

    ``meta.params`` is ``{"model": theta, "head": knobs}``. The fit and the outputs are in at least float32.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      fit: ``(knobs, z [N, D], y [N, W], weight [N], ways) -> (weights [D, W], residual)``, where labels are
        one-hot rows and ``z`` has a column of ones if ``bias_column``.
      init_head: ``task -> knobs``, the head's learned scalars: ``scale``, perhaps ``bias``, and what ``fit`` takes.
      name: the factory's, for errors.
      num_ways: for support sets without ``ways``.
      regresses: whether targets may be floats ``[N, K]``.
      bias_column: whether the features get a column of ones.
    """

    def init(key: Key, task: Task) -> Variables:
        variables = model.init(key, task.support.x)
        knobs = {knob: jnp.array(value, jnp.result_type(float)) for knob, value in init_head(task).items()}
        return Variables({"model": variables.params, "head": knobs}, variables.state)

    def prepare(z: jax.Array, knobs: Knobs) -> tuple[jax.Array, Knobs]:
        z = at_least_float32(z)
        z = jnp.concatenate([z, jnp.ones((z.shape[0], 1), z.dtype)], 1) if bias_column else z
        return z, jax.tree.map(lambda knob: knob.astype(z.dtype), knobs)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> FittedHead:
        y = targets(support, num_ways, name, regresses)
        variables = Variables(meta.params["model"], meta.state)
        z, state = embed_support(model, variables, support, key, train=train)
        z, knobs = prepare(z, meta.params["head"])
        weight = jnp.ones(len(z), z.dtype) if support.weight is None else support.weight.astype(z.dtype)
        with jax.default_matmul_precision("highest"):  # a head is small, and its solve amplifies rounding
            weights, residual = fit(knobs, z, y.astype(z.dtype), weight, support.ways)
        return FittedHead(weights, residual, support.ways, state)

    def forward(
        meta: Variables,
        adapted: FittedHead,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        variables = Variables(meta.params["model"], adapted.state)
        z, state = embed(model, variables, x, key, train=train, weight=weight)
        z, knobs = prepare(z, meta.params["head"])
        with jax.default_matmul_precision("highest"):
            outputs = knobs["scale"] * (z @ adapted.weights.astype(z.dtype)) + knobs.get("bias", 0)
        return mask_ways(outputs, adapted.ways), state

    metrics = lambda adapted: {"head/residual": adapted.residual}
    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state, metrics=metrics)


def targets(support: Batch, num_ways: int | None, name: str, regresses: bool) -> jax.Array:
    """Return one-hot rows ``[N, W]`` for labels, and float targets ``[N, K]`` unchanged.

    Raises:
      ValueError: for an unknown number of ways, or targets that the head cannot be fitted to.

    Example:
      >>> targets(Batch(None, jnp.array([1, 0])), 2, "r2d2", True).tolist()
      [[0.0, 1.0], [1.0, 0.0]]
    """
    y = support.y
    if not jnp.issubdtype(y.dtype, jnp.integer) and regresses and y.ndim == 2:
        return y
    if not jnp.issubdtype(y.dtype, jnp.integer) or y.ndim != 1:
        wanted = "integer labels [N] or float targets [N, K]" if regresses else "integer labels [N]"
        raise ValueError(f"`support.y` must be {wanted} for `{name}`, got {y.dtype} {y.shape}. Reshape the targets.")
    return jax.nn.one_hot(y, count_ways(support, num_ways))


def ridge(x: jax.Array, y: jax.Array, strength: jax.Array | float) -> jax.Array:
    r"""Return $\arg\min_W \|x W - y\|^2 + \lambda \|W\|^2$ by one Cholesky solve, in features or in examples.

    $W = (x^T x + \lambda I)^{-1} x^T y = x^T (x x^T + \lambda I)^{-1} y$ (Woodbury); the second, where there are fewer
    examples than features, costs $O(N^3)$ instead of $O(D^3)$.

    Args:
      x: ``[N, D]``; rows of zeros do not count.
      y: ``[N, K]`` or ``[N]``.
      strength: $\lambda > 0$.

    Example:
      >>> ridge(jnp.array([[1.0], [1.0]]), jnp.array([[2.0], [4.0]]), 1.0).round(3)  # 6 / (2 + 1)
      Array([[2.]], dtype=float32)
    """
    num_rows, num_columns = x.shape
    solve = lambda a, b: jax.scipy.linalg.solve(a + strength * jnp.eye(len(a), dtype=a.dtype), b, assume_a="pos")
    return x.T @ solve(x @ x.T, y) if num_rows < num_columns else solve(x.T @ x, x.T @ y)


def root(weight: jax.Array) -> jax.Array:
    """Return the square root, with derivative 0 at 0 instead of infinity: a padded row has none.

    Example:
      >>> root(jnp.array([4.0, 0.0]))
      Array([2., 0.], dtype=float32)
    """
    return jnp.where(weight > 0, jnp.sqrt(jnp.where(weight > 0, weight, 1)), 0)
