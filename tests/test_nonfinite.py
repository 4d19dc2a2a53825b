"""Single tasks left out: the step is that of the others alone, whatever the chunks and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Variables, parallel
from jaxmeta.types import Aux, MetaLearner, Task


def loss(meta, task, key=None):
    """Loss x · w, whose gradient is x; it leaves a running mean and a count."""
    value = jnp.sum(meta.params * task.query)
    state = {"mean": 0.5 * meta.state["mean"] + 0.5 * task.query.mean(), "count": meta.state["count"] + 1}
    return value, Aux(state, {"loss": value})


LEARNER = MetaLearner(None, None, None, loss)  # type: ignore[arg-type]
BAD = np.array([[1.0, 2.0], [np.nan, 0.0], [3.0, 4.0], [5.0, np.inf]], np.float32)


def start():
    meta = Variables(jnp.array([1.0, -1.0]), {"mean": jnp.array(8.0), "count": jnp.array(3)})
    return jm.MetaState(jnp.int32(0), meta, optax.sgd(1.0).init(meta.params), jax.random.key(0))


def step(queries, **options):
    tasks = Task(jnp.zeros((len(queries), 1)), jnp.asarray(queries))
    return jax.jit(jm.meta_step(LEARNER, optax.sgd(1.0), **options))(start(), tasks)


@pytest.mark.parametrize("options", [{}, {"chunk": 2}, {"chunk": 1}, {"mesh": 2}], ids=str)
def test_only_the_bad_tasks_are_left_out(options):
    if "mesh" in options:
        options = {"mesh": parallel.make_mesh(options["mesh"])}
    state, metrics = step(BAD, guard="task", **options)
    np.testing.assert_allclose(state.meta.params, [1 - 2.0, -1 - 3.0])  # the mean of (1, 2) and (3, 4)
    np.testing.assert_allclose(metrics["loss"], (-1.0 - 1.0) / 2)
    np.testing.assert_allclose(metrics["skipped_tasks"], 2)
    np.testing.assert_allclose(state.meta.state["mean"], 0.5 * 8 + 0.5 * (1.5 + 3.5) / 2)
    assert int(state.meta.state["count"]) == 4 and metrics["skipped"] == 0


def test_without_any_good_task_the_step_is_left_out():
    state, metrics = step(BAD[[1, 3]], guard="task")
    assert state.meta.params.tolist() == [1.0, -1.0] and metrics["skipped"] == 1


def test_by_default_the_whole_step_is_left_out():
    state, metrics = step(BAD)
    assert state.meta.params.tolist() == [1.0, -1.0] and metrics["skipped"] == 1


def test_good_tasks_alone_are_as_without_the_guard():
    for a, b in zip(
        *map(jax.tree.leaves, (step(BAD[[0, 2]])[0].meta, step(BAD[[0, 2]], guard="task")[0].meta)), strict=True
    ):
        np.testing.assert_allclose(a, b)


def test_an_unknown_guard():
    with pytest.raises(ValueError, match="`guard` must be 'step' or 'task', got 'all'"):
        step(BAD, guard="all")
