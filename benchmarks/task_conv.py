"""Convolutions with one kernel per task and with one for all: every lowering on every shape and map, in one run.

The lowering that `jaxmeta.ops` chooses by itself ("auto") rests on this table. Contenders take turns on
the same inputs, after a check that they agree; the time is the median, the spread half the interquartile
range. Prints a table of milliseconds and writes JSON with hardware, versions and commit.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.ops import conv_general_dilated, set_lowering


class Shape(NamedTuple):
    """``tasks`` is 0 where one kernel serves all images."""

    tasks: int
    images: int
    size: int
    channels: int
    filters: int
    stride: int
    kernel: int = 3


def shapes(name, tasks, images, layers):
    return {f"{name}, layer {i + 1}": Shape(tasks, images, *layer) for i, layer in enumerate(layers)}


# Convolutional blocks with 3x3 kernels: those of Omniglot (stride 2) and of miniImageNet (max-pooling).
OMNIGLOT = (28, 1, 64, 2), (14, 64, 64, 2), (7, 64, 64, 2), (4, 64, 64, 2)
IMAGENET = (84, 3, 32, 1), (42, 32, 32, 1), (21, 32, 32, 1), (10, 32, 32, 1)
SHAPES = {
    **shapes("Omniglot, 32 tasks x 5 images", 32, 5, OMNIGLOT),
    **shapes("Omniglot, 1 task x 5 images", 1, 5, OMNIGLOT),
    **shapes("Omniglot, 1 task x 75 images", 1, 75, OMNIGLOT),
    **shapes("miniImageNet, 4 tasks x 5 images", 4, 5, IMAGENET),
    **shapes("miniImageNet, 1 task x 5 images", 1, 5, IMAGENET),
    **shapes("miniImageNet, 1 task x 75 images", 1, 75, IMAGENET),
}
# One kernel for all: ANIL, ProtoNet, pre-training; strides, 1x1 kernels, from few images to many.
PROTONET = (28, 1, 64, 1), (14, 64, 64, 1), (7, 64, 64, 1), (3, 64, 64, 1)
PROTONET_84 = (84, 3, 64, 1), (42, 64, 64, 1), (21, 64, 64, 1)
RESNET = (84, 64, 64, 1), (42, 64, 160, 1), (21, 320, 320, 1), (10, 640, 640, 1)
POINTWISE = (84, 3, 64, 1, 1), (42, 64, 160, 1, 1), (10, 320, 640, 1, 1), (10, 320, 640, 2, 1)
SHAPES |= {
    **shapes("shared, Omniglot, 16 images", 0, 16, OMNIGLOT),
    **shapes("shared, Omniglot, 600 images", 0, 600, OMNIGLOT),
    **shapes("shared, Omniglot, 4096 images", 0, 4096, OMNIGLOT[2:]),
    **shapes("shared, ProtoNet, 600 images", 0, 600, PROTONET),
    **shapes("shared, ProtoNet 84, 100 images", 0, 100, PROTONET_84),
    **shapes("shared, ResNet-12, 16 images", 0, 16, RESNET),
    **shapes("shared, 1x1, 16 images", 0, 16, POINTWISE),
}
MAPS = ("output", "input gradient", "kernel gradient")


def build(which: str, shape: Shape, lowering: str):
    """The compiled map, and operands for it."""
    strides, layout = (shape.stride,) * 2, ("NHWC", "HWIO", "NHWC")
    one = lambda x, w: conv_general_dilated(x, w, strides, "SAME", dimension_numbers=layout)
    conv, tasks = (jax.vmap(one), (shape.tasks,)) if shape.tasks else (one, ())
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (*tasks, shape.images, shape.size, shape.size, shape.channels))
    w = jax.random.normal(keys[1], (*tasks, shape.kernel, shape.kernel, shape.channels, shape.filters))
    out = -(-shape.size // shape.stride)
    y = jax.random.normal(keys[2], (*tasks, shape.images, out, out, shape.filters))
    f, args = {
        "output": (conv, (x, w)),
        "input gradient": (lambda y, w: jax.linear_transpose(lambda x: conv(x, w), x)(y)[0], (y, w)),
        "kernel gradient": (lambda x, y: jax.linear_transpose(lambda w: conv(x, w), w)(y)[0], (x, y)),
    }[which]
    with set_lowering(lowering):
        return jax.jit(f).lower(*args).compile(), args


def time_all(contenders: dict, budget: float):
    """Milliseconds of every contender, taking turns; at least 7 turns, or 3 of very slow ones."""
    outputs = {name: jax.block_until_ready(f(*args)) for name, (f, args) in contenders.items()}
    first = next(iter(outputs.values()))
    for name, output in outputs.items():
        gap = float(jnp.max(jnp.abs(output - first)) / jnp.max(jnp.abs(first)))
        assert gap < 1e-4, f"{name} differs by {gap}"
    times = {name: [] for name in contenders}
    start = time.perf_counter()
    for turn in range(1000):
        elapsed = time.perf_counter() - start
        if elapsed > budget and (turn >= 7 or (turn >= 3 and elapsed > 4 * budget)):
            break
        for name, (f, args) in contenders.items():
            begin = time.perf_counter()
            jax.block_until_ready(f(*args))
            times[name].append(1e3 * (time.perf_counter() - begin))
    quartiles = {name: np.percentile(t, (25, 50, 75)) for name, t in times.items()}
    return {
        name: {"median": q[1], "spread": (q[2] - q[0]) / 2, "turns": len(times[name])} for name, q in quartiles.items()
    }


def environment() -> dict:
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    model = [line for line in cpuinfo() if line.startswith("model name")]
    return {
        "device": jax.devices()[0].device_kind,
        "cpu": model[0].split(":")[1].strip() if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "jax": jax.__version__,
        "commit": git.stdout.strip() or None,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent / "results" / "task_conv.json"
    parser.add_argument("--out", type=Path, default=default, help="where the JSON goes")
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing per line of the table")
    parser.add_argument(
        "--lowerings",
        nargs="+",
        default=["gemm", "loop", "auto"],
        help="native is slow with one kernel per task; for a shared one it is added",
    )
    parser.add_argument("--only", default="", help="shapes whose name contains this")
    options = parser.parse_args()

    rows = []
    print(f"{'milliseconds':54}" + "".join(f"{name:>14}" for name in options.lowerings) + "   best")
    for name, shape in SHAPES.items():
        for which in MAPS:
            if options.only not in name or (which == "input gradient" and shape.channels < 4):
                continue  # nobody differentiates with respect to the images
            names = list(dict.fromkeys([*options.lowerings, *([] if shape.tasks else ["native"])]))
            contenders = {lowering: build(which, shape, lowering) for lowering in names}
            times = time_all(contenders, options.seconds)
            best = min((n for n in times if n != "auto"), key=lambda n: times[n]["median"], default="auto")
            cells = "".join(f"{t['median']:9.2f} ±{t['spread']:4.1f}" for t in times.values())
            print(f"{name + ': ' + which:54}{cells}   {best}", flush=True)
            rows.append({"name": name, "map": which, "shape": shape._asdict(), "milliseconds": times})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
