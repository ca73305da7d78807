"""The queue of replies from the worker's thread to the thread of the window, with or without Qt."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReplyQueue(Generic[Item]):
    """A queue that any thread writes to and one thread empties.

    Parameters
    ----------
    wake : callable, optional
        Called in the writing thread after every item; it must only ask the owner to empty the queue soon, as a
        queued Qt signal does. Without it the owner has to poll, as a script does.
    """

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        self.wake = wake
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()

    def post(self, item: Item) -> None:
        """Append an item; any thread."""
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()
        self.nudge()

    def nudge(self) -> None:
        """Wake the owner although there is no new item; any thread."""
        wake = self.wake
        if wake is not None:
            wake()

    def take(self) -> Item | None:
        """Remove and return the oldest item; None if the queue is empty."""
        with self._changed:
            return self._items.popleft() if self._items else None

    def wait(self, timeout: float) -> bool:
        """Wait until there is an item; False after ``timeout`` seconds without one."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._items), timeout)

    def __len__(self) -> int:
        return len(self._items)
