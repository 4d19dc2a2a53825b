"""The contenders of the speed benchmarks: each is a function without arguments that returns (loss, gradient).

Gradients are flat dicts of numpy arrays in flax's layout. The schemes of the peers are written here in their
plainest form, without module cloning or bookkeeping, which favours them.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F
from _work import Net, Work
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxmeta as jm

Run = Callable[[], tuple[float, dict[str, np.ndarray]]]
Contender = tuple[Callable[[], object], Run]  # what is timed, and what is compared


def flatten(tree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def outer_step(work: Work, data: dict, params):
    """The jitted step with its state and tasks; the update is SGD of rate 1, from which the gradient is read.

    One task at a time on each of the cores, which are devices of their own: see `jax_num_cpu_devices`.
    """
    model, optimizer = jm.from_linen(Net(work, jm.ops.max_pool)), optax.sgd(1.0)
    learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(work.lr), num_steps=work.steps)
    mesh = jax.make_mesh((math.gcd(work.tasks, len(jax.devices())),), ("task",), axis_types=(AxisType.Auto,))
    tasks = jm.Task(jm.Batch(data["xs"], data["ys"]), jm.Batch(data["xq"], data["yq"]))
    zeros = model.init(jax.random.key(0), data["xs"][0])
    meta = jm.Variables(jax.tree.map(jnp.asarray, params), zeros.state)
    state = jm.MetaState(jnp.zeros((), jnp.int32), meta, optimizer.init(meta.params), jax.random.key(0))
    state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    tasks = jax.device_put(tasks, NamedSharding(mesh, PartitionSpec("task")))
    return jax.jit(jm.meta_step(learner, optimizer, chunk=1, mesh=mesh)), state, tasks


def ours(work: Work, data: dict, params) -> Contender:
    """This library: the whole outer step."""
    step, state, tasks = outer_step(work, data, params)

    def compare():
        new, metrics = step(state, tasks)
        return float(metrics["loss"]), flatten(jax.tree.map(lambda a, b: a - np.asarray(b), params, new.meta.params))

    return lambda: jax.block_until_ready(step(state, tasks)), compare


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


# PyTorch.


def to_torch(params) -> dict[str, torch.Tensor]:
    turn = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    return {name: torch.tensor(a.transpose(turn[a.ndim]).copy()) for name, a in flatten(params).items()}


def from_torch(params: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    turn = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
    return {name: a.detach().numpy().transpose(turn[a.ndim]) for name, a in params.items()}


def torch_arrays(data: dict) -> tuple[torch.Tensor, ...]:
    images = lambda a: torch.tensor(a).movedim(-1, -3).contiguous()
    return images(data["xs"]), torch.tensor(data["ys"]), images(data["xq"]), torch.tensor(data["yq"])


def batch_norm(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.batch_norm(x, None, None, scale, bias, training=True)


def written_out(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """For `torch.func`: through two levels of its `grad`, `F.batch_norm` gave a wrong gradient (by 1 %, 2.13)."""
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(var + 1e-5) * scale[:, None, None] + bias[:, None, None]


def forward(p: dict[str, torch.Tensor], x: torch.Tensor, work: Work, norm: Callable = batch_norm) -> torch.Tensor:
    for i in range(4):
        x = F.conv2d(x, p[f"conv{i}.kernel"], stride=1 if work.pool else 2, padding=1)
        x = norm(x, p[f"norm{i}.scale"], p[f"norm{i}.bias"])
        x = F.relu(x)
        x = F.max_pool2d(x, 2) if work.pool else x
    x = x.movedim(1, -1).flatten(1) if work.pool else x.mean((2, 3))
    return F.linear(x, p["head.kernel"], p["head.bias"])


def learn2learn(work: Work, data: dict, params) -> Contender:
    """learn2learn's scheme: a clone per task, `autograd.grad(create_graph=True)`, a loop in Python."""
    meta = {name: p.requires_grad_() for name, p in to_torch(params).items()}
    tasks = list(zip(*torch_arrays(data), strict=True))

    def step():
        for p in meta.values():
            p.grad = None
        total = 0.0
        for xs, ys, xq, yq in tasks:
            fast = {name: p.clone() for name, p in meta.items()}
            for _ in range(work.steps):
                loss = F.cross_entropy(forward(fast, xs, work), ys)
                grads = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
                fast = {name: p - work.lr * g for (name, p), g in zip(fast.items(), grads, strict=True)}
            loss = F.cross_entropy(forward(fast, xq, work), yq) / work.tasks
            loss.backward()
            total += loss.item()
        return total, {name: p.grad for name, p in meta.items()}

    def compare():
        value, grads = step()
        return value, from_torch(grads)

    return step, compare


def torch_func(work: Work, data: dict, params, *, norm: Callable = written_out) -> Contender:
    """`torch.func.grad` within `torch.func.vmap` over tasks."""
    meta, arrays = to_torch(params), torch_arrays(data)
    loss = lambda p, x, y: F.cross_entropy(forward(p, x, work, norm), y)

    def task_loss(p, xs, ys, xq, yq):
        for _ in range(work.steps):
            grads = torch.func.grad(loss)(p, xs, ys)
            p = {name: p[name] - work.lr * grads[name] for name in p}
        return loss(p, xq, yq)

    def mean(p):
        return torch.func.vmap(task_loss, (None, 0, 0, 0, 0))(p, *arrays).mean()

    grad = torch.func.grad_and_value(mean)

    def compare():
        grads, value = grad(meta)
        return value.item(), from_torch(grads)

    return lambda: grad(meta), compare


def higher_loop(work: Work, data: dict, params) -> Contender:
    """The library `higher`: a functional copy of a module and its optimizer, a loop over tasks in Python."""
    import higher

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.names = list(to_torch(params))
            for name, p in to_torch(params).items():
                self.register_parameter(name.replace(".", "_"), torch.nn.Parameter(p))

        def forward(self, x):
            return forward({name: getattr(self, name.replace(".", "_")) for name in self.names}, x, work)

    net = Module()
    inner, tasks = torch.optim.SGD(net.parameters(), lr=work.lr), list(zip(*torch_arrays(data), strict=True))

    def step():
        net.zero_grad()
        total = 0.0
        for xs, ys, xq, yq in tasks:
            with higher.innerloop_ctx(net, inner, copy_initial_weights=False) as (fast, optimizer):
                for _ in range(work.steps):
                    optimizer.step(F.cross_entropy(fast(xs), ys))
                loss = F.cross_entropy(fast(xq), yq) / work.tasks
                loss.backward()
                total += loss.item()
        return total, {name: getattr(net, name.replace(".", "_")).grad for name in net.names}

    def compare():
        value, grads = step()
        return value, from_torch(grads)

    return step, compare
