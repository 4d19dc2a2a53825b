"""The host loop around the compiled step: progress, validation, callbacks, early stopping. No mathematics."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .callbacks import EarlyStopping, Progress, call_all
from .defaults import Auto, chosen_mesh, has_convolution, recommend_cores
from .evaluation import evaluate, evaluate_seeds
from .parallel import Rule, auto_mesh, place
from .prefetch import given_to_steps
from .progress import Shown, reporting
from .step import as_sampler, draw_tasks, meta_step
from .storage import filled_here
from .types import Estimate, MetaLearner, MetaState, Sampler, Task, Variables
from .validation import check_is_learner, check_is_optimizer, check_is_state, check_same_shapes

History = dict[str, np.ndarray]
_LOGGER = logging.getLogger(__name__)


class Profile(NamedTuple):
    """Steps ``start`` up to ``stop``, counted from 0, whose trace goes into ``folder``, for xprof or Perfetto."""

    start: int
    stop: int
    folder: str


class Diverged(FloatingPointError):
    """Training stopped after too many updates in a row that were not finite; `state` is the last good one."""

    def __init__(self, message: str, state: MetaState):
        super().__init__(message)
        self.state = state


def fit(
    learner: MetaLearner,
    sampler: Sampler,
    optimizer: optax.GradientTransformation,
    state: MetaState,
    *,
    num_steps: int,
    tasks_per_step: int,
    step: Callable | None = None,
    mesh: jax.sharding.Mesh | Auto | None = "auto",
    shard: Rule | None = None,
    chunk: int | Auto | None = "auto",
    guard: Literal["step", "task"] | None = None,
    log_every: int = 50,
    eval_sampler: Sampler | None = None,
    eval_every: int | None = None,
    eval_tasks: int = 200,
    callbacks: Iterable[Callable[[Progress], Any]] = (),
    progress: Shown = "auto",
    profile: Profile | None = None,
    max_skipped: int = 50,
) -> tuple[MetaState, History]:
    """Meta-train up to ``state.step == num_steps``.

    Sampling and updates run on the device in one compiled program, ``log_every`` steps per dispatch (on a CPU one by
    one where there are convolutions). The caller's state is copied once and stays valid. A state made with keys
    ``[S]`` trains S seeds at once. With a sampler from `tasks.streamed` steps are dispatched one by one, on tasks that
    the host prepares ahead: see `feed`.

    Args:
      learner: the learner to train.
      sampler: the distribution of tasks to train on.
      optimizer: the outer optimizer.
      state: from `init`, or from an earlier `fit` to go on from.
      num_steps: the step to stop at, counted from the state's own step 0.
      tasks_per_step: tasks ``T`` in a batch.
      step: an outer step of one's own, ``(state, tasks) -> (state, metrics)``, in place of `meta_step`.
      mesh: devices with an axis ``"task"`` over which each batch of tasks is split: see `parallel.make_mesh`; None for
        one device. ``"auto"`` takes as many of the devices there are as divide the tasks; on a CPU, whose cores are
        devices after `parallel.use_cores`, only where the kernels of convolutions adapt. It takes one device with a
        ``step`` of your own, with several processes, and where `jax_default_device` is set. With a mesh over several
        processes, every one calls `fit` with the same arguments, and gets the same results.
      shard: how the state lies on the mesh, such as `parallel.fsdp()`; replicated by default.
      chunk, guard: tasks differentiated at a time, and what is left out where numbers are not finite: see `meta_step`.
      log_every: steps between calls of the callbacks.
      eval_sampler: tasks for validation.
      eval_every: steps between validations; none by default.
      eval_tasks: tasks per validation, the same ones each time.
      callbacks: each is called with a `Progress`. One that returns True ends training, and a warning is logged that
        names it. Any other value is ignored.
      progress: True shows the step, the metrics and the time left in a line on standard error; ``"auto"`` shows it on
        a terminal and in a notebook only. A function is given each phase in words instead, such as ``"compiling"``.
      profile: steps of which a trace is written.
      max_skipped: raise after so many updates in a row that were not finite. Of several seeds, the others go on, and
        a warning is logged that names those that diverged.

    Returns:
      ``(state, history)``. The history is a dict of arrays: ``"step"`` and every metric of every step
      ``[steps]`` (``[steps, S]`` for several seeds); ``"eval/step"``, ``"eval/<name>"`` and
      ``"eval/<name>/ci95"``, one entry per validation.

    Raises:
      TypeError: if ``state`` is no training state, or another argument is not of its type.
      ValueError: for a count that is not positive, a state of another learner or optimizer, ``eval_every`` without
        ``eval_sampler``, `EarlyStopping` without validation, or ``chunk`` or ``guard`` beside ``step``.
      Diverged: after ``max_skipped`` bad updates in a row, or at the end if every update was bad; of several seeds, if
        that holds for each of them.

    Example:
      >>> import jaxmeta as jm
      >>> sampler, optimizer = jm.tasks.sinusoid(), optax.adam(1e-3)
      >>> learner = jm.maml(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse, num_steps=1)
      >>> state = jm.init(learner, sampler, optimizer, key=jax.random.key(0))
      >>> state, history = fit(learner, sampler, optimizer, state, num_steps=10, tasks_per_step=4)
      >>> int(state.step), history["loss"].shape
      (10, (10,))
    """
    check_is_state(state)
    _check_counts(num_steps=num_steps, tasks_per_step=tasks_per_step, log_every=log_every, eval_tasks=eval_tasks)
    _check_counts(max_skipped=max_skipped)
    if eval_every is not None:
        _check_counts(eval_every=eval_every)
        if eval_sampler is None:
            raise ValueError(f"`eval_every={eval_every}` needs an `eval_sampler` of validation tasks.")
    callbacks = tuple(callbacks)
    if eval_every is None and any(isinstance(callback, EarlyStopping) for callback in callbacks):
        raise ValueError("`callbacks`: `EarlyStopping` needs validation: give `eval_sampler` and `eval_every`.")
    if step is not None and (chunk not in ("auto", None) or guard is not None):
        raise ValueError(f"`chunk={chunk}`, `guard={guard!r}` belong to `meta_step`: they do nothing beside `step`.")
    if step is not None:
        mesh = None if mesh == "auto" else mesh
    else:
        meta, task = _check_own_state(learner, sampler, optimizer, state)
        if mesh == "auto":
            recommend_cores(tasks_per_step, learner, meta, task)
        mesh = chosen_mesh(mesh, tasks_per_step, learner, meta, task)
    mesh = None if mesh is None else auto_mesh(mesh)
    step = step or _meta_step(learner, optimizer, chunk, mesh, shard, guard or "step")
    run = _runner(step, tasks_per_step, log_every, mesh)
    state = place(jax.tree.map(jnp.copy, state), mesh, shard)
    source = given_to_steps(sampler, state, num_steps, tasks_per_step, mesh)
    eval_sampler = None if eval_sampler is None else place(as_sampler(eval_sampler), mesh)  # once, not each time
    validate = evaluate if state.step.ndim == 0 else evaluate_seeds
    log, at, buffers = _Log(), int(np.max(state.step)), None
    bad, diverged = np.zeros(state.step.shape, int), np.zeros(state.step.shape, bool)
    with reporting(progress, num_steps) as (say, show):
        if at < num_steps:
            say("compiling")
        has_ended = any(isinstance(callback, EarlyStopping) and callback.has_ended for callback in callbacks)
        while at < num_steps and not has_ended:
            until = min(at + log_every - at % log_every, num_steps, _next(at, eval_every, num_steps))
            begin = time.perf_counter()
            for first, last in _pieces(at, until, profile):
                with _traced(profile, first):
                    state, buffers = jax.block_until_ready(run(state, buffers, source, first - at, last - at))
            rows = {name: np.array(row[: until - at]) for name, row in (buffers or {}).items()}  # buffers are reused
            seconds = time.perf_counter() - begin
            log.add_steps(np.arange(at + 1, until + 1), rows)
            bad, worst = _count_skipped(bad, rows)
            new, diverged = (worst >= max_skipped) & ~diverged, diverged | (worst >= max_skipped)
            if diverged.all():
                raise Diverged(_why(f"{int(worst.max())} updates in a row, up to step {until},", rows), state)
            if new.any():
                _LOGGER.warning("Seeds %s diverged by step %d; the others go on.", np.flatnonzero(new).tolist(), until)
            estimates = None
            if eval_every and eval_sampler is not None and (until % eval_every == 0 or until == num_steps):
                say(f"validating on {eval_tasks:,} tasks")
                estimates = validate(learner, state.meta, eval_sampler, num_tasks=eval_tasks, mesh=mesh)
                log.add_estimates(until, estimates)
            means = {name: row.mean(0) for name, row in rows.items()}
            rate = (until - at) * tasks_per_step / seconds
            at = until
            reached = Progress(at, state, num_steps, means, estimates, rate)
            show(reached)
            if enders := call_all(callbacks, reached):
                _LOGGER.warning("%s ended training at step %d of %d.", ", ".join(enders), at, num_steps)
                break
    history = log.history()
    _check_trained(history, state)
    return state, history


@lru_cache(maxsize=32)
def _meta_step(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    chunk: int | Auto | None,
    mesh: jax.sharding.Mesh | None,
    shard: Rule | None,
    guard: Literal["step", "task"],
) -> Callable[..., Any]:
    """Return the same function for the same arguments, so that a second `fit` does not compile."""
    return meta_step(learner, optimizer, chunk=chunk, mesh=mesh, shard=shard, guard=guard)


@lru_cache(maxsize=32)
def _runner(
    step: Callable[..., Any], tasks_per_step: int, capacity: int, mesh: jax.sharding.Mesh | None
) -> Callable[..., Any]:
    """Return ``(state, rows, source, first, last) -> (state, rows)``, one program whatever the number of steps.

    Each step takes the next value of ``source``: the sampler, or tasks from the host. The steps of a dispatch are
    one loop on the device where they take the sampler. On a CPU a step that contains a convolution is dispatched alone:
    XLA does not give convolutions their fast form inside a loop there.
    """

    def advance(state: MetaState, given: Sampler | Task) -> tuple[MetaState, dict[str, jax.Array]]:
        return step(state, draw_tasks(given, state, tasks_per_step, mesh))

    def seeds(state: MetaState, given: Sampler | Task) -> tuple[MetaState, dict[str, jax.Array]]:
        each = 0 if isinstance(given, Task) else None
        return (advance if state.step.ndim == 0 else jax.vmap(advance, (0, each)))(state, given)

    def record(i: Any, carry: tuple[MetaState, Any], given: Sampler | Task) -> tuple[MetaState, Any]:
        state, metrics = seeds(carry[0], given)
        return state, jax.tree.map(lambda row, m: row.at[i].set(m), carry[1], metrics)

    def loop(carry: tuple[MetaState, Any], sampler: Sampler, first: Any, last: Any) -> tuple[MetaState, Any]:
        return jax.lax.fori_loop(first, last, partial(record, given=sampler), carry)

    one, many = jax.jit(record, donate_argnums=1), jax.jit(loop, donate_argnums=0)

    traceable, is_looped = jax.jit(seeds), True

    def run(state: MetaState, rows: Any, source: Iterator[Any], first: int, last: int) -> tuple[MetaState, Any]:
        nonlocal is_looped
        given, done = next(source), None
        if rows is None:
            traced = traceable.trace(state, given)
            rows = jax.tree.map(lambda s: jnp.zeros((capacity, *s.shape), s.dtype), traced.out_info[1])
            is_looped = jax.default_backend() != "cpu" or not has_convolution(traced.jaxpr.jaxpr)
        carry = state, rows
        if is_looped and not isinstance(given, Task):
            return many(carry, given, first, last)
        for i in range(first, last):
            carry = one(i, carry, given if i == first else next(source))
            if mesh is not None:  # XLA's CPU devices wait for one another for ever with some 32 steps in flight
                jax.block_until_ready(carry)
            elif isinstance(given, Task):  # the tasks of two steps at most wait on the device for their turn
                jax.block_until_ready(done)
                done = jnp.copy(carry[0].step)
        return carry

    run.programs = one, many  # type: ignore[attr-defined]
    return run


class _Log:
    """Collect the history."""

    def __init__(self):
        self._steps: list[np.ndarray] = []
        self._rows: list[dict[str, np.ndarray]] = []
        self._estimates: list[tuple[int, dict[str, Estimate]]] = []

    def add_steps(self, steps: np.ndarray, rows: dict[str, np.ndarray]) -> None:
        self._steps.append(steps)
        self._rows.append(rows)

    def add_estimates(self, step: int, estimates: dict[str, Estimate]) -> None:
        self._estimates.append((step, estimates))

    def history(self) -> History:
        out = {"step": np.concatenate([np.zeros(0, int), *self._steps])}
        for name in self._rows[0] if self._rows else ():
            out[name] = np.concatenate([rows[name] for rows in self._rows])
        if self._estimates:
            out["eval/step"] = np.array([step for step, _ in self._estimates])
        for name in self._estimates[0][1] if self._estimates else ():
            out[f"eval/{name}"] = np.array([found[name].mean for _, found in self._estimates])
            out[f"eval/{name}/ci95"] = np.array([found[name].ci95 for _, found in self._estimates])
        return out


def _pieces(at: int, until: int, profile: Profile | None) -> Iterator[tuple[int, int]]:
    """Return the steps from ``at`` to ``until`` in one piece, or cut where a trace begins and ends."""
    cuts = {at, until} | {cut for cut in (profile or ())[:2] if at < cut < until}
    return pairwise(sorted(cuts))


@contextmanager
def _traced(profile: Profile | None, step: int) -> Iterator[None]:
    if profile is None or not profile.start <= step < profile.stop:
        yield
        return
    with filled_here(profile.folder) as folder, jax.profiler.trace(folder):
        yield


def _next(at: int, every: int | None, end: int) -> int:
    return end if every is None else at + every - at % every


def _count_skipped(before: np.ndarray, rows: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each seed, the bad updates in a row at the end of these rows, and the most anywhere in them."""
    bad, worst = before, before
    for skipped in rows.get("skipped", ()):
        bad = np.where(skipped > 0, bad + 1, 0)
        worst = np.maximum(worst, bad)
    return bad, worst


def _check_trained(history: History, state: MetaState) -> None:
    """Raise if every update was left out: too few for ``max_skipped``, and still nothing has been trained."""
    skipped = history.get("skipped")
    if skipped is None or not len(skipped):
        return
    useless = (skipped > 0).all(0)
    if useless.all():
        raise Diverged(_why(f"All {len(skipped)} updates, up to step {history['step'][-1]},", history), state)
    if useless.any():
        _LOGGER.warning("Seeds %s diverged: every update was left out.", np.flatnonzero(useless).tolist())


def _why(updates: str, rows: dict[str, np.ndarray]) -> str:
    """Return what happened to updates that were left out, by the metrics of their steps, and its likely causes."""
    bad = rows["skipped"] > 0
    # The history also has the numbers of steps and validations, which are not by step and seed.
    by_step = {name: row for name, row in rows.items() if row.shape[: bad.ndim] == bad.shape}
    wrong = sorted(f"`{name}`" for name, row in by_step.items() if not np.isfinite(row[bad]).all())
    what = f"{', '.join(wrong)} NaN or infinite" if wrong else "every metric finite, but not the gradient or the update"
    causes = (
        "NaN or infinity in the data; an inner or outer learning rate that is too large"
        if wrong
        else "a root, logarithm or division at zero in the model or the loss (`jnp.where` on its result mends the "
        "value but not the derivative: choose its argument too); inner steps that multiply gradients, such as many "
        "steps at a large rate, or Adam's with `eps_root=0` (use `jaxmeta.inner.adam`)"
    )
    return (
        f"{updates} were left out, with {what}. Likely causes: {causes}. If few tasks are affected, `guard='task'` "
        "leaves out these alone. The last good state is in this error's `state`."
    )


def _check_own_state(
    learner: MetaLearner, sampler: Sampler, optimizer: optax.GradientTransformation, state: MetaState
) -> tuple[Variables, Task]:
    """Check that a state is one of this learner and optimizer; return the shapes of the meta-parameters and a task."""
    check_is_learner(learner)
    check_is_optimizer(optimizer)
    key = jax.random.key(0)
    one = state if state.step.ndim == 0 else jax.eval_shape(lambda s: jax.tree.map(lambda a: a[0], s), state)
    task = jax.eval_shape(as_sampler(sampler), key)
    meta = jax.eval_shape(learner.init, key, task)
    check_same_shapes("state.meta", one.meta, meta, "The state is another learner's: make it by `jaxmeta.init`.")
    opt_state = jax.eval_shape(optimizer.init, one.meta.params)
    remedy = "The state is another optimizer's: give `fit` and `jaxmeta.init` the same one."
    check_same_shapes("state.opt_state", one.opt_state, opt_state, remedy)
    return one.meta, task


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise TypeError(f"`{name}` must be an integer, got {value!r}.")
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
