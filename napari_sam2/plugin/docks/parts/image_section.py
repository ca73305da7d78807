"""The choice of the image: one layer or several channels, and the axis that counts frames."""

# PyQt says of every getter that it may return None.
# mypy: disable-error-code="union-attr"
from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QMenu, QToolButton, QWidget

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.buttons import shrinking, tool_button
from napari_sam2.plugin.docks.parts.layouts import GAP, row
from napari_sam2.plugin.docks.parts.theme import Theme
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.layers.image_layer import axis_labels_of, geometry_of, is_image

_EMPTY = "No image is open"


class ImageSection(QWidget):
    """Lists the Image layers of a viewer; ``chosen`` emits the tuple of those to work with, empty for none."""

    chosen = Signal(tuple)

    def __init__(self, viewer: Any, theme: Theme) -> None:
        super().__init__()
        self._viewer = viewer
        self._layers: list[Any] = []
        self._channels: tuple[Any, ...] = ()  # beside the first one
        self._controller: Controller | None = None
        self._emitted: tuple[Any, ...] = ()
        self._connections, self._name_connections = Connections(), Connections()
        self.combo = shrinking(
            QComboBox(), 8, "The image to work with. It opens at once: nothing is converted or copied."
        )
        self.channels = tool_button(
            theme, "channels", tip="Work with several layers as channels of one image"
        )
        self.channels.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.contrast = tool_button(
            theme, "contrast", tip="The model sees what you see: apply the contrast that is set now"
        )
        self.axis = QComboBox()
        self.axis.setToolTip("The axis along which objects are tracked: time, depth …")
        self._menu = QMenu(self)
        self.channels.setMenu(self._menu)
        self.setLayout(
            row(self.combo, self.axis, self.channels, self.contrast, spacing=GAP, stretched=self.combo)
        )
        self.combo.activated.connect(self._on_combo)
        self.axis.activated.connect(self._on_axis)
        self.contrast.clicked.connect(self._on_contrast)
        self._menu.aboutToShow.connect(self._fill_menu)
        for name in ("inserted", "removed", "reordered"):
            self._connections.add(viewer.layers.events, name, self._on_layers)

    def start(self) -> None:
        """Choose the active image, or else the first one."""
        self._on_layers()

    def show_controller(self, controller: Controller | None) -> None:
        """Show the images of another controller."""
        self._controller = controller
        if controller is not None:  # an image whose session was closed opens again only when it is chosen
            self._emitted, self._channels = controller.images, controller.images[1:]
            if controller.image in self._layers:
                self.combo.setCurrentIndex(self._layers.index(controller.image))
        self._show_axes()
        self.contrast.setEnabled(controller is not None)

    def close_section(self) -> None:
        """Disconnect from the viewer."""
        self._connections.close()
        self._name_connections.close()

    # -- inside ------------------------------------------------------------------------------------------

    @property
    def _current(self) -> Any:
        """The layer that is chosen in the list; None without layers."""
        return self._layers[self.combo.currentIndex()] if self._layers else None

    def _on_layers(self, event: Any = None) -> None:
        # While a layer is being removed, its events still come, but the list is already without it.
        current = self._current
        self._layers = [layer for layer in self._viewer.layers if is_image(layer)]
        self._name_connections.close()
        for layer in self._layers:
            self._name_connections.add(layer.events, "name", self._on_name)
        if current not in self._layers:
            active = self._viewer.layers.selection.active
            current = active if active in self._layers else next(iter(self._layers), None)
        self._channels = tuple(layer for layer in self._channels if layer in self._layers)
        self._show_names(current)
        self._emit(current)

    def _on_name(self, event: Any = None) -> None:
        self._show_names(self._current)

    def _show_names(self, current: Any) -> None:
        self.combo.clear()
        self.combo.addItems([str(layer.name) for layer in self._layers] or [_EMPTY])
        self.combo.setEnabled(bool(self._layers))
        if current in self._layers:
            self.combo.setCurrentIndex(self._layers.index(current))
        self.channels.setVisible(bool(self._partners(current)))

    def _on_combo(self, index: int) -> None:
        self._channels = ()
        self._show_names(self._layers[index])
        if self._controller is None:
            self._emitted = ()
        self._emit(self._layers[index])

    def _emit(self, layer: Any) -> None:
        images = () if layer is None else (layer, *(c for c in self._channels if c is not layer))
        same = len(images) == len(self._emitted) and all(a is b for a, b in zip(images, self._emitted))
        if not same:
            self._emitted = images
            self.chosen.emit(images)

    def _partners(self, layer: Any) -> list[Any]:
        """Return the layers that could be further channels of the same image."""
        if layer is None:
            return []
        return [other for other in self._layers if other is not layer and self._fit(layer, other)]

    def _fit(self, layer: Any, other: Any) -> bool:
        try:
            geometry_of((layer, other), self._viewer.dims.point)
        except (ValueError, TypeError):
            return False
        return True

    def _fill_menu(self) -> None:
        self._menu.clear()
        for layer in self._partners(self._current):
            action = self._menu.addAction(str(layer.name))
            action.setCheckable(True)
            action.setChecked(layer in self._channels)
            action.toggled.connect(lambda on, layer=layer: self._on_channel(layer, on))

    def _on_channel(self, layer: Any, on: bool) -> None:
        others = tuple(c for c in self._channels if c is not layer)
        self._channels = (*others, layer) if on else others
        self._emit(self._current)

    def _show_axes(self) -> None:
        self.axis.clear()
        geometry = None if self._controller is None else self._controller.geometry
        self.axis.setVisible(geometry is not None and geometry.ndim > 3)
        if self._controller is None or geometry is None or geometry.ndim <= 3:
            return
        labels = axis_labels_of(self._controller.image)
        for axis in range(geometry.ndim - 2):
            name = labels[axis] if axis < len(labels) else str(axis)
            self.axis.addItem(f"along {name} ({geometry.shape[axis]})", axis)
        self.axis.setCurrentIndex(geometry.frame_axis or 0)

    def _on_axis(self, index: int) -> None:
        if self._controller is not None:
            self._controller.set_frame_axis(int(self.axis.itemData(index)))

    def _on_contrast(self) -> None:
        if self._controller is not None:
            self._controller.refresh_contrast()
