"""The results in the viewer: labels, tracks, measurements and files."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam2.formats.atomic_output import Overwrite
from napari_sam2.formats.measurements import measurements
from napari_sam2.formats.registry import export_format
from napari_sam2.formats.tracking_results import TrackingResults
from napari_sam2.formats.tracks import tracks_array
from napari_sam2.objects import lineage_graph
from napari_sam2.plugin.controller.context import ControllerContext
from napari_sam2.plugin.controller.exporter import ExportCancelled, Exporter
from napari_sam2.plugin.controller.objects import Objects
from napari_sam2.plugin.controller.timeline import Timeline
from napari_sam2.plugin.layers.placement import placement_of
from napari_sam2.plugin.layers.results_layer import ResultsLink, results_layer_of
from napari_sam2.plugin.worker.replies import FrameResult, SessionOpened
from napari_sam2.storage.project_folder import exports_folder

Labels = NDArray[np.uint16]


class ResultsLayer:
    """The results as napari layers and as files; a part of a controller.

    Parameters
    ----------
    context : ControllerContext
        What the parts share.
    objects : Objects
        Names, colours, what is hidden.
    timeline : Timeline
        Gets the facts of each frame.
    on_paint : callable
        ``on_paint(frame, object_id, mask)`` makes a prompt of a mask that was painted on the results.
    """

    def __init__(
        self,
        context: ControllerContext,
        objects: Objects,
        timeline: Timeline,
        on_paint: Callable[[int, int, NDArray[np.bool_]], None],
    ) -> None:
        self._context = context
        self._objects = objects
        self._timeline = timeline
        self._on_paint = on_paint
        self._link: ResultsLink | None = None
        self._read: Callable[[int], Labels] | None = None
        self._results: Callable[[], TrackingResults] | None = None
        self._blank = np.zeros(context.view.geometry.size, np.uint16)
        self._path: Path | None = None
        self._style: tuple[Any, ...] | None = None
        self._exporter = Exporter(context.session, context.events)

    # -- layers ------------------------------------------------------------------------------------------

    @property
    def layer(self) -> Any:
        """The Labels layer of the results; None when it was deleted or is not there yet."""
        return None if self._link is None else self._link.layer

    def ensure_layer(self) -> Any:
        """Return the Labels layer of the results, adding it when there is none."""
        return (self._link or self._show_on(None)).layer

    def labels(self, frame: int) -> Labels:
        """Return the label image (H, W) that is shown on a frame; do not change it."""
        return self._saved(frame) if self._link is None else self._link.array.frame(frame)

    def mask(self, frame: int, object_id: int) -> NDArray[np.bool_] | None:
        """Return the visible part of an object's mask (H, W) on a frame; None when nothing is seen of it."""
        mask: NDArray[np.bool_] = self.labels(frame) == object_id
        return mask if mask.any() else None

    def add_tracks(self) -> Future[Any]:
        """Add a Tracks layer with the centroids of all objects and their divisions; the future gives the layer."""
        name = f"SAM 2 tracks – {self._context.view.image.name}"
        return self._start("tracks", tracks_array, lambda rows: self._show_tracks(rows, name))

    # -- numbers and files -------------------------------------------------------------------------------

    def measure(self) -> Future[list[dict[str, Any]]]:
        """Measure area, position, scores … of every object on every frame; the future gives rows of a table."""
        return self._start("measurements", lambda results: list(measurements(results)))

    def export(
        self, name: str, path: str | Path | None = None, overwrite: Overwrite = False, **options: Any
    ) -> Future[Path]:
        """Write the results in a format of :data:`napari_sam2.formats.FORMATS`.

        Parameters
        ----------
        name : str
            "tiff", "coco", "ctc", "csv", "mp4" …
        path : path, optional
            By default in the folder ``exports`` of the project. Written in a thread of its own; see
            ``events.export`` for the progress.
        overwrite : bool or "confirmed"
            Replace an earlier export; "confirmed": any file, because the user was asked about it.
        **options
            Of the format.

        Returns
        -------
        Future
            Gives the path that was written.

        Raises
        ------
        ValueError
            There is no such format.
        """
        form = export_format(name)

        def write(results: TrackingResults) -> Path:
            folder = Path.cwd() / "exports" if self._path is None else exports_folder(self._path)
            target = Path(path) if path is not None else folder / form.file_name
            target.parent.mkdir(parents=True, exist_ok=True)
            return form.write(results, target, overwrite=overwrite, **options)

        return self._start(form.file_name, write)

    def cancel_exports(self) -> None:
        """Give up the files that are being written; nothing half written stays."""
        self._exporter.cancel()

    # -- for the controller ------------------------------------------------------------------------------

    def open(self, opened: SessionOpened) -> None:
        """Show the results of a session from now on."""
        self._read, self._results, self._path = opened.labels, opened.results, opened.project.path
        if self._link is not None:
            self._link.set_project(self._path)
            self._link.forget()
        elif self._path is not None:
            view = self._context.view
            found = results_layer_of(view.viewer, view.image, view.geometry, self._path)
            if found is not None:
                self._show_on(found)

    def leave(self) -> None:
        """Show nothing until a session is open: the pixels of the image were replaced."""
        self._read = self._results = self._path = None
        if self._link is not None:
            self._link.set_project(None)
            self._link.forget()

    def put(self, shown: FrameResult) -> None:
        """Show new results of a frame."""
        if self._link is None and shown.labels.any():
            self.ensure_layer()
        if self._link is not None:
            self._link.show(shown.frame, shown.labels, shown.frame == self._context.view.frame)
        self._timeline.put_frame(shown.frame, shown.facts)
        self._context.events.results.emit(shown.frame)

    def forget(self) -> None:
        """Read all frames again."""
        if self._link is not None:
            self._link.forget()

    def restyle(self) -> None:
        """Show the objects' colours, and not those that are hidden."""
        if self._link is None:
            return
        objects = self._objects
        style = (objects.colors, objects.hidden)
        if style != self._style:
            self._style = style
            self._link.restyle(*style)
        if objects.active:
            self._link.select(objects.active)

    def layer_removed(self, layer: Any) -> bool:
        """Forget the layer if it was deleted; the results stay and come back with :meth:`ensure_layer`."""
        if self._link is None or self._link.layer is not layer:
            return False
        self._link.close(self._read)
        self._link = None
        return True

    def rebase(self) -> None:
        """Start again with other frames; the old layer stays as it is."""
        self.close()
        self._link = self._read = self._results = None
        self._blank = np.zeros(self._context.view.geometry.size, np.uint16)

    def close(self) -> None:
        """Stop listening; the layer stays."""
        if self._link is not None:
            self._link.close(self._read)

    # -- inside ------------------------------------------------------------------------------------------

    def _show_on(self, layer: Any) -> ResultsLink:
        view = self._context.view
        name = f"SAM 2 objects – {view.image.name}"
        link = ResultsLink(view.viewer, view.image, view.geometry, self._saved, self._on_edit, name, layer)
        self._link = link
        link.set_project(self._path)
        self._style = None
        self.restyle()
        return link

    def _saved(self, frame: int) -> Labels:
        return self._blank if self._read is None else self._read(frame)

    def _on_edit(self, frame: int, labels: Labels) -> None:
        """Make prompts of what was painted; after an error, which is reported, the layer shows what is saved."""
        with self._context.attempt("Painting"):
            try:
                self._take_edit(frame, labels)
            except Exception:
                self.forget()
                raise

    def _take_edit(self, frame: int, labels: Labels) -> None:
        """Make prompts of what was painted, erased or filled on the results."""
        before = self._saved(frame)
        ids = np.unique(np.concatenate([before[before != labels], labels[before != labels]]))
        locked = self._objects.locked
        changed = [int(i) for i in ids if i > 0 and int(i) not in locked]
        if locked & {int(i) for i in ids}:
            self._context.report(
                "Painting", "a locked object cannot be painted: unlock it in the table of objects first"
            )
            self.forget()
        with self._context.session.undo_group(f"Paint on frame {frame}"):
            for object_id in changed:
                self._on_paint(frame, object_id, labels == object_id)

    def _start(
        self,
        name: str,
        function: Callable[[TrackingResults], Any],
        finish: Callable[[Any], Any] = lambda value: value,
    ) -> Future[Any]:
        """Run a function with the results beside all other work, then ``finish`` in this thread."""
        done: Future[Any] = Future()

        def begin(asked: Future[TrackingResults]) -> None:
            try:
                self._exporter.start(name, asked.result(), function).add_done_callback(end)
            except Exception as error:
                done.set_exception(error)

        def end(written: Future[Any]) -> None:
            try:
                done.set_result(finish(written.result()))
            except Exception as error:
                if not isinstance(error, ExportCancelled):
                    self._context.report(f"Writing {name}", str(error))
                done.set_exception(error)

        read = self._results
        # Read in its turn, so that what was asked for before is part of it.
        asked = self._context.session.call(f"Writing {name}", lambda session: read and read())
        asked.add_done_callback(begin)
        return done

    def _show_tracks(self, rows: NDArray[np.float64], name: str) -> Any:
        """Add a layer for rows of (object id, frame, y, x)."""
        view = self._context.view
        if not len(rows):
            raise ValueError("there are no tracks yet: click on an object and propagate it first")
        places = np.concatenate([view.geometry.to_data(int(t), [(x, y)]) for _, t, y, x in rows])
        data = np.concatenate([rows[:, :1], places], axis=1)
        shown = set(rows[:, 0])  # the graph may name no other tracks
        infos = [info for i, info in self._objects.infos.items() if i in shown]
        return view.viewer.add_tracks(data, graph=lineage_graph(infos), name=name, **placement_of(view.image))
