"""Running the passes of a plan: progress, Ctrl-C between two frames, everything on disk."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

from napari_sam2.cli.errors import CommandError, CommandInterrupted
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.interrupt import InterruptFlag, graceful_interrupt
from napari_sam2.cli.terminal.progress import ProgressBar
from napari_sam2.cli.workflow.plan import Direction, Plan
from napari_sam2.masks import FrameMasks
from napari_sam2.storage.recorded_session import RecordedSession


@dataclass
class Summary:
    """What a run did: which frames, how often, how long it took, and on how many visits each object was seen."""

    covered: set[int] = field(default_factory=set)
    visits: int = 0
    seconds: float = 0.0
    seen: Counter[int] = field(default_factory=Counter)

    @property
    def frames(self) -> int:
        """Number of frames, however often they were visited."""
        return len(self.covered)

    @property
    def rate(self) -> float:
        """Visits per second."""
        return self.visits / self.seconds if self.seconds > 0 else 0.0

    def add(self, other: Summary) -> None:
        """Add what another part of the run did."""
        self.covered |= other.covered
        self.visits += other.visits
        self.seconds += other.seconds
        self.seen.update(other.seen)


def run_plan(session: RecordedSession, plan: Plan, console: Console, exports: Sequence[str] = ()) -> Summary:
    """Do what is left of a plan.

    Raises
    ------
    Interrupted
        The user stopped it; everything up to the last frame is saved.
    """
    summary = Summary()

    def tell() -> None:
        console.note("\nfinishing this frame (press Ctrl-C again to stop at once)")

    plan.save(session.project)
    with graceful_interrupt(tell) as wish:
        for direction in plan.remaining:
            _run_pass(session, plan, direction, console, wish, summary, exports)
            plan = plan.advanced()
            plan.save(session.project)
    return summary


def resume_command(session: RecordedSession, exports: Sequence[str] = ()) -> str:
    """Return what to type to go on."""
    words = ["napari-sam2", "resume", str(session.project.path)]
    return shlex.join(words + (["--export", ",".join(exports)] if exports else []))


def _run_pass(
    session: RecordedSession,
    plan: Plan,
    direction: Direction,
    console: Console,
    wish: InterruptFlag,
    summary: Summary,
    exports: Sequence[str],
) -> None:
    steps, total = _steps(session, plan, direction)
    task = "tracking" if len(plan.passes) == 1 else f"tracking {direction}"
    progress = ProgressBar(console, task, total)
    at = None
    try:
        for masks in steps:
            at = masks.frame
            summary.covered.add(at)
            summary.seen.update({i: int(m.any()) for i, m in zip(masks.object_ids, masks.masks)})
            progress.step(at)
            if wish:
                break
    except Exception as error:
        # An unreadable frame, a full disk: say that nothing is lost, and how to go on when it is mended.
        if at is None:
            raise
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise CommandError(
            f"{reason}; everything up to frame {at} is saved, go on with: {resume_command(session, exports)}"
        ) from error
    finally:
        # Closing the generator ends the action in the project's history; what was done stays.
        if isinstance(steps, Generator):
            steps.close()
        progress.finish()
        summary.visits += progress.done
        summary.seconds += progress.seconds
    if wish:
        raise CommandInterrupted(
            f"stopped after frame {at}; everything up to it is saved. Go on with:\n"
            f"  {resume_command(session, exports)}",
            wish.signal_number,
        )


def _steps(session: RecordedSession, plan: Plan, direction: Direction) -> tuple[Iterator[FrameMasks], int]:
    """Return the frames of a pass, from where it was interrupted, and how many they are."""
    start, stop = plan.frames(direction, session.project)
    reverse = direction == "backward"
    pending = session.pending
    if pending is not None and pending.reverse == reverse and pending.next_frame is not None:
        steps, start = session.resume(), pending.next_frame
    else:
        steps = session.propagate(start, stop, reverse, plan.objects)
    return steps, max(0, (start - stop if reverse else stop - start) + 1)
