"""Prompts and objects, in memory and in the database, every version with its step of undo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_sam2.objects import ObjectInfo, checked_object_id
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.storage.database import Database
from napari_sam2.storage.history import History
from napari_sam2.storage.schema import objects_from_json, objects_to_json, packed, unpacked, whole_number

_OBJECT = -1  # the frame of entries that are objects


class UserState:
    """Prompts and objects as they are now; changes belong to the step of undo that is going on, or to the last one."""

    def __init__(self, database: Database, history: History, frames: int) -> None:
        self._database = database
        self._history = history
        self._frames = frames
        self.problems: dict[str, None] = {}  # in the order in which they were found
        self.revision = 0
        self._prompts: dict[PromptKey, tuple[int, Prompt]] = {}  # with rank: their order
        self._objects: dict[int, ObjectInfo] = {}
        self._in_order = False
        self.reload()
        database.on_rollback, history.when_moved = self.reload, self._reread

    @property
    def prompts(self) -> dict[PromptKey, Prompt]:
        """All prompts by (frame, object id), in the order in which they were made."""
        if not self._in_order:
            self._prompts = dict(sorted(self._prompts.items(), key=lambda item: item[1][0]))
            self._in_order = True
        return {key: prompt for key, (_, prompt) in self._prompts.items()}

    @property
    def objects(self) -> dict[int, ObjectInfo]:
        """All objects that were named, prompted or written, by id in order."""
        return dict(sorted(self._objects.items()))

    def object(self, object_id: int) -> ObjectInfo | None:
        """Return an object; None when it is not known."""
        return self._objects.get(object_id)

    def reload(self) -> None:
        """Read everything again."""
        self.revision += 1
        self._prompts.clear()
        self._objects.clear()
        self._in_order = False
        self._read("1", ())
        self._next_rank = 1 + (self._database.value("SELECT MAX(rank) FROM entry") or 0)

    def _reread(self, step: int) -> None:
        self.revision += 1
        for key in self._database.rows("SELECT frame, object_id FROM entry WHERE step = ?", (step,)):
            self._forget(key)
            self._read("frame = ? AND object_id = ?", key)
            self._in_order = False

    def put_prompt(self, key: PromptKey, prompt: Prompt | None) -> None:
        """Set or (None) delete the prompt of one object on one frame."""
        rank, known = self._prompts.get(key, (self._next_rank, None))
        if known == prompt:
            return
        self._next_rank = max(self._next_rank, rank + 1)
        self._write(key, rank, None if prompt is None else prompt.to_json())
        if prompt is None:
            del self._prompts[key]
        else:
            self._prompts[key] = (rank, prompt)

    def put_prompts(self, prompts: Mapping[PromptKey, Prompt]) -> None:
        """Replace all prompts, and their order."""
        with self._database.transaction():
            for key in self._prompts.keys() - prompts.keys():
                self.put_prompt(key, None)
            for key, prompt in prompts.items():
                self.put_prompt(key, prompt)
            if list(prompts) == list(self.prompts):
                return
            for rank, (key, prompt) in enumerate(prompts.items(), self._next_rank):
                self._write(key, rank, prompt.to_json())
                self._prompts[key] = (rank, prompt)
            self._next_rank += len(prompts)
            self._in_order = False

    def put_object(self, info: ObjectInfo) -> None:
        """Add an object, or change its name, colour and lock."""
        if self._objects.get(info.object_id) == info:
            return
        self._write((_OBJECT, info.object_id), 0, objects_to_json([info])[0])
        self._objects[info.object_id] = info

    def remove_object(self, object_id: int) -> None:
        """Remove an object and its prompts."""
        for key in [k for k in self._prompts if k[1] == object_id]:
            self.put_prompt(key, None)
        if self._objects.pop(object_id, None) is not None:
            self._write((_OBJECT, object_id), 0, None)

    def _write(self, key: PromptKey, rank: int, data: Any) -> None:
        self.revision += 1
        row = (None, None) if data is None else packed(data)
        with self._database.transaction():
            values = (*key, self._history.writing_step(), rank, *row)
            self._database.write("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?)", values)

    def _forget(self, key: PromptKey) -> None:
        if key[0] == _OBJECT:
            self._objects.pop(key[1], None)
        else:
            self._prompts.pop(key, None)

    def _read(self, where: str, values: tuple[Any, ...]) -> None:
        query = f"SELECT frame, object_id, rank, data, checksum FROM current_entry WHERE {where}"
        for frame, object_id, rank, text, checksum in self._database.rows(query, values):
            what = f"the prompt of object {object_id} on frame {frame}"
            try:
                if frame == _OBJECT:
                    what = f"the name or colour of object {object_id}"
                    self._objects |= objects_from_json([dict(unpacked(text, checksum), id=object_id)])
                elif whole_number(frame, "a prompt's frame") >= self._frames:
                    raise ValueError(f"there is no frame {frame}")
                else:
                    prompt = Prompt.from_json(unpacked(text, checksum))
                    self._prompts[frame, checked_object_id(object_id)] = (rank, prompt)
            except (ValueError, TypeError, RecursionError) as error:
                self.problems[f"{what} is damaged: {error}"] = None
