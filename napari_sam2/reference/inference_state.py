"""State of a video predictor: a session, readable with Meta's keys."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from napari_sam2.session.frame_output import ObjectOutput
from napari_sam2.session.protocols import FrameSource, ObjectRecord
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
        if key not in _KEYS:
            raise KeyError(f"{key!r}: this state can be read by {', '.join(_KEYS)}; results are in .session")
        return _KEYS[key](self)

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)

    def _by_index(self, of: Callable[[int], Any]) -> dict[int, Any]:
        """Return something of every object by its index in Meta's state; ``of`` takes the session's id."""
        return {index: of(internal) for index, internal in enumerate(self._ids.values())}

    def _outputs(self, object_id: int) -> dict[str, Any]:
        return {
            "cond_frame_outputs": _FrameOutputs(self.session, object_id, conditioning=True),
            "non_cond_frame_outputs": _FrameOutputs(self.session, object_id, conditioning=False),
        }

    def _point_inputs(self, object_id: int) -> dict[int, dict[str, Tensor]]:
        session = self.session
        found = {f: p for (f, i), p in session.prompts.items() if i == object_id and (p.points or p.box)}
        tensors = {f: session.geometry.points(p.points, p.box) for f, p in found.items()}
        return {f: {"point_coords": xy, "point_labels": labels} for f, (xy, labels) in tensors.items()}

    def _mask_inputs(self, object_id: int) -> dict[int, Tensor]:
        masks = {f: p.mask for (f, i), p in self.session.prompts.items() if i == object_id}
        place = self.session.geometry
        return {f: place.mask_tensor(mask.array()) for f, mask in masks.items() if mask is not None}

    def _tracked(self, object_id: int) -> dict[int, dict[str, bool]]:
        store = self.session.store
        records = {f: store.get(object_id, f) for f in store.frames(object_id)}
        return {f: {"reverse": r.reverse} for f, r in records.items() if r is not None and r.tracked}


_KEYS: dict[str, Callable[[InferenceState], Any]] = {
    "images": lambda s: _Images(s.session.frames, s.session.runner.side, s.session.options.resize),
    "num_frames": lambda s: len(s.session.frames),
    "video_height": lambda s: s.session.size[0],
    "video_width": lambda s: s.session.size[1],
    "device": lambda s: s.session.runner.device,
    "storage_device": lambda s: (
        torch.device("cpu") if s.session.options.offload_memories else s.session.runner.device
    ),
    "offload_state_to_cpu": lambda s: s.session.options.offload_memories,
    "obj_ids": lambda s: s.obj_ids,
    "obj_id_to_idx": lambda s: {obj_id: index for index, obj_id in enumerate(s.obj_ids)},
    "obj_idx_to_id": lambda s: dict(enumerate(s.obj_ids)),
    "output_dict_per_obj": lambda s: s._by_index(s._outputs),
    "point_inputs_per_obj": lambda s: s._by_index(s._point_inputs),
    "mask_inputs_per_obj": lambda s: s._by_index(s._mask_inputs),
    "frames_tracked_per_obj": lambda s: s._by_index(s._tracked),
}


class _FrameOutputs(Mapping[int, dict[str, Tensor]]):
    """Committed results of one object by frame, read from the session's store; changing them changes nothing there."""

    def __init__(self, session: VideoSession, object_id: int, conditioning: bool) -> None:
        self._session, self._object_id, self._conditioning = session, object_id, conditioning

    def _record(self, frame: int) -> ObjectRecord | None:
        record = self._session.store.get(self._object_id, frame)
        return record if record is not None and record.conditioning == self._conditioning else None

    def __getitem__(self, frame: int) -> dict[str, Tensor]:
        record = self._record(frame)
        if record is None:
            raise KeyError(frame)
        output = ObjectOutput.of_record(record)
        return {
            "maskmem_features": self._session.spatial_memory(frame, output)[None],
            "pred_masks": output.logits[None, None],
            "obj_ptr": output.pointer[None],
            "object_score_logits": torch.tensor([[output.object_score]]),
        }

    def __iter__(self) -> Iterator[int]:
        return (f for f in self._session.store.frames(self._object_id) if self._record(f) is not None)

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
