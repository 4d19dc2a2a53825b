"""How near the meta-gradient comes to the machine's own rate of matrix products.

    python benchmarks/matmul_share.py

Counts the floating-point operations of every convolution and matrix product in the traced step (those in stride and
padding included, nothing else), times the step and, in turns with it, one large product of two square matrices.
"""

import argparse
import math
import os

import jax
import jax.numpy as jnp
from _contenders import maml
from _report import write
from _timing import alternate
from _work import WORKS, Net, inputs


def flops(jaxpr) -> int:
    """Multiplications and additions in the products of a program, loops unrolled."""
    return sum(_flops_of(eqn) for eqn in jaxpr.eqns)


def _flops_of(eqn) -> int:
    name, shapes = eqn.primitive.name, [v.aval.shape for v in eqn.invars]
    if name == "dot_general":
        (contract, _), _ = eqn.params["dimension_numbers"]
        return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(shapes[0][i] for i in contract)
    if name == "conv_general_dilated":
        return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(shapes[1]) // eqn.outvars[0].aval.shape[-1]
    if name.startswith("task_conv"):
        x, w, y = _named(name, shapes, eqn.outvars[0].aval.shape)
        geo = eqn.params["geo"]
        tasks = x[0] if len(x) == len(geo.size) + 3 else 1
        return 2 * tasks * y[-len(geo.size) - 2] * math.prod(geo.out) * math.prod(geo.kernel) * w[-2] * w[-1]
    times = {"scan": lambda p: p["length"], "shard_map": lambda p: p["mesh"].size}.get(name, lambda p: 1)(eqn.params)
    return times * sum(flops(sub) for value in eqn.params.values() for sub in _programs(value))


def _programs(value) -> list:
    """The programs among an operation's parameters: bodies of loops, branches, calls."""
    if isinstance(value, tuple | list):
        return [program for item in value for program in _programs(item)]
    value = getattr(value, "jaxpr", value)
    return [value] if hasattr(value, "eqns") else []


def _named(name: str, operands, result):
    """The shapes of images, kernels and outputs, whichever of the three is the result."""
    first, second = operands
    return {
        "task_conv": (first, second, result),
        "task_conv_input_grad": (result, second, first),
        "task_conv_kernel_grad": (first, result, second),
    }[name]


def row(name: str, size: int, turns: int) -> dict:
    work = WORKS[name]
    step, *args = maml(work, *inputs(Net(work), work))
    count = flops(jax.make_jaxpr(step)(*args).jaxpr)
    a = jax.random.normal(jax.random.key(0), (size, size))
    calls = {"step": (step, args), "product": (jax.jit(jnp.matmul), (a, a))}
    times = alternate(
        {name: lambda f=f, args=args: jax.block_until_ready(f(*args)) for name, (f, args) in calls.items()},
        turns=turns,
        budget=10.0,
    )
    rate = {"step": count / times["step"]["median"], "product": 2 * size**3 / times["product"]["median"]}
    spread = sum(t["spread"] / t["median"] for t in times.values()) * rate["step"] / rate["product"]
    return {
        "work": name,
        "GFLOP of products": count / 1e9,
        "GFLOP/s": rate["step"] / 1e9,
        f"GFLOP/s of a product of {size}": rate["product"] / 1e9,
        "share": rate["step"] / rate["product"],
        "spread": spread,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    write("matmul_share", [row(name, options.size, options.turns) for name in options.works])


if __name__ == "__main__":
    main()
