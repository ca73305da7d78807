"""The choice of the network, and the progress of its download."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_sam2.model.weights.registry import PUBLISHED_SAM1, RELEASED, micro_sam_cache
from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.parts.buttons import muted_label, shrinking, tool_button
from napari_sam2.plugin.docks.parts.controller_link import events_of
from napari_sam2.plugin.docks.parts.layouts import GAP, column, row
from napari_sam2.plugin.docks.parts.theme import Theme
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.state import ModelState

_FILE = "\0file"  # data of the item that opens a dialog
_INDENT = 12  # pixels
_DEVICES = {"auto": "best there is", "cpu": "processor", "cuda": "NVIDIA GPU", "mps": "Apple GPU"}
_BITS = {"float32": "32 bit", "bfloat16": "16 bit", "float16": "16 bit"}
_SIZES = {0: "that of its training", **{n: f"{n} × {n} pixels" for n in (256, 512, 768, 1024)}}
_PRECISIONS = {"auto": "best there is", "exact": "exact (32 bit)", "fast": "fast (16 bit)"}


class ModelCombo(QComboBox):
    """Emits ``opening`` before its list is shown: only then it is checked which models are downloaded."""

    opening = Signal()

    def showPopup(self) -> None:
        """Show the list."""
        self.opening.emit()
        super().showPopup()


class ModelSection(QWidget):
    """Lists of models, devices and precisions, and the progress of a download."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._controller: Controller | None = None
        self._signals = Connections()
        self.ask_file: Callable[[], str] = self._ask_file
        self.combo = ModelCombo()
        shrinking(
            self.combo,
            13,
            "The network that makes the masks. nano is built in; the others are downloaded once.\n"
            "SAM 1, micro-sam and MedSAM have no memory: they find, and follow frame by frame.",
        )
        self.runs = muted_label(wrap=False)
        self.settings = tool_button(theme, "settings", tip="Device, precision and input size", checkable=True)
        self.bar = QProgressBar()
        self.cancel = QPushButton("Cancel")
        self.device, self.precision, self.input_size = (
            _choices(_DEVICES),
            _choices(_PRECISIONS),
            _choices(_SIZES),
        )
        self.input_size.setToolTip(
            "Frames are brought to this size for the network. Another one than that of its training is faster or "
            "slower, and mostly worse; masks of another size are in a project of their own."
        )
        self._lay_out()
        self._fill({})
        self.combo.opening.connect(self._look_up)
        self.combo.activated.connect(self._on_combo)
        self.settings.toggled.connect(self._more.setVisible)
        self.device.activated.connect(self._load)
        self.precision.activated.connect(self._load)
        self.input_size.activated.connect(self._load)
        self.cancel.clicked.connect(self._cancel)

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's model."""
        self._controller = controller
        self._signals.replace(events_of(controller), model=self._on_model)
        self.setEnabled(controller is not None)
        self._on_model(ModelState() if controller is None else controller.model)
        if controller is not None:
            choice = controller.preferences.model
            self.device.setCurrentIndex(max(self.device.findData(choice.device), 0))
            self.precision.setCurrentIndex(max(self.precision.findData(choice.precision), 0))
            self._show_size(choice.image_size)

    # -- inside ------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self._loading, self._more = QWidget(), QWidget()
        self._loading.setLayout(row(self.bar, self.cancel, spacing=GAP, stretched=self.bar))
        form = QFormLayout(self._more)
        form.setContentsMargins(_INDENT, 2, 0, 4)
        form.addRow("Device", self.device)
        form.addRow("Precision", self.precision)
        form.addRow("Input size", self.input_size)
        self._loading.hide()
        self._more.hide()
        head = row(self.combo, self.runs, self.settings, spacing=GAP, stretched=self.combo)
        self.setLayout(column(head, self._loading, self._more))

    def _fill(self, downloaded: dict[str, bool]) -> None:
        current = self.combo.currentData()
        self.combo.clear()
        for name in ("nano", *RELEASED):
            self.combo.addItem(_title(name, downloaded), name)
        self.combo.insertSeparator(self.combo.count())
        for name, model in PUBLISHED_SAM1.items():
            if model.repository is not None or (micro_sam_cache() / name).is_file():
                self.combo.addItem(f"SAM 1 {name} · {model.megabytes} MB", name)
        self.combo.addItem("Choose a file …", _FILE)
        if current is not None:
            self._show_name(current)

    def _look_up(self) -> None:
        """Show which models are downloaded."""
        from napari_sam2.model.weights.download import cached_file  # imports the hub's client: on demand

        self._fill({name: cached_file(model) is not None for name, model in RELEASED.items()})
        if self._controller is not None:
            self._show_name(self._controller.model.name)

    def _show_name(self, name: str) -> None:
        index = self.combo.findData(name)
        if index < 0 and name:
            self.combo.insertItem(0, Path(name).name, name)
            self.combo.setItemData(0, name, Qt.ItemDataRole.ToolTipRole)  # the whole path
            index = 0
        self.combo.setCurrentIndex(index)

    def _on_combo(self, index: int) -> None:
        name = self.combo.itemData(index)
        if name == _FILE:
            name = self.ask_file()
            if not name:
                self._show_name(self._controller.model.name if self._controller else "nano")
                return
        self._show_name(name)
        self._show_size(None)
        self._load()

    def _load(self, *_: object) -> None:
        if self._controller is not None and self.combo.currentData() != _FILE:
            self._controller.load_model(
                self.combo.currentData(),
                self.device.currentData(),
                self.precision.currentData(),
                self.input_size.currentData() or None,
            )

    def _show_size(self, side: int | None) -> None:
        if self.input_size.findData(side or 0) < 0:
            self.input_size.addItem(f"{side} × {side} pixels", side)
        self.input_size.setCurrentIndex(self.input_size.findData(side or 0))

    def _on_model(self, model: ModelState) -> None:
        if model.name:
            self._show_name(model.name)
        loading = model.phase == "loading"
        downloading = loading and model.bytes_total > 0
        self._loading.setVisible(downloading)
        if downloading:
            self.bar.setMaximum(1000)
            self.bar.setValue(round(1000 * model.bytes_done / model.bytes_total))
            self.bar.setFormat(f"{model.bytes_done / 1e6:.0f} of {model.bytes_total / 1e6:.0f} MB")
        texts = {
            "none": "",
            "loading": "loading …",
            "failed": "not loaded",
            "ready": " · ".join(
                (_device(model.device), _BITS.get(model.precision, model.precision), f"{model.image_size} px")
            ),
        }
        self.runs.setText(texts[model.phase])
        self.runs.setToolTip(model.message or "Device, precision and input size that the model runs with")

    def _cancel(self) -> None:
        if self._controller is not None:
            self._controller.cancel_loading()

    def _ask_file(self) -> str:
        kinds = "Checkpoints (*.safetensors *.pt *.pth);;All files (*)"
        path, _ = QFileDialog.getOpenFileName(self, "A checkpoint of SAM 2 or SAM 1", "", kinds)
        return str(path)


def _choices(titles: Mapping[Any, str]) -> QComboBox:
    combo = QComboBox()
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    for value, title in titles.items():
        combo.addItem(title, value)
    return combo


def _device(name: str) -> str:
    kind, _, number = name.partition(":")
    title = {"cpu": "CPU", "cuda": "GPU", "mps": "Apple GPU"}.get(kind, kind)
    return f"{title} {number}".strip()


def _title(name: str, downloaded: dict[str, bool]) -> str:
    if name not in RELEASED:
        return f"{name} · built in"
    model = RELEASED[name]
    base, _, version = name.partition("-")
    title = base.replace("_", " ") + (f" ({version})" if version else "")
    state = "" if name not in downloaded else " · downloaded" if downloaded[name] else " · to be downloaded"
    return f"{title} · {model.megabytes} MB{state}"
