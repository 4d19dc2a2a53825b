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
from _torch_contenders import batch_norm, contender, forward, learn2learn, task_loop, to_torch, torch_arrays
from _work import WORKS, Net, Work, inputs
from matmul_share import flops
from maml_speed import agree
from resnet_head import embed as resnet_embed

import jaxmeta as jm

CLASSES = 64  # of pre-training
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
    return Net(work, jm.ops.max_pool)


def embedding(work: Work) -> Net:
    return Net(work._replace(ways=0), jm.ops.max_pool)


def resnet(work: Work) -> jm.backbones.ResNet12:
    return jm.backbones.ResNet12(num_outputs=work.ways)


def maml(net: Any, work: Work) -> jm.MetaLearner:
    inner = optax.sgd(work.lr)
    return jm.maml(jm.from_linen(net), jm.losses.cross_entropy, inner_optimizer=inner, num_steps=work.steps)


def anil(net: Any, work: Work) -> jm.MetaLearner:
    inner = optax.sgd(work.lr)
    return jm.anil(jm.from_linen(net), jm.losses.cross_entropy, inner_optimizer=inner, num_steps=work.steps)


def protonet(net: Any, work: Work) -> jm.MetaLearner:
    return jm.protonet(jm.from_linen(net), num_ways=work.ways)


def r2d2(net: Any, work: Work) -> jm.MetaLearner:
    return jm.r2d2(jm.from_linen(net), num_ways=work.ways)


def pretrain(net: Any, work: Work) -> jm.MetaLearner:
    """The classifier of all classes, whose head is that of the network."""
    model = jm.from_linen(net)

    def loss(meta: jm.Variables, task: jm.Task, key: Any) -> tuple[jax.Array, Any]:
        logits, _ = model.apply(meta, task.query.x, train=True, key=key)
        return jm.losses.cross_entropy(logits, task.query.y).mean(), jm.types.Aux(meta.state, {})

    return jm.MetaLearner(lambda key, task: model.init(key, task.query.x), None, None, loss)


# PyTorch, in its plainest form. Parameters have the names of the network's.


def features(p: Params, x: torch.Tensor, work: Work) -> torch.Tensor:
    """The four blocks without the head."""
    return forward({**p, "head.kernel": None, "head.bias": None}, x, work, head=False)


def torch_anil(work: Work, data: dict, params: Any, *, embed: Callable = features) -> Contender:
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
    zs, zq = features(p, xs, work), features(p, xq, work)
    means = F.one_hot(ys, work.ways).to(zs.dtype).T @ zs / work.shots
    distances = (zq**2).sum(1, keepdim=True) - 2 * zq @ means.T + (means**2).sum(1)
    return F.cross_entropy(-distances, yq)


def torch_r2d2(p: Params, xs, ys, xq, yq, work: Work) -> torch.Tensor:
    one = lambda z: torch.cat([z, torch.ones_like(z[:, :1])], 1)
    zs, zq = one(features(p, xs, work)), one(features(p, xq, work))
    a = zs.T @ zs / len(zs) + p["r2d2.log_lambda"].exp() * torch.eye(zs.shape[1], dtype=zs.dtype)
    w = torch.linalg.solve(a, zs.T @ F.one_hot(ys, work.ways).to(zs.dtype) / len(zs))
    return F.cross_entropy(p["r2d2.scale"] * (zq @ w) + p["r2d2.bias"], yq)


def torch_pretrain(p: Params, xs, ys, xq, yq, work: Work) -> torch.Tensor:
    return F.cross_entropy(F.linear(resnet_embed(p, xq, batch_norm), p["head.kernel"], p["head.bias"]), yq)


def resnet_features(p: Params, x: torch.Tensor, work: Work) -> torch.Tensor:
    return resnet_embed(p, x, batch_norm)
