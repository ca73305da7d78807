"""What the user said: prompts and objects, in memory and in the database, every version with its step of undo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_sam2.objects import ObjectInfo, checked_object_id
from napari_sam2.prompts import Prompt, PromptKey
from napari_sam2.storage.database import Database
from napari_sam2.storage.schema import objects_from_json, objects_to_json, packed, unpacked, whole_number

_PROMPTS = """
SELECT frame, object_id, rank, data, checksum, MAX(r.step) FROM prompt r JOIN step s ON s.id = r.step
WHERE s.applied AND {where} GROUP BY frame, object_id"""
_OBJECTS = """
SELECT r.id, data, checksum, MAX(r.step) FROM object r JOIN step s ON s.id = r.step
WHERE s.applied AND {where} GROUP BY r.id"""


class UserState:
    """Prompts and objects as they are now; changes are written inside the transaction of the caller.

    Parameters
    ----------
    database : Database
        The open project.
    frames : int
        Number of frames.
    """

    def __init__(self, database: Database, frames: int) -> None:
        self._database = database
        self._frames = frames
        self.problems: list[str] = []
        self._prompts: dict[
            PromptKey, tuple[int, Prompt]
        ] = {}  # with rank: the order in which they were made
        self._objects: dict[int, ObjectInfo] = {}
        self._in_order = True
        self._next_rank = 0
        self.revision = 0
        self.reload()

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
        return {i: self._objects[i] for i in sorted(self._objects)}

    def object(self, object_id: int) -> ObjectInfo | None:
        """Return an object; None when it is not known."""
        return self._objects.get(object_id)

    def reload(self) -> None:
        """Read everything again."""
        self._prompts.clear()
        self._objects.clear()
        self.revision += 1
        for row in self._database.rows(_PROMPTS.format(where=1)):
            self._take_prompt(row)
        for row in self._database.rows(_OBJECTS.format(where=1)):
            self._take_object(row)
        self._in_order = False
        self._next_rank = 1 + (self._database.value("SELECT MAX(rank) FROM prompt") or 0)

    def reread(self, step: int) -> None:
        """Read again what a step changed, after it was undone or redone."""
        self.revision += 1
        keys = self._database.rows("SELECT frame, object_id FROM prompt WHERE step = ?", (step,))
        for key in keys:
            self._prompts.pop(key, None)
            for row in self._database.rows(_PROMPTS.format(where="frame = ? AND object_id = ?"), key):
                self._take_prompt(row)
        self._in_order = self._in_order and not keys
        for (object_id,) in self._database.rows("SELECT id FROM object WHERE step = ?", (step,)):
            self._objects.pop(object_id, None)
            for row in self._database.rows(_OBJECTS.format(where="r.id = ?"), (object_id,)):
                self._take_object(row)

    def put_prompt(self, step: int, key: PromptKey, prompt: Prompt | None) -> None:
        """Set or (None) delete one prompt."""
        known = self._prompts.get(key)
        if (known and known[1]) == prompt:
            return
        self.revision += 1
        if prompt is None:
            self._write_prompt(step, key, 0, None)
            self._prompts.pop(key, None)
            return
        rank = self._next_rank if known is None else known[0]
        self._next_rank = max(self._next_rank, rank + 1)
        self._write_prompt(step, key, rank, prompt)
        self._prompts[key] = (rank, prompt)

    def put_prompts(self, step: int, prompts: Mapping[PromptKey, Prompt]) -> None:
        """Replace all prompts, and their order."""
        for key in [k for k in self._prompts if k not in prompts]:
            self.put_prompt(step, key, None)
        for key, prompt in prompts.items():
            self.put_prompt(step, key, prompt)
        if list(prompts) == list(self.prompts):
            return
        for key, prompt in prompts.items():
            self._write_prompt(step, key, self._next_rank, prompt)
            self._prompts[key] = (self._next_rank, prompt)
            self._next_rank += 1
        self._in_order = False

    def put_object(self, step: int, info: ObjectInfo) -> None:
        """Add an object or change it."""
        self._write_object(step, info.object_id, info)
        self._objects[info.object_id] = info

    def remove_object(self, step: int, object_id: int) -> None:
        """Remove an object and its prompts."""
        for key in [k for k in self._prompts if k[1] == object_id]:
            self.put_prompt(step, key, None)
        if self._objects.pop(object_id, None) is not None:
            self._write_object(step, object_id, None)

    def _write_prompt(self, step: int, key: PromptKey, rank: int, prompt: Prompt | None) -> None:
        row = (None, None) if prompt is None else packed(prompt.to_json())
        self._database.write(
            "INSERT OR REPLACE INTO prompt VALUES (?, ?, ?, ?, ?, ?)", (*key, step, rank, *row)
        )

    def _write_object(self, step: int, object_id: int, info: ObjectInfo | None) -> None:
        self.revision += 1
        row = (None, None) if info is None else packed(objects_to_json([info])[0])
        self._database.write("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?)", (object_id, step, *row))

    def _take_prompt(self, row: tuple[Any, ...]) -> None:
        frame, object_id, rank, text, checksum, _ = row
        if text is None:
            return
        try:
            if whole_number(frame, "a prompt's frame") >= self._frames:
                raise ValueError(f"there is no frame {frame}")
            key = (frame, checked_object_id(object_id))
            self._prompts[key] = (rank, Prompt.from_json(unpacked(text, checksum)))
        except (ValueError, RecursionError) as error:
            self._report(f"the prompt of object {object_id} on frame {frame} is damaged: {error}")

    def _take_object(self, row: tuple[Any, ...]) -> None:
        object_id, text, checksum, _ = row
        if text is None:
            return
        try:
            self._objects.update(objects_from_json([dict(unpacked(text, checksum), id=object_id)]))
        except (ValueError, TypeError, RecursionError) as error:
            self._report(f"name and colour of object {object_id} are damaged: {error}")

    def _report(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
