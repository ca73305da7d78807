"""Running the network for a session: device, precision, batches of objects, and what to do when memory is short."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam2.model.device import fast_float32, half_precision
from napari_sam2.model.sam1.sam import Sam
from napari_sam2.model.tensors import (
    ImageFeatures,
    MaskCandidates,
    MaskResult,
    MemoryReadout,
    PromptTensors,
    as_float32,
    rows,
)
from napari_sam2.session.embedding_files import EmbeddingFiles
from napari_sam2.session.tensors import image_tensor, longest_side_shape, resize_bytes

if TYPE_CHECKING:
    from napari_sam2.model.sam2 import Sam2
    from napari_sam2.session.options import SessionOptions

Params = ParamSpec("Params")
Out = TypeVar("Out")
Network = TypeVar("Network", bound="Sam2 | Sam")

# Intermediates of larger batches exceed 32 MB, which the C library maps and unmaps on every call.
CPU_OBJECTS_PER_BATCH = 4


class OutOfDeviceMemory(MemoryError):
    """The device has too little memory even for one object at a time."""


class ImageRunner(Generic[Network]):
    """Runs a network on single images without gradients, at the precision and in the batches that fit the device.

    Parameters
    ----------
    model : Sam2 or Sam
        Put into evaluation mode; stays on its device.
    options : SessionOptions
        Precision and batch size.

    Attributes
    ----------
    oom_fallbacks : list of callable
        Called one after the other when the device is out of memory, even for one object; each moves
        something to main memory.
    """

    def __init__(self, model: Network, options: SessionOptions) -> None:
        self.model = model
        model.eval()
        self.device = model.device
        self.side = model.config.image_size
        self.mask_side = model.config.mask_side
        self.options = options
        self.autocast = _autocast_dtype(model, options)
        self.oom_fallbacks: list[Callable[[], None]] = []
        self._batch = options.objects_per_batch or (
            CPU_OBJECTS_PER_BATCH if self.device.type == "cpu" else 2**31
        )

    def encode_image(self, frame: NDArray[np.uint8], resize: str | None = None) -> ImageFeatures:
        """Encode one RGB frame (H, W, 3), unless its embedding is on disk."""
        resize = resize or self.options.resize
        files = self._embedding_files(resize)
        kept = None if files is None else files.get(frame, self.device)
        if kept is None:
            kept = self._encoded(frame, resize)
            if files is not None:
                files.put(frame, kept)
        return kept

    def _embedding_files(self, resize: str) -> EmbeddingFiles | None:
        origin, budget = self.model.origin, self.options.embedding_cache_mb * 2**20
        if origin is None or not budget:
            return None
        way = (origin.sha256, self.side, self.device.type, self.autocast, resize)
        return EmbeddingFiles(" ".join(map(str, way)), budget)

    def _encoded(self, frame: NDArray[np.uint8], resize: str) -> ImageFeatures:
        if isinstance(self.model, Sam):
            resized = resize_bytes(frame, longest_side_shape(frame.shape[0], frame.shape[1], self.side))
            pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].to(self.device)
            return self.run(self.model.encode_image, self.run(self.model.preprocess, pixels))
        image = image_tensor(frame, self.side, resize).to(self.device)
        return self.run(self.model.encode_image, image)

    def condition_on_memory(self, features: ImageFeatures, readout: MemoryReadout | None) -> Tensor:
        """Condition the embedding of a frame on the memories of one object (None: on no memory)."""
        return self.run(self.model.condition_on_memory, features, readout)

    def decode(
        self, embedding: Tensor, features: ImageFeatures, prompts: PromptTensors, multimask: bool
    ) -> MaskCandidates:
        """Decode prompts, as float32."""
        return as_float32(self.run(self.model.decode_masks, embedding, features, prompts, multimask))

    def in_batches(self, work: Callable[[int, int], list[Out]], count: int, batch: int) -> list[Out]:
        """Do ``work(low, high)`` for all of ``count`` rows, in smaller batches when memory runs out."""
        out: list[Out] = []
        while len(out) < count:
            high = min(count, len(out) + batch)
            try:
                out += work(len(out), high)
            except RuntimeError as error:
                if not is_out_of_memory(error) or high - len(out) == 1:
                    raise
                # Stays small from here on: what did not fit once will not fit on the next frame either.
                batch = self._batch = (high - len(out)) // 2
                _empty_device_cache(self.device)
        return out

    def run(self, verb: Callable[Params, Out], *args: Params.args, **kwargs: Params.kwargs) -> Out:
        """Call a verb of the model; when the device is full, offload and try again.

        Raises
        ------
        OutOfDeviceMemory
            When nothing is left to offload.
        """
        remaining = list(self.oom_fallbacks)
        while True:
            try:
                with torch.inference_mode(), self._precision():
                    return verb(*args, **kwargs)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if _batch_of(args) > 1:
                    raise  # a smaller batch is tried first
                if not remaining:
                    raise OutOfDeviceMemory(
                        f"{self.device} has too little memory for this model: use a smaller model or image "
                        "size, close other programs that use it, or choose device='cpu'"
                    ) from error
                remaining.pop(0)()
                _empty_device_cache(self.device)

    @contextmanager
    def _precision(self) -> Iterator[None]:
        kind = self.device.type
        if self.autocast is not None:
            cast: AbstractContextManager[object] = torch.autocast(kind, dtype=self.autocast)
        elif kind in ("cpu", "cuda"):
            # Exact means exact, also inside somebody else's autocast.
            cast = torch.autocast(kind, enabled=False)
        else:
            cast = nullcontext()
        with cast, fast_float32(self.device):
            yield


class ModelRunner(ImageRunner["Sam2 | Sam"]):
    """Runs a network through videos: what :class:`ImageRunner` does, and the verbs that follow objects.

    Parameters
    ----------
    model : Sam2 or Sam
        Put into evaluation mode; stays on its device.
    options : SessionOptions
        Precision and batch size.
    """

    def __init__(self, model: Sam2 | Sam, options: SessionOptions) -> None:
        super().__init__(model, options)
        self.memory_dtype = _memory_dtype(options, self.autocast)

    def use_mask_as_output(self, features: ImageFeatures, mask: Tensor) -> MaskResult:
        """Use a mask (1, 1, side, side) of zeros and ones as the result."""
        return as_float32(self.run(self.model.use_mask_as_output, features, mask.to(self.device)))

    def track(self, features: ImageFeatures, readouts: Sequence[MemoryReadout]) -> list[MaskResult]:
        """Find objects on a frame from what each of them recalls (batch 1 each).

        Objects whose readouts have the same layout share forward passes.

        Returns
        -------
        list of MaskResult
            One for each readout, batch 1 each.
        """
        results: dict[int, MaskResult] = {}
        for alike in _same_layout(readouts):
            results.update(zip(alike, self._track_batch(features, [readouts[r] for r in alike])))
        return [results[row] for row in range(len(readouts))]

    def _track_batch(self, features: ImageFeatures, readouts: list[MemoryReadout]) -> list[MaskResult]:
        def track(low: int, high: int) -> list[MaskResult]:
            embedding = self.condition_on_memory(features, _joined(readouts[low:high], self.device))
            multimask = self.options.multimask(0, tracking=True)
            candidates = self.decode(embedding, features, PromptTensors(batch=high - low), multimask)
            return rows(candidates.best())

        return self.in_batches(track, len(readouts), self._batch)

    def encode_memories(
        self, features: ImageFeatures, logits: Sequence[Tensor], scores: Sequence[float], hard: Sequence[bool]
    ) -> list[Tensor]:
        """Make the spatial memories of objects on one frame.

        Parameters
        ----------
        features : ImageFeatures
            Of the frame.
        logits : sequence of Tensor, shape (h, w)
            Low-resolution logits, one for each object.
        scores : sequence of float
            Object scores.
        hard : sequence of bool
            Remember the thresholded mask instead of probabilities.

        Returns
        -------
        list of Tensor
            (Cm, h/4, w/4) each, in the precision of memories.
        """

        def encode(low: int, high: int) -> list[Tensor]:
            stacked = torch.stack([m.to(self.device) for m in logits[low:high]])[:, None]
            score = torch.tensor(scores[low:high], device=self.device)
            binarize = torch.tensor(hard[low:high], device=self.device)
            memory = self.run(self.model.encode_memory, features, stacked, score, binarize)
            memory = memory.to(self.memory_dtype)
            if self.options.offload_memories:
                memory = memory.cpu()
            return [m.clone() for m in memory]

        # One by one on the CPU: as fast there, and a memory that is rebuilt alone is the same to the last bit.
        return self.in_batches(encode, len(logits), 1 if self.device.type == "cpu" else self._batch)


def _autocast_dtype(model: Sam2 | Sam, options: SessionOptions) -> torch.dtype | None:
    """Return the half precision to compute in, or None for float32."""
    if options.precision == "exact":
        return None
    if model.compute_dtype != torch.float32:
        return model.compute_dtype
    return None if options.precision == "auto" else half_precision(model.device)


def _memory_dtype(options: SessionOptions, autocast: torch.dtype | None) -> torch.dtype:
    if options.memory_dtype == "auto":
        return torch.float32 if autocast is None else torch.bfloat16
    return torch.float32 if options.memory_dtype == "float32" else torch.bfloat16


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device ran out of memory."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error).lower()


def _empty_device_cache(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _batch_of(args: tuple[object, ...]) -> int:
    sizes = [1]
    for arg in args:
        if isinstance(arg, MemoryReadout):
            sizes.append(arg.spatial.shape[0])
        elif isinstance(arg, PromptTensors):
            sizes.append(arg.batch)
        elif isinstance(arg, Tensor) and arg.dim() == 4:
            sizes.append(arg.shape[0])
    return max(sizes)


def _same_layout(readouts: Sequence[MemoryReadout]) -> list[list[int]]:
    groups: dict[tuple[int, int, int], list[int]] = {}
    for row, readout in enumerate(readouts):
        layout = (readout.spatial.shape[1], readout.pointers.shape[1], readout.span)
        groups.setdefault(layout, []).append(row)
    return list(groups.values())


def _joined(readouts: Sequence[MemoryReadout], device: torch.device) -> MemoryReadout:
    return MemoryReadout(
        torch.cat([r.spatial for r in readouts]).to(device),
        torch.cat([r.ages for r in readouts]).to(device),
        torch.cat([r.pointers for r in readouts]).to(device),
        torch.cat([r.distances for r in readouts]).to(device),
        readouts[0].span,
    )
