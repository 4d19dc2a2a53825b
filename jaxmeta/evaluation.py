"""Measurement of a meta-learner on new tasks: estimates with intervals, and curves over inner steps."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from . import iterates
from .attacks import Attack, On, attacked
from .defaults import Auto, all_devices
from .losses import LossFn, accuracy, cross_entropy
from .parallel import place
from .step import as_sampler, task_keys
from .task_programs import compiled, drawing
from .types import Estimate, Key, MetaLearner, MetaState, PyTree, Sampler, Variables

Metrics = Mapping[str, Callable[..., jax.Array]]
EVALUATION_SEED = 2**31 - 1  # unlikely to be a training run's
BATCH_SIZE = 64  # tasks at a time; bounds memory for every `num_tasks`


def evaluate(
    learner: MetaLearner,
    meta: Variables,
    sampler: Sampler,
    *,
    num_tasks: int,
    metrics: Metrics | None = None,
    key: Key | None = None,
    mesh: Mesh | Auto | None = "auto",
) -> dict[str, Estimate]:
    r"""Adapt to ``num_tasks`` tasks and measure the predictions on their queries.

    Each estimate is the mean over tasks with $1.96 \, s / \sqrt{n}$, where $s$ is the standard deviation between tasks.
    A task whose predictions are NaN makes it NaN. `evaluate` also replaces the other query points to see whether a
    prediction depends on them, and reports that as ``transductive``: None where the predictions are NaN.

    Args:
      learner: `adapt` and `predict` are called, in evaluation mode.
      meta: what was learned.
      sampler: the distribution of tasks.
      num_tasks: the number of tasks.
      metrics: ``{"name": fn(outputs, y, weight)}``; by default accuracy for labels and mean squared error for float
        targets, and a warning where neither fits. For tasks whose query is no `Batch` each is called as
        ``fn(outputs, query, None)`` on ``predict(meta, adapted, query, key)``; by default these tasks report the
        metrics of the learner's loss.
      key: decides which tasks are drawn; by default the same ones each time.
      mesh: devices with an axis ``"task"`` that share the tasks; None for one device. ``"auto"`` takes the devices
        there are (one, if there are several processes).

    Returns:
      ``{"name": Estimate}``.

    Raises:
      TypeError: if ``metrics`` is no mapping, or a state is given where ``state.meta`` belongs.
      ValueError: if ``num_tasks`` is not positive or ``metrics`` is empty.

    Example:
      >>> import optax, jaxmeta as jm
      >>> learner = jm.maml(jm.from_linen(jm.backbones.MLP((4,), num_outputs=1)), jm.losses.mse)
      >>> state = jm.init(learner, jm.tasks.sinusoid(), optax.adam(1e-3), key=jax.random.key(0))
      >>> evaluate(learner, state.meta, jm.tasks.sinusoid(), num_tasks=10)["mse"].num_tasks
      10
    """
    values, transductive = task_metrics(
        learner, meta, sampler, num_tasks=num_tasks, metrics=metrics, key=key, mesh=mesh
    )
    return {name: _estimate(v, 1.96, num_tasks, transductive) for name, v in values.items()}


def task_metrics(
    learner: MetaLearner,
    meta: Variables,
    sampler: Sampler,
    *,
    num_tasks: int,
    metrics: Metrics | None = None,
    key: Key | None = None,
    mesh: Mesh | Auto | None = "auto",
) -> tuple[dict[str, np.ndarray], bool | None]:
    """Return every metric of every task, ``{"name": [num_tasks]}``, and whether the learner is transductive.

    `evaluate` averages these. Use them for paired tests, medians, or the share of tasks that diverged. Arguments are
    those of `evaluate`.
    """
    return _measure(learner, meta, sampler, num_tasks=num_tasks, metrics=metrics, key=key, mesh=mesh)


def _measure(
    learner: MetaLearner,
    meta: Variables,
    sampler: Sampler,
    *,
    num_tasks: int,
    metrics: Metrics | None,
    key: Key | None,
    mesh: Mesh | Auto | None = "auto",
    steps: tuple[int, ...] | None = None,
) -> tuple[dict[str, np.ndarray], bool | None]:
    """Return `task_metrics`; with ``steps`` each metric is ``[num_tasks, len(steps)]``, after so many inner steps."""
    _check(meta, num_tasks, metrics)
    mesh = all_devices() if mesh == "auto" else mesh
    keys = task_keys(jax.random.key(EVALUATION_SEED) if key is None else key, num_tasks)
    programs = compiled(learner, None if metrics is None else tuple(metrics.items()), mesh, steps)
    meta, sampler = place((meta, as_sampler(sampler)), mesh)
    size = -(-min(BATCH_SIZE, num_tasks) // (shares := 1 if mesh is None else mesh.size)) * shares
    batches = [keys[jnp.arange(i, i + size) % num_tasks] for i in range(0, num_tasks, size)]  # the last one wraps round
    draw = drawing(mesh)
    values = [jax.device_get(programs.measure(meta, *draw(sampler, batch))) for batch in batches]  # one after another
    first = drawing(None)(sampler, batches[0] if mesh is None else keys[:1])  # drawn again, rather than held meanwhile
    if metrics is None and not values[0]:
        warnings.warn(_no_metric(*programs.shapes(meta, *first)), stacklevel=4)
    values = jax.tree.map(lambda *parts: np.concatenate(parts)[:num_tasks], *values)
    moved, is_nan = map(bool, programs.dependence(meta, *first))
    return values, True if moved else None if is_nan else False


def evaluate_seeds(
    learner: MetaLearner,
    metas: Variables,
    sampler: Sampler,
    *,
    num_tasks: int,
    metrics: Metrics | None = None,
    key: Key | None = None,
    mesh: Mesh | Auto | None = "auto",
) -> dict[str, Estimate]:
    r"""Measure several trained seeds as `evaluate` does, with an interval over seeds.

    The mean is over seeds and tasks, the interval is $t_{0.975, S-1} \, s / \sqrt{S}$ with $s$ the standard deviation
    between the seeds' means, all measured on the same tasks.

    Args:
      metas: stacked, as `fit` leaves them for a state made with keys ``[S]``.
      learner, sampler, num_tasks, metrics, key, mesh: as for `evaluate`.
    """
    from scipy.stats import t as student

    num_seeds = jax.tree.leaves(metas)[0].shape[0]
    rows = [jax.tree.map(lambda a, i=i: a[i], metas) for i in range(num_seeds)]
    each = [evaluate(learner, meta, sampler, num_tasks=num_tasks, metrics=metrics, key=key, mesh=mesh) for meta in rows]
    quantile = float(student.ppf(0.975, num_seeds - 1)) if num_seeds > 1 else math.nan
    means = {name: np.array([one[name].mean for one in each]) for name in each[0]}
    return {name: _estimate(m, quantile, num_tasks, each[0][name].transductive) for name, m in means.items()}


def adaptation_curve(
    make_learner: Callable[..., MetaLearner],
    meta: Variables,
    sampler: Sampler,
    *,
    steps: Iterable[int] | int = 10,
    num_tasks: int,
    metrics: Metrics | None = None,
    key: Key | None = None,
) -> dict[int, dict[str, Estimate]]:
    """Measure predictions after each number of inner steps, on the same tasks for every row.

    The learner is made once, for the largest number of steps, and its inner loop runs once a task: row ``k`` has the
    predictions after ``k`` of these steps. A learner that does not adapt by one `inner.descend` of ``num_steps`` steps
    is made and run anew for every row.

    Args:
      make_learner: ``(num_steps=k) -> MetaLearner``, for instance ``partial(maml, model, loss_fn)``.
      steps: the largest number of inner steps, for all rows from 0; or the numbers of steps, to which 0 is added.
      meta, sampler, num_tasks, metrics, key: as for `evaluate`.

    Returns:
      ``{num_steps: {"name": Estimate}}``, in rising order.

    Raises:
      ValueError: if a number of steps is negative; as `evaluate`.

    Example:
      >>> import optax, jaxmeta as jm
      >>> from functools import partial
      >>> make = partial(jm.maml, jm.from_linen(jm.backbones.MLP((4,), num_outputs=1)), jm.losses.mse)
      >>> meta = jm.init(make(num_steps=1), jm.tasks.sinusoid(), optax.adam(1e-3), key=jax.random.key(0)).meta
      >>> list(adaptation_curve(make, meta, jm.tasks.sinusoid(), steps=[1, 5], num_tasks=4))
      [0, 1, 5]
    """
    rows = tuple(range(steps + 1)) if isinstance(steps, int) else tuple(sorted({0, *steps}))
    if not rows or rows[0] < 0:
        raise ValueError(f"`steps` must be numbers of inner steps >= 0, got {steps!r}.")
    learner = make_learner(num_steps=rows[-1])
    _check(meta, num_tasks, metrics)
    if not _adapts_by_steps(learner, meta, as_sampler(sampler), rows[-1]):
        one = lambda k: make_learner(num_steps=k)
        return {k: evaluate(one(k), meta, sampler, num_tasks=num_tasks, metrics=metrics, key=key) for k in rows}
    values, transductive = _measure(learner, meta, sampler, num_tasks=num_tasks, metrics=metrics, key=key, steps=rows)
    row = lambda i: {name: _estimate(v[:, i], 1.96, num_tasks, transductive) for name, v in values.items()}
    return {k: row(i) for i, k in enumerate(rows)}


def robust_accuracy(
    learner: MetaLearner,
    meta: Variables,
    sampler: Sampler,
    *,
    attack: Attack,
    num_tasks: int,
    loss_fn: LossFn = cross_entropy,
    on: On = "query",
    key: Key | None = None,
) -> Estimate:
    """Measure the accuracy on tasks that an attack perturbs against this learner; works for differentiable learners.

    Args:
      attack: for instance ``attacks.pgd(radius=0.1, num_steps=20, bounds=(0, 1))``. Use more steps than in training.
      loss_fn: the loss that the attack raises.
      on: the attacked set: see `attacks.perturb`.
      learner, meta, sampler, num_tasks, key: as for `evaluate`; the tasks are the same as there.

    Example:
      >>> import optax, jaxmeta as jm
      >>> learner, test = jm.protonet(jm.from_linen(jm.backbones.MLP((4,)))), jm.tasks.glyphs(split="test", size=8)
      >>> meta = jm.init(learner, test, optax.adam(1e-3), key=jax.random.key(0)).meta
      >>> robust_accuracy(learner, meta, test, attack=jm.attacks.pgd(radius=0.1, num_steps=2), num_tasks=4).num_tasks
      4
    """
    hard: Any = attacked(learner, meta, as_sampler(sampler), attack, loss_fn, on=on)
    metrics: Metrics = {"accuracy": accuracy}
    return evaluate(learner, meta, hard, num_tasks=num_tasks, metrics=metrics, key=key)["accuracy"]


def _adapts_by_steps(learner: MetaLearner, meta: Variables, sampler: Any, num_steps: int) -> bool:
    """Return whether `adapt` is one inner loop of ``num_steps`` steps, whose iterates can be recorded."""

    def path(meta: Variables, sampler: Any) -> list[PyTree]:
        with iterates.recorded() as paths:
            learner.adapt(meta, sampler(jax.random.key(0)).support, jax.random.key(0))
        return jax.tree.map(lambda a: a[::-1], paths)  # an operation finds out whether they left their trace

    try:
        paths = jax.eval_shape(path, meta, sampler)
    except jax.errors.UnexpectedTracerError:  # the loop is inside a map over members, for instance
        return False
    return len(paths) == 1 and all(leaf.shape[0] == num_steps + 1 for leaf in jax.tree.leaves(paths))


def _check(meta: Any, num_tasks: Any, metrics: Any) -> None:
    if isinstance(meta, MetaState):
        raise TypeError("`meta` is a training state. Give what was learned, `state.meta`.")
    if not isinstance(num_tasks, int | np.integer) or num_tasks < 1:
        raise ValueError(f"`num_tasks` must be at least 1, got {num_tasks}.")
    if metrics is None:
        return
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f'`metrics` must be a mapping {{"name": fn(outputs, y, weight)}}, got {type(metrics).__name__}: '
            'write `metrics={"accuracy": jaxmeta.losses.accuracy}`.'
        )
    if not metrics or not all(map(callable, metrics.values())):
        raise ValueError(f"`metrics` needs at least one function by name, and functions only, got {dict(metrics)!r}.")


def _no_metric(outputs: PyTree, targets: PyTree) -> str:
    show = lambda tree: jax.tree.map(lambda a: f"{a.dtype}{list(a.shape)}", tree)
    return (
        f"No default metric fits the outputs {show(outputs)} and the targets {show(targets)}, so nothing is measured. "
        'Pass `metrics={"name": fn(outputs, y, weight)}`.'
    )


def _estimate(values: np.ndarray, quantile: float, num_tasks: int, transductive: bool | None) -> Estimate:
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), float(quantile * error), num_tasks, transductive)
