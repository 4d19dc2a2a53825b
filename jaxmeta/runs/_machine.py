"""What a figure was made with: versions, hardware, commit."""

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import jaxmeta


def about() -> dict[str, Any]:
    """For beside the figures of a file.

    Example:
      >>> sorted(about())
      ['command', 'commit', 'hardware', 'python', 'versions']
    """
    return {
        "command": shlex.join(["jaxmeta", *sys.argv[1:]]),
        "versions": {"jaxmeta": jaxmeta.__version__, **{n: version(n) for n in ("jax", "jaxlib", "flax", "optax")}},
        "python": platform.python_version(),
        "hardware": hardware(),
        "commit": commit(Path(jaxmeta.__file__).parent),
    }


def hardware() -> str:
    """Processor, its cores, and the devices that jax computes on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    kinds = sorted({device.device_kind for device in jax.devices()} - {"cpu"})
    devices = [f"{len(jax.devices())} x {' and '.join(kinds)}"] if kinds else []
    return ", ".join([f"{os.cpu_count()} cores, {model or platform.processor() or platform.machine()}", *devices])


def commit(package: Path) -> str | None:
    """The commit of a checkout that has the package under version control, with a plus where files differ from it."""
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    changed = _git(package, "status", "--porcelain", "--untracked-files=no")
    return f"{_git(package, 'rev-parse', '--short', 'HEAD')}{'+' if changed else ''}"


def _git(folder: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
