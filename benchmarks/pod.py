"""What a meta-step needs on 1 to 256 TPU v5e chips, compiled for them here, and how it should scale.

    pip install -e ".[plan]" && python benchmarks/pod.py --data-dir DIR

Every chip gets the same number of tasks (weak scaling). Memory, operations, bytes and collectives are the compiled
program's; times are predictions, because nothing is run:

    wire       = sum of 2 (n - 1) / n bytes / rate (all-reduce), (n - 1) / n bytes / rate (others), rings of n chips
    arithmetic = FLOPs / (0.4 * 197e12 / s)
    traffic    = bytes accessed / (819e9 / s)
    scaling    = step / (step + wire), nothing overlapped, latency left out

with step = arithmetic, the least that it can be, and step = traffic, the most. The ring uses two of a chip's four
links, so its rate is half of the published 1,600 Gbit/s, in each direction: 100 GB/s.
"""

import argparse
import time
from dataclasses import replace
from importlib.metadata import version

import jax
import numpy as np
import optax
from _resume import resume

import jaxmeta as jm
from jaxmeta.planning import Collective, Plan, plan, topology
from jaxmeta.recipes import omniglot_maml_5w1s

SHAPES = ("1x1", "2x2", "4x4", "8x8", "16x16")
FLOPS, TRAFFIC, WIRE = 0.4 * 197e12, 819e9, 1600e9 / 8 / 2
NOTES = (
    "Chip: 197 TFLOP/s bf16, 16 GB HBM at 819 GB/s, interconnect 1600 Gbit/s: cloud.google.com/tpu/docs/v5e",
    "Predicted, not run; the formulas are in benchmarks/pod.py",
)


def omniglot(data_dir: str) -> tuple:
    e = omniglot_maml_5w1s(data_dir=data_dir)
    return e.learner, e.train, e.optimizer


def resnet(data_dir: str) -> tuple:
    """ProtoNet on the shapes of CIFAR-FS: 64 training classes of 600 images of 32x32."""
    few = jm.datasets.from_arrays(np.zeros((64 * 20, 32, 32, 3), np.uint8), np.repeat(np.arange(64), 20))
    sampler = jm.tasks.episodes(few, num_ways=5, num_shots=1, num_queries=15)
    sampler = replace(sampler, x=jax.ShapeDtypeStruct((64 * 600, 32, 32, 3), np.uint8))
    return jm.protonet(jm.from_linen(jm.backbones.ResNet12())), sampler, optax.adam(1e-3)


# The work, tasks on each chip, the rule by which the state is sharded, and the chips of a group that does so.
WORKS = {
    "omniglot_maml_5w1s": (omniglot, 32, None, None),
    "ResNet-12": (resnet, 4, None, None),
    "ResNet-12, FSDP": (resnet, 4, jm.parallel.fsdp(), None),
    "ResNet-12, FSDP over 16": (resnet, 4, jm.parallel.fsdp(), 16),
}


def row(name: str, shape: str, data_dir: str) -> dict:
    (make, tasks, shard, group), begin = WORKS[name], time.process_time()
    mesh = topology(f"v5e:{shape}", fsdp=group)
    found = plan(*make(data_dir), mesh=mesh, tasks_per_step=tasks * mesh.size, shard=shard)
    assert found.memory is not None, found.refusal
    return {
        "chips": mesh.size,
        "tasks a chip": tasks,
        "state and data MiB": found.memory.arguments / 2**20,
        "temporary MiB": found.memory.temporaries / 2**20,
        "all MiB": found.memory.total / 2**20,
        "fits": found.fits,
        "GFLOP": found.flops / 1e9,
        "GB accessed": (found.bytes_accessed or 0) / 1e9,
        "collectives": ", ".join(f"{c.count} {c.kind} among {c.among} ({c.bytes:,} bytes)" for c in found.collectives),
        **prediction(found),
        "CPU seconds": time.process_time() - begin,
        "libtpu": version("libtpu"),
    }


def prediction(found: Plan) -> dict:
    wire = sum(map(seconds, found.collectives))
    arithmetic, traffic = found.flops / FLOPS, (found.bytes_accessed or 0) / TRAFFIC
    return {
        "wire ms": 1e3 * wire,
        "arithmetic ms": 1e3 * arithmetic,
        "traffic ms": 1e3 * traffic,
        "scaling, arithmetic": arithmetic / (arithmetic + wire),
        "scaling, traffic": traffic / (traffic + wire),
    }


def seconds(c: Collective) -> float:
    return (2 if c.kind == "all-reduce" else 1) * (c.among - 1) / c.among * c.bytes / WIRE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="with the Omniglot zips")
    parser.add_argument("--works", nargs="+", default=list(WORKS), choices=WORKS)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    o = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    items = [f"{name} on v5e:{shape}" for name in o.works for shape in o.shapes]
    resume("pod", items, lambda item: row(*item.split(" on v5e:"), o.data_dir), o.one, NOTES)


if __name__ == "__main__":
    main()
