"""Screenshots of a napari window with its menus and lists, in several sizes and themes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QEvent, QPoint, QPointF, QSize, Qt
from qtpy.QtGui import QImage, QMouseEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QApplication, QMenu, QWidget

from napari_sam2.plugin.controller.controller import Controller

COLORS = 256  # of the palette: a third of the bytes, and no colour differs by more than a few levels of 255
_NOTHING: Callable[[], None] = lambda: None  # noqa: E731


@dataclass(frozen=True)
class Variant:
    """Size and theme of the window."""

    size: tuple[int, int]
    theme: str

    @property
    def name(self) -> str:
        return f"{self.size[0]}x{self.size[1]}-{self.theme}"


class Enough(Exception):
    """Raised after the last picture that was requested."""


class Studio:
    """A window and the folder of its pictures.

    Parameters
    ----------
    folder : Path
        Folder for the pictures.
    variants : callable
        Returns the variants of a step by its name.
    last : str
        Prefix of the last picture; empty: all are taken.
    """

    def __init__(self, folder: Path, variants: Callable[[str], Sequence[Variant]], last: str = "") -> None:
        self.folder = folder
        self.variants = variants
        self.last = last
        random.seed(0)  # napari picks a random tip for its welcome page
        self.viewer = napari.Viewer(show=False)
        self.viewer.theme = "dark"
        self.viewer.show()
        self.window = _main_window(self.viewer)
        self._shown = Variant((0, 0), "dark")
        self._apply(Variant((1366, 768), "dark"))

    def wait(self, seconds: float = 0.3, until: Callable[[], bool] = lambda: False) -> None:
        """Run the event loop for some seconds, or until something is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            QApplication.processEvents()
            time.sleep(0.01)

    def settle(self, controller: Controller) -> None:
        """Wait until all requests are answered."""
        controller.wait(600)
        self.wait(0.2)

    def take(
        self, step: str, before: Callable[[], None] = _NOTHING, after: Callable[[], None] = _NOTHING
    ) -> None:
        """Take a picture of the window in all its variants.

        Parameters
        ----------
        step : str
            Name of the picture.
        before, after : callable
            Called around each picture: they open and close popups, which a change of the window would close.
        """
        variants = sorted(self.variants(step), key=lambda v: (v.size, v.theme == "light"))
        if self._shown in variants[1:]:  # begin with the current one: a change of theme takes time
            variants.sort(key=lambda v: (v.size != self._shown.size, v.theme != self._shown.theme))
        for variant in variants:
            self._apply(variant)
            before()
            self.wait(0.4)
            path = self.folder / f"{step}-{variant.name}.png"
            self._save(path)
            print(path)
            after()
        if self.last and step.startswith(self.last):
            raise Enough

    def close(self) -> None:
        """Close the window."""
        self.viewer.close()
        self.wait(0.5)

    def point_at(self, y: float, x: float) -> None:
        """Move the mouse to a place of the image in world coordinates."""
        canvas = _canvas(self.window)
        camera = self.viewer.scene.camera if hasattr(self.viewer, "scene") else self.viewer.camera
        shift = (np.array([y, x]) - camera.center[-2:]) * camera.zoom
        place = QPoint(round(canvas.width() / 2 + shift[1]), round(canvas.height() / 2 + shift[0]))
        at = QPointF(place)
        nothing, keys = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
        far = QPointF(canvas.mapToGlobal(place))
        QApplication.sendEvent(canvas, QMouseEvent(QEvent.Type.MouseMove, at, far, nothing, nothing, keys))

    def _apply(self, variant: Variant) -> None:
        self._shown = variant
        self.viewer.theme = variant.theme
        # Exactly this size: napari's own resize makes room for all docks.
        self.window.resize(QSize(*variant.size))
        self.wait(0.3)
        if self.viewer.layers:
            self.viewer.reset_view()
        self.wait(0.2)

    def _save(self, path: Path) -> None:
        shown = Image.fromarray(self.viewer.window.screenshot(flash=False, canvas_only=False)).convert("RGB")
        for popup in _popups(self.window):
            corner = popup.mapToGlobal(QPoint(0, 0)) - self.window.mapToGlobal(QPoint(0, 0))
            shown.paste(_grabbed(popup), (corner.x(), corner.y()))
        palette = {"method": Image.Quantize.MAXCOVERAGE, "kmeans": 3, "dither": Image.Dither.NONE}
        shown.quantize(COLORS, **palette).save(path, optimize=True)


def open_menu(menu: QMenu, place: QPoint, *titles: str) -> list[QMenu]:
    """Show a menu and its submenus with these titles; return all of them."""
    menu.aboutToShow.emit()  # napari fills menus when they are shown
    menu.popup(place)
    opened = [menu]
    for title in titles:
        action = next(a for a in menu.actions() if a.text().replace("&", "") == title)
        menu.setActiveAction(action)
        corner = menu.mapToGlobal(menu.actionGeometry(action).topRight())
        found = action.menu()
        if found is None:
            break
        menu = found
        menu.popup(corner)
        opened.append(menu)
    return opened


def _main_window(viewer: napari.Viewer) -> QWidget:
    """Return the window of a viewer: the one with a menu bar (napari has no public name for it)."""
    return next(w for w in QApplication.topLevelWidgets() if w.isVisible() and hasattr(w, "menuBar"))


def _canvas(window: QWidget) -> QWidget:
    """Return the OpenGL canvas."""
    return next(w for w in window.findChildren(QOpenGLWidget) if w.isVisible())


def _popups(window: QWidget) -> list[QWidget]:
    return [w for w in QApplication.topLevelWidgets() if w.isVisible() and w is not window and w.width() > 8]


def _grabbed(widget: QWidget) -> Image.Image:
    grabbed = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    bits = grabbed.constBits()
    bits.setsize(grabbed.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(grabbed.height(), grabbed.bytesPerLine())
    return Image.fromarray(
        rows[:, : 3 * grabbed.width()].reshape(grabbed.height(), grabbed.width(), 3).copy()
    )
