"""Turning the results of one frame into masks, memories and stored records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam2.masks import FrameMasks, cleaned
from napari_sam2.session.feature_cache import FeatureCache
from napari_sam2.session.frame_output import ObjectOutput
from napari_sam2.session.options import SessionOptions
from napari_sam2.session.protocols import Decisions, RecordStore
from napari_sam2.session.runner import ModelRunner
from napari_sam2.session.tensors import InputGeometry, fill_holes, non_overlapping

# Frame-size logits of a crowd on a large frame would take gigabytes.
MASKS_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class FrameWriter:
    """Network, features and store of a session: all that is needed to process results of one frame.

    Parameters
    ----------
    runner : ModelRunner
        Runs the network; its options are those of the session.
    features : FeatureCache
        Image features by frame.
    store : RecordStore
        Where records go.
    geometry : InputGeometry
        Where frames are in the network's input.
    decided : callable
        What the user decided about an object on a frame: an absent one is neither looked for nor recalled, an accepted
        result stays as it is.

    Attributes
    ----------
    unreadable : dict of int to str
        Why frames that propagation came to could not be read.
    """

    runner: ModelRunner
    features: FeatureCache
    store: RecordStore
    geometry: InputGeometry
    decided: Decisions = lambda object_id, frame: None
    unreadable: dict[int, str] = field(default_factory=dict, init=False)

    @property
    def options(self) -> SessionOptions:
        """The options of the session."""
        return self.runner.options

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        return self.geometry.size

    def encode(self, frame: int, outputs: Sequence[ObjectOutput]) -> list[Tensor]:
        """Return the spatial memories of results on one frame."""
        # The reference encodes prompted masks with their holes filled, tracked ones as they are.
        area = self.options.fill_hole_area
        logits = [
            self.geometry.cleared(fill_holes(o.logits, area) if o.prompted else o.logits) for o in outputs
        ]
        hard = [o.prompted and self.options.binarize_prompted for o in outputs]
        scores = [o.object_score for o in outputs]
        return self.runner.encode_memories(self.features.get(frame), logits, scores, hard)

    def write(self, frame: int, outputs: Mapping[int, ObjectOutput]) -> dict[int, NDArray[np.bool_]]:
        """Store results of one frame by object, all or none; return their frame-size masks (H, W)."""
        if not outputs:
            return {}
        rows = dict(zip(outputs, self.masks(list(outputs.values()))))
        dtype = self.options.store_dtype
        self.store.put_frame(frame, {i: (o.record(dtype), rows[i]) for i, o in outputs.items()})
        return rows

    def masks(self, outputs: Sequence[ObjectOutput]) -> NDArray[np.bool_]:
        """Return the frame-size masks (N, H, W) of results of one frame, as they are stored."""
        masks = np.empty((len(outputs), *self.size), bool)
        for low in range(0, len(outputs), MASKS_AT_ONCE):
            part = self.frame_logits(outputs[low : low + MASKS_AT_ONCE])
            masks[low : low + len(part)] = (part > 0).cpu().numpy()
        for row, output in enumerate(outputs):
            if output.given is not None:
                masks[row] = output.given.array()
        return self._cleaned(masks, outputs)

    def _cleaned(self, masks: NDArray[np.bool_], outputs: Sequence[ObjectOutput]) -> NDArray[np.bool_]:
        """Clean tracked masks (N, H, W) in place; the user's answers to prompts stay."""
        area, largest = self.options.clean_area, self.options.largest_piece
        for row, output in enumerate(outputs):
            if not output.prompted:
                masks[row] = cleaned(masks[row], area, largest)
        return masks

    def frame_logits(self, outputs: Sequence[ObjectOutput]) -> Tensor:
        """Return the frame-size logits (N, H, W) of results of one frame, holes filled."""
        logits = torch.stack([o.logits.to(self.runner.device) for o in outputs])
        return self.geometry.frame_logits(fill_holes(logits, self.options.fill_hole_area))

    def frame_masks(
        self,
        frame: int,
        outputs: Mapping[int, ObjectOutput],
        known: Mapping[int, NDArray[np.bool_]] | None = None,
    ) -> FrameMasks:
        """Return results of one frame as the user sees them.

        Parameters
        ----------
        frame : int
            Frame index.
        outputs : mapping of int to ObjectOutput
            Results by object.
        known : mapping of int to ndarray, optional
            Frame-size masks that :meth:`write` has just made of the same results.
        """
        if not outputs:
            return FrameMasks.empty(frame, self.size)
        results = list(outputs.values())
        if self.options.non_overlap:
            logits = self.frame_logits(results)
            for row, output in enumerate(results):
                if output.given is not None:  # nobody else gets its pixels, and it gets no others
                    given = torch.from_numpy(output.given.array()).to(logits.device)
                    logits[row] = torch.where(given, torch.inf, -torch.inf)
            masks = self._cleaned((non_overlapping(logits) > 0).cpu().numpy(), results)
        elif known is not None and set(known) == set(outputs):
            masks = np.stack([known[i] for i in outputs])
        else:
            masks = self.masks(results)
        return FrameMasks(
            frame,
            tuple(outputs),
            masks,
            np.array([o.object_score for o in results], np.float32),
            np.array([o.predicted_iou for o in results], np.float32),
            np.array([o.prompted for o in results], bool),
        )
