"""Connections to events of napari and psygnal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Connections:
    """Connections that are closed together; events that a napari release does not have are skipped.

    Parameters
    ----------
    on_error : callable, optional
        Gets what a callback raises; by default it goes to whoever emitted the event.
    """

    def __init__(self, on_error: Callable[[Exception], None] | None = None) -> None:
        self._on_error = on_error
        self._made: list[tuple[Any, Callable[..., None]]] = []

    def add(self, events: Any, name: str, callback: Callable[..., None]) -> None:
        """Connect to ``events.name``."""
        emitter = getattr(events, name, None)
        if emitter is not None:
            callback = callback if self._on_error is None else _guarded(callback, self._on_error)
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


def _guarded(callback: Callable[..., None], on_error: Callable[[Exception], None]) -> Callable[[Any], None]:
    def call(event: Any) -> None:
        try:
            callback(event)
        except Exception as error:
            on_error(error)

    return call
