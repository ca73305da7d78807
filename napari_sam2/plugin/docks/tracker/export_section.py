"""Results: tracks, files, and the folder of the project."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QMenu, QSizePolicy, QToolButton, QWidget

from napari_sam2.formats.registry import FORMATS, ExportFormat
from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.controller.exporter import ExportCancelled
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.buttons import title_label, tool_button
from napari_sam2.plugin.docks.parts.controller_link import events_of
from napari_sam2.plugin.docks.parts.layouts import row
from napari_sam2.plugin.docks.parts.theme import Theme
from napari_sam2.plugin.layers.connections import Connections
from napari_sam2.plugin.state import ExportState, ProjectState


class ExportSection(QWidget):
    """Buttons for results, and the state of the project."""

    def __init__(self, theme: Theme, actions: Actions) -> None:
        super().__init__()
        self._actions = actions
        self._controller: Controller | None = None
        self._signals = Connections()
        self._path: Path | None = None
        self._reported = False
        self.ask_path: Callable[[ExportFormat, Path], str] = self._ask_path
        self.tracks = tool_button(
            theme, "tracks", "Tracks", "Add a Tracks layer with the path of every object", compact=True
        )
        self.export = tool_button(
            theme, "export", "Export", "Write the results to a file for other programs", compact=True
        )
        self.export.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.saved = tool_button(theme, "saved", tip="Everything is saved as you work")
        self.saved.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.saved.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.cancel = tool_button(theme, "stop", tip="Cancel the file that is being written")
        self.cancel.clicked.connect(lambda: actions.do(lambda c: c.results.cancel_exports()))
        self.cancel.hide()
        menu = QMenu(self.export)
        for form in (known for known in FORMATS.values() if known.available):
            # The file name is on the right, where menus show their keys.
            title = form.title[:1].upper() + form.title[1:]
            menu.addAction(f"{title}\t{form.file_name}", lambda form=form: self.write(form))
        self.export.setMenu(menu)
        self.tracks.clicked.connect(self._add_tracks)
        self.saved.clicked.connect(self._show_folder)
        heading = title_label("Results")
        self.setLayout(row(heading, self.saved, self.cancel, self.tracks, self.export, stretched=self.saved))

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's results."""
        self._controller = controller
        self._signals.replace(events_of(controller), project=self._on_project, export=self._on_export)
        self.cancel.hide()
        self.setEnabled(controller is not None)
        self._on_project(ProjectState() if controller is None else controller.project)

    def write(self, form: ExportFormat) -> Future[Path] | None:
        """Ask for a path, and write a format there without blocking."""
        folder = Path.home() if self._path is None else self._path.parent
        path = self.ask_path(form, folder / form.file_name)
        if not path:
            return None
        show_info(f"Writing {Path(path).name} …")
        future: Future[Path] | None = self._actions.do(
            lambda c: c.results.export(form.name, path, overwrite="confirmed")  # in the dialog
        )
        if future is not None:
            future.add_done_callback(
                lambda done: self._notify(done, lambda written: f"Written to {written}.")
            )
        return future

    # -- inside ------------------------------------------------------------------------------------------

    def _add_tracks(self) -> None:
        future = self._actions.do(lambda c: c.results.add_tracks())
        if future is not None:
            future.add_done_callback(lambda done: self._notify(done, lambda layer: f"Added {layer.name}."))

    def _on_export(self, state: ExportState) -> None:
        """Show the progress of a file in place of the state of the project."""
        running = state.phase == "running"
        self._reported = state.phase == "failed"
        self.cancel.setVisible(running)
        if running:
            self.saved.setText(f"{state.name} {state.done / max(state.total, 1):.0%}")
        elif self._controller is not None:
            self._on_project(self._controller.project)

    def _notify(self, done: Future[Any], text: Callable[[Any], str]) -> None:
        error = done.exception()
        if error is None:
            show_info(text(done.result()))
        elif isinstance(error, ExportCancelled):
            show_info(str(error))
        elif not self._reported:  # errors while writing were reported by the controller
            show_error(str(error))
        self._reported = False

    def _on_project(self, project: ProjectState) -> None:
        self._path = project.path
        self.saved.setVisible(project.path is not None)
        if project.path is None:
            return
        self.saved.setText("not kept" if project.temporary else "autosaved")
        saved = f"Everything is saved as you work, in\n{project.path}\nClick to open the folder."
        self.saved.setToolTip(project.message or saved)

    def _show_folder(self) -> None:
        if self._path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._path.parent)))

    def _ask_path(self, form: ExportFormat, start: Path) -> str:
        path, _ = QFileDialog.getSaveFileName(self, f"Export: {form.title}", str(start))
        return str(path)
