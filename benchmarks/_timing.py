"""Time contenders in turns on the same inputs: the median, and half the interquartile range as spread.

``"cpu"`` is the time of the process on its cores, which other work disturbs less.
"""

import time
from collections.abc import Callable

import numpy as np


def alternate(contenders: dict[str, Callable[[], object]], *, turns: int = 7, budget: float = 0.0) -> dict[str, dict]:
    """Time each contender in at least ``turns`` rounds after a warm-up, until ``budget`` seconds are over."""
    for run in contenders.values():
        run()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    start = time.perf_counter()
    while min(map(len, times.values())) < turns or time.perf_counter() - start < budget:
        for name, run in contenders.items():
            begin = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    return {name: _summary(np.array(t)) for name, t in times.items()}


def _summary(times: np.ndarray) -> dict[str, float]:
    (low, cpu_low), (median, cpu), (high, cpu_high) = np.percentile(times, (25, 50, 75), axis=0)
    spread, cpu_spread = (high - low) / 2, (cpu_high - cpu_low) / 2
    return {"median": median, "spread": spread, "turns": len(times), "cpu": cpu, "cpu_spread": cpu_spread}
