"""The objects of a session by id: those that exist, and those that were removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from napari_sam2.session.frame_writer import FrameWriter
from napari_sam2.session.memory_bank import MemoryBank, MemoryPolicy
from napari_sam2.session.tracked_object import TrackedObject
from napari_sam2.session.validation import positive_object_id


class ObjectTable(Mapping[int, TrackedObject]):
    """Objects by id, in the order in which they were added.

    Parameters
    ----------
    writer : FrameWriter
        Encodes memories; its store holds the objects' records.
    policy : MemoryPolicy
        Chooses which memories are recalled.
    length : int
        The number of frames of the video.
    """

    def __init__(self, writer: FrameWriter, policy: MemoryPolicy, length: int) -> None:
        self.policy = policy
        self.length = length
        self._writer = writer
        self._objects: dict[int, TrackedObject] = {}
        self._removed: set[int] = set()

    def __getitem__(self, object_id: int) -> TrackedObject:
        return self._objects[object_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._objects)

    def __len__(self) -> int:
        return len(self._objects)

    def known(self, object_id: int) -> TrackedObject:
        """Return an object; ValueError when there is none of this id."""
        if object_id not in self._objects:
            state = "was removed from" if object_id in self._removed else "does not exist in"
            raise ValueError(f"object {object_id} {state} this session; it has {list(self._objects)}")
        return self._objects[object_id]

    def known_or_new(self, object_id: int) -> TrackedObject:
        """Return an object, or a new one that :meth:`add` may add; ValueError for an id that can't be used."""
        index = positive_object_id(object_id)
        if index in self._removed:
            raise ValueError(
                f"object {index} was removed from this session: use a new id, or restore_object({index}) first"
            )
        if index in self._objects:
            return self._objects[index]
        return TrackedObject(index, MemoryBank(self.policy, self.length), self._writer)

    def add(self, tracked: TrackedObject) -> None:
        """Add an object; nothing happens when it is there already."""
        self._objects[tracked.object_id] = tracked

    def remove(self, object_id: int) -> None:
        """Remove an object with its records; its id is refused until :meth:`restore`."""
        self.known(object_id)
        self._writer.store.remove_object(object_id)
        del self._objects[object_id]
        self._removed.add(object_id)

    def restore(self, object_id: int) -> None:
        """Allow the id of a removed object to be used again."""
        self._removed.discard(object_id)

    def still_tracked(self, objects: Iterable[TrackedObject]) -> list[TrackedObject]:
        """Return those objects that have neither been removed nor lost their last prompt meanwhile."""
        return [t for t in objects if self._objects.get(t.object_id) is t and t.bank.conditioning]

    def change_policy(self, policy: MemoryPolicy) -> None:
        """Let another policy choose which memories are recalled."""
        self.policy = policy
        for tracked in self._objects.values():
            tracked.bank.policy = policy

    def offload(self) -> None:
        """Move the memories of all objects to main memory."""
        for tracked in self._objects.values():
            tracked.offload()
