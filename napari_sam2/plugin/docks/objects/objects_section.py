"""The table of objects with its buttons."""

# PyQt says of every getter that it may return None.
# mypy: disable-error-code="union-attr"
from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QItemSelection, QItemSelectionModel, QPoint, Qt
from qtpy.QtGui import QColor, QKeyEvent, QKeySequence
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QMenu,
    QSizePolicy,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.objects.objects_delegate import ObjectsDelegate
from napari_sam2.plugin.docks.objects.objects_model import Column, ObjectsModel
from napari_sam2.plugin.docks.parts.controller_link import SignalConnections
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import GAP, Theme, muted_label, title_label, tool_button

_EMPTY = "No objects yet. Choose a tool below and click on the first one; “New” starts another."


class ObjectsView(QTableView):
    """A table that leaves keys it does not need to the viewer, and fits its columns to the letters."""

    def __init__(self) -> None:
        super().__init__()
        self._n_frames = 0

    def changeEvent(self, event: QEvent | None) -> None:
        """Fit the columns when the letters change."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self.fit()

    def fit(self, n_frames: int = 0) -> None:
        """Give every column the room that its contents need; names get the rest."""
        header, metrics = self.horizontalHeader(), self.fontMetrics()
        if header is None or header.count() < len(Column):
            return
        self._n_frames = n_frames or self._n_frames
        width = metrics.horizontalAdvance
        self.verticalHeader().setDefaultSectionSize(metrics.height() + 8)
        self.setMinimumHeight(5 * metrics.height())
        header.resizeSection(Column.PROMPTS, width("Prompts") + 12)
        longest = max("Frames", f"{self._n_frames}–{self._n_frames}", key=width)
        header.resizeSection(Column.PRESENT, width(longest) + 14)
        header.resizeSection(Column.DOUBT, width("Doubt") + 14)
        header.resizeSection(Column.LOCK, 24)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Move with the arrows, edit with F2, delete with Delete; everything else is the viewer's."""
        if event is None:
            return
        own = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Home, Qt.Key.Key_End, Qt.Key.Key_F2)
        if event.key() in own or event.matches(QKeySequence.StandardKey.SelectAll):
            super().keyPressEvent(event)
        else:
            event.ignore()


class ObjectsSection(QWidget):
    """Add, rename, recolour, delete, lock, show alone, select, go to.

    Parameters
    ----------
    look : Look
        Icons and colours.
    """

    def __init__(self, look: Theme) -> None:
        super().__init__()
        self._controller: Controller | None = None
        self._listening = SignalConnections()
        self._selecting = False
        self.model = ObjectsModel()
        self.view = ObjectsView()
        self._delegate = ObjectsDelegate(look)
        self._empty = muted_label(_EMPTY)
        self._count = QLabel()
        self._count.setObjectName("sam2Muted")
        self._make_buttons(look)
        self._prepare_view()
        self._lay_out()
        self.model.modelReset.connect(self._on_reset)
        self.model.seen_rows = self._seen_rows
        bar = self.view.verticalScrollBar()
        for moved in (bar.valueChanged, bar.rangeChanged):  # other rows are seen
            moved.connect(self.model.refresh_soon)
        self._listening.to(None)
        look.follow(self.view.viewport().update)

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's objects."""
        self._controller = controller
        self.model.show_controller(controller)
        self.view.fit(0 if controller is None else controller.n_frames)
        self._listening.to(controller, objects=self._on_objects)
        self._on_reset()
        self.setEnabled(controller is not None)

    # -- how it is made ----------------------------------------------------------------------------------

    def _make_buttons(self, look: Theme) -> None:
        self.new = tool_button(look, "plus", "New", tip("new_object"))
        self.new.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.go = tool_button(
            look, "target", tip="Show the first frame on which the object is prompted or seen"
        )
        self.solo = tool_button(look, "solo", tip=tip("solo"), checkable=True)
        self.lock = tool_button(
            look,
            "locked",
            tip="Lock: neither prompts nor tracking change the selected objects",
            checkable=True,
        )
        self.delete = tool_button(
            look,
            "trash",
            tip="Delete the selected objects with prompts and masks (Delete)\n"
            "The others are not touched. Can be undone.",
        )
        self.new.clicked.connect(lambda: self._do(lambda c: c.objects.add()))
        self.go.clicked.connect(lambda: self._do(lambda c: c.objects.go_to(c.objects.active)))
        self.solo.clicked.connect(
            lambda on: self._do(lambda c: c.objects.show_alone(self._chosen() if on else ()))
        )
        self.lock.clicked.connect(lambda on: self._do(lambda c: c.objects.lock(self._chosen(), on)))
        self.delete.clicked.connect(self._delete)

    def _prepare_view(self) -> None:
        view = self.view
        view.setModel(self.model)
        view.setItemDelegate(self._delegate)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        view.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        view.setShowGrid(False)
        view.setWordWrap(False)
        view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(self._show_menu)
        view.verticalHeader().hide()
        header = view.horizontalHeader()
        header.setMinimumSectionSize(20)
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(Column.OBJECT, QHeaderView.ResizeMode.Stretch)
        view.fit()
        view.selectionModel().selectionChanged.connect(self._on_selection)
        view.clicked.connect(lambda index: self._do(lambda c: self._activate(c, index.row())))

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(2)
        row.addWidget(title_label("Objects"))
        row.addWidget(self._count)
        row.addStretch(1)
        for button in (self.go, self.solo, self.lock, self.delete):
            row.addWidget(button)
        row.addSpacing(GAP)
        row.addWidget(self.new)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(4)
        box.addLayout(row)
        box.addWidget(self._empty)
        box.addWidget(self.view, 1)

    # -- what happens ------------------------------------------------------------------------------------

    def _on_objects(self, states: object) -> None:
        self._show_selection()

    def _on_reset(self) -> None:
        self._show_selection()
        count = self.model.rowCount()
        self._count.setText(f"{count}" if count else "")
        self._empty.setVisible(count == 0)
        self.view.setVisible(count > 0)

    def _show_selection(self) -> None:
        """Select in the view what is selected in the controller."""
        states = self.model.states
        self._selecting = True
        try:
            chosen = QItemSelection()
            for row, state in enumerate(states):
                if state.selected or (state.active and not any(s.selected for s in states)):
                    chosen.select(self.model.index(row, 0), self.model.index(row, len(Column) - 1))
            self.view.selectionModel().select(chosen, QItemSelectionModel.SelectionFlag.ClearAndSelect)
            active = next((row for row, s in enumerate(states) if s.active), -1)
            if active >= 0:
                self.view.selectionModel().setCurrentIndex(
                    self.model.index(active, 0), QItemSelectionModel.SelectionFlag.NoUpdate
                )
        finally:
            self._selecting = False
        picked = [s for s in states if s.selected or s.active]
        self.lock.setChecked(bool(picked) and all(s.locked for s in picked))
        self.solo.setChecked(any(not s.visible for s in states))
        for button in (self.go, self.solo, self.lock, self.delete):
            button.setEnabled(bool(states))

    def _seen_rows(self) -> range:
        first = max(self.view.rowAt(0), 0)
        last = self.view.rowAt(self.view.viewport().height() - 1)
        return range(first, self.model.rowCount() if last < 0 else last + 1)

    def _on_selection(self, *_: object) -> None:
        if not self._selecting:
            rows = {i.row() for i in self.view.selectionModel().selectedRows()}
            ids = [s.object_id for row, s in enumerate(self.model.states) if row in rows]
            self._do(lambda c: c.objects.select(ids))

    def _activate(self, controller: Controller, row: int) -> None:
        if row < len(self.model.states):
            controller.objects.active = self.model.states[row].object_id

    def _chosen(self) -> tuple[int, ...]:
        assert self._controller is not None
        objects = self._controller.objects
        return objects.selected or ((objects.active,) if objects.active else ())

    def _delete(self) -> None:
        self._do(lambda c: c.objects.delete(self._chosen()))

    def _recolor(self) -> None:
        controller = self._controller
        if controller is None or not controller.objects.active:
            return
        now = controller.objects.state(controller.objects.active)
        color = QColorDialog.getColor(QColor(*now.color), self, f"Colour of {now.title}")
        if color.isValid():
            controller.objects.recolor(now.object_id, (color.red(), color.green(), color.blue()))

    def _show_menu(self, place: QPoint) -> None:
        index = self.view.indexAt(place)
        if not index.isValid():
            return
        menu = QMenu(self)
        menu.addAction("Go to its first frame", self.go.click)
        menu.addAction("Rename", lambda: self.view.edit(self.model.index(index.row(), 0)))
        menu.addAction("Change colour…", self._recolor)
        menu.addAction("Unlock" if self.lock.isChecked() else "Lock", self.lock.click)
        menu.addAction("Show all" if self.solo.isChecked() else "Show alone", self.solo.click)
        menu.addSeparator()
        menu.addAction("Delete", self._delete)
        menu.exec(self.view.viewport().mapToGlobal(place))
        menu.deleteLater()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Delete the selected objects with Delete while the section has the keyboard."""
        if event is not None and event.key() == Qt.Key.Key_Delete:
            self._delete()
        elif event is not None:
            event.ignore()

    def _do(self, act: Callable[[Controller], object]) -> None:
        if self._controller is not None and not self._controller.closed:
            act(self._controller)
