"""Which controller a dock works with: opened, shared with the other docks of the image, and closed after the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QApplication, QWidget

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.theme import Theme
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.open_tracker import find_controller, open_tracker

_USERS = "napari_sam2_docks"  # property of the bridge: how many docks use the controller; absent: a script opened it


class Section(Protocol):
    """A part of a dock that shows a controller."""

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller, or none."""
        ...


class SignalConnections:
    """Connections to a controller's signals that are taken back together."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., None]]] = []

    def to(self, controller: Controller | None, **slots: Callable[..., None]) -> None:
        """Listen to this controller (None: to none) instead of the one before; slots by name of the signal."""
        made, self._made = self._made, []
        for signal, slot in made:
            signal.disconnect(slot, missing_ok=True)
        if controller is None or controller.closed:
            return
        for name, slot in slots.items():
            signal = getattr(controller.events, name)
            signal.connect(slot)
            self._made.append((signal, slot))


class ControllerLink(QObject):
    """What a dock holds besides its sections: look, sections to be told, and the life of the controller.

    Parameters
    ----------
    dock : QWidget
        Whose it is. When napari takes it out of its window for good, or closes the window, everything is let go.
    viewer : Viewer
        Where the dock is.
    """

    def __init__(self, dock: QWidget, viewer: Any) -> None:
        super().__init__(dock)
        self.viewer = viewer
        self.look = Theme(viewer, dock)
        self.controller: Controller | None = None
        self._dock = dock
        self._window: QWidget | None = None
        self._sections: list[Section] = []
        self._closers: list[Callable[[], None]] = []
        self._used: list[Controller] = []
        self._listening = SignalConnections()
        self._was_docked = False
        self._disposed = False
        dock.installEventFilter(self)

    def add(self, *sections: Section) -> None:
        """Tell these sections which controller to show."""
        for section in sections:
            self._sections.append(section)
            section.show_controller(self.controller)

    def on_close(self, closer: Callable[[], None]) -> None:
        """Call this when the dock is closed for good."""
        self._closers.append(closer)

    def choose(self, images: Sequence[Any]) -> None:
        """Work with an image (or the channels of one); with none when empty or not possible."""
        try:
            controller = self._opened(images) if images else None
        except (ValueError, TypeError) as error:
            show_error(str(error))
            controller = None
        self.use(controller)

    def use(self, controller: Controller | None) -> None:
        """Work with a controller that is open."""
        if controller is self.controller:
            return
        self.controller = controller
        self._listening.to(controller, closed=self._on_closed)
        for section in self._sections:
            section.show_controller(controller)

    def dispose(self) -> None:
        """Let go of everything; controllers that no other dock uses are closed (all is saved)."""
        if self._disposed:
            return
        self._disposed = True
        if self._window is not None:
            # Slots keep what they call alive as long as the window lives: it must not be held by them.
            self._window.removeEventFilter(self)
            self._window = None
        self._listening.to(None)
        for section in self._sections:
            section.show_controller(None)
        for closer in self._closers:
            closer()
        self.look.close()
        used, self._used = self._used, []
        for controller in used:
            _give_back(controller)
        self.controller = None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Notice when the dock is taken out of its window, or the window is closed."""
        if event is None or self._disposed:
            return False
        kind = event.type()
        if watched is self._dock and kind in (QEvent.Type.ParentChange, QEvent.Type.Show):
            self._was_docked = self._was_docked or self._dock.parent() is not None
            self._watch_window()
            if self._was_docked and self._dock.parent() is None:
                QTimer.singleShot(0, self._leave_if_orphan)
        elif watched is self._window and kind == QEvent.Type.Close:
            # A user may be asked whether to close; a script is not.
            if event.spontaneous():
                QTimer.singleShot(0, self._leave_if_closed)
            else:
                self.dispose()
        return False

    # -- inside ------------------------------------------------------------------------------------------

    def _opened(self, images: Sequence[Any]) -> Controller:
        found = find_controller(self.viewer, images)
        controller = found or open_tracker(self.viewer, tuple(images))
        if controller not in self._used:
            self._used.append(controller)
            _borrow(controller, opened=found is None)
            if controller.geometry.reduced:
                show_info(_reduced(controller.geometry))
        return controller

    def _watch_window(self) -> None:
        window = self._dock.window()
        if window is self._window or window is self._dock:
            return
        if self._window is not None:
            self._window.removeEventFilter(self)
        self._window = window
        if window is not None:
            window.installEventFilter(self)

    def _leave_if_orphan(self) -> None:
        if self._dock.parent() is None:
            self.dispose()
            self._dock.deleteLater()

    def _leave_if_closed(self) -> None:
        if self._window is None or not self._window.isVisible():
            self.dispose()

    def _on_closed(self) -> None:
        self._used = [c for c in self._used if not c.closed]
        self.use(None)


def _reduced(geometry: Geometry) -> str:
    (height, width), (rows, columns) = geometry.shape[-2:], geometry.size
    return (
        f"{width} × {height} pixels are more than the network can use: it sees {columns} × {rows}, and so have "
        "the masks. For small objects crop the image first."
    )


def _borrow(controller: Controller, opened: bool) -> None:
    bridge = controller.bridge
    if isinstance(bridge, QObject) and (opened or bridge.property(_USERS) is not None):
        bridge.setProperty(_USERS, int(bridge.property(_USERS) or 0) + 1)


def _give_back(controller: Controller) -> None:
    bridge = controller.bridge
    if controller.closed or not isinstance(bridge, QObject) or bridge.property(_USERS) is None:
        return
    left = int(bridge.property(_USERS)) - 1
    bridge.setProperty(_USERS, left)
    if left <= 0 and QApplication.instance() is not None:
        controller.close()
