"""An open project: the parts that the store of a session, the history and the project share."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_sam2.masks import FrameMasks, compose_labels
from napari_sam2.objects import ObjectInfo
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.storage.errors import ProjectDamagedError, ProjectReadOnlyError
from napari_sam2.storage.files.atomic_files import read_file, remove_file, replace_file
from napari_sam2.storage.files.group_attributes import WRITER, Documents
from napari_sam2.storage.schema import ProjectHeader
from napari_sam2.storage.tables.label_stack import LabelStack
from napari_sam2.storage.tables.mask_cache import DecodedMasks
from napari_sam2.storage.tables.mask_table import Entry, FrameTable
from napari_sam2.storage.tables.memory_table import Memories
from napari_sam2.storage.tables.snapshots import State, StateFiles
from napari_sam2.storage.tables.version_index import CellIndex, read_index, write_index
from napari_sam2.storage.tables.versions import Versions

BoolMask = NDArray[np.bool_]
_ANNOUNCED_TOGETHER = 16  # neighbouring frames: the announcement is rarely written anew
_ANNOUNCED_AT_MOST = 64


class Workspace:
    """State of an open project, and the order in which the files of a frame are written.

    Parameters
    ----------
    folder : Path
        The project.
    header : ProjectHeader
        What the root group says.
    writable : bool
        Whether this process holds the right to write.

    Attributes
    ----------
    defers : bool
        Whether what only follows from what is saved already waits for :meth:`tidy`: labels, copies of documents,
        and prompts and objects where people look for them. Somebody waits for a click, and nobody for these.
    """

    def __init__(self, folder: Path, header: ProjectHeader, writable: bool) -> None:
        self.folder = folder
        self.header = header
        self.writable = writable
        self.lock = threading.RLock()
        self.documents = Documents(folder)
        self.states = StateFiles(folder, header.shape[0])
        self.table = FrameTable(folder / "masks", header.shape, cached=writable)
        self.memories = Memories(folder / "memories", header.shape[0])
        self.labels = LabelStack(folder / "labels", header.shape, self.compose, writable, self.lock)
        self.decoded = DecodedMasks()
        self.defers = False
        self.versions = Versions()
        self.saved = Versions()  # as they are on disk: an action may begin in memory
        self.prompts: dict[PromptKey, Prompt] = {}
        self.objects: dict[int, ObjectInfo] = {}
        self.damage: dict[int | None, list[str]] = {}
        self._index: CellIndex | None = None
        self._index_file = folder / WRITER / "index"
        self._announced: frozenset[int] = frozenset()
        self._undrawn: set[int] = set()
        self._unpublished = False
        self._uncopied = False

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return self.header.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        return self.header.shape[1], self.header.shape[2]

    @property
    def index(self) -> CellIndex:
        """Which objects have results where; the first use reads the whole table, or what was noted of it."""
        if self._index is None:
            self._index = read_index(self._index_file, self.table.state())
        if self._index is None:
            self._index = self._scanned()
        return self._index

    def note_index(self) -> None:
        """Write down the index, so that the table need not be read when the project is opened again."""
        if self._index is not None:
            write_index(self._index_file, self.table.state(), self._index)

    def reset_index(self) -> None:
        """Read the whole table now."""
        with self.lock:
            self._index = self._scanned()

    def _scanned(self) -> CellIndex:
        index = CellIndex()
        for frame in self.table.written():
            index.add(frame, self.entries(frame))
        return index

    @property
    def state(self) -> State:
        """What the user said, now."""
        return State(dict(self.prompts), dict(self.objects))

    def adopt(self, state: State) -> None:
        """Make another state of prompts and objects the current one."""
        self.prompts = dict(state.prompts)
        self.objects = dict(state.objects)

    def require_writable(self) -> None:
        """Raise ProjectReadOnlyError when the project was opened for reading or is closed."""
        if not self.writable:
            raise ProjectReadOnlyError(
                f"{self.folder} is open for reading only: open it with mode='a' to change it"
            )

    def checked_frame(self, frame: int) -> int:
        """Return a frame number as int; ValueError when there is no such frame."""
        number = int(frame)
        if not 0 <= number < self.frame_count:
            raise ValueError(f"there is no frame {frame}: this project has {self.frame_count} frames")
        return number

    def report(self, problem: str, frame: int | None = None) -> None:
        """Remember that something is damaged; ``frame`` None: not a frame."""
        known = self.damage.setdefault(frame, [])
        if problem not in known:
            known.append(problem)

    def damage_report(self) -> list[str]:
        """Return what was found damaged, one sentence each."""
        frames = sorted(self.damage, key=lambda f: -1 if f is None else f)
        return [t if f is None else f"frame {f}: {t}" for f in frames for t in self.damage[f]]

    def verified(self) -> Iterator[int]:
        """Yield the frames that have a file, after forgetting what was read before."""
        self.memories.forget_cache()
        self.table.forget_cache()
        self.reset_index()
        yield from self.table.written()

    def entries(self, frame: int) -> tuple[Entry, ...]:
        """Return all versions on a frame; none when they are damaged, which is then reported."""
        try:
            return self.table.read(frame)
        except ProjectDamagedError as error:
            self.report(str(error), frame)
            return ()

    def current(self, entries: Iterable[Entry]) -> dict[int, Entry]:
        """Return the version of each object that counts now, by object id in order."""
        by_object: dict[int, dict[int, Entry]] = {}
        for entry in entries:
            by_object.setdefault(entry.object_id, {})[entry.serial] = entry
        found = {}
        for object_id in sorted(by_object):
            serial = self.versions.current(object_id, by_object[object_id])
            if serial is not None and not by_object[object_id][serial].is_gone:
                found[object_id] = by_object[object_id][serial]
        return found

    def needed(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the versions that some state in reach needs."""
        entries = list(entries)
        serials: dict[int, list[int]] = {}
        for entry in entries:
            serials.setdefault(entry.object_id, []).append(entry.serial)
        kept = {i: self.versions.needed(i, s) for i, s in serials.items()}
        return [e for e in entries if e.serial in kept[e.object_id]]

    def masks(
        self,
        frame: int,
        entries: Iterable[Entry],
        object_ids: Iterable[int] | None = None,
        known: Mapping[int, BoolMask] | None = None,
    ) -> FrameMasks:
        """Return the current masks among ``entries``; those in ``known`` are not decoded again."""
        wanted = None if object_ids is None else set(object_ids)
        rows: list[tuple[Entry, BoolMask]] = []
        for object_id, entry in self.current(entries).items():
            if entry.mask is None or (wanted is not None and object_id not in wanted):
                continue
            try:
                mask = known[object_id] if known and object_id in known else self.decoded.get(entry.mask)
            except ValueError as error:
                self.report(f"object {object_id}: {error}", frame)
                continue
            rows.append((entry, mask))
        return _frame_masks(frame, self.size, rows)

    def compose(self, frame: int) -> NDArray[np.uint16]:
        """Return the labels of a frame, composed from its masks; the smaller object is on top."""
        with self.lock:
            return _labels(self.masks(frame, self.entries(frame)))

    def check_labels(self, frame: int) -> None:
        """Report labels that do not show the masks of their frame, and see to it that they are made anew."""
        with self.lock:
            if not np.array_equal(self.labels.frame(frame), self.compose(frame)):
                self.report("its labels are not those of its masks; they are composed again", frame)
                self.labels.forget(frame)

    def replace(
        self,
        frame: int,
        old: list[Entry],
        new: list[Entry],
        known: Mapping[int, BoolMask] | None = None,
        draw: bool = True,
    ) -> None:
        """Write the entries of a frame, then its labels.

        Parameters
        ----------
        frame : int
            The frame.
        old, new : list of Entry
            Its entries before and after.
        known : mapping of int to ndarray, optional
            Masks at hand, which need not be decoded for the labels.
        draw : bool
            Whether the labels may have changed.
        """
        if draw:
            self._announce(frame)
        self.table.write(frame, new)
        self.damage.pop(frame, None)
        if self._index is not None:
            kept = {(e.object_id, e.serial) for e in new}
            self._index.discard(frame, [e for e in old if (e.object_id, e.serial) not in kept])
            self._index.add(frame, new)
        if not draw:
            return
        opened = self.versions.opened
        if self.defers and opened is not None and opened.whole:
            self._undrawn.add(frame)
            self.labels.forget(frame)
            return
        try:
            self.labels.write(frame, _labels(self.masks(frame, new, known=known)))
        except BaseException:
            self.labels.forget(frame)
            raise

    @property
    def is_quiet(self) -> bool:
        """Whether the action that is going on is known in memory only."""
        return self.versions.opened is not None and self.saved.opened != self.versions.opened

    def _announce(self, frame: int) -> None:
        # Read after a crash only: of these frames the labels may be older than the masks, and there may be masks
        # of an action that was never saved.
        if frame in self._announced:
            return
        first = frame - frame % _ANNOUNCED_TOGETHER
        frames = {*range(first, min(first + _ANNOUNCED_TOGETHER, self.frame_count)), *self._undrawn}
        if self.is_quiet:
            frames |= self._announced
            if len(frames) > _ANNOUNCED_AT_MOST:
                self.save_versions(self.versions)
        replace_file(self.folder / WRITER / "frame", " ".join(map(str, sorted(frames))).encode())
        self._announced = frozenset(frames)

    def interrupted_frames(self) -> list[int]:
        """Return the frames that were written last when the project was not closed properly."""
        words = (read_file(self.folder / WRITER / "frame") or b"").split()
        numbers = [int(word) for word in words if word.isdigit() and len(word) < 18]
        return [frame for frame in numbers if frame < self.frame_count]

    def settle(self) -> None:
        """Say that masks and labels are in step."""
        remove_file(self.folder / WRITER / "frame")
        self._announced = frozenset()

    def save_versions(self, versions: Versions) -> None:
        """Make other versions the ones that count, on disk first."""
        self.states.write_versions(versions)
        self._uncopied = True
        if not self.defers:
            self._copy(versions)
        self.versions = self.saved = versions

    def publish(self) -> None:
        """Write the settled state where people and plain zarr look for it."""
        self._unpublished = True
        if not self.defers:
            self._publish()

    def tidy(self) -> None:
        """Write what could wait; not in the middle of an action."""
        if self.versions.opened is not None or not self.writable:
            return
        for frame in sorted(self._undrawn & self.labels.stale):
            self.labels.refresh(frame)
        self._undrawn.clear()
        if self._uncopied:
            self._copy(self.saved)
        if self._unpublished:
            self._publish()

    def _copy(self, versions: Versions) -> None:
        self.states.copy_versions(versions)
        self._uncopied = False

    def _publish(self) -> None:
        self.states.publish(self.versions.settled, self.state)
        self._unpublished = False


def _labels(masks: FrameMasks) -> NDArray[np.uint16]:
    labels: NDArray[np.uint16] = compose_labels(masks, np.uint16)
    return labels


def _frame_masks(frame: int, size: tuple[int, int], rows: list[tuple[Entry, BoolMask]]) -> FrameMasks:
    if not rows:
        return FrameMasks.empty(frame, size)
    entries = [entry for entry, _ in rows]
    return FrameMasks(
        frame,
        tuple(e.object_id for e in entries),
        np.stack([mask for _, mask in rows]),
        np.array([e.object_score for e in entries], np.float32),
        np.array([e.predicted_iou for e in entries], np.float32),
        np.array([e.prompted for e in entries], bool),
    )
