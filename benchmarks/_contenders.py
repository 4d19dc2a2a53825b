"""The contenders of the speed benchmarks: each is a function without arguments that returns (loss, gradient).

Gradients are flat dicts of numpy arrays in flax's layout. Those of PyTorch are in `_torch_contenders`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _work import Net, Work
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxmeta as jm

Run = Callable[[], tuple[float, dict[str, np.ndarray]]]
Contender = tuple[Callable[[], object], Run]  # what is timed, and what is compared


def flatten(tree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def outer_step(learner: jm.MetaLearner, data: dict, params, *, chunk: int | None = None, devices: int | None = None):
    """The jitted step with its state and tasks; the update is SGD of rate 1, from which the gradient is read.

    Tasks are spread over the cores, which are devices of their own: see `jax_num_cpu_devices`.
    """
    optimizer, num_tasks = optax.sgd(1.0), len(data["xs"])
    mesh = jax.make_mesh((devices or math.gcd(num_tasks, len(jax.devices())),), ("task",), axis_types=(AxisType.Auto,))
    tasks = jm.Task(jm.Batch(data["xs"], data["ys"]), jm.Batch(data["xq"], data["yq"]))
    zeros = learner.init(jax.random.key(0), jax.tree.map(lambda a: a[0], tasks))
    meta = jm.Variables(jax.tree.map(jnp.asarray, params), zeros.state)
    state = jm.MetaState(jnp.zeros((), jnp.int32), meta, optimizer.init(meta.params), jax.random.key(0))
    state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    tasks = jax.device_put(tasks, NamedSharding(mesh, PartitionSpec("task")))
    return jax.jit(jm.meta_step(learner, optimizer, chunk=chunk, mesh=mesh)), state, tasks


def maml(work: Work, data: dict, params):
    """MAML: all tasks at once, on a CPU one at a time on each of the cores."""
    model = jm.from_linen(Net(work, max_pool=jm.ops.max_pool))
    learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(work.lr), num_steps=work.steps)
    return outer_step(learner, data, params, chunk=1 if jax.default_backend() == "cpu" else None)


def timed(step, state, tasks) -> Contender:
    """The whole outer step is timed; the gradient is what it changes."""

    def compare():
        new, metrics = step(state, tasks)
        before = jax.tree.map(np.asarray, state.meta.params)
        return float(metrics["loss"]), flatten(jax.tree.map(lambda a, b: a - np.asarray(b), before, new.meta.params))

    return lambda: jax.block_until_ready(step(state, tasks)), compare


def ours(work: Work, data: dict, params) -> Contender:
    """This library."""
    return timed(*maml(work, data, params))


def grouped(work: Work, data: dict, params) -> Contender:
    """The same with the grouped convolutions that `vmap` makes, in place of patches and matrix products."""
    step, state, tasks = maml(work, data, params)
    with jm.ops.set_lowering("native"):
        return timed(step.lower(state, tasks).compile(), state, tasks)


# JAX as one would write it without this library.


def plain_jax(work: Work, data: dict, params) -> Contender:
    net = Net(work)
    arrays = tuple(jax.device_put(data[name]) for name in ("xs", "ys", "xq", "yq"))

    def loss(p, x, y):
        logits, _ = net.apply({"params": p}, x, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def task_loss(p, xs, ys, xq, yq):
        def inner(p, _):
            return jax.tree.map(lambda p, g: p - work.lr * g, p, jax.grad(loss)(p, xs, ys)), None

        return loss(jax.lax.scan(inner, p, length=work.steps)[0], xq, yq)

    mean = lambda p, *arrays: jax.vmap(task_loss, (None, 0, 0, 0, 0))(p, *arrays).mean()
    grad = jax.jit(jax.value_and_grad(mean))

    def compare():
        value, grads = grad(params, *arrays)
        return float(value), flatten(grads)

    return lambda: jax.block_until_ready(grad(params, *arrays)), compare
