"""Graceful Ctrl-C: the frame that is being computed is finished and saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType


@dataclass
class InterruptFlag:
    """Flag that is set when the user asks to stop, with the signal."""

    signal_number: int = 0

    def __bool__(self) -> bool:
        return self.signal_number != 0


@contextmanager
def graceful_interrupt(on_first: Callable[[], None]) -> Iterator[InterruptFlag]:
    """Turn the first Ctrl-C, termination or hang-up into a flag that the caller checks between two frames.

    ``on_first`` is called when it comes. A second one ends the program at once, as usual. Outside the main thread,
    where Python can't receive signals, nothing changes; nor does a hang-up that ``nohup`` ignores.
    """
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if flag:
            raise KeyboardInterrupt
        flag.signal_number = number
        with suppress(OSError):  # the terminal may be gone
            on_first()

    watched = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        watched.append(hang_up)
    before = {number: signal.signal(number, receive) for number in watched}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
