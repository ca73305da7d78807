"""State of a video predictor: a session, readable with Meta's keys."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from napari_sam2.session.protocols import FrameSource
from napari_sam2.session.tensors import image_tensor
from napari_sam2.session.video import VideoSession


class InferenceState(Mapping[str, Any]):
    """A video session with Meta's object ids (any hashable value) and the readable keys of Meta's state.

    Parameters
    ----------
    session : VideoSession
        Does the work; its object ids are our own.
    """

    def __init__(self, session: VideoSession) -> None:
        self.session = session
        self._ids: dict[Hashable, int] = {}
        self._last_id = 0

    def session_id(self, obj_id: Hashable) -> int:
        """Return the session's id of an object, a new one when the object is new."""
        if obj_id not in self._ids:
            self._last_id += 1
            self._ids[obj_id] = self._last_id
        return self._ids[obj_id]

    def known_id(self, obj_id: Hashable) -> int | None:
        """Return the session's id of an object, None when there is no such object."""
        return self._ids.get(obj_id)

    def drop(self, obj_id: Hashable) -> None:
        """Remove an object; its id may be used again."""
        internal = self._ids.pop(obj_id)
        if internal in self.session.object_ids:
            self.session.remove_object(internal)

    @property
    def obj_ids(self) -> list[Hashable]:
        """Objects in the order in which they were added."""
        return list(self._ids)

    def __getitem__(self, key: str) -> Any:
        session = self.session
        values: dict[str, Any] = {
            "images": _Images(session.frames, session.runner.side, session.options.resize),
            "num_frames": len(session.frames),
            "video_height": session.size[0],
            "video_width": session.size[1],
            "device": session.runner.device,
            "storage_device": torch.device("cpu")
            if session.options.offload_memories
            else session.runner.device,
            "obj_ids": self.obj_ids,
            "obj_id_to_idx": {obj_id: index for index, obj_id in enumerate(self._ids)},
            "obj_idx_to_id": dict(enumerate(self._ids)),
        }
        if key not in values:
            raise KeyError(f"{key!r}: this state can be read by {', '.join(values)}; results are in .session")
        return values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(
            (
                "images",
                "num_frames",
                "video_height",
                "video_width",
                "device",
                "storage_device",
                "obj_ids",
                "obj_id_to_idx",
                "obj_idx_to_id",
            )
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Images:
    """The network's inputs (3, S, S), made when they are asked for."""

    def __init__(self, frames: FrameSource, side: int, resize: str) -> None:
        self._frames, self._side, self._resize = frames, side, resize

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, frame: int) -> Tensor:
        return image_tensor(self._frames.frame(range(len(self))[frame]), self._side, self._resize)[0]
