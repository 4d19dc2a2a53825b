"""How good a meta-learner is on new tasks: estimates with intervals, and curves over inner steps."""

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from .attacks import Attack, On, attacked
from .losses import LossFn, accuracy, cross_entropy, default_metrics
from .parallel import over_tasks, place, task_axes
from .step import as_sampler, task_keys
from .types import Batch, Estimate, Key, MetaLearner, Sampler, Variables

Metrics = dict[str, Callable[..., jax.Array]]
EVALUATION_SEED = 2**31 - 1  # unlikely to be a training run's
BATCH_SIZE = 64  # tasks at a time: bounds memory, whatever `num_tasks`


def evaluate(
    learner: MetaLearner,
    meta: Variables,
    sampler: Sampler,
    *,
    num_tasks: int,
    metrics: Metrics | None = None,
    key: Key | None = None,
    mesh: Mesh | None = None,
) -> dict[str, Estimate]:
    r"""Adapts to ``num_tasks`` tasks and measures the predictions on their queries.

    Each estimate is the mean over tasks with $1.96 \, s / \sqrt{n}$, $s$ the standard deviation between tasks.
    Whether a prediction depends on the other query points is found out by replacing them, and reported.

    Args:
      learner: `adapt` and `predict` are called, in evaluation mode.
      meta: what was learned.
      sampler: the distribution of tasks.
      num_tasks: how many.
      metrics: ``{"name": fn(outputs, y, weight)}``; by default accuracy for labels and mean squared error for
        float targets. Tasks whose query is no `Batch` report the metrics of the learner's own loss.
      key: the tasks' key; the same tasks each time by default.
      mesh: devices with an axis ``"task"`` that share the tasks.

    Returns:
      ``{"name": Estimate}``.

    Raises:
      ValueError: if ``num_tasks`` is not positive.

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
    mesh: Mesh | None = None,
) -> tuple[dict[str, np.ndarray], bool]:
    """What `evaluate` averages: every metric of every task, ``{"name": [num_tasks]}``, and whether it is transductive.

    For paired tests, medians, or the share of tasks that diverged. Arguments as for `evaluate`.
    """
    if num_tasks < 1:
        raise ValueError(f"`num_tasks` must be at least 1, got {num_tasks}.")
    keys = task_keys(jax.random.key(EVALUATION_SEED) if key is None else key, num_tasks)
    run, is_transductive = _compiled(learner, None if metrics is None else tuple(metrics.items()), mesh)
    meta, sampler = place((meta, as_sampler(sampler)), mesh)
    size = -(-min(BATCH_SIZE, num_tasks) // (shares := 1 if mesh is None else mesh.size)) * shares
    batches = [keys[jnp.arange(i, i + size) % num_tasks] for i in range(0, num_tasks, size)]  # the last one wraps round
    values = [run((meta, sampler), batch) for batch in batches]
    values = jax.tree.map(lambda *parts: np.concatenate(parts)[:num_tasks], *values)
    return values, bool(is_transductive(meta, sampler, keys[0]))


def evaluate_seeds(
    learner: MetaLearner,
    metas: Variables,
    sampler: Sampler,
    *,
    num_tasks: int,
    metrics: Metrics | None = None,
    key: Key | None = None,
    mesh: Mesh | None = None,
) -> dict[str, Estimate]:
    r"""`evaluate` for several trained seeds, with an interval over seeds.

    The mean is over seeds and tasks, the interval is $t_{0.975, S-1} \, s / \sqrt{S}$ with $s$ the standard deviation
    between the seeds' means, all measured on the same tasks.

    Args:
      metas: stacked, as `fit` leaves them for a state made with keys ``[S]``.
      learner, sampler, num_tasks, metrics, key, mesh: as for `evaluate`.
    """
    from scipy.stats import t as student

    num_seeds = jax.tree.leaves(metas)[0].shape[0]
    rows = [jax.tree.map(lambda a, i=i: a[i], metas) for i in range(num_seeds)]
    options = {"num_tasks": num_tasks, "metrics": metrics, "key": key, "mesh": mesh}
    each = [evaluate(learner, meta, sampler, **options) for meta in rows]
    quantile = float(student.ppf(0.975, num_seeds - 1)) if num_seeds > 1 else math.nan
    means = {name: np.array([one[name].mean for one in each]) for name in each[0]}
    return {name: _estimate(m, quantile, num_tasks, each[0][name].transductive) for name, m in means.items()}


def adaptation_curve(
    make_learner: Callable[..., MetaLearner],
    meta: Variables,
    sampler: Sampler,
    *,
    steps: Iterable[int],
    num_tasks: int,
    metrics: Metrics | None = None,
    key: Key | None = None,
) -> dict[int, dict[str, Estimate]]:
    """How predictions improve with inner steps, on the same tasks for every row; 0 is always among the rows.

    Args:
      make_learner: ``(num_steps=k) -> MetaLearner``, for instance ``partial(maml, model, loss_fn)``.
      steps: numbers of inner steps.
      meta, sampler, num_tasks, metrics, key: as for `evaluate`.

    Returns:
      ``{num_steps: {"name": Estimate}}``, in rising order.

    Example:
      >>> import optax, jaxmeta as jm
      >>> from functools import partial
      >>> make = partial(jm.maml, jm.from_linen(jm.backbones.MLP((4,), num_outputs=1)), jm.losses.mse)
      >>> meta = jm.init(make(num_steps=1), jm.tasks.sinusoid(), optax.adam(1e-3), key=jax.random.key(0)).meta
      >>> list(adaptation_curve(make, meta, jm.tasks.sinusoid(), steps=[1, 5], num_tasks=4))
      [0, 1, 5]
    """
    options = {"num_tasks": num_tasks, "metrics": metrics, "key": key}
    return {k: evaluate(make_learner(num_steps=k), meta, sampler, **options) for k in sorted({0, *steps})}


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
    """Accuracy on tasks that are perturbed against this very learner, adapted: for any learner with a derivative.

    Args:
      attack: for instance ``attacks.pgd(radius=0.1, num_steps=20, bounds=(0, 1))``: take more steps than in training.
      loss_fn: what the attack raises.
      on: the attacked set: see `attacks.perturb`.
      learner, meta, sampler, num_tasks, key: as for `evaluate`; the tasks are the same as there.

    Example:
      >>> # jm.robust_accuracy(learner, meta, test, attack=jm.attacks.pgd(radius=0.1), num_tasks=600)
    """
    hard: Any = attacked(learner, meta, as_sampler(sampler), attack, loss_fn, on=on)
    metrics: Metrics = {"accuracy": accuracy}
    return evaluate(learner, meta, hard, num_tasks=num_tasks, metrics=metrics, key=key)["accuracy"]


class Forgetting(NamedTuple):
    """How a stream of P phases was learned and forgotten.

    Attributes:
      scores: ``[P, P]``; row i has the metric on every phase after training on phases 0 to i.
      curve: ``[P]``; entry i is the mean, over the phases before i, of the best score since less the one after phase i.
    """

    scores: np.ndarray
    curve: np.ndarray


def forgetting_curve(
    learner: MetaLearner,
    metas: Sequence[Variables],
    phases: Sequence[Sampler],
    *,
    num_tasks: int,
    metric: str = "accuracy",
    mode: Literal["max", "min"] = "max",
    key: Key | None = None,
) -> Forgetting:
    r"""Loss on earlier phases of a stream: $F_i = \frac{1}{i} \sum_{j < i} (\max_{j \le l < i} a_{lj} - a_{ij})$.

    $a_{ij}$ is the metric on phase $j$ after training up to phase $i$ (after Chaudhry et al., 2018,
    https://arxiv.org/abs/1801.10112). Negative where later phases helped.

    Args:
      learner: adapts and predicts; from `replay`, the one that was given to it.
      metas: the meta-parameters after each phase.
      phases: the samplers, in the order of training.
      metric: a name among the metrics of `evaluate`.
      mode: ``"max"``, or ``"min"`` for errors, of which an increase is forgetting.
      num_tasks, key: as for `evaluate`; every row is measured on the same tasks.

    Raises:
      ValueError: for another number of ``metas`` than ``phases``, an unknown ``mode``, or a ``metric`` there is not.

    Example:
      >>> # jm.forgetting_curve(learner, [after_a.meta, after_b.meta], [a, b], num_tasks=200).curve
    """
    if len(metas) != len(phases) or not phases:
        raise ValueError(f"`metas` needs one entry for each of the {len(phases)} phases, got {len(metas)}.")
    if mode not in ("max", "min"):
        raise ValueError(f"`mode` must be 'max' or 'min', got {mode!r}.")

    def score(meta: Variables, phase: Sampler) -> float:
        found = evaluate(learner, meta, phase, num_tasks=num_tasks, key=key)
        if metric not in found:
            raise ValueError(f"`metric` {metric!r} is not among the metrics {sorted(found)}.")
        return found[metric].mean

    scores = np.array([[score(meta, phase) for phase in phases] for meta in metas])
    return Forgetting(scores, _forgetting(scores if mode == "max" else -scores))


def _forgetting(scores: np.ndarray) -> np.ndarray:
    lost = [[scores[j:i, j].max() - scores[i, j] for j in range(i)] for i in range(len(scores))]
    return np.array([np.mean(row) if row else 0.0 for row in lost])


@lru_cache(maxsize=128)
def _compiled(learner: MetaLearner, metrics: tuple | None, mesh: Mesh | None) -> tuple[Callable, Callable]:
    """Compiled once per learner and metrics: a second call does not compile again."""
    hides_padding = "weight" in inspect.signature(learner.predict).parameters

    def outputs_of(meta: Variables, adapted: Any, query: Batch, key: Key) -> Any:
        weight = {"weight": query.weight} if hides_padding else {}
        return learner.predict(meta, adapted, query.x, key, **weight)

    def one(meta: Variables, sampler: Sampler, key: Key) -> dict[str, jax.Array]:
        k_task, k_adapt, k_query = jax.random.split(key, 3)
        task = sampler(k_task)
        if not isinstance(task.query, Batch):
            return learner.loss(meta, task, k_adapt)[1].metrics
        outputs = outputs_of(meta, learner.adapt(meta, task.support, k_adapt), task.query, k_query)
        chosen = default_metrics(outputs, task.query.y) if metrics is None else dict(metrics)
        return {name: fn(outputs, task.query.y, task.query.weight) for name, fn in chosen.items()}

    def transductive(meta: Variables, sampler: Sampler, key: Key) -> jax.Array:
        k_task, k_adapt, k_query = jax.random.split(key, 3)
        task = sampler(k_task)
        if not isinstance(task.query, Batch):
            return jnp.asarray(False)
        adapted = learner.adapt(meta, task.support, k_adapt)
        before = outputs_of(meta, adapted, task.query, k_query)

        def unmoved(row: int) -> jax.Array:  # one query keeps its place, all others become copies of it
            copies = jax.tree.map(lambda a: jnp.broadcast_to(a[row], a.shape), task.query.x)
            after = outputs_of(meta, adapted, task.query._replace(x=copies), k_query)
            rows = [(a[row], b[row]) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True) if a.ndim]
            return jnp.stack([jnp.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True) for a, b in rows]).all()

        return ~(unmoved(0) & unmoved(-1))

    def together(whole: tuple[Variables, Sampler], keys: Key) -> dict[str, jax.Array]:
        values = jax.vmap(partial(one, *whole))(keys)
        return values if mesh is None else jax.lax.all_gather(values, task_axes(mesh), tiled=True)

    spread = together if mesh is None else over_tasks(together, mesh, PartitionSpec(), PartitionSpec())
    return jax.jit(spread), jax.jit(transductive)


def _estimate(values: np.ndarray, quantile: float, num_tasks: int, transductive: bool) -> Estimate:
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), float(quantile * error), num_tasks, transductive)
