"""Long tables: a process with a core of its own makes each row, which is kept as soon as it is there."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import redirect_stdout
from queue import Queue
from typing import Any

from _report import RESULTS, write

Row = dict[str, Any]


def resume(
    name: str, items: Sequence[str], make: Callable[[str], Row], one: str | None, notes: Sequence[str] = ()
) -> list[Row]:
    """The rows of ``results/<name>.json``, after those of ``items`` that were missing have been made.

    The script calls itself with the same arguments and ``--one ITEM``; a process with ``one`` makes that row, prints
    it and ends. As many run at a time as there are cores. A row that fails is said and left out; run again for it.
    """
    if one is not None:
        with redirect_stdout(sys.stderr):
            row = {"item": one, **make(one)}
        print(json.dumps(row))
        sys.exit()
    path = RESULTS / f"{name}.json"
    rows = {row["item"]: row for row in (json.loads(path.read_text())["rows"] if path.exists() else [])}
    cores: Queue[int] = Queue()
    for core in sorted(os.sched_getaffinity(0)):
        cores.put(core)
    with ThreadPoolExecutor(cores.qsize()) as pool:
        for done in as_completed([pool.submit(_in_process, cores, item) for item in items if item not in rows]):
            if error := done.exception():
                print(f"no row: {error}", file=sys.stderr)
                continue
            rows[done.result()["item"]] = done.result()
            rows = {item: rows[item] for item in sorted(rows, key=lambda i: items.index(i) if i in items else -1)}
            write(name, list(rows.values()), notes)
    return list(rows.values())


def _in_process(cores: Queue, item: str) -> Row:
    core = cores.get()
    command = [sys.executable, *sys.argv, "--one", item]
    pin = lambda: os.sched_setaffinity(0, {core})
    try:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, preexec_fn=pin)
    finally:
        cores.put(core)
    return json.loads(done.stdout.splitlines()[-1])
