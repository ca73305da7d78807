"""Progress of a command: tqdm's bar on a terminal, JSON lines for programs, one line a minute in a log."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable

from tqdm import tqdm

from napari_sam2.cli.terminal.console import Console, printable

_TERMINAL_SECONDS = 0.1
_MACHINE_SECONDS = 1.0
_LOG_SECONDS = 60.0
_MEGABYTE = 10**6


class ProgressBar(tqdm):  # type: ignore[misc]
    """Counts steps of a known number and reports them now and then; tqdm measures the speed.

    Parameters
    ----------
    console : Console
        Output of the command.
    task : str
        Name of the task: "tracking", "writing coco".
    total : int
        Number of steps.
    unit : str
        Name of a step, in the plural; "B" for bytes.
    clock : callable
        Gives seconds; for tests.
    """

    monitor_interval = 0  # no thread: each step looks at the clock
    _lock = threading.RLock()  # tqdm's own would be shared with other processes

    def __init__(
        self,
        console: Console,
        task: str,
        total: int,
        unit: str = "frames",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._frame: int | None = None
        self._is_drawn = console.is_terminal and not console.quiet
        seconds = _TERMINAL_SECONDS if console.is_terminal else _LOG_SECONDS
        seconds = _MACHINE_SECONDS if console.as_json else seconds
        super().__init__(
            desc=printable(task),
            total=total,
            unit=unit if unit == "B" else f" {unit}",
            unit_scale=unit == "B",
            file=console.err if self._is_drawn else io.StringIO(),
            dynamic_ncols=self._is_drawn,
            leave=False,
            disable=False,
            mininterval=seconds,
            miniters=1,
            delay=seconds,
        )
        self._time = clock
        self.start_t = self.last_print_t = clock()

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return float(self._time() - self.start_t)

    def step(self, frame: int | None = None) -> None:
        """Count one step; ``frame`` is named in the report."""
        self.advance_to(self.n + 1, frame)

    def advance_to(self, done: int, frame: int | None = None) -> None:
        """Set the number of steps that are done in all."""
        self._frame = frame
        if frame is not None:
            self.set_postfix_str(f"frame {frame}", refresh=False)
        self.update(done - self.n)

    def finish(self) -> None:
        """Clear the terminal's line."""
        self.close()

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar, or report a line; tqdm calls this when it is time."""
        if self._is_drawn:
            super().display(msg, pos)
        elif msg is None:
            self._report()
        return True

    def _report(self) -> None:
        rate = self.format_dict["rate"] or 0.0
        left = max(self.total - self.n, 0) / rate if rate > 0 else None
        scale, unit = (_MEGABYTE, "MB") if self.unit == "B" else (1, self.unit.strip())
        at = "" if self._frame is None else f" frame {self._frame},"
        text = f"{self.desc.rstrip(': ')}:{at} {self.n / scale:.0f} of {self.total / scale:.0f}, "
        text += rate_text(rate / scale, unit) + ("" if left is None else f", {duration(left)} left")
        data = {
            "task": self.desc.rstrip(": "),
            "frame": self._frame,
            "done": self.n,
            "total": self.total,
            "per_second": round(rate, 3),
            "seconds_left": None if left is None else round(left, 1),
        }
        self._console.progress(data, text)


class DownloadProgress:
    """Progress of a download, in megabytes.

    Parameters
    ----------
    console : Console
        Output of the command.
    name : str
        Name of the file or model.
    """

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name = console, name
        self._bar: ProgressBar | None = None

    def __call__(self, done: int, total: int) -> None:
        """Report the numbers of bytes."""
        if self._bar is None:
            self._console.note(f"downloading {self._name} ({total / _MEGABYTE:.0f} MB), once")
            self._bar = ProgressBar(self._console, f"downloading {self._name}", total, unit="B")
        self._bar.advance_to(done)
        if done >= total:
            self._bar.finish()


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
