"""Memories of an object, and the policy that chooses which of them are recalled for a frame.

Counterpart in the reference: the middle of ``SAM2Base._prepare_memory_conditioned_features`` and
``select_closest_cond_frames``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Memory = TypeVar("Memory")


@dataclass(frozen=True)
class Recall:
    """Frames whose memories are recalled, and their ages.

    Parameters
    ----------
    spatial : tuple of (age, frame)
        Frames whose spatial memory is read; age 0 is a conditioning memory, 1 is the most recent one.
    pointers : tuple of (distance, frame)
        Frames whose object pointer is read, with their distance in frames in the direction of travel.
    span : int
        The largest distance the network distinguishes; distances are divided by it.
    """

    spatial: tuple[tuple[int, int], ...]
    pointers: tuple[tuple[int, int], ...]
    span: int

    def __bool__(self) -> bool:
        return bool(self.spatial)


class MemoryPolicy(Protocol):
    """Chooses what is recalled. Another policy is one class with these three methods."""

    def recall(
        self, frame: int, reverse: bool, conditioning: list[int], usable: Callable[[int], bool], length: int
    ) -> Recall:
        """Choose memories for ``frame``.

        Parameters
        ----------
        frame : int
            The frame that is about to be segmented.
        reverse : bool
            The direction of travel.
        conditioning : list of int
            The conditioning frames that may be recalled, in order.
        usable : callable
            Tells of any other frame whether it left a memory that may be recalled.
        length : int
            The number of frames of the video.
        """
        ...

    @property
    def spatial_reach(self) -> int:
        """Number of frames back that spatial memories of tracked frames can be recalled."""
        ...

    @property
    def pointer_reach(self) -> int:
        """Number of frames back that pointers of tracked frames can be recalled."""
        ...


@dataclass(frozen=True)
class RecencyPolicy:
    """All conditioning frames and the most recent tracked ones, as SAM 2 does.

    Parameters
    ----------
    memories : int
        Spatial memories of the network (7 in the released models): conditioning ones share one slot.
    pointers : int
        Most pointers of the network (16 in the released models).
    max_conditioning : int
        Most conditioning frames to recall, the nearest; -1 for all.
    stride : int
        Distance between recalled recent frames.
    """

    memories: int = 7
    pointers: int = 16
    max_conditioning: int = -1
    stride: int = 1

    @property
    def spatial_reach(self) -> int:
        """Number of frames back that spatial memories of tracked frames can be recalled."""
        return max(1, (self.memories - 1) * self.stride + 1)

    @property
    def pointer_reach(self) -> int:
        """Number of frames back that pointers of tracked frames can be recalled."""
        return self.pointers - 1

    def recall(
        self, frame: int, reverse: bool, conditioning: list[int], usable: Callable[[int], bool], length: int
    ) -> Recall:
        """Choose memories for ``frame``; see :class:`MemoryPolicy`."""
        if self.memories == 0:
            return Recall((), (), 1)
        selected = self._nearest(frame, conditioning)
        left_over = set(conditioning) - set(selected)

        def readable(other: int) -> bool:
            # A conditioning frame that was not selected stands in as a tracked one.
            return 0 <= other < length and (other in left_over or (other not in selected and usable(other)))

        recent = [(age, f) for age, f in self._recent(frame, reverse) if readable(f)]
        direction = -1 if reverse else 1
        most = min(length, self.pointers)
        past = [((frame - f) * direction, f) for f in selected if (frame - f) * direction >= 0]
        past += [(d, frame - d * direction) for d in range(1, most) if readable(frame - d * direction)]
        return Recall(tuple((0, f) for f in selected) + tuple(recent), tuple(past), max(1, most - 1))

    def _recent(self, frame: int, reverse: bool) -> list[tuple[int, int]]:
        # Oldest first; with a stride, older memories lie on multiples of it (so that they are shared).
        out = []
        for age in range(self.memories - 1, 0, -1):
            if age == 1:
                other = frame + 1 if reverse else frame - 1
            elif reverse:
                other = -(-(frame + 2) // self.stride) * self.stride + (age - 2) * self.stride
            else:
                other = (frame - 2) // self.stride * self.stride - (age - 2) * self.stride
            out.append((age, other))
        return out

    def _nearest(self, frame: int, conditioning: list[int]) -> list[int]:
        if self.max_conditioning == -1 or len(conditioning) <= self.max_conditioning:
            return list(conditioning)
        cut = bisect_left(conditioning, frame)
        chosen = conditioning[cut - 1 : cut] if cut else []
        chosen = chosen + conditioning[cut : cut + 1]
        others = sorted((f for f in conditioning if f not in chosen), key=lambda f: abs(f - frame))
        return chosen + others[: self.max_conditioning - len(chosen)]


@dataclass(frozen=True)
class LastFramePolicy:
    """Only the last frame (the next, in reverse), else the nearest conditioning one: for networks without memory.

    Parameters
    ----------
    spatial_reach : int
        How many frames back the last one may lie: others between may be unreadable.
    pointer_reach : int
        Nothing is read from pointers.
    """

    spatial_reach: int = 8
    pointer_reach: int = 0

    def recall(
        self, frame: int, reverse: bool, conditioning: list[int], usable: Callable[[int], bool], length: int
    ) -> Recall:
        """Choose the memory for ``frame``; see :class:`MemoryPolicy`."""
        step = 1 if reverse else -1
        last = [frame + step * distance for distance in range(1, self.spatial_reach + 1)]
        near = (other for other in last if other in conditioning or (0 <= other < length and usable(other)))
        nearest = sorted(conditioning, key=lambda other: abs(other - frame))
        chosen = next(near, None) if not nearest else next(near, nearest[0])
        return Recall(() if chosen is None else ((1, chosen),), (), 1)


class MemoryBank(Generic[Memory]):
    """The memories of one object that are in RAM: all conditioning ones and a window of recent ones.

    Parameters
    ----------
    policy : MemoryPolicy
        Chooses what is recalled.
    length : int
        The number of frames of the video.
    """

    def __init__(self, policy: MemoryPolicy, length: int) -> None:
        self.policy = policy
        self.length = length
        self._conditioning: list[int] = []
        self._memories: dict[int, Memory] = {}

    @property
    def conditioning(self) -> list[int]:
        """Conditioning frames, in order."""
        return list(self._conditioning)

    @property
    def frames(self) -> list[int]:
        """Frames whose memory is in RAM, in order."""
        return sorted(self._memories)

    def is_conditioning(self, frame: int) -> bool:
        """Return whether a frame conditions."""
        cut = bisect_left(self._conditioning, frame)
        return cut < len(self._conditioning) and self._conditioning[cut] == frame

    def add(self, frame: int, memory: Memory, conditioning: bool = False) -> None:
        """Add the memory of a frame, in place of an earlier one."""
        self._memories[frame] = memory
        self.mark(frame, conditioning)

    def mark(self, frame: int, conditioning: bool) -> None:
        """Set whether a frame conditions, without touching its memory (which may have been evicted)."""
        if conditioning and not self.is_conditioning(frame):
            insort(self._conditioning, frame)
        elif not conditioning and self.is_conditioning(frame):
            self._conditioning.remove(frame)

    def get(self, frame: int) -> Memory | None:
        """Return the memory of a frame, or None when it is not in RAM."""
        return self._memories.get(frame)

    def forget(self, frame: int) -> None:
        """Drop a frame entirely."""
        self._memories.pop(frame, None)
        self.mark(frame, False)

    def neighbours(self, frame: int) -> tuple[int | None, int | None]:
        """Return the nearest conditioning frames before and after a frame."""
        cut = bisect_left(self._conditioning, frame)
        after = cut + 1 if self.is_conditioning(frame) else cut
        before_frame = self._conditioning[cut - 1] if cut else None
        return before_frame, self._conditioning[after] if after < len(self._conditioning) else None

    def read(
        self,
        frame: int,
        reverse: bool = False,
        usable: Callable[[int], bool] | None = None,
        own: bool = True,
    ) -> Recall:
        """Choose what is recalled for a frame.

        Parameters
        ----------
        frame : int
            The frame that is about to be segmented.
        reverse : bool
            The direction of travel.
        usable : callable, optional
            Tells of a tracked frame whether it may be recalled; by default those in RAM may.
        own : bool
            Whether the frame's own conditioning memory may be recalled.
        """
        conditioning = self.conditioning if own else [f for f in self._conditioning if f != frame]
        check = self._memories.__contains__ if usable is None else usable
        return self.policy.recall(frame, reverse, conditioning, check, self.length)

    def evict(self, frame: int, reverse: bool = False) -> list[int]:
        """Drop the memories of tracked frames that lie outside the window around a frame.

        Returns
        -------
        list of int
            The frames that were dropped; conditioning frames never are.
        """
        reach = max(self.policy.spatial_reach, self.policy.pointer_reach)
        low, high = (frame, frame + reach) if reverse else (frame - reach, frame)
        gone = [f for f in self._memories if not low <= f <= high and not self.is_conditioning(f)]
        for f in gone:
            del self._memories[f]
        return gone
