"""What Ctrl-C and SIGTERM do to a process that keeps a stack up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Within it SIGTERM and SIGINT interrupt (KeyboardInterrupt), so that both leave through the same door.

    SIGINT as well: a process that a shell started in the background would not hear it.
    """

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _answered_by(interrupt):
        yield


@contextmanager
def deaf_to_signals() -> Iterator[None]:
    """Within it neither is heard; outside the main thread, which alone may say so, this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _answered_by(signal.SIG_IGN):
        yield


@contextmanager
def _answered_by(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
