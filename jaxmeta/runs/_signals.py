"""Ctrl-C and SIGTERM: the first stops training after the steps in progress, the second raises KeyboardInterrupt."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(
    report: Callable[[int], object] = lambda count: None, *, forward: bool = False
) -> Iterator[threading.Event]:
    """Yield an event that the first signal sets; a second one raises KeyboardInterrupt.

    Outside the main thread, which alone may handle signals, nothing sets the event.

    Args:
      report: called with 1, 2, ... for each signal, at once and from another thread. Python runs its signal handlers
        between bytecodes, so none would run while a compiled step is in progress. The signal's number is therefore
        also sent through a socket, which a thread reads.
      forward: for one of several processes: leave SIGTERM to jax, which tells it to all of them, and turn Ctrl-C into
        SIGTERM.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
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
    handled = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal handled
        handled += 1
        if handled > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    threading.Thread(target=_watch, args=(reader, stop, report), daemon=True).start()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        writer.close()  # the reader sees the end, and its thread finishes


def _watch(reader: socket.socket, stop: threading.Event, report: Callable[[int], object]) -> None:
    count = 0
    with reader:
        while data := reader.recv(1):
            if data[0] in _SIGNALS:
                count += 1
                stop.set()
                report(count)
