"""Train the tiny experiment into a folder, and be killed just before the n-th change of a file."""

import os
import signal
import sys
from pathlib import Path

from runs.tiny import experiment

from jaxmeta import runs

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "shutil.rmtree", "shutil.move"}


def main(folder: str, last: int) -> None:
    count = 0

    def before(event: str, args: tuple) -> None:
        nonlocal count
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event not in CHANGES and not writes:
            return
        name = os.fsdecode(args[0]) if isinstance(args[0], (str, bytes, os.PathLike)) else ""
        if os.path.isabs(name) and not name.startswith(folder):
            return
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(before)
    result = runs.train(experiment(), Path(folder), checkpoint_every=2)
    print(result.status, count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
