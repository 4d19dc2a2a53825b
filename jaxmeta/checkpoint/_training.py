"""The state of training, saved every so many steps in the background; a killed run resumes from the newest."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..parallel import Rule, layout
from ..storage import as_path, check_tree, is_remote
from ..types import MetaState
from ._leaves import by_name, check_leaves, check_size, damaged, first_line, quiet

FORMAT = 1
_TMP = ".orbax-checkpoint-tmp"  # the ending of a folder that orbax has not finished


class Damaged(ValueError):
    """A checkpoint cannot be read."""


@dataclass
class Keeper:
    """A callback for `fit`, made by `keep`: save the state, and restore the newest.

    Attributes:
      folder: of the checkpoints, each in a folder named by its step.
      every: steps between two checkpoints.
      best: the validation metric whose best checkpoint is kept beside the newest, or None.
    """

    folder: str
    every: int
    best: str | None = None
    _manager: Any = field(default=None, repr=False)
    _saved: int = field(default=0, repr=False)
    _damaged: list[int] = field(default_factory=list, repr=False)

    def due(self, progress: Any) -> bool:
        """Return whether this call of the callback will save, for files that must be written before."""
        crossed = progress.step // self.every > self._saved // self.every
        scored = self.best is not None and progress.estimates is not None
        return crossed or scored or progress.step == progress.num_steps

    def __call__(self, progress: Any) -> None:
        if self.due(progress):
            means = {name: estimate.mean for name, estimate in (progress.estimates or {}).items()}
            self.save(progress.state, means)

    def save(self, state: MetaState, metrics: dict[str, float] | None = None) -> None:
        """Save a state, unless its step is saved already; return once its arrays are copied.

        Raises:
          OSError: if this or the checkpoint before could not be written; those before are whole.
        """
        import orbax.checkpoint as ocp

        step = int(np.max(state.step))
        if step == self._saved:
            return
        for newer in self._damaged:  # else orbax would not save an older step than its newest
            self._say(lambda step=newer: self._manager.delete(step), newer)
        self._damaged = []
        leaves = {name: jnp.copy(leaf) for name, leaf in by_name(_plain(state)).items()}  # `fit` reuses its buffers
        how: dict[str, Any] = {"metrics": metrics or None, "custom_metadata": {"format": FORMAT}}
        self._say(lambda: self._manager.save(step, args=ocp.args.StandardSave(leaves), **how), step)
        self._saved = step

    def restore(self, like: MetaState, *, mesh: Mesh | None = None, shard: Rule | None = None) -> MetaState | None:
        """Return the newest state in the structure of ``like``, laid out for ``mesh`` and ``shard``; None without one.

        It does not matter over which devices the state was spread when it was saved. If the newest checkpoint is
        damaged, the newest whole one is returned, and a warning is logged; the next save replaces the damaged ones.

        Raises:
          ValueError: if every checkpoint is damaged; or if one is of an unknown format, or another learner's or
            optimizer's.
        """
        self._warn_of_unfinished()
        first: Damaged | None = None
        for step in reversed(self.steps()):
            try:
                state = self._read(step, like, mesh, shard)
            except Damaged as error:
                first = first or error
                continue
            if first is not None:
                logging.getLogger("jaxmeta").warning("%s Continuing from the whole one of step %d.", first, step)
                self._damaged = [newer for newer in self.steps() if newer > step]
            self._saved = step
            return state
        if first is not None:
            raise first
        return None

    def _read(self, step: int, like: MetaState, mesh: Mesh | None, shard: Rule | None) -> MetaState:
        import orbax.checkpoint as ocp

        folder, wanted = f"{self.folder}/{step}", by_name(_abstract(_plain(like), mesh, shard))
        check_tree(as_path(folder))
        with quiet():
            try:
                about, found = self._manager.metadata(step), self._manager.item_metadata(step).tree
                version = (about.custom_metadata or {}).get("format")
            except Exception as error:  # orbax and tensorstore raise a dozen types on damaged files
                raise Damaged(damaged(folder, error)) from error
            _check_format(folder, version)
            check_size(folder, found)
            check_leaves(folder, found, wanted)
            try:
                leaves = self._manager.restore(step, args=ocp.args.StandardRestore(wanted))
            except Exception as error:
                raise Damaged(damaged(folder, error)) from error
        # As if made here: orbax commits arrays to a device, and jit would compile everything once more for those.
        free = (lambda leaf: leaf) if mesh is not None else (lambda leaf: jnp.asarray(np.asarray(leaf)))
        return _keyed(jax.tree.unflatten(jax.tree.structure(like), [free(leaves[name]) for name in wanted]), like)

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, in rising order."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """Return the step with the best metric, or None."""
        return self._manager.best_step() if self.best else None

    def close(self) -> None:
        """Wait until everything is written.

        Raises:
          OSError: if it could not be.
        """
        self._say(self._manager.wait_until_finished, self._saved)
        self._manager.close()

    def _say(self, act: Callable[[], Any], step: int) -> None:
        try:
            with quiet():
                act()
        except Exception as error:  # of a full disk orbax, tensorstore and the system each speak in their own way
            whole = [s for s in self.steps() if s != step]
            before = f"that of step {whole[-1]} is whole" if whole else "there is none before it"
            reason = full if (full := "No space left on device") in str(error) else first_line(error)
            raise OSError(
                f"a checkpoint up to step {step} could not be written into {self.folder!r} ({reason}); "
                f"{before}. Make room there, and go on from it."
            ) from error

    def _warn_of_unfinished(self) -> None:
        folder = self._manager.directory  # of which an object store knows nothing before the first checkpoint
        half = [path.name for path in folder.iterdir() if _TMP in path.name] if folder.exists() else []
        if half:
            logging.getLogger("jaxmeta").warning("left aside, not finished when a run was killed: %s", ", ".join(half))


def keep(
    folder: Any,
    *,
    every: int = 500,
    max_to_keep: int = 2,
    best: str | None = None,
    mode: Literal["max", "min"] = "max",
) -> Keeper:
    """Return a callback of `fit` that saves the whole state: parameters, the optimizer's state, step and key.

    A checkpoint appears under its name only when all of it is written. `fit` from a restored state equals `fit` in one
    go, bit for bit on the same devices. With several processes all of them take part, over one folder that all see.

    Args:
      folder: made if need be; ``gs://...`` is fine, with ``pip install "jaxmeta[remote]"``.
      every: steps between checkpoints, taken at the end of the `log_every` interval in which they fall due.
      max_to_keep: the newest ones to keep.
      best: the name of a validation metric: the checkpoint of the best validation is kept as well.
      mode: whether larger (``"max"``) or smaller (``"min"``) is better.

    Raises:
      ValueError: for a number that is not positive, or an unknown mode.

    Example:
      >>> import tempfile, optax, jaxmeta as jm
      >>> learner = jm.maml(jm.from_linen(jm.backbones.MLP((4,), num_outputs=1)), jm.losses.mse)
      >>> state = jm.init(learner, jm.tasks.sinusoid(), optax.adam(1e-3), key=jax.random.key(0))
      >>> keeper = keep(tempfile.mkdtemp(), every=10)
      >>> state = keeper.restore(state) or state
      >>> options = {"num_steps": 20, "tasks_per_step": 2, "log_every": 10, "callbacks": [keeper]}
      >>> state, _ = jm.fit(learner, jm.tasks.sinusoid(), optax.adam(1e-3), state, **options)
      >>> keeper.close(); keeper.steps()
      [10, 20]
    """
    import orbax.checkpoint as ocp
    from etils import epath

    for name, value in (("every", every), ("max_to_keep", max_to_keep)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if mode not in ("max", "min"):
        raise ValueError(f"`mode` must be 'max' or 'min', got {mode!r}.")
    place = as_path(folder)
    path = epath.Path(place) if is_remote(place) else epath.Path(place).resolve()
    score: dict[str, Any] = {} if best is None else {"best_fn": lambda metrics: metrics[best], "best_mode": mode}
    options = ocp.CheckpointManagerOptions(preservation_policy=_policy(max_to_keep, best, mode), create=True, **score)
    try:
        with quiet():
            manager = ocp.CheckpointManager(path, options=options, item_handlers=ocp.StandardCheckpointHandler())
    except RecursionError as error:
        raise ValueError(
            f"{str(path)!r} holds a damaged checkpoint: a JSON file in it is nested too deeply to be read. Remove that "
            "checkpoint."
        ) from error
    return Keeper(str(path), every, best, manager, manager.latest_step() or 0)


def _policy(max_to_keep: int, best: str | None, mode: str) -> Any:
    from orbax.checkpoint import checkpoint_managers as ocm

    newest = ocm.LatestN(max_to_keep)
    if best is None:
        return newest
    options = {"get_metric_fn": lambda metrics: metrics[best], "n": 1, "keep_checkpoints_without_metrics": False}
    return ocm.AnyPreservationPolicy([newest, ocm.BestN(**options, reverse=mode == "min")])


def _plain(state: MetaState) -> MetaState:
    """Return the state with its key as integers."""
    return state._replace(key=jax.random.key_data(state.key))


def _keyed(state: MetaState, like: MetaState) -> MetaState:
    return state._replace(key=jax.random.wrap_key_data(state.key, impl=jax.random.key_impl(like.key)))


def _abstract(state: MetaState, mesh: Mesh | None, shard: Rule | None) -> Any:
    if mesh is None:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
    lies = layout(state, mesh, shard)
    return jax.tree.map(lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s), state, lies)


def _check_format(folder: str, version: Any) -> None:
    if version != FORMAT:
        raise ValueError(
            f"{folder!r} is a checkpoint of format {version!r}; this version of jaxmeta reads format {FORMAT}. "
            "Go on with the version that wrote it."
        )
