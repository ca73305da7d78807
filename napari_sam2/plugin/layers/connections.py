"""Connections to events of napari and psygnal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

# Returns the context in which a link handles an event; for None, the one in which it reports a change.
Guard = Callable[[Any], AbstractContextManager[None]]


class Connections:
    """Connections that are closed together; events that a napari release does not have are skipped."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., None]]] = []

    def add(self, events: Any, name: str, callback: Callable[..., None]) -> None:
        """Connect to ``events.name``."""
        emitter = getattr(events, name, None)
        if emitter is not None:
            emitter.connect(callback)
            self._made.append((emitter, callback))

    def replace(self, events: Any | None, **callbacks: Callable[..., None]) -> None:
        """Close all connections, then connect to these events by name; None connects to nothing."""
        self.close()
        if events is not None:
            for name, callback in callbacks.items():
                self.add(events, name, callback)

    def close(self) -> None:
        """Disconnect everything."""
        made, self._made = self._made, []
        for emitter, callback in made:
            try:
                emitter.disconnect(callback)
            except (ValueError, RuntimeError):  # the layer was dismantled before
                continue
