"""Results: tracks, files, and where everything is saved."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QMenu, QSizePolicy, QToolButton, QWidget

from napari_sam2.formats.registry import FORMATS, ExportFormat
from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.controller.exporter import ExportCancelled
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.controller_link import SignalConnections
from napari_sam2.plugin.docks.parts.theme import GAP, Theme, title_label, tool_button
from napari_sam2.plugin.state import ExportState, ProjectState


class ExportSection(QWidget):
    """Buttons for results, and the line about the project.

    Parameters
    ----------
    look : Look
        Icons.
    verbs : Verbs
        Tells what cannot be done.
    """

    def __init__(self, look: Theme, verbs: Actions) -> None:
        super().__init__()
        self._verbs = verbs
        self._controller: Controller | None = None
        self._listening = SignalConnections()
        self._path: Path | None = None
        self._told = False
        self.ask_path: Callable[[ExportFormat, Path], str] = self._ask_path
        self.tracks = tool_button(
            look, "tracks", "Tracks", "Add a Tracks layer with the path of every object"
        )
        self.export = tool_button(look, "export", "Export", "Write the results to a file for other programs")
        self.export.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.saved = tool_button(look, "saved", tip="Everything is saved as you work")
        self.saved.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.saved.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.cancel = tool_button(look, "stop", tip="Give up the file that is being written")
        self.cancel.clicked.connect(lambda: verbs.do(lambda c: c.results.cancel_exports()))
        self.cancel.hide()
        menu = QMenu(self.export)
        for form in FORMATS.values():
            # What it is to the left; the file's name to the right, where menus have their keys.
            title = form.title[:1].upper() + form.title[1:]
            menu.addAction(f"{title}\t{form.file_name}", lambda form=form: self.write(form))
        self.export.setMenu(menu)
        self.tracks.clicked.connect(self._add_tracks)
        self.saved.clicked.connect(self._show_folder)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(GAP - 2)
        row.addWidget(title_label("Results"))
        row.addWidget(self.saved, 1)
        row.addWidget(self.cancel)
        for button in (self.tracks, self.export):
            button.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
            row.addWidget(button)

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's results."""
        self._controller = controller
        self._listening.to(controller, project=self._on_project, export=self._on_export)
        self.cancel.hide()
        self.setEnabled(controller is not None)
        self._on_project(ProjectState() if controller is None else controller.project)

    def write(self, form: ExportFormat) -> Future[Path] | None:
        """Ask where to, and write a format there without blocking."""
        folder = Path.home() if self._path is None else self._path.parent
        path = self.ask_path(form, folder / form.file_name)
        if not path:
            return None
        show_info(f"Writing {Path(path).name} …")
        future: Future[Path] | None = self._verbs.do(
            lambda c: c.results.export(form.name, path, overwrite=True)  # the dialog has asked about it
        )
        if future is not None:
            future.add_done_callback(lambda done: self._tell(done, lambda written: f"Written to {written}."))
        return future

    # -- inside ------------------------------------------------------------------------------------------

    def _add_tracks(self) -> None:
        future = self._verbs.do(lambda c: c.results.add_tracks())
        if future is not None:
            future.add_done_callback(lambda done: self._tell(done, lambda layer: f"Added {layer.name}."))

    def _on_export(self, state: ExportState) -> None:
        """Show how far the writing of a file is, in place of the line about the project."""
        running = state.phase == "running"
        self._told = state.phase == "failed"
        self.cancel.setVisible(running)
        if running:
            self.saved.setText(f"{state.name} {state.done / max(state.total, 1):.0%}")
        elif self._controller is not None:
            self._on_project(self._controller.project)

    def _tell(self, done: Future[Any], words: Callable[[Any], str]) -> None:
        error = done.exception()
        if error is None:
            show_info(words(done.result()))
        elif isinstance(error, ExportCancelled):
            show_info(str(error))
        elif not self._told:  # the controller tells what broke while it wrote
            show_error(str(error))
        self._told = False

    def _on_project(self, project: ProjectState) -> None:
        self._path = project.path
        self.saved.setVisible(project.path is not None)
        if project.path is None:
            return
        text = "not kept" if project.temporary else "autosaved"
        self.saved.setText(text)
        tip = (
            project.message
            or f"Everything is saved as you work, in\n{project.path}\nClick to open the folder."
        )
        self.saved.setToolTip(tip)

    def _show_folder(self) -> None:
        if self._path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._path.parent)))

    def _ask_path(self, form: ExportFormat, start: Path) -> str:
        path, _ = QFileDialog.getSaveFileName(self, f"Export: {form.title}", str(start))
        return str(path)
