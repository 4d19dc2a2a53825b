"""ResNet-12 whose head alone adapts (ANIL): no kernel belongs to a task, so the stock convolution must be used.

    pip install torch==2.13.0 && python benchmarks/resnet_head.py

84x84x3, 4 tasks, 5-way 1-shot, 1 query a class, 5 inner steps of the head, exact meta-gradient of everything. All
contenders return the same loss and gradient, which is checked first; ratios are this library's time / theirs.
"""

import argparse
import os
from functools import partial

import jax
import numpy as np
import optax
import torch
import torch.nn.functional as F
from _contenders import Contender, flatten, outer_step, timed
from _report import write
from _timing import alternate
from _torch_contenders import batch_norm, contender, task_loop, to_torch, torch_arrays, written_out
from _work import Work, inputs
from maml_speed import agree

import jaxmeta as jm

WORK = Work(features=64, pool=True, size=84, channels=3, tasks=4, queries=1, steps=5)


def ours(data: dict, params, devices: int | None = None) -> Contender:
    model = jm.from_linen(jm.backbones.ResNet12(num_outputs=WORK.ways))
    inner = {"inner_optimizer": optax.sgd(WORK.lr), "num_steps": WORK.steps}
    learner = jm.anil(model, jm.losses.cross_entropy, **inner)
    return timed(*outer_step(learner, data, params, devices=devices))


def plain_jax(data: dict, params) -> Contender:
    net, tasks = jm.backbones.ResNet12(), tuple(jax.device_put(data[name]) for name in ("xs", "ys", "xq", "yq"))

    def loss(head, z, y):
        logits = z @ head["kernel"] + head["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def task_loss(params, xs, ys, xq, yq):
        body = {name: p for name, p in params.items() if name != "head"}
        embed = lambda x: net.apply({"params": body}, x, mutable=["batch_stats"])[0]
        zs, head = embed(xs), params["head"]
        for _ in range(WORK.steps):
            head = jax.tree.map(lambda p, g: p - WORK.lr * g, head, jax.grad(loss)(head, zs, ys))
        return loss(head, embed(xq), yq)

    mean = lambda params, *tasks: jax.vmap(task_loss, (None, 0, 0, 0, 0))(params, *tasks).mean()
    grad = jax.jit(jax.value_and_grad(mean))

    def compare():
        value, grads = grad(params, *tasks)
        return float(value), flatten(grads)

    return lambda: jax.block_until_ready(grad(params, *tasks)), compare


def embed(p: dict, x: torch.Tensor, norm=batch_norm) -> torch.Tensor:
    for block in (f"block{i}" for i in range(4)):
        unit = lambda x, conv, bn, pad, b=block: norm(
            F.conv2d(x, p[f"{b}.{conv}.kernel"], padding=pad), p[f"{b}.{bn}.scale"], p[f"{b}.{bn}.bias"]
        )
        y = x
        for i in range(3):
            y = unit(F.leaky_relu(y, 0.1) if i else y, f"conv{i}", f"norm{i}", 1)
        x = F.max_pool2d(F.leaky_relu(unit(x, "shortcut", "shortcut_norm", 0) + y, 0.1), 2)
    return x.mean((2, 3))


def learn2learn(data: dict, params) -> Contender:
    meta = {name: p.requires_grad_() for name, p in to_torch(params).items()}

    def episode(xs, ys, xq, yq):
        zs, head = embed(meta, xs), [meta["head.kernel"].clone(), meta["head.bias"].clone()]
        for _ in range(WORK.steps):
            grads = torch.autograd.grad(F.cross_entropy(F.linear(zs, *head), ys), head, create_graph=True)
            head = [p - WORK.lr * g for p, g in zip(head, grads, strict=True)]
        loss = F.cross_entropy(F.linear(embed(meta, xq), *head), yq) / WORK.tasks
        loss.backward()
        return loss.item()

    return task_loop(meta, data, episode)


def torch_func(data: dict, params) -> Contender:
    meta, tasks = to_torch(params), torch_arrays(data)
    loss = lambda head, z, y: F.cross_entropy(F.linear(z, *head), y)

    def task_loss(p, xs, ys, xq, yq):
        zs, head = embed(p, xs, written_out), (p["head.kernel"], p["head.bias"])
        for _ in range(WORK.steps):
            head = tuple(p - WORK.lr * g for p, g in zip(head, torch.func.grad(loss)(head, zs, ys), strict=True))
        return loss(head, embed(p, xq, written_out), yq)

    mean = lambda p: torch.func.vmap(task_loss, (None, 0, 0, 0, 0))(p, *tasks).mean()
    grad = torch.func.grad_and_value(mean)
    return contender(lambda: grad(meta)[::-1])


PEERS = {
    "learn2learn's scheme": learn2learn,
    "torch.func + vmap": torch_func,
    "plain JAX vmap": plain_jax,
    "jaxmeta on one device": partial(ours, devices=1),
}


def build(dtype: type) -> dict[str, Contender]:
    data, params = inputs(jm.backbones.ResNet12(num_outputs=WORK.ways), WORK, dtype)
    return {name: f(data, params) for name, f in {"jaxmeta": ours, **PEERS}.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    with jax.enable_x64(True):
        agree(build(np.float64), 1e-8)
    times = alternate({name: run for name, (run, _) in build(np.float32).items()}, turns=options.turns)
    mine = times["jaxmeta"]["median"]
    ratios = {f"/ {name}": mine / times[name]["median"] for name in PEERS}
    seconds = {name: f"{t['median']:.2f} ± {t['spread']:.2f} s" for name, t in times.items()}
    write("resnet_head", [{"work": "D"} | ratios | seconds])


if __name__ == "__main__":
    main()
