"""What people train, each beside PyTorch on the same inputs in one run, with the defaults and with the best settings.

    pip install torch==2.13.0 && python benchmarks/what_people_train.py
    python benchmarks/what_people_train.py --rows protonet_28 anil

Every row is one outer step (gradient of all meta-parameters) in float32. That loss and gradient agree is checked first,
in float64, on a smaller work of the same kind. Contenders take turns; ratios are this library's time divided by that of
the fastest of PyTorch's two: smaller is better.

``jaxmeta`` is ``jax.jit(jm.meta_step(learner, optimizer))`` on one device; ``jaxmeta, cores as devices`` spreads tasks
over the cores, one at a time on each where kernels adapt; ``jaxmeta, stock convolution`` is the first with
``set_lowering("native")``. The share is that of the fastest of the three of the rate of a large matrix product, which
takes its turns too. A row is kept in the JSON as soon as it is there, and made again only if it is named.
"""

import argparse
import json
import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F
from _contenders import Contender, outer_step, timed
from _report import RESULTS, write
from _timing import alternate
from _torch_contenders import batch_norm, contender, embed, learn2learn, task_loop, to_torch, torch_arrays
from _work import WORKS, Net, Work, inputs
from maml_speed import agree
from matmul_share import flops
from resnet_head import embed as resnet_embed

import jaxmeta as jm

CLASSES = 64  # of pre-training
SCALE = 0.01  # of distances: with 1 the losses of these random images would vanish, and nothing could be compared
Params = dict[str, torch.Tensor]


class Row(NamedTuple):
    """One row: the work, a smaller one to compare on, and how both libraries train it."""

    work: Work
    small: Work
    net: Callable[[Work], Any]
    learner: Callable[[Any, Work], jm.MetaLearner]
    peer: Callable[[Work, dict, Any], Contender]
    adapts: bool = False  # whether kernels do


# This library.


def conv4(work: Work) -> Net:
    return Net(work, max_pool=jm.ops.max_pool)


def embedding(work: Work) -> Net:
    return Net(work, head=False, max_pool=jm.ops.max_pool)


def resnet(work: Work) -> jm.backbones.ResNet12:
    return jm.backbones.ResNet12(num_outputs=work.ways)


def maml(net: Any, work: Work) -> jm.MetaLearner:
    inner = optax.sgd(work.lr)
    return jm.maml(jm.from_linen(net), jm.losses.cross_entropy, inner_optimizer=inner, num_steps=work.steps)


def anil(net: Any, work: Work) -> jm.MetaLearner:
    inner = optax.sgd(work.lr)
    return jm.anil(jm.from_linen(net), jm.losses.cross_entropy, inner_optimizer=inner, num_steps=work.steps)


def protonet(net: Any, work: Work) -> jm.MetaLearner:
    return jm.protonet(jm.from_linen(net), scale=SCALE, num_ways=work.ways)


def r2d2(net: Any, work: Work) -> jm.MetaLearner:
    return jm.r2d2(jm.from_linen(net), num_ways=work.ways)


def pretrain(net: Any, work: Work) -> jm.MetaLearner:
    return jm.baseline(jm.from_linen(net.clone(num_outputs=None)), num_classes=work.ways)


# PyTorch, in its plainest form. Parameters have the names of the network's.


def torch_anil(work: Work, data: dict, params: Any, *, embed: Callable = embed) -> Contender:
    meta = {name: p.requires_grad_() for name, p in to_torch(params).items()}

    def episode(xs, ys, xq, yq):
        zs, head = embed(meta, xs, work), [meta["head.kernel"], meta["head.bias"]]
        for _ in range(work.steps):
            grads = torch.autograd.grad(F.cross_entropy(F.linear(zs, *head), ys), head, create_graph=True)
            head = [p - work.lr * g for p, g in zip(head, grads, strict=True)]
        loss = F.cross_entropy(F.linear(embed(meta, xq, work), *head), yq) / work.tasks
        loss.backward()
        return loss.item()

    return task_loop(meta, data, episode)


def torch_task(loss_fn: Callable, work: Work, data: dict, params: Any, *, compiled: bool = False) -> Contender:
    """The mean over tasks of ``loss_fn(p, xs, ys, xq, yq, work)``, differentiated at once."""
    meta = {name: p.requires_grad_() for name, p in to_torch(params).items()}
    tasks = list(zip(*torch_arrays(data), strict=True))
    loss_fn = torch.compile(loss_fn) if compiled else loss_fn

    def step():
        for p in meta.values():
            p.grad = None
        total = 0.0
        for task in tasks:
            loss = loss_fn(meta, *task, work) / work.tasks
            loss.backward()
            total += loss.item()
        return total, {name: p.grad for name, p in meta.items()}

    return contender(step)


def torch_protonet(p: Params, xs, ys, xq, yq, work: Work) -> torch.Tensor:
    zs, zq = embed(p, xs, work), embed(p, xq, work)
    means = F.one_hot(ys, work.ways).to(zs.dtype).T @ zs / work.shots
    distances = (zq**2).sum(1, keepdim=True) - 2 * zq @ means.T + (means**2).sum(1)
    return F.cross_entropy(-SCALE * distances, yq)


def torch_r2d2(p: Params, xs, ys, xq, yq, work: Work) -> torch.Tensor:
    one = lambda z: torch.cat([z, torch.ones_like(z[:, :1])], 1)
    zs, zq = one(embed(p, xs, work)), one(embed(p, xq, work))
    a = zs.T @ zs / len(zs) + p["head.log_lambda"].exp() * torch.eye(zs.shape[1], dtype=zs.dtype)
    w = torch.linalg.solve(a, zs.T @ F.one_hot(ys, work.ways).to(zs.dtype) / len(zs))
    return F.cross_entropy(p["head.scale"] * (zq @ w) + p["head.bias"], yq)


def torch_pretrain(p: Params, xs, ys, xq, yq, work: Work) -> torch.Tensor:
    return F.cross_entropy(F.linear(resnet_embed(p, xq, batch_norm), p["head.kernel"], p["head.bias"]), yq)


def resnet_features(p: Params, x: torch.Tensor, work: Work) -> torch.Tensor:
    return resnet_embed(p, x, batch_norm)


def shaped(**fields: Any) -> tuple[Work, Work]:
    """The work, and the same with fewer and smaller images."""
    work = Work(**fields)
    small = {"tasks": min(work.tasks, 2), "ways": min(work.ways, 3), "queries": min(work.queries, 2), "shots": 1}
    return work, work._replace(**small)


ANIL = shaped(features=64, pool=False, size=28, channels=1, tasks=32, queries=15, steps=5)
OMNIGLOT = shaped(features=64, pool=True, size=28, channels=1, tasks=1, queries=5, steps=0, shots=5, ways=60)
IMAGENET = shaped(features=64, pool=True, size=84, channels=3, tasks=1, queries=15, steps=0, shots=5, ways=20)
HEAD = shaped(features=64, pool=True, size=84, channels=3, tasks=4, queries=1, steps=5)
PRETRAIN = shaped(features=64, pool=True, size=84, channels=3, tasks=1, queries=1, steps=0, ways=CLASSES)

ROWS = {
    **{
        f"maml_{name.lower()}": Row(work, work._replace(tasks=2), conv4, maml, learn2learn, adapts=True)
        for name, work in WORKS.items()
    },
    "anil": Row(*ANIL, conv4, anil, torch_anil),
    "protonet_28": Row(*OMNIGLOT, embedding, protonet, partial(torch_task, torch_protonet)),
    "protonet_84": Row(*IMAGENET, embedding, protonet, partial(torch_task, torch_protonet)),
    "r2d2": Row(*OMNIGLOT, embedding, r2d2, partial(torch_task, torch_r2d2)),
    "pretrain_resnet12": Row(*PRETRAIN, resnet, pretrain, partial(torch_task, torch_pretrain)),
    "anil_resnet12": Row(*HEAD, resnet, anil, partial(torch_anil, embed=resnet_features)),
}


def step_of(row: Row, work: Work, dtype: type, *, best: bool = False) -> tuple[Any, ...]:
    """The jitted outer step of this library, its state and its tasks; ``best`` spreads the tasks over the cores."""
    data, params = values(row, work, dtype)
    learner, optimizer = row.learner(row.net(work), work), optax.sgd(1.0)
    if row.learner in (r2d2, pretrain):
        params = {"model": {name: p for name, p in params.items() if name != "head"}, "head": params["head"]}
    spread, state, tasks = outer_step(
        learner, data, params, devices=None if best else 1, chunk=1 if row.adapts else None
    )
    return spread if best else jax.jit(jm.meta_step(learner, optimizer)), state, tasks


def values(row: Row, work: Work, dtype: type) -> tuple[dict, Any]:
    """Tasks and initial parameters, those of a ridge's head included."""
    data, params = inputs(row.net(work), work, dtype)
    if row.learner is r2d2:
        knobs = {"log_lambda": 0.0, "scale": 10.0, "bias": 0.0}
        params = {**params, "head": {name: np.asarray(value, dtype) for name, value in knobs.items()}}
    return data, params


def renamed(run: Contender) -> Contender:
    """Gradients under the names of PyTorch's: where a learner has a head of its own, those of the model are nested."""
    time_it, compare = run

    def same_names() -> tuple[float, dict[str, np.ndarray]]:
        value, grads = compare()
        return value, {name.removeprefix("model."): g for name, g in grads.items()}

    return time_it, same_names


def native(step: Any, state: Any, tasks: Any) -> Contender:
    with jm.ops.set_lowering("native"):
        return timed(step.lower(state, tasks).compile(), state, tasks)


def contenders(row: Row, work: Work, dtype: type, *, compiled: bool) -> dict[str, Contender]:
    """All that take turns on one work."""
    runs = {"jaxmeta": timed(*step_of(row, work, dtype))}
    runs["jaxmeta, stock convolution"] = native(*step_of(row, work, dtype))
    if math.gcd(work.tasks, len(jax.devices())) > 1:
        runs["jaxmeta, cores as devices"] = timed(*step_of(row, work, dtype, best=True))
    runs = {name: renamed(run) for name, run in runs.items()}
    data, params = values(row, work, dtype)
    runs["PyTorch"] = row.peer(work, data, params)
    if compiled and isinstance(row.peer, partial) and row.peer.func is torch_task:
        runs["PyTorch, compiled"] = row.peer(work, data, params, compiled=True)
    return runs


def make(name: str, *, turns: int, budget: float, compiled: bool, check: bool) -> dict[str, Any]:
    """One row of the table."""
    row = ROWS[name]
    print(name, row.work, flush=True)
    if check:
        with jax.enable_x64(True):
            agree(contenders(row, row.small, np.float64, compiled=False), 1e-8)
    runs = contenders(row, row.work, np.float32, compiled=compiled)
    a = jax.random.normal(jax.random.key(0), (2048, 2048))
    product = jax.jit(jnp.matmul)
    timed_runs = {name: run for name, (run, _) in runs.items()}
    timed_runs["product"] = lambda: jax.block_until_ready(product(a, a))
    times = alternate(timed_runs, turns=turns, budget=budget)
    medians = {name: t["median"] for name, t in times.items()}
    peer = min((name for name in medians if name.startswith("PyTorch")), key=medians.__getitem__)
    mine = [name for name in medians if name.startswith("jaxmeta")]
    best = min(mine, key=medians.__getitem__)
    step, *args = step_of(row, row.work, np.float32)
    rate = flops(jax.make_jaxpr(step)(*args).jaxpr) / medians[best]
    spread = lambda name: times[name]["spread"] / medians[name] + times[peer]["spread"] / medians[peer]
    return {
        "work": name,
        **{f"{name} / PyTorch": medians[name] / medians[peer] for name in mine},
        **{f"{name}, spread": spread(name) * medians[name] / medians[peer] for name in mine},
        "best": best,
        "fastest PyTorch": peer,
        "GFLOP/s": rate / 1e9,
        "share of a product": rate / (2 * len(a) ** 3 / medians["product"]),
        "load": os.getloadavg()[0],
        **{f"{name}, ms": 1e3 * median for name, median in medians.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), help="these, again; by default those not yet made")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of turns, where those took less")
    parser.add_argument("--compile", action="store_true", help="with `torch.compile`, which needs a C++ compiler")
    parser.add_argument("--no-check", action="store_true", help="leave out the comparison in float64")
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    path = RESULTS / "what_people_train.json"
    rows = {row["work"]: row for row in (json.loads(path.read_text())["rows"] if path.exists() else [])}
    for name in options.rows or [name for name in ROWS if name not in rows]:
        check, compiled = not options.no_check, options.compile
        rows[name] = make(name, turns=options.turns, budget=options.budget, compiled=compiled, check=check)
        write("what_people_train", [rows[name] for name in ROWS if name in rows])


if __name__ == "__main__":
    main()
