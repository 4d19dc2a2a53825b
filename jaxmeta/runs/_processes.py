"""Work that one of several processes does for all of them."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import parallel
from ..types import Variables

T = TypeVar("T")


class ProcessLost(RuntimeError):
    """Another process of the run has ended or cannot be reached.

    The run cannot continue, and jax may wait for that process without end: end this process with ``os._exit``.
    """


def is_first() -> bool:
    """Return whether this is process 0, which writes files and reports events."""
    return jax.process_index() == 0


def by_first(act: Callable[[], T]) -> T | None:
    """Call a function in process 0 alone; the others wait until it has returned.

    Raises:
      Exception: the function's own in process 0; ValueError in the others, so that none of them waits for ever.
    """
    result, error = None, None
    if is_first():
        try:
            result = act()
        except (ValueError, OSError, ImportError) as raised:
            error = raised
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import broadcast_one_to_all

        if bool(broadcast_one_to_all(np.array(error is not None))) and error is None:
            raise ValueError("process 0 could not prepare the run folder; its own message says why.")
    if error is not None:
        raise error
    return result


def lost(error: Exception) -> ProcessLost:
    """Return an error that names the other processes and what to do."""
    me, processes = jax.process_index(), jax.process_count()
    others = ", ".join(str(i) for i in range(processes) if i != me)
    which = f"process {others} has" if processes == 2 else f"one of the processes {others} has"
    reason = str(error).splitlines()[0][:300]
    return ProcessLost(
        f"{which} ended or cannot be reached, says process {me} ({reason}). Start all of them again with "
        "`jaxmeta train --resume RUN`."
    )


def local(meta: Variables, mesh: jax.sharding.Mesh | None) -> Variables:
    """Return whole arrays of this process alone, however they were spread over the mesh."""
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), parallel.place(meta, mesh))
