"""Choosing the image: one layer, or the channels of one picture; and the axis that is travelled."""

# PyQt says of every getter that it may return None.
# mypy: disable-error-code="union-attr"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QMenu, QToolButton, QVBoxLayout, QWidget

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.theme import GAP, Theme, tool_button
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.layers.image_layer import axis_labels_of, geometry_of, is_image

_EMPTY = "No image is open"


class ImageSection(QWidget):
    """Shows the Image layers of a viewer; ``chosen`` tells which (a tuple, empty for none) is to be worked with.

    Parameters
    ----------
    viewer : Viewer
        Whose layers.
    look : Look
        Icons.
    """

    chosen = Signal(tuple)

    def __init__(self, viewer: Any, look: Theme) -> None:
        super().__init__()
        self._viewer = viewer
        self._layers: list[Any] = []
        self._more: tuple[Any, ...] = ()  # further channels
        self._controller: Controller | None = None
        self._told: tuple[Any, ...] = ()
        self._connections = Connections()
        self.combo = QComboBox()
        self.combo.setToolTip("The image to work with. Opening is instant: nothing is converted or copied.")
        self.combo.setMinimumContentsLength(8)
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.channels = tool_button(
            look, "channels", tip="Work with several layers as channels of one picture"
        )
        self.channels.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.contrast = tool_button(
            look, "contrast", tip="The model sees what you see: take over the contrast that is set now"
        )
        self.axis = QComboBox()
        self.axis.setToolTip("The axis that objects are followed along: time, depth …")
        self._menu = QMenu(self)
        self.channels.setMenu(self._menu)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(GAP)
        row.addWidget(self.combo, 1)
        row.addWidget(self.axis)
        row.addWidget(self.channels)
        row.addWidget(self.contrast)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addLayout(row)
        self.combo.activated.connect(self._on_combo)
        self.axis.activated.connect(self._on_axis)
        self.contrast.clicked.connect(self._on_contrast)
        self._menu.aboutToShow.connect(self._fill_menu)
        for name in ("inserted", "removed", "reordered"):
            self._connections.add(viewer.layers.events, name, self._on_layers)
        self._named = Connections()

    def start(self) -> None:
        """Choose the image that is active, or else the first one."""
        self._on_layers()

    def show_controller(self, controller: Controller | None) -> None:
        """Show what is worked with."""
        self._controller = controller
        if controller is not None:  # an image whose session was closed is opened again only when it is chosen
            self._told, self._more = controller.images, controller.images[1:]
            if controller.image in self._layers:
                self.combo.setCurrentIndex(self._layers.index(controller.image))
        self._show_axes()
        self.contrast.setEnabled(controller is not None)

    def close_section(self) -> None:
        """Stop listening."""
        self._connections.close()
        self._named.close()

    # -- inside ------------------------------------------------------------------------------------------

    def _on_layers(self, event: Any = None) -> None:
        # A layer that is being removed is still told about; the list is already without it.
        before = self._layers[self.combo.currentIndex()] if self._layers else None
        self._layers = [layer for layer in self._viewer.layers if is_image(layer)]
        self._named.close()
        for layer in self._layers:
            self._named.add(layer.events, "name", self._on_name)
        if before not in self._layers:
            active = self._viewer.layers.selection.active
            before = active if active in self._layers else next(iter(self._layers), None)
        self._more = tuple(layer for layer in self._more if layer in self._layers)
        self._show_names(before)
        self._tell(before)

    def _on_name(self, event: Any = None) -> None:
        self._show_names(self._layers[self.combo.currentIndex()])

    def _show_names(self, current: Any) -> None:
        self.combo.clear()
        self.combo.addItems([str(layer.name) for layer in self._layers] or [_EMPTY])
        self.combo.setEnabled(bool(self._layers))
        if current in self._layers:
            self.combo.setCurrentIndex(self._layers.index(current))
        self.channels.setVisible(bool(self._partners(current)))

    def _on_combo(self, index: int) -> None:
        self._more = ()
        self._show_names(self._layers[index])
        if self._controller is None:
            self._told = ()
        self._tell(self._layers[index])

    def _tell(self, layer: Any) -> None:
        images = () if layer is None else (layer, *(m for m in self._more if m is not layer))
        same = len(images) == len(self._told) and all(a is b for a, b in zip(images, self._told))
        if not same:
            self._told = images
            self.chosen.emit(images)

    def _partners(self, layer: Any) -> list[Any]:
        """Layers that could be further channels of the same picture."""
        return [other for other in self._layers if layer is not None and _fit(layer, other, self._viewer)]

    def _fill_menu(self) -> None:
        self._menu.clear()
        current = self._layers[self.combo.currentIndex()]
        for layer in self._partners(current):
            action = self._menu.addAction(str(layer.name))
            action.setCheckable(True)
            action.setChecked(layer in self._more)
            action.toggled.connect(lambda on, layer=layer: self._on_channel(layer, on))

    def _on_channel(self, layer: Any, on: bool) -> None:
        rest = tuple(m for m in self._more if m is not layer)
        self._more = (*rest, layer) if on else rest
        self._tell(self._layers[self.combo.currentIndex()])

    def _show_axes(self) -> None:
        geometry = None if self._controller is None else self._controller.geometry
        self.axis.clear()
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


def _fit(layer: Any, other: Any, viewer: Any) -> bool:
    images: Sequence[Any] = (layer, other)
    if layer is other:
        return False
    try:
        geometry_of(images, viewer.dims.point)
    except (ValueError, TypeError):
        return False
    return True
