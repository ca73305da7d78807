"""Frames per second and time left: drawn over itself on a terminal, one line a minute elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from napari_sam2.cli.terminal.console import Console

_TERMINAL_SECONDS = 0.1


_MACHINE_SECONDS = 1.0


_LOG_SECONDS = 60.0


_WINDOW = 50


class ProgressBar:
    """Counts steps of a known number and reports them now and then.

    Parameters
    ----------
    console : Console
        Where to report.
    task : str
        What is being done: "tracking", "writing coco".
    total : int
        How many steps there will be.
    unit : str
        What a step is, in the plural.
    per : int
        How many steps make one unit.
    clock : callable
        Gives seconds; for tests.
    """

    def __init__(
        self,
        console: Console,
        task: str,
        total: int,
        unit: str = "frames",
        per: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console
        self.task = task
        self.total = total
        self.done = 0
        self._unit = unit
        self._per = per
        self._clock = clock
        self._begin = self._reported = clock()
        # The last steps only: the first ones load and warm up, and speed may change on the way.
        self._recent: deque[tuple[float, int]] = deque([(self._begin, 0)], maxlen=_WINDOW)
        self._width = 0

    def step(self, frame: int | None = None) -> None:
        """Count one step; ``frame`` is named in the report."""
        self.advance_to(self.done + 1, frame)

    def advance_to(self, done: int, frame: int | None = None) -> None:
        """Say how many steps have been done in all."""
        now = self._clock()
        self.done = done
        self._recent.append((now, self.done))
        if now - self._reported >= self._interval():
            self._reported = now
            self._report(frame)

    def finish(self) -> None:
        """Leave the terminal's line and say how long it took."""
        if self.console.is_terminal and self._width:
            self.console.progress({}, "\r" + " " * self._width, end="\r")
            self._width = 0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._begin

    @property
    def rate(self) -> float:
        """Steps per second of late; 0 before the first."""
        (t0, n0), (t1, n1) = self._recent[0], self._recent[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0

    @property
    def overall_rate(self) -> float:
        """Steps per second since the beginning."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Expected time to the end; None while it can't be told."""
        return max(self.total - self.done, 0) / self.rate if self.rate > 0 else None

    def _interval(self) -> float:
        if self.console.as_json:
            return _MACHINE_SECONDS
        return _TERMINAL_SECONDS if self.console.is_terminal else _LOG_SECONDS

    def _report(self, frame: int | None) -> None:
        left = self.seconds_left
        at = "" if frame is None else f" frame {frame},"
        done, total, rate = (n / self._per for n in (self.done, self.total, self.rate))
        text = f"{self.task}:{at} {done:.0f} of {total:.0f}, {rate_text(rate, self._unit)}"
        text += "" if left is None else f", {duration(left)} left"
        data = {
            "task": self.task,
            "frame": frame,
            "done": self.done,
            "total": self.total,
            "per_second": round(self.rate, 3),
            "seconds_left": None if left is None else round(left, 1),
        }
        if self.console.is_terminal:
            padded = text.ljust(self._width)
            self._width = len(text)
            self.console.progress(data, "\r" + padded, end="")
        else:
            self.console.progress(data, text)


def rate_text(rate: float, unit: str = "frames") -> str:
    """Return a speed with sensible digits: "4.2 frames/s", "0.31 frames/s"."""
    return f"{rate:.1f} {unit}/s" if rate >= 1 else f"{rate:.2g} {unit}/s"


def duration(seconds: float) -> str:
    """Return a duration as "42 s", "3:07 min" or "2:05 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


MEGABYTE = 10**6


class DownloadProgress:
    """Reports bytes as megabytes, now and then.

    Parameters
    ----------
    console : Console
        Where to report.
    name : str
        What is downloaded.
    """

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._progress: ProgressBar | None = None

    def __call__(self, done: int, total: int) -> None:
        """Take the numbers of bytes."""
        if self._progress is None:
            self._console.note(f"downloading {self._name} ({total / MEGABYTE:.0f} MB), once")
            self._progress = ProgressBar(
                self._console, f"downloading {self._name}", total, unit="MB", per=MEGABYTE
            )
        self._progress.advance_to(done)
        if done >= total:
            self._progress.finish()
