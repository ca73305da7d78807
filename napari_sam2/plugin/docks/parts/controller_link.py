"""The controller of a dock: opened on an image, shared with its other docks, and closed after the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QApplication, QWidget

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.controller.events import ControllerEvents
from napari_sam2.plugin.docks.parts.theme import Theme
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.layers.geometry import Geometry
from napari_sam2.plugin.qt.open_tracker import find_controller, open_tracker

# Property of the bridge: the number of docks that use the controller; absent if a script opened it.
_USERS = "napari_sam2_docks"


class Section(Protocol):
    """Part of a dock that shows a controller."""

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller, or none."""
        ...


def events_of(controller: Controller | None) -> ControllerEvents | None:
    """Return the signals of a controller; None without one, or if it is closed."""
    return None if controller is None or controller.closed else controller.events


class ControllerLink(QObject):
    """Opens and closes the controllers of a dock, and shows the current one in its sections.

    Parameters
    ----------
    dock : QWidget
        Everything is released when napari removes it from its window for good, or closes the window.
    viewer : Viewer
        Viewer of the dock.
    """

    def __init__(self, dock: QWidget, viewer: Any) -> None:
        super().__init__(dock)
        self.viewer = viewer
        self.theme = Theme(viewer, dock)
        self.controller: Controller | None = None
        self._dock = dock
        self._window: QWidget | None = None
        self._sections: list[Section] = []
        self._closers: list[Callable[[], None]] = []
        self._used: list[Controller] = []
        self._signals = Connections()
        self._was_docked = False
        self._disposed = False
        dock.installEventFilter(self)

    def add(self, *sections: Section) -> None:
        """Show the controller in these sections, now and after each change."""
        for section in sections:
            self._sections.append(section)
            section.show_controller(self.controller)

    def on_close(self, *closers: Callable[[], None]) -> None:
        """Call these when the dock is closed for good."""
        self._closers += closers

    def choose(self, images: Sequence[Any]) -> None:
        """Open an image (or several channels of one); none if empty or not possible."""
        try:
            controller = self._opened(images) if images else None
        except (ValueError, TypeError) as error:
            show_error(str(error))
            controller = None
        self.use(controller)

    def use(self, controller: Controller | None) -> None:
        """Switch to a controller that is open."""
        if controller is self.controller:
            return
        self.controller = controller
        self._signals.replace(events_of(controller), closed=self._on_closed)
        for section in self._sections:
            section.show_controller(controller)

    def dispose(self) -> None:
        """Release everything; controllers that no other dock uses are closed (their projects are saved)."""
        if self._disposed:
            return
        self._disposed = True
        if self._window is not None:
            # Without this the window would keep the dock alive.
            self._window.removeEventFilter(self)
            self._window = None
        self._signals.close()
        for section in self._sections:
            section.show_controller(None)
        for closer in self._closers:
            closer()
        self.theme.close()
        used, self._used = self._used, []
        for controller in used:
            _remove_user(controller)
        self.controller = None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Release everything when the dock is removed from its window, or the window is closed."""
        if event is None or self._disposed:
            return False
        kind = event.type()
        if watched is self._dock and kind in (QEvent.Type.ParentChange, QEvent.Type.Show):
            self._was_docked = self._was_docked or self._dock.parent() is not None
            self._watch_window()
            if self._was_docked and self._dock.parent() is None:
                QTimer.singleShot(0, self._leave_if_orphan)
        elif watched is self._window and kind == QEvent.Type.Close:
            # A user may be asked whether to close, and decline; a script is not.
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
            _add_user(controller, opened=found is None)
            if controller.geometry.reduced:
                show_info(_reduction_note(controller.geometry))
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


def _reduction_note(geometry: Geometry) -> str:
    (height, width), (rows, columns) = geometry.shape[-2:], geometry.size
    return (
        f"{width} × {height} pixels are more than the network can use: frames and masks are reduced to "
        f"{columns} × {rows}. Crop the image first to segment small objects."
    )


def _add_user(controller: Controller, opened: bool) -> None:
    bridge = controller.bridge
    if isinstance(bridge, QObject) and (opened or bridge.property(_USERS) is not None):
        bridge.setProperty(_USERS, int(bridge.property(_USERS) or 0) + 1)


def _remove_user(controller: Controller) -> None:
    bridge = controller.bridge
    if controller.closed or not isinstance(bridge, QObject) or bridge.property(_USERS) is None:
        return
    left = int(bridge.property(_USERS)) - 1
    bridge.setProperty(_USERS, left)
    if left <= 0 and QApplication.instance() is not None:
        controller.close()
