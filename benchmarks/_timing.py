"""Contenders take turns on the same inputs; the time is the median, the spread half the interquartile range."""

import time
from collections.abc import Callable

import numpy as np


def alternate(contenders: dict[str, Callable[[], object]], *, turns: int = 7, budget: float = 0.0) -> dict[str, dict]:
    """Seconds of every contender: ``turns`` rounds after one to warm up, more while they took less than ``budget``."""
    for run in contenders.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    start = time.perf_counter()
    while min(map(len, times.values())) < turns or time.perf_counter() - start < budget:
        for name, run in contenders.items():
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
    quartiles = {name: np.percentile(t, (25, 50, 75)) for name, t in times.items()}
    return {
        name: {"median": q[1], "spread": (q[2] - q[0]) / 2, "turns": len(times[name])} for name, q in quartiles.items()
    }
