"""The iterates of an inner loop, to measure a learner after each of its steps while the loop runs once.

`inner.descend` is where learners adapt by steps. Within `recorded` it also keeps every iterate. Within `replayed` it
takes no step and returns a given iterate, so that everything a learner does after its loop is done for that iterate.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp

from .types import PyTree

_recording: ContextVar[list[PyTree] | None] = ContextVar("recording", default=None)
_replaying: ContextVar[PyTree] = ContextVar("replaying", default=None)


@contextmanager
def recorded() -> Generator[list[PyTree]]:
    """Collect the iterates of every inner loop that is traced inside, each a pytree ``[num_steps + 1, ...]``.

    Example:
      >>> import optax
      >>> from jaxmeta import inner
      >>> with inner.iterates.recorded() as paths:
      ...     end = inner.descend(lambda p, state, _: (0.5 * p**2, state), jnp.float32(8), optax.sgd(0.5), 3)
      >>> paths[0].params.tolist()
      [8.0, 4.0, 2.0, 1.0]
    """
    paths: list[PyTree] = []
    token = _recording.set(paths)
    try:
        yield paths
    finally:
        _recording.reset(token)


@contextmanager
def replayed(iterate: PyTree) -> Generator[None]:
    """Let inner loops inside return ``iterate``, an entry of a recorded path."""
    token = _replaying.set(iterate)
    try:
        yield
    finally:
        _replaying.reset(token)


def is_recording() -> bool:
    """Return whether inner loops have to `keep` their iterates."""
    return _recording.get() is not None


def keep(path: PyTree, end: PyTree) -> None:
    """Add the iterates of one loop: those before each step ``[num_steps, ...]``, and the last one."""
    paths = _recording.get()
    if paths is not None:
        paths.append(jax.tree.map(lambda a, last: jnp.concatenate([a, last[None]]), path, end))


def given() -> PyTree:
    """Return the iterate that inner loops are to return, or None."""
    return _replaying.get()
