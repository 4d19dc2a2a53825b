"""MetaOptNet: learn features on which a multi-class support vector machine, or ridge regression, does well.

Lee, Maji, Ravichandran and Soatto, 2019, https://arxiv.org/abs/1904.03758
"""

from importlib.util import find_spec
from typing import Literal

import jax
import jax.numpy as jnp

from ..losses import LossFn, cross_entropy
from ..types import MetaLearner, Model
from ._fitted_head import Knobs, fit_head, ridge, root

REFINEMENTS = 5  # Newton steps after the interior point; each is one linear solve

Choices = tuple[jax.Array, jax.Array, jax.Array]  # the free entries, the best of them so far, their residual


def metaoptnet(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    head: Literal["svm", "ridge"] = "svm",
    C: float = 0.1,
    damping: float = 1.0,
    qp_steps: int = 15,
    ridge_strength: float = 50.0,
    init_scale: float = 1.0,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""MetaOptNet: outputs $\gamma \, f_\theta(x) W$ with $W$ from a convex problem on the support set.

    ``"svm"``: $w_k = \sum_i \alpha_{ik} f_\theta(x_i)$ with the dual of Crammer and Singer's machine,
    $\max_\alpha -\frac{1}{2} \sum_k \|w_k\|^2 - \frac{\delta}{2} \|\alpha\|^2 + \sum_i \alpha_{i y_i}$ subject to
    $\alpha_{ik} \le C w_i [k = y_i]$ and $\sum_k \alpha_{ik} = 0$. ``"ridge"``:
    $W = \arg\min_W \sum_i w_i \|f_\theta(x_i) W - y_i\|^2 + \lambda \|W\|^2$ on one-hot $y_i$. Neither has a
    bias. $\gamma$ is meta-learned with $\theta$, and the number of ways may differ between training and test.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      head: ``"svm"``, which needs the package `qpax`, or ``"ridge"``.
      C: the machine's bound on the dual variables.
      damping: $\delta$; 1 in the authors' code. With 0, the paper's formula, examples that are linearly dependent
        (copies; more of them than features) may leave no unique dual solution, and a meta-gradient that is not finite.
      qp_steps: interior-point steps at most.
      ridge_strength: $\lambda$ of the ridge head.
      init_scale: $\gamma$ at the start.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Returns:
      A `MetaLearner`; `adapt` returns a `FittedHead`. The metric ``"head/residual"`` is the violation of the
      optimality conditions (see `crammer_singer`; for ridge as for `r2d2`).

    Raises:
      ValueError: for an unknown ``head`` or a number out of range; in `adapt` for targets that are not labels, or an
        unknown number of ways.
      ImportError: if ``head`` is ``"svm"`` and qpax is not installed.

    Example:
      >>> import jaxmeta as jm
      >>> embedding = jm.from_functions(lambda key, x: (), lambda variables, x: x)
      >>> learner = metaoptnet(embedding, head="ridge", ridge_strength=1.0, num_ways=2)
      >>> support = jm.Batch(jnp.array([[-1.0], [1.0]]), jnp.array([0, 1]))
      >>> learner.adapt(learner.init(None, jm.Task(support, support)), support).weights.round(3)  # 1 / (2 + 1)
      Array([[-0.333,  0.333]], dtype=float32)
    """
    if head not in ("svm", "ridge"):
        raise ValueError(f"`head` must be 'svm' or 'ridge', got {head!r}.")
    if not (C > 0 and damping >= 0 and ridge_strength > 0):
        raise ValueError(
            "`C` and `ridge_strength` must be > 0 and `damping` >= 0, "
            f"got C={C}, ridge_strength={ridge_strength}, damping={damping}."
        )
    if qp_steps < 1:
        raise ValueError(f"`qp_steps` must be >= 1, got {qp_steps}: the interior point takes 5 to 15.")
    if head == "svm" and find_spec("qpax") is None:
        raise ImportError(
            '`metaoptnet(head="svm")` solves a quadratic program with qpax, which is not installed: '
            '`pip install qpax` (or `pip install "jaxmeta[svm]"`), or choose head="ridge".'
        )

    def svm(
        knobs: Knobs, z: jax.Array, y: jax.Array, weight: jax.Array, ways: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        alpha, residual = crammer_singer(z, y, weight, ways, C=C, damping=damping, num_steps=qp_steps)
        return jnp.where(weight > 0, z.T, 0) @ alpha, residual

    def least_squares(
        knobs: Knobs, z: jax.Array, y: jax.Array, weight: jax.Array, ways: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        x, y = root(weight)[:, None] * z, root(weight)[:, None] * y
        weights = ridge(x, y, ridge_strength)
        return weights, jnp.abs(x.T @ (x @ weights - y) + ridge_strength * weights).max()

    fit = {"svm": svm, "ridge": least_squares}[head]
    init_head = lambda task: {"scale": init_scale}
    return fit_head(model, loss_fn, fit, init_head, name="metaoptnet", num_ways=num_ways, bias_column=False)


def crammer_singer(
    z: jax.Array,
    y: jax.Array,
    weight: jax.Array,
    ways: jax.Array | None = None,
    *,
    C: float,
    damping: float,
    num_steps: int,
) -> tuple[jax.Array, jax.Array]:
    r"""Return the dual variables of the multi-class support vector machine, differentiable any number of times.

    With $a = \alpha / C$ this is $\min \frac{1}{2} a^T Q a + q^T a$ subject to $a \le u$ and $\sum_k a_{ik} = 0$. The
    interior point of qpax, which no derivative passes, estimates which entries are at their bound. Semismooth
    Newton steps correct that choice: solve the linear system in which the chosen entries equal their bounds and the
    others have no multiplier, then let each entry be at its bound where its multiplier exceeds its slack. The last
    system's solution satisfies the optimality conditions to rounding, and its derivative is the exact one.

    Args:
      z: embedded examples ``[N, D]``.
      y: one-hot labels ``[N, W]``.
      weight: ``[N]``, factors of ``C``; examples with 0 do not count.
      ways: bool ``[W]``; classes that are absent are left out of the problem.
      C, damping, num_steps: as for `metaoptnet`.

    Returns:
      ``alpha [N, W]``, and the largest violation of $\min(u - a, \mu) = 0$ and $\sum_k a_{ik} = 0$, where the
      multipliers $\mu$ make the Lagrangian stationary.
    """
    (num, width), dtype = y.shape, z.dtype
    real = weight > 0
    z = jnp.where(real[:, None], z, 0)
    present = jnp.ones(width, bool) if ways is None else ways
    # An example that does not count, and a class that is absent, get a problem of their own with a unique solution:
    # no feature and unit curvature; a reward (row sums are zero, so 2 is enough) that holds them at their bound 0.
    gram = C * (z @ z.T) + jnp.diag(jnp.where(real, jnp.asarray(C * damping, dtype), 1))
    upper = (jnp.where(real, weight, 1)[:, None] * y).reshape(-1)
    cost = -(y + 2 * jnp.broadcast_to(~present, y.shape)).reshape(-1).astype(dtype)
    quadratic = jnp.kron(gram, jnp.eye(width, dtype=dtype))
    sums = jnp.kron(jnp.eye(num, dtype=dtype), jnp.ones((1, width), dtype))

    def choose(slack: jax.Array, multiplier: jax.Array) -> jax.Array:
        margin = jnp.nan_to_num(slack - multiplier).reshape(num, width)
        margin = jnp.where(present, margin, -jnp.inf)
        return ((margin > 0) | (margin == margin.max(1, keepdims=True))).reshape(-1)  # a row needs a free entry

    def solve(
        free: jax.Array, quadratic: jax.Array, cost: jax.Array, upper: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        rows = jnp.where(free[:, None], quadratic, jnp.eye(num * width, dtype=dtype))
        right = jnp.concatenate([jnp.where(free, -cost, upper), jnp.zeros(num, dtype)])
        system = jnp.block([[rows, jnp.where(free[:, None], sums.T, 0)], [sums, jnp.zeros((num, num), dtype)]])
        a, level = jnp.split(jnp.linalg.solve(system, right), [num * width])
        return a, upper - a, -(quadratic @ a + cost + sums.T @ level)

    def violation(a: jax.Array, slack: jax.Array, multiplier: jax.Array) -> jax.Array:
        return jnp.maximum(jnp.abs(jnp.minimum(slack, multiplier)).max(), jnp.abs(sums @ a).max())

    def refine(_: int, choices: Choices) -> Choices:
        free, best, least = choices
        solution = solve(free, *still)
        residual = violation(*solution)
        best = jnp.where(residual < least, free, best)  # on ties the choices may cycle
        return choose(*solution[1:]), best, jnp.fmin(residual, least)

    still = jax.lax.stop_gradient((quadratic, cost, upper))
    free = choose(*_interior_point(*still, sums, num_steps))
    _, best, _ = jax.lax.fori_loop(0, REFINEMENTS + 1, refine, (free, free, jnp.asarray(jnp.inf, dtype)))
    a, slack, multiplier = solve(best, quadratic, cost, upper)
    return jnp.where(real[:, None], C * a.reshape(num, width), 0), violation(a, slack, multiplier)


def _interior_point(
    quadratic: jax.Array, cost: jax.Array, upper: jax.Array, sums: jax.Array, num_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Return slacks and multipliers from qpax."""
    import qpax

    zero, identity = jnp.zeros(len(sums), sums.dtype), jnp.eye(len(cost), dtype=sums.dtype)
    with jax.numpy_rank_promotion("allow"):  # theirs promotes ranks
        solution = qpax.solve_qp(quadratic, cost, sums, zero, identity, upper, solver_tol=1e-6, max_iter=num_steps)
    return solution[1:3]
