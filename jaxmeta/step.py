"""Initialise training, and make one outer step: the only place that batches tasks and derives keys.

A task's identity is (seed, step, task index), never the number of devices or the size of a chunk: with
``k = fold_in(state.key, step)`` and ``k_data, k_learn = split(k)``, task ``i`` is drawn with
``fold_in(k_data, i)`` and learned with ``fold_in(k_learn, i)``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from .defaults import Auto, chosen_chunk, chosen_mesh
from .extra_arguments import update_of
from .nonfinite import all_finite, by_task, of_kept, stays_finite
from .parallel import Rule, check_mesh, gather, layout, mean_and_scatter, over_tasks, specs, task_axes
from .rows import noting_unlabelled
from .state_changes import changes, moved
from .types import Aux, Batch, Key, MetaLearner, MetaState, PyTree, Sampler, Task, Variables
from .validation import check_is_learner, check_is_optimizer, check_is_state, check_task

_NO_SUPPORT = (
    "`task_or_sampler`: its tasks have no support set (`tasks.batches`), but the learner adapts to one. "
    "Take `tasks.episodes`, or a learner of labels: `baseline`, `baseline_plus_plus`, `rfs`."
)
_NO_EXTRA = (
    "`optimizer` asks for an argument that `meta_step` does not give: {}. It gives `value`, the mean loss over tasks, "
    "and `grad`. A line search needs `value_fn`, the loss at other parameters: take L-BFGS with `linesearch=None` and "
    "a `learning_rate`, or pass your own step to `fit(step=...)`."
)
_MODELS = "Models are made by `jaxmeta.from_linen(module)`, `jaxmeta.from_nnx(build)` or `jaxmeta.from_functions`."
_VALUE = "mean loss"  # the metric by which the loss reaches the optimizer; it is not reported
INIT_STEP = 2**32 - 1  # "step -1": its key is no training step's


def init(
    learner: MetaLearner, task_or_sampler: Task | Sampler, optimizer: optax.GradientTransformation, *, key: Key
) -> MetaState:
    """Return the state before the first meta-step.

    One task is drawn and checked, its values included, and the learner's loss on it is traced.

    Args:
      learner: the learner to train.
      task_or_sampler: one task, or a sampler to draw one from, for its shapes.
      optimizer: the outer optimizer.
      key: a typed key; it stays in the state and everything random is derived from it. Keys ``[S]`` give
        the stacked states of S seeds, for `fit` to train at once.

    Raises:
      TypeError: if ``key`` is not a typed key, or another argument is not of its type.
      ValueError: if the task is malformed, or does not fit the learner (logits and ways, for instance).

    Example:
      >>> import jaxmeta as jm
      >>> learner = jm.maml(jm.from_linen(jm.backbones.MLP((4,), num_outputs=1)), jm.losses.mse)
      >>> state = init(learner, jm.tasks.sinusoid(), optax.adam(1e-3), key=jax.random.key(0))
      >>> int(state.step)
      0
    """
    check_is_learner(learner)
    check_is_optimizer(optimizer)
    if not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(f"`key` must be a typed key, got {key!r}. Make one with `jax.random.key(0)`.")
    keys = jnp.moveaxis(jax.vmap(_init_keys)(key.reshape(-1)), 1, 0).reshape(2, *key.shape)
    k_task, k_init = keys
    if isinstance(task_or_sampler, Task):
        check_task(task_or_sampler, unlabelled=True)  # `_checked_meta` knows whether the learner uses such examples
        tasks, axis = task_or_sampler, None
    else:
        tasks, axis = _draw_checked(task_or_sampler, k_task), 0
    example = tasks if axis is None or key.ndim == 0 else jax.tree.map(lambda a: a[0], tasks)
    check_task(example, unlabelled=True)

    def first(key: Key, k_init: Key, task: Task) -> MetaState:
        meta = _checked_meta(learner, task, k_init, example)
        meta = jax.tree.map(lambda a: jnp.asarray(a, a.dtype), meta)  # weak types would change in training
        return MetaState(jnp.zeros((), jnp.int32), meta, optimizer.init(meta.params), key)

    return jax.jit(first if key.ndim == 0 else jax.vmap(first, (0, 0, axis)))(key, k_init, tasks)


def _init_keys(key: Key) -> Key:
    """Return the two keys of `init`: ``k_task, k_init``."""
    return jax.random.split(jax.random.fold_in(key, INIT_STEP))


def _draw_checked(sampler: Any, keys: Key) -> Task:
    """Draw the task of one key, or of each, and check its type and shapes."""
    if not callable(sampler):
        raise TypeError(
            f"`task_or_sampler` must be a `Task` or a sampler `key -> Task`, got {type(sampler).__name__}. "
            "`jaxmeta.tasks.episodes(data, num_ways=5, num_shots=1, num_queries=15)` makes a sampler of classes."
        )

    def draw(source: Any, key: Key) -> Task:
        task = source(key)
        check_task(task)
        return task

    return jax.jit(draw if keys.ndim == 0 else jax.vmap(draw, (None, 0)))(as_sampler(sampler), keys)


def _checked_meta(learner: MetaLearner, task: Task, key: Key, example: Task) -> Variables:
    """Return the learner's first meta-parameters, after a trace of its loss and a check of the example's labels.

    Errors of what does not fit are raised here, before training.
    """
    try:
        meta = learner.init(key, task)
        if not isinstance(meta, Variables):
            kind = type(meta).__name__
            raise TypeError(f"`learner.init` must return `Variables`, got {kind}. {_MODELS}")
        with noting_unlabelled() as used:
            jax.eval_shape(lambda *args: learner.loss(*args), meta, task, key)  # a new function is traced anew
    except AttributeError as error:
        raise (ValueError(_NO_SUPPORT) if task.support is None else error) from None
    check_task(example, num_ways=_num_outputs(learner, meta, task), unlabelled=bool(used))
    return meta


def _num_outputs(learner: MetaLearner, meta: Variables, task: Task) -> int | None:
    """Return the number of classes that the learner tells apart where the task's integer labels do not say it."""
    query = task.query
    if not isinstance(query, Batch) or query.ways is not None or not hasattr(query.y, "dtype"):
        return None
    if not jnp.issubdtype(query.y.dtype, jnp.integer):
        return None

    def predict(meta: Variables, task: Task) -> PyTree:
        return learner.predict(meta, learner.adapt(meta, task.support), task.query.x)

    outputs = jax.eval_shape(predict, meta, task)
    fits = hasattr(outputs, "shape") and outputs.shape[:-1] == query.y.shape and outputs.shape[-1] > 1
    return outputs.shape[-1] if fits else None


def backprop(mean_loss: Callable[..., tuple[jax.Array, Aux]]) -> Callable[..., tuple[PyTree, Aux]]:
    """Return the default meta-gradient: exact, by differentiating through adaptation."""
    return jax.grad(mean_loss, has_aux=True)


def meta_step(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    *,
    gradient: Callable | None = None,
    chunk: int | Auto | None = "auto",
    mesh: Mesh | Auto | None = None,
    shard: Rule | None = None,
    guard: Literal["step", "task"] = "step",
) -> Callable[[MetaState, Task], tuple[MetaState, dict[str, jax.Array]]]:
    r"""Return one outer step on a batch of tasks, as a pure function; jit it once.

    $\theta \leftarrow \theta - u\big(\nabla_\theta \frac{1}{T} \sum_t \ell_t(\theta)\big)$, with the optimizer's
    update $u$. An update with a gradient, metric or result that is not finite is left out whole, and counted in
    the metric ``"skipped"``; the step still counts. An optimizer that takes extra arguments is given the mean loss as
    ``value``, and the gradient as ``grad``.

    Args:
      learner: its ``loss`` is averaged over tasks.
      optimizer: the outer optimizer.
      gradient: how the outer gradient is estimated: ``mean_loss -> (params, state, tasks, keys) -> (grads, aux)``;
        `backprop` by default.
      chunk: differentiate so many tasks at a time and accumulate, which bounds memory; None takes all at once.
        ``"auto"`` takes one task at a time where this is fastest, which is on a CPU where the kernels of convolutions
        adapt, and else all. With a ``gradient`` of your own it takes all.
      mesh: devices with an axis ``"task"``; each differentiates its own tasks, in chunks of its own, and their
        mean gradients are averaged. ``"auto"`` takes the devices there are, as `fit` does: give the state and tasks
        uncommitted to a device. The cores of a CPU are devices too: see `parallel.use_cores`.
        There, wait for each step (`jax.block_until_ready`), as `fit` does: queued steps can block one another.
      shard: the rule by which the state's arrays lie on the mesh, such as `parallel.fsdp()`; replicated by default.
      guard: ``"task"`` leaves out single tasks whose loss or gradient is not finite, instead of the whole step, and
        counts them in ``"skipped_tasks"``. It keeps the gradient of every task of a chunk apart: T times the memory.

    Returns:
      ``step(state, tasks) -> (state, metrics)``, with tasks stacked on a leading axis ``[T, ...]``.

    Raises:
      ValueError: from ``step``, if ``mesh`` and ``chunk`` do not divide the number of tasks.
      TypeError: from ``step``, if the optimizer asks for another argument than ``value`` and ``grad``.

    Example:
      >>> import jaxmeta as jm
      >>> sampler, optimizer = jm.tasks.sinusoid(), optax.adam(1e-3)
      >>> learner = jm.maml(jm.from_linen(jm.backbones.MLP((4,), num_outputs=1)), jm.losses.mse)
      >>> step = jax.jit(meta_step(learner, optimizer))
      >>> tasks = jax.vmap(sampler)(jax.random.split(jax.random.key(1), 8))
      >>> state, metrics = step(init(learner, sampler, optimizer, key=jax.random.key(0)), tasks)
      >>> sorted(metrics)
      ['loss', 'mse', 'skipped']
    """
    check_is_learner(learner)
    check_is_optimizer(optimizer)
    if isinstance(chunk, str) and chunk != "auto":
        raise ValueError(f"`chunk` must be a number of tasks, 'auto' or None, got {chunk!r}.")
    if isinstance(chunk, int) and chunk < 1:
        raise ValueError(f"`chunk` must be at least 1 task, got {chunk}; None differentiates all tasks at once.")
    if guard not in ("step", "task"):
        raise ValueError(f"`guard` must be 'step' or 'task', got {guard!r}.")
    grad_fn = (gradient or backprop)(partial(_mean_loss, learner.loss))
    grad_fn = by_task(grad_fn) if guard == "task" else grad_fn
    chunk = None if chunk == "auto" and gradient is not None else chunk
    if isinstance(mesh, Mesh):
        check_mesh(mesh)
    update = update_of(optimizer)

    def step(state: MetaState, tasks: Task) -> tuple[MetaState, dict[str, jax.Array]]:
        check_is_state(state)
        if not isinstance(tasks, Task):
            raise TypeError(
                f"`tasks` must be a `Task` of arrays [T, ...], got {type(tasks).__name__}. Stack a list of tasks by "
                "`jax.tree.map(lambda *a: jnp.stack(a), *tasks)`."
            )
        num_tasks = jax.tree.leaves(tasks)[0].shape[0]
        _, k_learn = step_keys(state)
        keys = task_keys(k_learn, num_tasks)
        one = jax.eval_shape(lambda tasks: jax.tree.map(lambda a: a[0], tasks), tasks)
        over = chosen_mesh(mesh, num_tasks, learner, state.meta, one)
        size = chosen_chunk(chunk, over, learner, state.meta, one)
        grads, aux = _spread(partial(_accumulate, grad_fn, chunk=size), over, shard)(state.meta, tasks, keys)
        if guard == "task":
            grads, aux = of_kept(grads, state.meta.state, aux, num_tasks)
        reported = dict(aux.metrics)
        value = reported.pop(_VALUE, reported.get("loss"))
        try:
            updates, opt_state = update(grads, state.opt_state, state.meta.params, value=value, grad=grads)
        except TypeError as error:
            if "keyword-only argument" not in str(error):
                raise
            raise TypeError(_NO_EXTRA.format(error)) from error
        new = Variables(optax.apply_updates(state.meta.params, updates), aux.state), opt_state
        finite = all_finite((grads, reported)) & stays_finite((state.meta, state.opt_state), new)
        meta, opt_state = jax.tree.map(partial(jnp.where, finite), new, (state.meta, state.opt_state))
        metrics = {**reported, "skipped": 1.0 - finite}
        state = MetaState(state.step + 1, meta, opt_state, state.key)
        return _stay(state, over, shard), metrics

    return step


def _stay(state: MetaState, mesh: Mesh | None, shard: Rule | None) -> MetaState:
    """Keep the state on the mesh as it was before the step, so that nothing compiles again."""
    return state if mesh is None else jax.lax.with_sharding_constraint(state, layout(state, mesh, shard))


def step_keys(state: MetaState) -> Key:
    """Return the two keys of the state's step: ``k_data, k_learn``."""
    return jax.random.split(jax.random.fold_in(state.key, state.step))


def task_keys(key: Key, num_tasks: int) -> Key:
    """Return one key per task from its global index, ``[T]``."""
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(num_tasks))


def draw_tasks(sampler: Sampler | Task, state: MetaState, num_tasks: int, mesh: Mesh | None = None) -> Task:
    """Return the tasks of the state's step, stacked ``[T, ...]``; over a mesh each device draws its own.

    A stack of tasks in place of the sampler is returned as it is: the host has prepared these tasks.
    """
    if isinstance(sampler, Task):
        return sampler
    draw, keys = (lambda sampler, keys: jax.vmap(sampler)(keys)), task_keys(step_keys(state)[0], num_tasks)
    if mesh is not None:
        draw = over_tasks(draw, mesh, PartitionSpec(), PartitionSpec(task_axes(mesh)))
    return draw(sampler, keys)


def as_sampler(source: Any) -> Any:
    """Return a sampler as a pytree: a plain function ``key -> Task`` becomes one without leaves."""
    is_leaf = jax.tree.leaves(source) == [source] if callable(source) else False
    return jax.tree_util.Partial(source) if is_leaf else source


def _mean_loss(loss: Callable, params: PyTree, state: PyTree, tasks: Task, keys: Key) -> tuple[jax.Array, Aux]:
    losses, aux = jax.vmap(loss, (None, 0, 0))(Variables(params, state), tasks, keys)
    value, aux = losses.mean(), _mean_aux(state, aux)
    return value, aux._replace(metrics={**aux.metrics, _VALUE: value})


def _mean_aux(state: PyTree, aux: Aux) -> Aux:
    """Merge the stacked states and metrics of episodes: float state moves by its mean change, metrics are averaged."""
    by = [change.mean(0) for change in changes(jax.tree.map(lambda a: a[None], state), aux.state)]
    state = moved(state, jax.tree.map(lambda a: a[0], aux.state), by)
    return Aux(state, jax.tree.map(lambda m: m.mean(0), aux.metrics))


def _spread(mean_grad: Callable, mesh: Mesh | None, shard: Rule | None) -> Callable:
    """Spread a mean gradient over the devices of a mesh: average gradients, merge states and metrics as for chunks."""
    if mesh is None:
        return mean_grad

    def spread(meta: Variables, tasks: Task, keys: Key) -> tuple[PyTree, Aux]:
        lie = specs({"meta": meta}, mesh, shard)["meta"].params  # by the paths that they have in the state

        def local(meta: Variables, tasks: Task, keys: Key) -> tuple[PyTree, Aux]:
            grads, aux = mean_grad(Variables(gather(meta.params, lie), meta.state), tasks, keys)
            rest = changes(meta.state, aux.state), aux.metrics
            all_specs = lie, jax.tree.map(lambda _: PartitionSpec(), rest)
            grads, (by, metrics) = mean_and_scatter((grads, rest), all_specs, task_axes(mesh))
            return grads, Aux(moved(meta.state, aux.state, by), metrics)

        everywhere = PartitionSpec()
        return over_tasks(local, mesh, Variables(lie, everywhere), (lie, everywhere))(meta, tasks, keys)

    return spread


def _accumulate(grad_fn: Callable, meta: Variables, tasks: Task, keys: Key, chunk: int | None) -> tuple[PyTree, Aux]:
    num_chunks = _num_chunks(len(keys), chunk)
    if num_chunks == 1:
        return grad_fn(*meta, tasks, keys)
    chunks = jax.tree.map(lambda a: a.reshape(num_chunks, -1, *a.shape[1:]), (tasks, keys))

    def add(total, chunk):
        grads, aux = grad_fn(*meta, *chunk)
        return jax.tree.map(jnp.add, total, grads), aux

    total, aux = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, meta.params), chunks)
    return jax.tree.map(lambda g: g / num_chunks, total), _mean_aux(meta.state, aux)


def _num_chunks(num_tasks: int, chunk: int | None) -> int:
    if chunk is None:
        return 1
    if chunk < 1 or num_tasks % chunk:
        raise ValueError(f"`chunk` must divide the {num_tasks} tasks of a step, got {chunk}.")
    return num_tasks // chunk
