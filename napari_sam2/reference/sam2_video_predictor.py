"""Meta's ``SAM2VideoPredictor`` over a :class:`~napari_sam2.session.VideoSession`."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from napari_sam2.model.sam2 import Sam2
from napari_sam2.model.tensors import NO_OBJECT_LOGIT
from napari_sam2.model.weights.meta_yaml import read_inference_switches
from napari_sam2.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from napari_sam2.reference.hydra_overrides import parse_overrides, session_settings
from napari_sam2.reference.inference_state import InferenceState
from napari_sam2.reference.load_video import video_frames
from napari_sam2.reference.network import Device, build_sam2, model_name
from napari_sam2.reference.predictor_attributes import PredictorAttributes, state_options
from napari_sam2.session.frame_output import ObjectOutput
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.tensors import non_overlapping
from napari_sam2.session.video import VideoSession

FrameOutput = tuple[int, list[Hashable], Tensor]


class SAM2VideoPredictor(PredictorAttributes):
    """Segment and follow objects in videos, with Meta's names, arguments and return types.

    Use :func:`build_sam2_video_predictor` to make one.

    Parameters
    ----------
    sam_model : Sam2
        From :func:`build_sam2`.
    fill_hole_area : int
        Holes of at most this many low-resolution pixels are filled. Works on every device.
    non_overlap_masks : bool
        Give every pixel to at most one object in what is returned.
    clear_non_cond_mem_around_input : bool
        Forget tracked frames near a prompted one.
    add_all_frames_to_correct_as_cond : bool
        Corrections condition, and so stick.
    **kwargs : Any
        Other fields of :class:`~napari_sam2.session.SessionOptions`.
    """

    def __init__(
        self,
        sam_model: Sam2,
        fill_hole_area: int = 0,
        non_overlap_masks: bool = False,
        clear_non_cond_mem_around_input: bool = False,
        add_all_frames_to_correct_as_cond: bool = False,
        **kwargs: Any,
    ) -> None:
        self.model = sam_model
        self.options = SessionOptions.reference(
            fill_hole_area=fill_hole_area,
            non_overlap=non_overlap_masks,
            forget_around_prompts=clear_non_cond_mem_around_input,
            corrections_condition=add_all_frames_to_correct_as_cond,
            **kwargs,
        )

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> SAM2VideoPredictor:
        """Build a predictor from a hub repository; arguments go to the builder."""
        return build_sam2_video_predictor_hf(model_id, **kwargs)

    def init_state(
        self,
        video_path: Any,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> InferenceState:
        """Begin with a video; frames are read when they are needed, and none are kept.

        Parameters
        ----------
        video_path : path, array or FrameSource
            A folder of JPEGs, a video file, an array with time first (numpy, dask, zarr), or any frame source.
        offload_video_to_cpu, async_loading_frames : bool
            Accepted; there is no loaded video that they could concern.
        offload_state_to_cpu : bool
            Keep memories in main memory.
        """
        options = self.options
        if torch.is_autocast_enabled(self.device.type):
            options = replace(options, precision="fast")
        elif options.precision == "auto" and self.model.compute_dtype == torch.float32:
            options = replace(options, precision="exact")
        options = replace(options, offload_memories=offload_state_to_cpu or options.offload_memories)
        return InferenceState(VideoSession(self.model, video_frames(video_path), options))

    def add_new_points_or_box(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: Hashable,
        points: ArrayLike | Tensor | None = None,
        labels: ArrayLike | Tensor | None = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: ArrayLike | Tensor | None = None,
    ) -> FrameOutput:
        """Add clicks, or a box, of one object on one frame.

        Parameters
        ----------
        inference_state : InferenceState
            From :meth:`init_state`.
        frame_idx : int
            The frame.
        obj_id : hashable
            The object; a new id adds an object.
        points : array_like, optional
            (N, 2), x and y in pixels of the video.
        labels : array_like, optional
            (N,), 1 positive and 0 negative.
        clear_old_points : bool
            Forget earlier clicks on this frame; a box demands it.
        normalize_coords : bool
            Coordinates are pixels; False: they are fractions of the frame.
        box : array_like, optional
            x0, y0, x1, y1.

        Returns
        -------
        frame_idx : int
            The frame.
        obj_ids : list
            All objects.
        video_res_masks : Tensor
            (N, 1, H, W) logits of all objects on this frame, -1024 where there is nothing yet.
        """
        if (points is not None) != (labels is not None):
            raise ValueError("points and labels must be provided together")
        if points is None and box is None:
            raise ValueError("at least one of points or box must be provided as input")
        if box is not None and not clear_old_points:
            raise ValueError("a box comes before any point: use clear_old_points=True with a box")
        session = self._session(inference_state)
        scale = (1.0, 1.0) if normalize_coords else (float(session.size[1]), float(session.size[0]))
        clicks, corners = _clicks(points, labels, scale)
        prompt = Prompt(clicks, corners if box is None else _box(box, scale))
        known = inference_state.known_id(obj_id)
        earlier = session.prompts.get((frame_idx, known)) if known is not None else None
        if not clear_old_points and earlier is not None and earlier.mask is None:
            prompt = Prompt(earlier.points + prompt.points, prompt.box or earlier.box)
        return self._set_prompt(inference_state, frame_idx, obj_id, prompt)

    def add_new_points(self, *args: Any, **kwargs: Any) -> FrameOutput:
        """Old name of :meth:`add_new_points_or_box`."""
        return self.add_new_points_or_box(*args, **kwargs)

    def add_new_mask(
        self, inference_state: InferenceState, frame_idx: int, obj_id: Hashable, mask: ArrayLike | Tensor
    ) -> FrameOutput:
        """Add a mask (H, W) of one object on one frame, in place of earlier clicks there.

        Returns are those of :meth:`add_new_points_or_box`.
        """
        prompt = Prompt(mask=MaskPrompt.from_array(_array(mask)))
        return self._set_prompt(inference_state, frame_idx, obj_id, prompt)

    def propagate_in_video(
        self,
        inference_state: InferenceState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[FrameOutput]:
        """Carry all objects through the video, as a generator.

        Parameters
        ----------
        inference_state : InferenceState
            From :meth:`init_state`.
        start_frame_idx : int, optional
            By default the earliest conditioning frame.
        max_frame_num_to_track : int, optional
            How many frames to go beyond the first; by default to the end.
        reverse : bool
            Go backwards.

        Yields
        ------
        frame_idx, obj_ids, video_res_masks
            As :meth:`add_new_points_or_box` returns them.
        """
        session = self._session(inference_state)
        if not session.object_ids:
            raise RuntimeError(
                "No input points or masks are provided for any object; please add inputs first."
            )
        session.commit()
        first = self._first_conditioning(inference_state)
        start = first if start_frame_idx is None else start_frame_idx
        count = len(session.frames) if max_frame_num_to_track is None else max_frame_num_to_track
        if reverse and start == 0:
            return
        stop = max(start - count, 0) if reverse else min(start + count, len(session.frames) - 1)
        for step in session.steps(start, stop, reverse):
            yield self._output(inference_state, step.frame, step.outputs)

    def clear_all_prompts_in_frame(
        self, inference_state: InferenceState, frame_idx: int, obj_id: Hashable, need_output: bool = True
    ) -> FrameOutput | None:
        """Take back all prompts of one object on one frame; its result there stays, as a tracked one."""
        internal = inference_state.known_id(obj_id)
        if internal is None:
            raise ValueError(f"object {obj_id!r} does not exist; there are {inference_state.obj_ids}")
        session = self._session(inference_state)
        if (frame_idx, internal) in session.prompts:
            session.clear_prompt(frame_idx, internal)
        return self._newest(inference_state, frame_idx) if need_output else None

    def remove_object(
        self,
        inference_state: InferenceState,
        obj_id: Hashable,
        strict: bool = False,
        need_output: bool = True,
    ) -> tuple[list[Hashable], list[tuple[int, Tensor]]]:
        """Remove an object.

        Returns
        -------
        obj_ids : list
            The objects that remain.
        updated_frames : list of (frame_idx, video_res_masks)
            The remaining objects' masks on frames where the object had prompts.
        """
        internal = inference_state.known_id(obj_id)
        if internal is None:
            if strict:
                raise RuntimeError(
                    f"Cannot remove object id {obj_id!r} as it doesn't exist. "
                    f"All existing object ids: {inference_state.obj_ids}."
                )
            return inference_state.obj_ids, []
        frames = sorted({f for f, i in self._session(inference_state).prompts if i == internal})
        inference_state.drop(obj_id)
        if not need_output or not inference_state.obj_ids:
            return inference_state.obj_ids, []
        return inference_state.obj_ids, [(f, self._newest(inference_state, f)[2]) for f in frames]

    def reset_state(self, inference_state: InferenceState) -> None:
        """Remove all objects; what is known about the frames stays."""
        for obj_id in inference_state.obj_ids:
            inference_state.drop(obj_id)

    def _session(self, state: InferenceState) -> VideoSession:
        """Return the session of a state, which from now on follows what was set on this predictor."""
        state.session.change_options(state_options(self.options, state.session.options))
        return state.session

    @torch.inference_mode()
    def _output(self, state: InferenceState, frame: int, outputs: Mapping[int, ObjectOutput]) -> FrameOutput:
        session = self._session(state)
        rows = [state.known_id(obj_id) for obj_id in state.obj_ids]
        logits = torch.full((len(rows), *session.size), NO_OBJECT_LOGIT, device=session.runner.device)
        for row, internal in enumerate(rows):
            output = None if internal is None else outputs.get(internal)
            if output is not None:
                logits[row] = session.frame_logits([output])[0]
        if session.options.non_overlap:
            logits = non_overlapping(logits)
        return frame, state.obj_ids, logits[:, None]

    def _newest(self, state: InferenceState, frame: int) -> FrameOutput:
        session = state.session
        outputs = {i: session.output(frame, i) for i in session.object_ids}
        return self._output(state, frame, {i: o for i, o in outputs.items() if o is not None})

    def _set_prompt(self, state: InferenceState, frame: int, obj_id: Hashable, prompt: Prompt) -> FrameOutput:
        is_new = state.known_id(obj_id) is None
        try:
            self._session(state).set_prompt(frame, state.session_id(obj_id), prompt)
        except Exception:
            if is_new:
                state.drop(obj_id)
            raise
        return self._newest(state, frame)

    def _first_conditioning(self, state: InferenceState) -> int:
        firsts = []
        for obj_id in state.obj_ids:
            frames = state.session.conditioning_frames(state.session_id(obj_id))
            if not frames:
                raise RuntimeError(
                    f"No input points or masks are provided for object id {obj_id!r}; please add inputs first."
                )
            firsts.append(frames[0])
        return min(firsts)


def build_sam2_video_predictor(
    config_file: str,
    ckpt_path: str | None = None,
    device: Device = "cuda",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **kwargs: Any,
) -> SAM2VideoPredictor:
    """Build a video predictor (Meta's ``build_sam2_video_predictor``).

    Parameters are those of :func:`build_sam2`; besides:

    Parameters
    ----------
    config_file, ckpt_path, device, mode, hydra_overrides_extra
        See :func:`build_sam2`. What a YAML file says about tracking (``max_cond_frames_in_attn`` and the like) holds,
        too, unless ``apply_postprocessing`` or an override says otherwise.
    apply_postprocessing : bool
        Also make memories of prompted frames from thresholded masks, and fill holes of up to 8 low-resolution pixels.
    vos_optimized : bool
        Accepted; the results are the same.
    **kwargs : Any
        ``memory_dtype`` ("float32" or "bfloat16") sets the precision of memories, which the reference always keeps as
        bfloat16. Anything else is ignored, as in the reference.
    """
    network = build_sam2(config_file, ckpt_path, device, mode, hydra_overrides_extra, apply_postprocessing)
    options: dict[str, Any] = {"memory_dtype": kwargs.get("memory_dtype", "auto")}
    if Path(config_file).is_file():
        options |= session_settings(read_inference_switches(config_file))
    if apply_postprocessing:
        options |= {"binarize_prompted": True, "fill_hole_area": 8}
    options |= parse_overrides(hydra_overrides_extra).session
    predictor = SAM2VideoPredictor(network)
    predictor.options = SessionOptions.reference(**options)
    return predictor


def build_sam2_video_predictor_hf(model_id: str, **kwargs: Any) -> SAM2VideoPredictor:
    """Build a video predictor from a hub repository (Meta's ``build_sam2_video_predictor_hf``).

    Parameters
    ----------
    model_id : str
        Repository of a released model, such as ``"facebook/sam2.1-hiera-tiny"``; its checkpoint is downloaded once.
    **kwargs : Any
        As for :func:`build_sam2_video_predictor`.

    Returns
    -------
    SAM2VideoPredictor
        With the weights of the repository.
    """
    return build_sam2_video_predictor(model_name(model_id), **kwargs)


def _array(values: ArrayLike | Tensor) -> np.ndarray[Any, Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _clicks(
    points: ArrayLike | Tensor | None, labels: ArrayLike | Tensor | None, scale: tuple[float, float]
) -> tuple[tuple[PointPrompt, ...], BoxPrompt | None]:
    """Read points and labels; corners with labels 2 and 3, which must come first, make a box."""
    if points is None or labels is None:
        return (), None
    xy = _array(points).astype(np.float32)
    if xy.shape[-1:] != (2,):
        raise ValueError(f"points must have shape (N, 2), not {xy.shape}")
    xy = xy.reshape(-1, 2) * np.asarray(scale, np.float32)
    kinds = _array(labels).reshape(-1).tolist()
    if len(xy) != len(kinds):
        raise ValueError(f"{len(xy)} points need as many labels, got {len(kinds)}")
    box = None
    if kinds[:2] == [2, 3]:
        box = BoxPrompt(*(float(v) for v in xy[:2].reshape(-1)))
        xy, kinds = xy[2:], kinds[2:]
    if any(kind not in (0, 1) for kind in kinds):
        raise ValueError(f"labels must be 1 (positive) or 0 (negative), got {kinds}")
    return tuple(PointPrompt(float(x), float(y), bool(k)) for (x, y), k in zip(xy, kinds)), box


def _box(box: ArrayLike | Tensor, scale: tuple[float, float]) -> BoxPrompt:
    corners = _array(box).astype(np.float32).reshape(-1)
    if len(corners) != 4:
        raise ValueError(f"a box has four numbers x0, y0, x1, y1, got {len(corners)}")
    x0, y0, x1, y1 = (float(v) for v in corners * np.asarray(scale * 2, np.float32))
    return BoxPrompt(x0, y0, x1, y1)
