"""The plan of a tracking run: kept in the project for `resume`, and run pass by pass until it ends or is stopped."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from napari_sam2.cli.errors import CommandError, CommandInterrupted, UsageError
from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.interrupt import InterruptFlag, graceful_interrupt
from napari_sam2.cli.terminal.progress import ProgressBar
from napari_sam2.masks import FrameMasks
from napari_sam2.storage.project import Project

if TYPE_CHECKING:
    from napari_sam2.storage.recorded_session import RecordedSession  # loads torch

Direction = Literal["forward", "backward"]
_SETTING = "track"


@dataclass(frozen=True)
class Plan:
    """Passes through the frames.

    Parameters
    ----------
    passes : tuple of "forward" or "backward"
        Directions, in order.
    first, last : int, optional
        First and last frame (included); None: the ends of the source.
    objects : tuple of int, optional
        Only these objects.
    done : int
        Number of passes that have reached their end.
    """

    passes: tuple[Direction, ...] = ("forward",)
    first: int | None = None
    last: int | None = None
    objects: tuple[int, ...] | None = None
    done: int = 0

    @property
    def remaining(self) -> tuple[Direction, ...]:
        """Passes that have not reached their end."""
        return self.passes[self.done :]

    def advanced(self) -> Plan:
        """Return the plan with one more pass done."""
        return replace(self, done=self.done + 1)

    def frames(self, direction: Direction, project: Project) -> tuple[int, int]:
        """Return (start, stop), both included, of a pass: from the prompts to the end of the range."""
        wanted = [frame for frame, i in project.prompts if self.objects is None or i in self.objects]
        if not wanted:
            raise CommandError("there is nothing to track: none of the objects has a prompt")
        if direction == "forward":
            return min(wanted), project.frame_count - 1 if self.last is None else self.last
        return max(wanted), self.first or 0

    def save(self, project: Project) -> None:
        """Write the plan into the project, in one step."""
        project.save_setting(_SETTING, asdict(self))

    @classmethod
    def load(cls, project: Project) -> Plan | None:
        """Read the plan of a project; None when there is none, or it can't be read."""
        try:
            return cls._parsed(project.setting(_SETTING))
        except (ValueError, TypeError, KeyError):
            return None

    @classmethod
    def _parsed(cls, data: Mapping[str, Any]) -> Plan:
        passes = tuple(data["passes"])
        if not set(passes) <= {"forward", "backward"}:
            raise ValueError("unknown pass")
        objects = data["objects"]
        numbers = {k: None if data[k] is None else int(data[k]) for k in ("first", "last")}
        ids = None if objects is None else tuple(int(i) for i in objects)
        return cls(passes, **numbers, objects=ids, done=int(data["done"]))


def frame_limits(wanted: tuple[int | None, int | None], n_frames: int) -> tuple[int, int]:
    """Return first and last frame (included) of ``--range``."""
    first = wanted[0] or 0
    end = n_frames if wanted[1] is None else wanted[1]
    if first >= n_frames or end > n_frames:
        raise UsageError(f"--range {first}:{end} is outside the source, which has frames 0 to {n_frames - 1}")
    return first, end - 1


@dataclass
class Summary:
    """Result of a run: its frames, number of visits, duration, on how many visits each object was seen.

    ``unreadable``: the frames that were passed over.
    """

    covered: set[int] = field(default_factory=set)
    visits: int = 0
    seconds: float = 0.0
    seen: Counter[int] = field(default_factory=Counter)
    unreadable: set[int] = field(default_factory=set)

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
        self.unreadable |= other.unreadable


def run_plan(session: RecordedSession, plan: Plan, console: Console, exports: Sequence[str] = ()) -> Summary:
    """Run the remaining passes of a plan.

    Raises
    ------
    CommandInterrupted
        The user stopped it; everything up to the last frame is saved.
    """
    summary = Summary()

    plan.save(session.project)
    finishing = "\nfinishing this frame (press Ctrl-C again to stop at once)"
    with graceful_interrupt(lambda: console.note(finishing)) as interrupt:
        for direction in plan.remaining:
            _run_pass(session, plan, direction, console, interrupt, summary, exports)
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
    interrupt: InterruptFlag,
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
            if interrupt:
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
        summary.unreadable |= set(session.unreadable)
        summary.visits += progress.n
        summary.seconds += progress.seconds
    if interrupt:
        raise CommandInterrupted(
            f"stopped after frame {at}; everything up to it is saved. Go on with:\n"
            f"  {resume_command(session, exports)}",
            interrupt.signal_number,
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
