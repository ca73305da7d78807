"""Auto-mask: look once, filter live, choose, and hand over to tracking."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_sam2.automatic import AutomaticOptions, Candidates
from napari_sam2.automatic.options import MOST_CROP_LAYERS
from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.automatic.candidate_search import CandidateSearch
from napari_sam2.plugin.docks.automatic.candidate_selection import CandidateSelection
from napari_sam2.plugin.docks.automatic.options_form import OptionsForm
from napari_sam2.plugin.docks.automatic.score_histogram import ScoreHistogram
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.theme import GAP, Theme, muted_label, title_label, tool_button
from napari_sam2.plugin.layers.preview_layer import PreviewLayer, RegionLayer

PRESETS = ("cells", "few large", "many small", "default", "reference", "sam1")
_SLIDER = {"widget_type": "FloatSlider", "min": 0.0, "max": 1.0, "step": 0.01}
_PIXELS = {"min": 0, "max": 10**9}
_FILTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "pred_iou_thresh": ("quality", _SLIDER),
    "stability_score_thresh": ("stability", _SLIDER),
    "box_nms_thresh": ("overlap", _SLIDER),
    "min_area": ("smallest area", _PIXELS),
    "max_area": ("largest area (0: any)", _PIXELS),
    "drop_at_border": ("drop at border", {}),
}
_ADVANCED: dict[str, tuple[str, dict[str, Any]]] = {
    "points_per_side": ("points per side", {"widget_type": "SpinBox", "min": 1, "max": 256}),
    "mode": ("mode", {}),
    "min_mask_region_area": ("fill and clean below", _PIXELS),
    "max_overlap": ("overlap with objects", _SLIDER),
    "min_distance": ("distance to objects", {"min": 0.0, "max": 1e6}),
    "inside_region": ("inside the region", _SLIDER),
    "mask_threshold": ("mask threshold", {"min": -30.0, "max": 30.0, "step": 0.5}),
    "stability_score_offset": ("stability offset", {"min": 0.0, "max": 30.0, "step": 0.5}),
    "multimask_output": ("three masks per point", {}),
    "use_m2m": ("refine each mask", {}),
    "crop_n_layers": ("layers of crops", {"min": 0, "max": MOST_CROP_LAYERS}),
    "crop_nms_thresh": ("overlap between crops", _SLIDER),
    "crop_overlap_ratio": ("overlap of crops", {**_SLIDER, "max": 0.9}),
    "crop_n_points_downscale_factor": ("fewer points in crops", {"min": 1, "max": 8}),
    "tile_size": ("tile size", _PIXELS),
    "points_per_batch": ("points per batch", {"min": 1, "max": 1024}),
    "candidate_memory_mb": ("memory (MiB)", {"min": 1, "max": 65536}),
}


class AutomaticSection(QWidget):
    """Everything of the Auto-mask dock below the image.

    Parameters
    ----------
    viewer : Viewer
        Where the preview is shown.
    look : Look
        Icons and colours.
    verbs : Verbs
        Tells what cannot be done.
    """

    def __init__(self, viewer: Any, look: Theme, verbs: Actions) -> None:
        super().__init__()
        self._viewer = viewer
        self._verbs = verbs
        self._controller: Controller | None = None
        self._hunt: CandidateSearch | None = None
        self._preview: PreviewLayer | None = None
        self._region: RegionLayer | None = None
        self.choice = CandidateSelection(AutomaticOptions.preset(PRESETS[0]))
        self.finished = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(15)
        self._soon.timeout.connect(self._filter)
        self._make(look)
        self._lay_out()
        self._show_state()

    def show_controller(self, controller: Controller | None) -> None:
        """Work with another controller."""
        if controller is not self._controller:
            self._forget()
        self._controller = controller
        self.setEnabled(controller is not None)
        self._show_state()

    def choose_preset(self, name: str) -> None:
        """Take the options of a preset."""
        self.preset.setCurrentText(name)
        self._take(AutomaticOptions.preset(name))

    def run(self) -> None:
        """Look for everything on the frame that is shown."""
        self._verbs.do(self._run)

    def stop(self) -> None:
        """Stop looking; what was found stays."""
        if self._hunt is not None:
            self._hunt.stop()

    def track_these(self) -> tuple[int, ...]:
        """Make objects of the masks that are kept; returns their ids."""
        ids: tuple[int, ...] | None = self._verbs.do(self._hand_over)
        return ids or ()

    def add_newcomers(self) -> None:
        """Make objects of what overlaps none that is there; looks first when that was not done on this frame."""
        self.newcomers.setChecked(True)
        if self._controller is not None and (
            self.choice.frame != self._controller.frame or self.choice.needs_run
        ):
            self._then_add = True
            self.run()
        else:
            self.track_these()

    def close_section(self) -> None:
        """Let go of layers."""
        self._soon.stop()
        self._forget()

    # -- how it is made ----------------------------------------------------------------------------------

    def _make(self, look: Theme) -> None:
        self._then_add = False
        self.preset = QComboBox()
        self.preset.addItems(PRESETS)
        self.preset.setToolTip("A set of options for a kind of picture; everything can be changed below.")
        self.preset.textActivated.connect(self.choose_preset)
        self.go = tool_button(look, "sparkle", "Find masks", "Look for everything on the frame that is shown")
        self.go.setProperty("primary", True)
        self.go.clicked.connect(lambda: self.run())
        self.cancel = tool_button(look, "stop", "Stop", "Stop looking; what was found stays")
        self.cancel.clicked.connect(lambda: self.stop())
        self.bar = QProgressBar()
        self.quality = ScoreHistogram(look, "Expected quality")
        self.quality.threshold_moved.connect(lambda value: self._change({"pred_iou_thresh": value}))
        self.count = QLabel()
        self.count.setWordWrap(True)
        self.hover = muted_label("Point at a mask to see its scores; click to drop or keep it.")
        self.newcomers: QCheckBox = QCheckBox("only what is not tracked yet")
        self.newcomers.setToolTip("Drop masks that lie on objects that are there on this frame")
        self.newcomers.toggled.connect(self._on_newcomers)
        self.draw = tool_button(
            look, "region", tip="Draw a region: only masks inside are kept", checkable=True
        )
        self.draw.clicked.connect(self._on_draw)
        self.track = tool_button(look, "forward", "Track these", "Make an object of every mask that is kept")
        self.track.clicked.connect(lambda: self.track_these())
        self.add = tool_button(
            look, "plus", "Add newcomers", "Make objects of what overlaps none that is there"
        )
        self.add.clicked.connect(lambda: self.add_newcomers())
        self.track.setProperty("primary", True)
        self.filters = self._form(_FILTERS)
        self.advanced = self._form(_ADVANCED)
        self.more = tool_button(look, "settings", "More options", "How candidates are found", checkable=True)
        self.more.toggled.connect(self.advanced.native.setVisible)
        self.advanced.native.hide()

    def _form(self, chosen: dict[str, tuple[str, dict[str, Any]]]) -> OptionsForm:
        known = {f.name for f in fields(AutomaticOptions)}
        names = [name for name in chosen if name in known]
        labels = {name: chosen[name][0] for name in names}
        settings = {name: chosen[name][1] for name in names}
        return OptionsForm(self.choice.options, names, labels, settings, self._change)

    def _lay_out(self) -> None:
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(GAP)
        self.bar.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        box.addLayout(_row(self.preset, self.go))
        box.addLayout(_row(self.bar, self.cancel))
        box.addWidget(self.quality)
        box.addWidget(self.count)
        box.addWidget(title_label("Filters"))
        box.addWidget(self.filters.native)
        box.addLayout(_row(self.newcomers, self.draw))
        box.addWidget(self.hover)
        box.addLayout(_row(self.track, self.add))
        box.addWidget(self.more)
        box.addWidget(self.advanced.native)

    # -- looking -----------------------------------------------------------------------------------------

    def _run(self, controller: Controller) -> None:
        if controller.status.phase == "opening":
            raise RuntimeError("the model is still loading: wait a moment")
        self.stop()
        self.finished = False
        self.choice.begin(controller.frame)
        self._surround(controller)
        region = None if self._region is None else self._region.mask(controller.frame)
        options = self.choice.options
        self._hunt = CandidateSearch(
            controller, controller.frame, options, region, self._on_found, self._on_end
        )
        self.bar.setRange(0, 0)
        self._show_state()
        self._hunt.start()

    def _on_found(self, candidates: Candidates, done: int, total: int) -> None:
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.choice.put(candidates)
        self._show_result()

    def _on_end(self, error: str) -> None:
        self._hunt = None
        self.finished = True
        self._show_state()
        if error:
            self._then_add = False
            self.count.setText(error)
        elif self._then_add:
            self._then_add = False
            self.track_these()

    # -- filtering ---------------------------------------------------------------------------------------

    def _change(self, changes: dict[str, Any]) -> None:
        try:
            options = self.choice.options.changed(**changes)
        except (ValueError, TypeError) as error:
            self.count.setText(str(error))
            return
        self._take(options)

    def _take(self, options: AutomaticOptions) -> None:
        self.choice.options = options
        self.filters.show(options)
        self.advanced.show(options)
        self._soon.start()

    def _filter(self) -> None:
        if self._controller is not None and not self._controller.closed:
            self._surround(self._controller)
        self.choice.change(self.choice.options)
        self._show_result()

    def _surround(self, controller: Controller) -> None:
        frame = self.choice.frame
        if frame < 0:
            return
        existing = controller.results.labels(frame) > 0
        region = None if self._region is None else self._region.mask(frame)
        self.choice.surround(existing if existing.any() else None, region)

    def _on_newcomers(self, on: bool) -> None:
        self.choice.newcomers_only = on
        self._filter()

    def _on_draw(self, on: bool) -> None:
        controller = self._controller
        if on and controller is not None:
            self._region = RegionLayer(self._viewer, controller.image, controller.geometry, self._on_region)
            self._viewer.layers.selection.active = self._region.layer
        elif self._region is not None:
            self._region.close()
            self._region = None
            self._filter()

    def _on_region(self) -> None:
        if self._region is not None and self._region.layer not in self._viewer.layers:
            self._region = None
            self.draw.setChecked(False)
        self._soon.start()

    # -- showing -----------------------------------------------------------------------------------------

    def _show_result(self) -> None:
        controller, result = self._controller, self.choice.result
        if controller is None or result is None:
            self._show_state()
            return
        if self._preview is None or self._preview.layer not in self._viewer.layers:
            self._preview = PreviewLayer(
                self._viewer, controller.image, controller.geometry, self._on_click, self._on_move
            )
            self._viewer.layers.selection.active = self._preview.layer
        self._preview.show(self.choice.frame, *self.choice.labels())
        self._show_state()

    def _show_state(self) -> None:
        running = self._hunt is not None
        self.bar.setVisible(running)
        self.cancel.setVisible(running)
        self.go.setEnabled(not running)
        self.quality.show_scores(*self.choice.scores(), self.choice.options.pred_iou_thresh)
        count = len(self.choice.chosen)
        self.track.setEnabled(count > 0 and not running)
        self.add.setEnabled(not running)
        self.track.setText(f"Track these {count}" if count else "Track these")
        if self.choice.result is None:
            self.count.setText("“Find masks” looks for everything on the frame that is shown.")
        elif self.choice.needs_run and not running:
            self.count.setText("These options ask the network other questions: find masks again.")
        else:
            self.count.setText(self.choice.summary())

    def _on_click(self, x: float, y: float) -> None:
        if self._is_here() and self.choice.toggle(x, y):
            self._show_result()
            self._on_move(x, y)

    def _on_move(self, x: float, y: float) -> None:
        said = self.choice.explain(x, y) if self._is_here() else ""
        self.hover.setText(said or "Point at a mask to see its scores; click to drop or keep it.")

    def _is_here(self) -> bool:
        return self._controller is not None and self._controller.frame == self.choice.frame

    # -- handing over ------------------------------------------------------------------------------------

    def _hand_over(self, controller: Controller) -> tuple[int, ...]:
        masks = self.choice.masks(max(controller.objects.ids, default=0) + 1)
        if not masks:
            show_info("There is no mask to be tracked: " + (self.choice.summary() or "find masks first."))
            return ()
        frame = self.choice.frame
        many = f"{len(masks)} object{'s' * (len(masks) != 1)}"
        with controller.undo_group(f"Add {many} from Auto-mask, frame {frame}"):
            controller.prompts.set_masks({i: np.asarray(mask) for i, mask in masks.items()}, frame)
        self._forget()
        self._show_state()
        show_info(f"{many} on frame {frame}: track them in SAM2 Tracker, or press . there.")
        return tuple(masks)

    def _forget(self) -> None:
        """Let go of candidates and layers."""
        self.stop()
        self.choice.begin(-1)
        preview, self._preview = self._preview, None
        region, self._region = self._region, None
        self.draw.setChecked(False)
        for layer in (preview, region):
            if layer is not None:
                layer.close()


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(GAP - 2)
    for widget in widgets:
        row.addWidget(widget)
    return row
