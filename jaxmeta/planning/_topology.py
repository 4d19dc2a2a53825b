"""Devices by name: a slice of TPUs that need not be there, or some devices of this host."""

import difflib
import os
import re
from importlib.util import find_spec
from math import prod
from typing import Any, NoReturn

import jax
from jax.sharding import Mesh

from ..parallel import in_groups

# GiB of HBM that the compiler gives to a program, of the chip's 16, 32 and 95.
HBM = {"TPU v5 lite": 15.75, "TPU v6 lite": 31.25, "TPU v5": 95.74}
# The slices that can be rented, up to 256 chips; the compiler takes others too.
SHAPES = {
    "v5e": ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v6e": ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v5p": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8"),
}
NAMES = [f"{kind}:{shape}" for kind, shapes in SHAPES.items() for shape in shapes] + ["cpu:4"]
# Without these variables libtpu looks for its machine and serves one process at a time. Their values do not matter for
# compiling.
NOWHERE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def topology(name: str, *, fsdp: int | None = None) -> Mesh:
    """Return a mesh with the axis ``"task"`` over devices that a program can be compiled for.

    Args:
      name: ``"v5e:4x4"``, a slice of TPUs (v5e, v6e or v5p) by its shape in chips, which need not be there; or
        ``"cpu:4"``, the first four devices of this host.
      fsdp: number of neighbours in a group, within which `parallel.fsdp` splits arrays; all devices by default.

    Raises:
      ValueError: for an unknown kind or shape, with the near matches; if the host has fewer devices.
      ImportError: for TPUs, if libtpu, which holds their compiler, is not installed.

    Example:
      >>> topology("cpu:1").shape["task"]
      1
    """
    kind, _, shape = name.partition(":")
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", shape) or kind not in (*SHAPES, "cpu"):
        refuse(name, "is no topology.")
    return in_groups(_host(name, shape) if kind == "cpu" else _chips(name, shape), fsdp)


def hbm(mesh: Mesh) -> int | None:
    """Return the bytes available to a program on each device, or None if unknown.

    Example:
      >>> hbm(topology("cpu:1")) is None
      True
    """
    size = HBM.get(mesh.devices.flat[0].device_kind)
    return None if size is None else int(size * 2**30)


def refuse(name: str, why: str) -> NoReturn:
    close = difflib.get_close_matches(name, NAMES, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    known = "; ".join(f"{kind}:{', '.join(shapes)}" for kind, shapes in SHAPES.items())
    raise ValueError(f"`topology` {name!r} {why} {hint}There are {known}; and cpu:N for N devices of this host.")


def _host(name: str, shape: str) -> list[Any]:
    if not shape.isdigit():
        refuse(name, "is no topology.")
    devices = jax.devices("cpu")
    if len(devices) < int(shape):
        raise ValueError(
            f"`topology` {name!r}: this host has {len(devices)} CPU device(s). Before anything else call "
            f'`jax.config.update("jax_num_cpu_devices", {shape})`.'
        )
    return devices[: int(shape)]


def _chips(name: str, shape: str) -> list[Any]:
    from jax.experimental import topologies

    if find_spec("libtpu") is None:
        raise ImportError(
            f"`topology` {name!r} needs the TPU compiler, libtpu, which is not installed: "
            '`pip install "jaxmeta[plan]"`. No TPU is needed. Without it there is "cpu:N".'
        )
    if jax.default_backend() != "tpu":
        os.environ.update({key: value for key, value in NOWHERE.items() if key not in os.environ})
    sizes = tuple(map(int, shape.split("x")))
    bounds = {"chips_per_host_bounds": (1, 1, 1)} if prod(sizes) == 1 else {}
    try:
        return topologies.get_topology_desc(name, platform="tpu", **bounds).devices
    except jax.errors.JaxRuntimeError as error:
        if "INVALID_ARGUMENT" not in str(error):
            raise
        return refuse(name, f"is not one that libtpu knows ({error}).")
