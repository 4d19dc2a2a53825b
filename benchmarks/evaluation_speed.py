"""The time of `evaluate` on 1,000 tasks against a loop over tasks written by hand in PyTorch.

    pip install torch==2.13.0 && python benchmarks/evaluation_speed.py

Conv4-64 on 28x28 images, 5-way 1-shot, 15 queries a class: MAML with stride 2 and 10 inner steps, and ProtoNet with max
pooling. The tasks are drawn from 64 stored ones, the same for all contenders. First the losses of single tasks are
compared in float64; the benchmark stops if they differ. Ratios are this library's time / PyTorch's; the spread of a
ratio holds the spread of both times.
"""

import argparse
import math
import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax
import torch
import torch.nn.functional as F
from _report import write
from _timing import alternate
from _torch_contenders import DEVICE, embed, forward, to_torch, torch_arrays
from _work import Net, Work, inputs
from jax.sharding import AxisType

import jaxmeta as jm
from jaxmeta.step import task_keys

STORED = 64
WORKS = {
    "MAML, 10 steps": Work(features=64, pool=False, size=28, channels=1, tasks=STORED, queries=15, steps=10),
    "ProtoNet": Work(features=64, pool=True, size=28, channels=1, tasks=STORED, queries=15, steps=0),
}
METRICS = {"accuracy": jm.losses.accuracy, "loss": jm.losses.cross_entropy}


class Stored(NamedTuple):
    """A sampler that draws one of the stored tasks."""

    tasks: jm.Task

    def index(self, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, [], 0, STORED)

    def __call__(self, key: jax.Array) -> jm.Task:
        return jax.tree.map(lambda a: a[self.index(key)], self.tasks)


class Case(NamedTuple):
    """One row of the table.

    Attributes:
      ours: ``(num_tasks, mesh) -> {metric: [num_tasks]}``.
      theirs: ``(stored task numbers) -> {metric: [num_tasks]}``, the loop in PyTorch.
      numbers: ``num_tasks ->`` the numbers of the stored tasks that `evaluate` draws.
    """

    ours: Callable[..., dict[str, np.ndarray]]
    theirs: Callable[[list[int]], dict[str, np.ndarray]]
    numbers: Callable[[int], list[int]]


def build(work: Work, dtype: type) -> Case:
    net = Net(work, head=work.steps > 0, max_pool=jm.ops.max_pool)
    data, params = inputs(net, work, dtype)
    model = jm.from_linen(net)
    if work.steps:
        inner = optax.sgd(work.lr)
        learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=inner, num_steps=work.steps)
    else:
        learner = jm.protonet(model)
    ways = np.ones((STORED, work.ways), bool)
    support, query = jm.Batch(data["xs"], data["ys"], ways=ways), jm.Batch(data["xq"], data["yq"], ways=ways)
    tasks = jax.tree.map(jax.numpy.asarray, jm.Task(support, query))
    meta = learner.init(jax.random.key(0), jax.tree.map(lambda a: a[0], tasks))
    meta = meta._replace(params=jax.tree.map(lambda a, b: jax.numpy.asarray(b, a.dtype), meta.params, params))
    sampler, key = Stored(tasks), jax.random.key(1)

    def ours(num_tasks: int, mesh: jax.sharding.Mesh | None = None) -> dict[str, np.ndarray]:
        measure = partial(jm.task_metrics, learner, meta, sampler, metrics=METRICS, key=key, mesh=mesh)
        return measure(num_tasks=num_tasks)[0]

    def numbers(num_tasks: int) -> list[int]:
        """Draw as `evaluate` does: each task's key is split in three, and the first part draws."""
        return jax.vmap(lambda k: sampler.index(jax.random.split(k, 3)[0]))(task_keys(key, num_tasks)).tolist()

    start, arrays = to_torch(params), torch_arrays(data)
    logits = maml_logits if work.steps else protonet_logits

    def theirs(chosen: list[int]) -> dict[str, np.ndarray]:
        values = []
        for i in chosen:
            xs, ys, xq, yq = (a[i] for a in arrays)
            outputs = logits(start, xs, ys, xq, work)
            values.append((float((outputs.argmax(-1) == yq).double().mean()), float(F.cross_entropy(outputs, yq))))
        return dict(zip(METRICS, np.array(values).T, strict=True))

    return Case(ours, theirs, numbers)


def maml_logits(start: dict[str, torch.Tensor], xs, ys, xq, work: Work) -> torch.Tensor:
    fast = {name: p.clone().requires_grad_() for name, p in start.items()}
    for _ in range(work.steps):
        grads = torch.autograd.grad(F.cross_entropy(forward(fast, xs, work), ys), list(fast.values()))
        fast = {n: (p - work.lr * g).detach().requires_grad_() for (n, p), g in zip(fast.items(), grads, strict=True)}
    with torch.no_grad():
        return forward(fast, xq, work)


@torch.no_grad()
def protonet_logits(start: dict[str, torch.Tensor], xs, ys, xq, work: Work) -> torch.Tensor:
    one_hot = F.one_hot(ys, work.ways).to(xs.dtype)
    means = one_hot.T @ embed(start, xs, work) / one_hot.sum(0)[:, None]
    return -((embed(start, xq, work)[:, None] - means[None]) ** 2).sum(-1)


def agree(case: Case, num_tasks: int = 4) -> None:
    """Raise an error unless both give the same loss on every task, in float64."""
    ours, theirs = case.ours(num_tasks), case.theirs(case.numbers(num_tasks))
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-6)


def row(name: str, work: Work, num_tasks: int, turns: int) -> dict[str, object]:
    with jax.enable_x64(True):
        agree(build(work, np.float64))
    case = build(work, np.float32)
    chosen = case.numbers(num_tasks)
    mesh = jax.make_mesh((len(jax.devices()),), ("task",), axis_types=(AxisType.Auto,))
    runs = {
        "jaxmeta": lambda: case.ours(num_tasks),
        "jaxmeta over the cores": lambda: case.ours(num_tasks, mesh),
        "PyTorch loop": lambda: case.theirs(chosen),
    }
    times = alternate(runs, turns=turns)
    relative = {name: t["spread"] / t["median"] for name, t in times.items()}
    shown: dict[str, object] = {"work": name, "tasks": num_tasks}
    for mine in ("jaxmeta", "jaxmeta over the cores"):
        ratio = times[mine]["median"] / times["PyTorch loop"]["median"]
        spread = ratio * math.hypot(relative[mine], relative["PyTorch loop"])
        shown |= {f"{mine} / PyTorch": ratio, f"{mine}, spread of the ratio": spread}
    return shown | {name: f"{t['median']:.2f} ± {t['spread']:.2f} s" for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-tasks", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    notes = [f"PyTorch {torch.__version__} on {DEVICE.type}."]
    write(
        "evaluation_speed", [row(name, work, options.num_tasks, options.turns) for name, work in WORKS.items()], notes
    )


if __name__ == "__main__":
    main()
