"""How answers get from the worker's thread to the thread of the window, with or without Qt."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Letter = TypeVar("Letter")


class ReplyQueue(Generic[Letter]):
    """A queue that any thread writes and one thread empties.

    Parameters
    ----------
    wake : callable, optional
        Called in the writing thread whenever there is something new; must only ask the owner to empty the box
        soon (a queued Qt signal does). Without it the owner has to look by itself, as a script does.
    """

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        self.wake = wake
        self._letters: deque[Letter] = deque()
        self._arrived = threading.Condition()

    def post(self, letter: Letter) -> None:
        """Put something in; any thread."""
        with self._arrived:
            self._letters.append(letter)
            self._arrived.notify_all()
        self.nudge()

    def nudge(self) -> None:
        """Wake the owner although nothing new is in the box; any thread."""
        wake = self.wake
        if wake is not None:
            wake()

    def take(self) -> Letter | None:
        """Take out the oldest letter; None when the box is empty."""
        with self._arrived:
            return self._letters.popleft() if self._letters else None

    def wait(self, timeout: float) -> bool:
        """Wait until there is something in the box; False after ``timeout`` seconds without."""
        with self._arrived:
            return self._arrived.wait_for(lambda: bool(self._letters), timeout)

    def __len__(self) -> int:
        return len(self._letters)
