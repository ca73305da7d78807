"""Another choice of memories: the three frames before, and three that are spread over the past.

SAM 2 reads the six frames before. Where an object is hidden for longer than that, all six show no object; older ones
still do. Whether it helps depends on the recording: compare both on yours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_sam2 import BoxPrompt, Prompt, VideoSession, load_model, sample_timelapse
from napari_sam2.session import ArrayFrames, Recall, RecencyPolicy


@dataclass(frozen=True)
class SpreadPolicy:
    """Reads ages 1 to 3 as SAM 2 does, and gives the slots of ages 4 to 6 to older frames."""

    usual: RecencyPolicy = field(default_factory=RecencyPolicy)
    older: tuple[int, ...] = (8, 12, 16)

    @property
    def spatial_reach(self) -> int:
        """Number of frames back that spatial memories can be recalled."""
        return max(self.older) + 1

    @property
    def pointer_reach(self) -> int:
        """Number of frames back that pointers can be recalled."""
        return self.usual.pointer_reach

    def recall(
        self, frame: int, reverse: bool, conditioning: list[int], usable: Callable[[int], bool], length: int
    ) -> Recall:
        """Choose memories for ``frame``."""
        chosen = self.usual.recall(frame, reverse, conditioning, usable, length)
        step = 1 if reverse else -1
        spread = {age: frame + step * back for age, back in zip((4, 5, 6), self.older)}
        near = tuple((age, other) for age, other in chosen.spatial if age not in spread)
        far = tuple((age, other) for age, other in spread.items() if 0 <= other < length and usable(other))
        return replace(chosen, spatial=(*near, *far))


def main(folder: Path, frames: int = 14) -> dict[str, VideoSession]:
    """Return the sessions of both policies after tracking."""
    sample, model = sample_timelapse(), load_model("nano")
    sessions = {}
    for name, policy in (("usual", None), ("spread", SpreadPolicy())):
        session = VideoSession(model, ArrayFrames(sample.image[:frames]), policy=policy)
        session.set_prompt(0, 1, Prompt(box=BoxPrompt(*sample.first_sight[1].box)))
        for masks in session.propagate():
            truth = sample.labels[masks.frame] == 1
            both = (masks.of(1) & truth).sum() / max(1, (masks.of(1) | truth).sum())
            print(name, masks.frame, f"{both:.2f}")
        sessions[name] = session
    return sessions


if __name__ == "__main__":
    main(Path())
