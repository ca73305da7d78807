"""Options of a session in one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal


@dataclass(frozen=True)
class SessionOptions:
    """Options of a video session: how it computes, remembers and stores.

    The defaults are what users expect: every prompted frame conditions and sticks, a result that still
    answers the current prompts is not computed again, and an object exists from its own first prompt on.
    :meth:`reference` gives the behaviour of Meta's predictor instead.

    Parameters
    ----------
    precision : {"auto", "exact", "fast"}
        ``exact``: float32 throughout. ``fast``: bfloat16 (float16 where that is what the device has).
        ``auto``: as the model was loaded, which is fast on CUDA and exact elsewhere unless you chose.
    memory_dtype : {"auto", "float32", "bfloat16"}
        Precision of the spatial memories; ``auto``: float32 when exact, bfloat16 when fast.
    store_dtype : {"float16", "float32"}
        Precision of stored logits. Masks and memories are derived from logits of this precision.
    resize : {"bicubic", "bilinear"}
        How frames are brought to the network's size: ``bicubic`` as Meta's video predictor does,
        ``bilinear`` (with antialias) as its image predictor does.
    feature_cache_mb : int
        Budget of the cache of image features, in MiB.
    feature_spill_mb : int
        Budget for features that left the cache and wait on disk, in MiB; 0 turns this off.
    embedding_cache_mb : int
        Budget for image features that stay in the user's cache for later sessions, in MiB; 0 keeps none.
    objects_per_batch : int
        Objects that share one forward pass; 0 chooses by device (4 on the CPU, all elsewhere).
    offload_memories : bool
        Keep memories in main memory instead of on the device.
    fill_hole_area : int
        Holes of at most this many low-resolution pixels are filled; 0 fills none.
    clean_area : int
        Holes and pieces of tracked masks that have fewer pixels of the frame are filled and dropped; 0: none. What is
        remembered is not touched by this.
    largest_piece : bool
        Keep only the largest piece of each tracked mask.
    non_overlap : bool
        Give every pixel to at most one object in what is shown; stored masks are not touched by this.
    max_conditioning : int
        How many conditioning frames are recalled, the nearest first; -1 recalls all.
    max_memories : int
        How many spatial memories are recalled, the conditioning ones counting as one; -1: as many as the
        network was trained with.
    memory_stride : int
        Distance between recalled recent memories, in frames.
    corrections_condition : bool
        A prompt on an already tracked frame conditions, too, and so sticks.
    refine : {"prompt", "previous"}
        ``prompt``: the clicks of a prompt are decoded one by one, so a result depends on the prompt
        alone. ``previous``: all clicks at once, together with whatever mask this frame had before.
    start_at_first_prompt : bool
        Do not look for an object before its first prompt (after its last one, in reverse).
    reuse_tracked : bool
        Pass over frames whose stored result still answers the current prompts.
    remember_stale : bool
        Recall results that were tracked before the prompts around them changed.
    forget_around_prompts : bool
        Forget tracked results within the memory window of a prompted frame when it is committed.
    keep_cleared : bool
        When a prompt is cleared, keep its result as if it had been tracked, instead of dropping it.
    binarize_prompted : bool
        Memories of prompted frames are made from the thresholded mask.
    multimask_min_points, multimask_max_points : int
        Prompts of so many points (a box counts as two, no prompt as none) are decoded to three masks, of which the
        best is taken; others to one.
    multimask_tracking : bool
        Also decode three masks where memories are recalled.
    """

    precision: Literal["auto", "exact", "fast"] = "auto"
    memory_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    store_dtype: Literal["float16", "float32"] = "float16"
    resize: Literal["bicubic", "bilinear"] = "bicubic"
    feature_cache_mb: int = 512
    feature_spill_mb: int = 0
    embedding_cache_mb: int = 0
    objects_per_batch: int = 0
    offload_memories: bool = False
    fill_hole_area: int = 0
    clean_area: int = 0
    largest_piece: bool = False
    non_overlap: bool = False
    max_conditioning: int = -1
    max_memories: int = -1
    memory_stride: int = 1
    corrections_condition: bool = True
    refine: Literal["prompt", "previous"] = "prompt"
    start_at_first_prompt: bool = True
    reuse_tracked: bool = True
    remember_stale: bool = False
    forget_around_prompts: bool = False
    keep_cleared: bool = False
    binarize_prompted: bool = True
    multimask_min_points: int = 0
    multimask_max_points: int = 1
    multimask_tracking: bool = True

    def __post_init__(self) -> None:
        _check_choice("precision", self.precision, ("auto", "exact", "fast"))
        _check_choice("memory_dtype", self.memory_dtype, ("auto", "float32", "bfloat16"))
        _check_choice("store_dtype", self.store_dtype, ("float16", "float32"))
        _check_choice("resize", self.resize, ("bicubic", "bilinear"))
        _check_choice("refine", self.refine, ("prompt", "previous"))
        for name in (
            "feature_cache_mb",
            "feature_spill_mb",
            "embedding_cache_mb",
            "objects_per_batch",
            "fill_hole_area",
            "clean_area",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.memory_stride < 1:
            raise ValueError(f"memory_stride must be at least 1, got {self.memory_stride}")
        if self.max_memories != -1 and self.max_memories < 1:
            raise ValueError(f"max_memories must be -1 (all) or at least 1, got {self.max_memories}")
        if self.max_conditioning != -1 and self.max_conditioning < 2:
            raise ValueError(f"max_conditioning must be -1 (all) or at least 2, got {self.max_conditioning}")

    def multimask(self, points: int, tracking: bool) -> bool:
        """Return whether a prompt of ``points`` points is decoded to three masks (reference: ``_use_multimask``)."""
        asked = self.multimask_min_points <= points <= self.multimask_max_points
        return asked and (self.multimask_tracking or not tracking)

    @classmethod
    def reference(cls, **changes: object) -> SessionOptions:
        """Return options that behave as Meta's video predictor, with some of them changed."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise TypeError(
                f"no session option is called {unknown[0]!r}: use one of {', '.join(sorted(known))}"
            )
        base: dict[str, object] = {
            "store_dtype": "float32",
            "corrections_condition": False,
            "refine": "previous",
            "start_at_first_prompt": False,
            "reuse_tracked": False,
            "remember_stale": True,
            "keep_cleared": True,
            "binarize_prompted": False,
        }
        return cls(**(base | changes))  # type: ignore[arg-type]


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
