"""Signal connections that end together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Connections:
    """Connections to events that can be taken back together; events that a release does not have are passed over."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., None]]] = []

    def add(self, events: Any, name: str, callback: Callable[..., None]) -> None:
        """Connect to ``events.name``."""
        emitter = getattr(events, name, None)
        if emitter is not None:
            emitter.connect(callback)
            self._made.append((emitter, callback))

    def close(self) -> None:
        """Disconnect everything."""
        made, self._made = self._made, []
        for emitter, callback in made:
            try:
                emitter.disconnect(callback)
            except (ValueError, RuntimeError):  # the layer was taken apart before
                continue
