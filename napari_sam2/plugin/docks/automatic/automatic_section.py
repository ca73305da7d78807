"""Auto-mask: search once, filter live, select, and hand over to tracking."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QComboBox, QLabel, QProgressBar, QSizePolicy, QWidget

from napari_sam2.automatic import AutomaticOptions, Candidates
from napari_sam2.automatic.instances import instance_filters
from napari_sam2.automatic.options import MOST_CROP_LAYERS, PRESETS
from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.automatic.candidate_search import CandidateSearch
from napari_sam2.plugin.docks.automatic.candidate_selection import CandidateSelection
from napari_sam2.plugin.docks.automatic.options_form import OptionsForm
from napari_sam2.plugin.docks.automatic.score_histogram import ScoreHistogram
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.buttons import muted_label, title_label, tool_button
from napari_sam2.plugin.docks.parts.controller_link import events_of
from napari_sam2.plugin.docks.parts.layouts import GAP, column, row
from napari_sam2.plugin.docks.parts.theme import Theme
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.layers.preview_layer import PreviewLayer, RegionLayer
from napari_sam2.plugin.state import ModelState

# Microscopy comes first in the list.
_PRESET_NAMES = ("cells", *(name for name in PRESETS if name != "cells"))
# Beside the presets, where the model has micro-sam's decoder.
_DECODER = "cell decoder"
_POINT_AT_ONE = "Point at a mask to see its scores; click to drop or keep it."
_SLIDER = {"widget_type": "FloatSlider", "min": 0.0, "max": 1.0, "step": 0.01}
_DECODER_OPTIONS = instance_filters(AutomaticOptions.preset("cells"))
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
    """Search, filters and preview of automatic masks."""

    def __init__(self, viewer: Any, theme: Theme, actions: Actions) -> None:
        super().__init__()
        self._viewer = viewer
        self._actions = actions
        self._controller: Controller | None = None
        self._signals = Connections()
        self._search: CandidateSearch | None = None
        self._preview: PreviewLayer | None = None
        self._region: RegionLayer | None = None
        self.selection = CandidateSelection(AutomaticOptions.preset(_PRESET_NAMES[0]))
        self.finished = False
        self._add_when_found = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(15)
        self._soon.timeout.connect(self._filter)
        self._make_search(theme)
        self._make_results(theme)
        self._lay_out()
        self._show_state()

    def show_controller(self, controller: Controller | None) -> None:
        """Segment the image of another controller."""
        if controller is not self._controller:
            self._forget()
        self._controller = controller
        self._signals.replace(events_of(controller), model=self._on_model)
        self.setEnabled(controller is not None)
        self._on_model(ModelState() if controller is None else controller.model)
        self._show_state()

    def choose_preset(self, name: str) -> None:
        """Set the options of a preset, or find cells with the model's decoder."""
        self.preset.setCurrentText(name)
        if self.uses_decoder:
            self.selection.begin(-1)  # what was found at points is no start for its filters
        self._set_options(_DECODER_OPTIONS if self.uses_decoder else AutomaticOptions.preset(name))

    @property
    def uses_decoder(self) -> bool:
        """True if cells are found with the model's decoder, False if masks are found at points."""
        return self.preset.currentText() == _DECODER

    def run(self) -> None:
        """Search the frame that is shown."""
        self._actions.do(self._run)

    def stop(self) -> None:
        """Stop searching; candidates found so far stay."""
        if self._search is not None:
            self._search.stop()

    def track_these(self) -> tuple[int, ...]:
        """Turn the masks that are kept into objects; return their ids."""
        ids: tuple[int, ...] | None = self._actions.do(self._hand_over)
        return ids or ()

    def add_new_objects(self) -> None:
        """Turn masks that overlap no object into objects; search first if this frame was not searched."""
        self.new_only.setChecked(True)
        if self._controller is not None and (
            self.selection.frame != self._controller.frame or self.selection.needs_run
        ):
            self._add_when_found = True
            self.run()
        else:
            self.track_these()

    def close_section(self) -> None:
        """Remove the layers of the section."""
        self._soon.stop()
        self._forget()

    # -- widgets -----------------------------------------------------------------------------------------

    def _make_search(self, theme: Theme) -> None:
        self.preset = QComboBox()
        self.preset.addItems(_PRESET_NAMES)
        self.preset.setToolTip("Options for a kind of image; each of them can be changed below.")
        self.preset.textActivated.connect(self.choose_preset)
        self.go = tool_button(
            theme, "sparkle", "Find masks", "Find everything on the frame that is shown", primary=True
        )
        self.go.clicked.connect(lambda: self.run())
        self.cancel = tool_button(theme, "stop", "Stop", "Stop searching; masks found so far stay")
        self.cancel.clicked.connect(lambda: self.stop())
        self.bar = QProgressBar()
        self.bar.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.filters = self._form(_FILTERS)
        self.advanced = self._form(_ADVANCED)
        self.more = tool_button(theme, "settings", "More options", "How candidates are found", checkable=True)
        self.more.toggled.connect(self.advanced.native.setVisible)
        self.advanced.native.hide()
        self.draw = tool_button(
            theme, "region", tip="Draw a region: only masks inside are kept", checkable=True
        )
        self.draw.clicked.connect(self._on_draw)

    def _make_results(self, theme: Theme) -> None:
        self.quality = ScoreHistogram(theme, "Expected quality")
        self.quality.threshold_moved.connect(lambda value: self._change({"pred_iou_thresh": value}))
        self.count = QLabel()
        self.count.setWordWrap(True)
        self.hover = muted_label(_POINT_AT_ONE)
        self.new_only: QCheckBox = QCheckBox("only what is not tracked yet")
        self.new_only.setToolTip("Drop masks that overlap objects on this frame")
        self.new_only.toggled.connect(self._on_new_only)
        self.track = tool_button(
            theme, "forward", "Track these", "Turn every mask that is kept into an object", primary=True
        )
        self.track.clicked.connect(lambda: self.track_these())
        self.add = tool_button(
            theme, "plus", "Add new objects", "Turn masks that overlap no object into objects"
        )
        self.add.clicked.connect(lambda: self.add_new_objects())

    def _form(self, shown: dict[str, tuple[str, dict[str, Any]]]) -> OptionsForm:
        known = {f.name for f in fields(AutomaticOptions)}
        names = [name for name in shown if name in known]
        labels = {name: shown[name][0] for name in names}
        settings = {name: shown[name][1] for name in names}
        return OptionsForm(self.selection.options, names, labels, settings, self._change)

    def _lay_out(self) -> None:
        search = (row(self.preset, self.go), row(self.bar, self.cancel), self.quality, self.count)
        filters = (title_label("Filters"), self.filters.native, row(self.new_only, self.draw), self.hover)
        end = (row(self.track, self.add), self.more, self.advanced.native)
        self.setLayout(column(*search, *filters, *end, spacing=GAP))

    # -- search ------------------------------------------------------------------------------------------

    def _on_model(self, model: ModelState) -> None:
        """Offer the decoder of a model that has one, first."""
        if model.phase != "ready" or model.finds_instances == (self.preset.findText(_DECODER) >= 0):
            return
        if model.finds_instances:
            self.preset.insertItem(0, _DECODER)
            self.choose_preset(_DECODER)
        else:
            was_chosen = self.uses_decoder
            self.preset.removeItem(self.preset.findText(_DECODER))
            if was_chosen:
                self.choose_preset(_PRESET_NAMES[0])

    def _run(self, controller: Controller) -> None:
        if controller.status.phase == "opening":
            raise RuntimeError("the model is still loading: wait a moment")
        self.stop()
        self.finished = False
        self.selection.begin(controller.frame)
        self._set_spatial(controller)
        region = None if self._region is None else self._region.mask(controller.frame)
        if self.uses_decoder:
            self._set_options(self.selection.options.changed(mode="exact", crop_n_layers=0, tile_size=0))
        self._search = CandidateSearch(
            controller,
            controller.frame,
            self.selection.options,
            region,
            self.uses_decoder,
            self._on_found,
            self._on_end,
        )
        self.bar.setRange(0, 0)
        self._show_state()
        self._search.start()

    def _on_found(self, candidates: Candidates, done: int, total: int) -> None:
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.selection.put(candidates)
        self._show_result()

    def _on_end(self, error: str) -> None:
        self._search = None
        self.finished = True
        self._show_state()
        if error:
            self._add_when_found = False
            self.count.setText(error)
        elif self._add_when_found:
            self._add_when_found = False
            self.track_these()

    # -- filters -----------------------------------------------------------------------------------------

    def _change(self, changes: dict[str, Any]) -> None:
        try:
            options = self.selection.options.changed(**changes)
        except (ValueError, TypeError) as error:
            self.count.setText(str(error))
            return
        self._set_options(options)

    def _set_options(self, options: AutomaticOptions) -> None:
        self.selection.options = options
        self.filters.show(options)
        self.advanced.show(options)
        self._soon.start()

    def _filter(self) -> None:
        if self._controller is not None and not self._controller.closed:
            self._set_spatial(self._controller)
        self.selection.change(self.selection.options)
        self._show_result()

    def _set_spatial(self, controller: Controller) -> None:
        frame = self.selection.frame
        if frame < 0:
            return
        existing = controller.results.labels(frame) > 0
        region = None if self._region is None else self._region.mask(frame)
        self.selection.set_spatial(existing if existing.any() else None, region)

    def _on_new_only(self, on: bool) -> None:
        self.selection.new_only = on
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

    # -- preview -----------------------------------------------------------------------------------------

    def _show_result(self) -> None:
        controller, result = self._controller, self.selection.result
        if controller is None or result is None:
            self._show_state()
            return
        if self._preview is None or self._preview.layer not in self._viewer.layers:
            self._preview = PreviewLayer(
                self._viewer, controller.image, controller.geometry, self._on_click, self._on_move
            )
            self._viewer.layers.selection.active = self._preview.layer
        self._preview.show(self.selection.frame, *self.selection.labels())
        self._show_state()

    def _show_state(self) -> None:
        running = self._search is not None
        self.bar.setVisible(running)
        self.cancel.setVisible(running)
        self.go.setEnabled(not running)
        self.quality.show_scores(*self.selection.scores(), self.selection.options.pred_iou_thresh)
        count = len(self.selection.selected)
        self.track.setEnabled(count > 0 and not running)
        self.add.setEnabled(not running)
        self.track.setText(f"Track these {count}" if count else "Track these")
        if self.selection.result is None:
            self.count.setText("“Find masks” finds everything on the frame that is shown.")
        elif self.selection.needs_run and not running:
            self.count.setText("These options need another search: find masks again.")
        else:
            self.count.setText(self.selection.summary())

    def _on_click(self, x: float, y: float) -> None:
        if self._is_current() and self.selection.toggle(x, y):
            self._show_result()
            self._on_move(x, y)

    def _on_move(self, x: float, y: float) -> None:
        scores = self.selection.explain(x, y) if self._is_current() else ""
        self.hover.setText(scores or _POINT_AT_ONE)

    def _is_current(self) -> bool:
        return self._controller is not None and self._controller.frame == self.selection.frame

    # -- objects -----------------------------------------------------------------------------------------

    def _hand_over(self, controller: Controller) -> tuple[int, ...]:
        masks = self.selection.masks(max(controller.objects.ids, default=0) + 1)
        if not masks:
            show_info("There is no mask to track: " + (self.selection.summary() or "find masks first."))
            return ()
        frame = self.selection.frame
        counted = f"{len(masks)} object{'s' * (len(masks) != 1)}"
        with controller.undo_group(f"Add {counted} from Auto-mask, frame {frame}"):
            controller.prompts.set_masks({i: np.asarray(mask) for i, mask in masks.items()}, frame)
        self._forget()
        self._show_state()
        show_info(f"{counted} on frame {frame}: track them in SAM2 Tracker, or press . there.")
        return tuple(masks)

    def _forget(self) -> None:
        """Discard candidates and layers."""
        self.stop()
        self.selection.begin(-1)
        preview, self._preview = self._preview, None
        region, self._region = self._region, None
        self.draw.setChecked(False)
        for layer in (preview, region):
            if layer is not None:
                layer.close()
