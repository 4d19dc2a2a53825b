"""Ctrl-C and SIGTERM: the first asks training to stop, the second ends the process."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

EXIT = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(*, forward: bool = False) -> Iterator[threading.Event]:
    """An event that the first signal sets; a second one ends the process at once, with exit code 130.

    With ``forward``, for one of several processes, SIGTERM is left to jax, which tells it to all of them, and Ctrl-C
    becomes one.

    Python runs signal handlers between bytecodes, so none would run while a compiled step is in progress. The
    signal's number is therefore also sent through a socket, which a thread reads.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    if forward:
        before = signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        try:
            yield stop
        finally:
            signal.signal(signal.SIGINT, before)
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    threading.Thread(target=_watch, args=(reader, stop), daemon=True).start()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        writer.close()  # the reader sees the end, and its thread finishes


def _watch(reader: socket.socket, stop: threading.Event) -> None:
    with reader:
        while data := reader.recv(1):
            if data[0] not in _SIGNALS:
                continue
            if stop.is_set():
                if sys.stderr.isatty():
                    os.write(2, b"\x1b[?25h\n")  # the progress bar hides the cursor
                os._exit(EXIT)
            stop.set()
            os.write(2, b"\njaxmeta: stopping after the steps in progress; once more to stop at once.\n")
