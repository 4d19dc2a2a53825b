"""Training over a machine's cores as devices and processes: tasks a second, beside one device.

    python benchmarks/scaling.py

MAML as in `glyphs_maml` at 16 tasks a step. Devices and processes share the cores, and one device alone already
uses all of them within its operations: more devices than cores can gain nothing, and none of this says how machines
with accelerators scale. Arrangements take turns; processes talk over loopback.
"""

import argparse
import os
import socket
import subprocess
import sys
import time

import numpy as np
from _report import write

ARRANGEMENTS = ((1, 1), (2, 1), (4, 1), (1, 2), (2, 2))  # devices of a process, processes
TASKS = 16


def run(devices: int, processes: int, process: int, port: int, steps: int) -> None:
    """One process: prints its seconds for so many steps, after as many to warm up."""
    import jax

    import jaxmeta as jm
    from jaxmeta import parallel
    from jaxmeta.recipes import glyphs_maml

    jax.config.update("jax_num_cpu_devices", devices)
    if processes > 1:
        parallel.start(f"127.0.0.1:{port}", processes, process)
    e, mesh = glyphs_maml(), parallel.make_mesh() if devices * processes > 1 else None
    state = jm.init(e.learner, e.train, e.optimizer, key=jax.random.key(0))
    options = {"tasks_per_step": TASKS, "mesh": mesh, "log_every": steps}
    state, _ = jm.fit(e.learner, e.train, e.optimizer, state, num_steps=steps, **options)
    begin = time.perf_counter()
    jm.fit(e.learner, e.train, e.optimizer, state, num_steps=2 * steps, **options)
    print("seconds", time.perf_counter() - begin)


def rate(devices: int, processes: int, steps: int) -> float:
    """Tasks a second of all processes together."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    arguments = [str(a) for a in (devices, processes, port, steps)]
    command = [sys.executable, __file__, "--worker", *arguments]
    running = [subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, text=True) for i in range(processes)]
    said = [process.communicate()[0] for process in running]
    return TASKS * steps / max(float(text.split("seconds")[1].split()[0]) for text in said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--worker", type=int, nargs=5, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.worker:
        devices, processes, port, steps, process = o.worker
        return run(devices, processes, process, port, steps)
    found: dict[tuple, list[float]] = {how: [] for how in ARRANGEMENTS}
    for _ in range(o.turns):
        for how in ARRANGEMENTS:
            found[how].append(rate(*how, o.steps))
    alone = np.array(found[1, 1])
    rows = []
    for (devices, processes), rates in found.items():
        ratios = np.array(rates) / alone
        about = {"devices a process": devices, "processes": processes, "cores": os.cpu_count()}
        rows.append({**about, "tasks/s": np.median(rates), "/ one device": np.median(ratios), "from": ratios.min(),
                     "to": ratios.max()})  # fmt: skip
    write("scaling", [{k: float(v) if isinstance(v, np.floating) else v for k, v in row.items()} for row in rows])


if __name__ == "__main__":
    main()
