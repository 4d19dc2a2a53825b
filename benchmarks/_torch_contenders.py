"""The contenders of the speed benchmarks in PyTorch, written in their plainest form, which favours them."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from _contenders import Contender, flatten
from _work import Work

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.backends.cudnn.allow_tf32 = False  # the same precision for all


def to_torch(params) -> dict[str, torch.Tensor]:
    turn = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,), 0: ()}
    return {name: torch.tensor(a.transpose(turn[a.ndim]).copy(), device=DEVICE) for name, a in flatten(params).items()}


def from_torch(params: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    turn = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,), 0: ()}
    return {name: a.detach().cpu().numpy().transpose(turn[a.ndim]) for name, a in params.items()}


def torch_arrays(data: dict) -> tuple[torch.Tensor, ...]:
    images = lambda a: torch.tensor(a, device=DEVICE).movedim(-1, -3).contiguous()
    labels = lambda a: torch.tensor(a, device=DEVICE)
    return images(data["xs"]), labels(data["ys"]), images(data["xq"]), labels(data["yq"])


def contender(step: Callable[[], tuple]) -> Contender:
    """``step() -> (loss, gradients)`` as what is timed, until the device has done it, and as what is compared."""

    def timed():
        step()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    def compare():
        value, grads = step()
        return float(value), from_torch(grads)

    return timed, compare


def batch_norm(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.batch_norm(x, None, None, scale, bias, training=True)


def written_out(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """For `torch.func`: through two levels of its `grad`, `F.batch_norm` gave a wrong gradient (by 1 %, 2.13)."""
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(var + 1e-5) * scale[:, None, None] + bias[:, None, None]


def embed(p: dict[str, torch.Tensor], x: torch.Tensor, work: Work, norm: Callable = batch_norm) -> torch.Tensor:
    """The four blocks without the head."""
    for i in range(4):
        x = F.conv2d(x, p[f"conv{i}.kernel"], stride=1 if work.pool else 2, padding=1)
        x = norm(x, p[f"norm{i}.scale"], p[f"norm{i}.bias"])
        x = F.relu(x)
        x = F.max_pool2d(x, 2) if work.pool else x
    return x.movedim(1, -1).flatten(1) if work.pool else x.mean((2, 3))


def forward(p: dict[str, torch.Tensor], x: torch.Tensor, work: Work, norm: Callable = batch_norm) -> torch.Tensor:
    return F.linear(embed(p, x, work, norm), p["head.kernel"], p["head.bias"])


def task_loop(meta: dict[str, torch.Tensor], data: dict, episode: Callable[..., float]) -> Contender:
    """A loop over tasks in Python; ``episode(*task)`` propagates the task's loss back and returns it."""
    tasks = list(zip(*torch_arrays(data), strict=True))

    def step():
        for p in meta.values():
            p.grad = None
        return sum(episode(*task) for task in tasks), {name: p.grad for name, p in meta.items()}

    return contender(step)


def learn2learn(work: Work, data: dict, params) -> Contender:
    """learn2learn's scheme: a clone per task, `autograd.grad(create_graph=True)`, a loop in Python."""
    meta = {name: p.requires_grad_() for name, p in to_torch(params).items()}

    def episode(xs, ys, xq, yq):
        fast = {name: p.clone() for name, p in meta.items()}
        for _ in range(work.steps):
            loss = F.cross_entropy(forward(fast, xs, work), ys)
            grads = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
            fast = {name: p - work.lr * g for (name, p), g in zip(fast.items(), grads, strict=True)}
        loss = F.cross_entropy(forward(fast, xq, work), yq) / work.tasks
        loss.backward()
        return loss.item()

    return task_loop(meta, data, episode)


def torch_func(work: Work, data: dict, params, *, norm: Callable = written_out, mode: str | None = None) -> Contender:
    """`torch.func.grad` within `torch.func.vmap` over tasks; with ``mode``, compiled by `torch.compile`."""
    meta, arrays = to_torch(params), torch_arrays(data)
    loss = lambda p, x, y: F.cross_entropy(forward(p, x, work, norm), y)

    def task_loss(p, xs, ys, xq, yq):
        for _ in range(work.steps):
            grads = torch.func.grad(loss)(p, xs, ys)
            p = {name: p[name] - work.lr * grads[name] for name in p}
        return loss(p, xq, yq)

    def mean(p, *arrays):
        return torch.func.vmap(task_loss, (None, 0, 0, 0, 0))(p, *arrays).mean()

    def value_and_grad(p, *arrays):
        grads, value = torch.func.grad_and_value(mean)(p, *arrays)
        return value, grads

    run = value_and_grad if mode is None else torch.compile(value_and_grad, mode=mode)
    return contender(lambda: run(meta, *arrays))


class Module(torch.nn.Module):
    """The same network for libraries that take modules: parameters by name, a dot an underscore."""

    def __init__(self, work: Work, params):
        super().__init__()
        self.work, self.names = work, list(to_torch(params))
        for name, p in to_torch(params).items():
            self.register_parameter(name.replace(".", "_"), torch.nn.Parameter(p))

    def named(self) -> dict[str, torch.Tensor]:
        return {name: getattr(self, name.replace(".", "_")) for name in self.names}

    def forward(self, x):
        return forward(self.named(), x, self.work)


def higher_library(work: Work, data: dict, params) -> Contender:
    """The library `higher`: a functional copy of a module and of its optimizer for every task."""
    import higher

    net = Module(work, params)

    def episode(xs, ys, xq, yq):
        inner = torch.optim.SGD(net.parameters(), lr=work.lr)
        with higher.innerloop_ctx(net, inner, copy_initial_weights=False) as (fast, optimizer):
            for _ in range(work.steps):
                optimizer.step(F.cross_entropy(fast(xs), ys))
            loss = F.cross_entropy(fast(xq), yq) / work.tasks
            loss.backward()
        return loss.item()

    return task_loop(net.named(), data, episode)


def torchopt_library(work: Work, data: dict, params) -> Contender:
    """The library TorchOpt: a differentiable optimizer that moves a module, and puts it back after every task."""
    import torchopt

    net = Module(work, params)

    def episode(xs, ys, xq, yq):
        inner = torchopt.MetaSGD(net, lr=work.lr)
        start = torchopt.extract_state_dict(net, by="reference")
        for _ in range(work.steps):
            inner.step(F.cross_entropy(net(xs), ys))
        loss = F.cross_entropy(net(xq), yq) / work.tasks
        loss.backward()
        torchopt.recover_state_dict(net, start)
        return loss.item()

    return task_loop(net.named(), data, episode)
