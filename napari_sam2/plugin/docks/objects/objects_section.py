"""The object table with its buttons."""

# PyQt says of every getter that it may return None.
# mypy: disable-error-code="union-attr"
from __future__ import annotations

from qtpy.QtCore import QEvent, QItemSelection, QItemSelectionModel, QPoint, Qt
from qtpy.QtGui import QColor, QKeyEvent, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QColorDialog, QHeaderView, QMenu, QTableView, QWidget

from napari_sam2.plugin.controller.controller import Controller
from napari_sam2.plugin.docks.objects.objects_delegate import ObjectsDelegate
from napari_sam2.plugin.docks.objects.objects_model import Column, ObjectsModel
from napari_sam2.plugin.docks.parts.actions import Actions
from napari_sam2.plugin.docks.parts.buttons import muted_label, title_label, tool_button
from napari_sam2.plugin.docks.parts.controller_link import events_of
from napari_sam2.plugin.docks.parts.layouts import column, row
from napari_sam2.plugin.docks.parts.shortcuts import tip
from napari_sam2.plugin.docks.parts.theme import Theme
from napari_sam2.plugin.layers.connections import Connections

_EMPTY = "No objects yet. Choose a tool below and click on the first one; “New” starts another."


class ObjectsView(QTableView):
    """A table with columns that fit the font; keys that it does not use go to the viewer."""

    def __init__(self) -> None:
        super().__init__()
        self._n_frames = 0

    def changeEvent(self, event: QEvent | None) -> None:
        """Fit the columns to another font size."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self.fit()

    def fit(self, n_frames: int = 0) -> None:
        """Make every column as wide as its contents; names get the rest."""
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
        header.resizeSection(Column.UNCERTAINTY, width("Uncertainty") + 14)
        header.resizeSection(Column.LOCK, 24)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Handle arrows, F2 and select all; all other keys go to the parent."""
        if event is None:
            return
        own = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Home, Qt.Key.Key_End, Qt.Key.Key_F2)
        if event.key() in own or event.matches(QKeySequence.StandardKey.SelectAll):
            super().keyPressEvent(event)
        else:
            event.ignore()


class ObjectsSection(QWidget):
    """Add, rename, recolour, delete, lock, show alone, select and go to objects."""

    def __init__(self, theme: Theme, actions: Actions) -> None:
        super().__init__()
        self._actions = actions
        self._controller: Controller | None = None
        self._signals = Connections()
        self._selecting = False
        self.model = ObjectsModel()
        self.view = ObjectsView()
        self._delegate = ObjectsDelegate(theme)
        self._empty = muted_label(_EMPTY)
        self._count = muted_label(wrap=False)
        self._make_buttons(theme)
        self._prepare_view()
        self._lay_out()
        self.model.modelReset.connect(self._on_reset)
        self.model.visible_rows = self._visible_rows
        bar = self.view.verticalScrollBar()
        for scrolled in (bar.valueChanged, bar.rangeChanged):
            scrolled.connect(self.model.refresh_soon)
        theme.follow(self.view.viewport().update)

    def show_controller(self, controller: Controller | None) -> None:
        """Show another controller's objects."""
        self._controller = controller
        self.model.show_controller(controller)
        self.view.fit(0 if controller is None else controller.n_frames)
        self._signals.replace(events_of(controller), objects=self._on_objects)
        self._on_reset()
        self.setEnabled(controller is not None)

    # -- widgets -----------------------------------------------------------------------------------------

    def _make_buttons(self, theme: Theme) -> None:
        actions = self._actions
        self.new = tool_button(theme, "plus", "New", tip("new_object"), compact=True)
        self.go = tool_button(
            theme, "target", tip="Show the first frame on which the object has prompts or is seen"
        )
        self.solo = tool_button(theme, "solo", tip=tip("solo"), checkable=True)
        self.lock = tool_button(
            theme,
            "locked",
            tip="Lock: neither prompts nor tracking change the selected objects",
            checkable=True,
        )
        self.delete = tool_button(
            theme,
            "trash",
            tip="Delete the selected objects with their prompts and masks (Delete)\n"
            "The others are not changed. This can be undone.",
        )
        self.new.clicked.connect(lambda: actions.new_object())
        self.go.clicked.connect(lambda: actions.do(lambda c: c.objects.go_to(c.objects.active)))
        self.solo.clicked.connect(lambda: actions.solo())
        self.lock.clicked.connect(lambda on: actions.lock_objects(on))
        self.delete.clicked.connect(lambda: actions.delete_objects())

    def _prepare_view(self) -> None:
        view, actions = self.view, self._actions
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
        view.clicked.connect(lambda index: actions.do(lambda c: self._activate(c, index.row())))

    def _lay_out(self) -> None:
        buttons = row(self.go, self.solo, self.lock, self.delete, spacing=2)
        head = row(title_label("Objects"), self._count, None, buttons, self.new)
        self.setLayout(column(head, self._empty, self.view, stretched=self.view))

    # -- events ------------------------------------------------------------------------------------------

    def _on_objects(self, states: object) -> None:
        self._show_selection()

    def _on_reset(self) -> None:
        self._show_selection()
        count = self.model.rowCount()
        self._count.setText(f"{count}" if count else "")
        self._empty.setVisible(count == 0)
        self.view.setVisible(count > 0)

    def _show_selection(self) -> None:
        """Select the rows of the controller's selected objects."""
        states = self.model.states
        self._selecting = True
        try:
            selection = QItemSelection()
            for row, state in enumerate(states):
                if state.selected or (state.active and not any(s.selected for s in states)):
                    selection.select(self.model.index(row, 0), self.model.index(row, len(Column) - 1))
            self.view.selectionModel().select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
            active = next((row for row, s in enumerate(states) if s.active), -1)
            if active >= 0:
                self.view.selectionModel().setCurrentIndex(
                    self.model.index(active, 0), QItemSelectionModel.SelectionFlag.NoUpdate
                )
        finally:
            self._selecting = False
        affected = [s for s in states if s.selected or s.active]
        self.lock.setChecked(bool(affected) and all(s.locked for s in affected))
        self.solo.setChecked(any(not s.visible for s in states))
        for button in (self.go, self.solo, self.lock, self.delete):
            button.setEnabled(bool(states))

    def _visible_rows(self) -> range:
        first = max(self.view.rowAt(0), 0)
        last = self.view.rowAt(self.view.viewport().height() - 1)
        return range(first, self.model.rowCount() if last < 0 else last + 1)

    def _on_selection(self, *_: object) -> None:
        if not self._selecting and self._controller is not None:
            rows = {i.row() for i in self.view.selectionModel().selectedRows()}
            ids = [s.object_id for row, s in enumerate(self.model.states) if row in rows]
            self._actions.do(lambda c: c.objects.select(ids))

    def _activate(self, controller: Controller, row: int) -> None:
        if row < len(self.model.states):
            controller.objects.active = self.model.states[row].object_id

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
        menu.addAction("Delete", self.delete.click)
        menu.exec(self.view.viewport().mapToGlobal(place))
        menu.deleteLater()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Delete the selected objects on Delete."""
        if event is not None and event.key() == Qt.Key.Key_Delete:
            self._actions.delete_objects()
        elif event is not None:
            event.ignore()
