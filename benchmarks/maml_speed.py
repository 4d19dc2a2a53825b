"""The exact meta-gradient of MAML: this library, PyTorch and plain JAX on the same inputs, in one run.

    pip install torch==2.13.0 higher torchopt && python benchmarks/maml_speed.py

That every contender returns the same loss and meta-gradient is checked first, on two tasks in float64 (1e-8): in
float32 a single activation on the other side of zero moves a gradient through five steps by 1e-3. Timed is float32.
Ratios are this library's time divided by the contender's: smaller is better. On a GPU three more contenders take part,
two compiled by `torch.compile` and this library with grouped convolutions in place of its matrix products, and
float32 means float32 for all.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import numpy as np
import torch
from _contenders import grouped, ours, plain_jax
from _report import write
from _timing import alternate
from _torch_contenders import DEVICE, higher_library, learn2learn, torch_func, torchopt_library
from _work import WORKS, Net, Work, inputs

PEERS = {
    "learn2learn's scheme": learn2learn,
    "torch.func + vmap": torch_func,
    "higher": higher_library,
    "TorchOpt": torchopt_library,
    "plain JAX vmap": plain_jax,
    "torch.func, compiled": partial(torch_func, mode="default"),
    "torch.func, CUDA graphs": partial(torch_func, mode="reduce-overhead"),
    "jaxmeta, grouped convolutions": grouped,
}
DEFAULT = list(PEERS) if DEVICE.type == "cuda" else list(PEERS)[:-3]


def agree(contenders: dict, tolerance: float) -> None:
    """That loss and gradient are the same: gradients relative to the largest entry of all."""
    found = at_once([compare for _, compare in contenders.values()], x64=True)
    (_, (value, grads)), *others = zip(contenders, found, strict=True)
    scale = max(np.abs(g).max() for g in grads.values())
    for name, (other, other_grads) in others:
        gap = max(np.abs(grads[key] - other_grads[key]).max() for key in grads) / scale
        print(f"  {name}: loss differs by {abs(other - value):.1e}, gradient by {gap:.1e}", flush=True)
        assert abs(other - value) < 1e-4 * abs(value) and gap < tolerance, name


def at_once(calls: list, *, x64: bool = False) -> list:
    """What the calls return. Most of their time is compilation, which threads share well."""

    def call(function):
        with jax.enable_x64(x64):
            return function()

    with ThreadPoolExecutor() as pool:
        return list(pool.map(call, calls))


def build(work: Work, peers: list[str], dtype: type) -> dict:
    data, params = inputs(Net(work), work, dtype)
    return {name: f(work, data, params) for name, f in {"jaxmeta": ours, **{p: PEERS[p] for p in peers}}.items()}


def row(name: str, peers: list[str], turns: int) -> dict:
    work = WORKS[name]
    print(name, work, flush=True)
    with jax.enable_x64(True):
        agree(build(work._replace(tasks=2), peers, np.float64), 1e-8)
    contenders = build(work, peers, np.float32)
    at_once([run for run, _ in contenders.values()])
    times = alternate({name: run for name, (run, _) in contenders.items()}, turns=turns, budget=10.0)
    shown = {contender: f"{1e3 * t['median']:.1f} ± {1e3 * t['spread']:.1f} ms" for contender, t in times.items()}
    print("  " + ", ".join(f"{contender} {ms}" for contender, ms in shown.items()), flush=True)
    ratios = {f"/ {peer}": times["jaxmeta"]["median"] / times[peer]["median"] for peer in peers}
    return {"work": name, "turns": times["jaxmeta"]["turns"]} | ratios | shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=DEFAULT)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    jax.config.update("jax_default_matmul_precision", "float32")
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    rows = []
    for name in options.works:
        rows.append(row(name, options.peers, options.turns))
        write("maml_speed" if DEVICE.type == "cpu" else "maml_speed_gpu", rows)


if __name__ == "__main__":
    main()
