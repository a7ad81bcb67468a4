"""Ctrl-C and SIGTERM end a run at the next whole step, with a checkpoint; a second Ctrl-C ends it at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """The run was stopped by a person or by the system, and saved; the message says how to go on."""


@dataclass
class StopRequest:
    """Whether somebody asked the run to stop."""

    signal_name: str = ""

    def __bool__(self) -> bool:
        return bool(self.signal_name)


@contextlib.contextmanager
def stopping_gently(say: Callable[[str], None]) -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request that is looked at between steps."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # signals reach the main thread alone; whoever runs us elsewhere stops us in another way
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if request:
            raise KeyboardInterrupt
        request.signal_name = signal.Signals(number).name
        say(f"{request.signal_name}: finishing this step, then saving (once more to stop at once)")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
