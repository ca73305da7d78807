from __future__ import annotations

import io
import json
import signal

import pytest

from napari_sam2.cli.terminal.console import Console
from napari_sam2.cli.terminal.interrupt import graceful_interrupt
from napari_sam2.cli.terminal.progress import ProgressBar, duration, rate_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(console: Console, seconds_per_frame: float, frames: int) -> ProgressBar:
    clock = Clock()
    progress = ProgressBar(console, "tracking", frames, clock=clock)
    for frame in range(frames):
        clock.now += seconds_per_frame
        progress.step(frame)
    progress.finish()
    return progress


def test_a_terminal_gets_one_line_that_is_drawn_over() -> None:
    err = Terminal()
    run(Console(err=err, out=io.StringIO()), 0.5, 8)
    drawn = err.getvalue().split("\r")
    assert "\n" not in err.getvalue()
    assert drawn[4].rstrip() == "tracking: frame 3, 4 of 8, 2.0 frames/s, 2 s left"
    assert drawn[-2].strip() == ""  # the line is cleared at the end


def test_a_terminal_is_not_flooded() -> None:
    err = Terminal()
    run(Console(err=err, out=io.StringIO()), 0.001, 1000)
    assert 5 <= err.getvalue().count("tracking") <= 11


def test_a_log_gets_one_line_a_minute() -> None:
    err = io.StringIO()
    run(Console(err=err, out=io.StringIO()), 7.0, 60)
    lines = err.getvalue().splitlines()
    assert len(lines) == 60 * 7 // 63  # every 9 frames
    assert lines[0] == "tracking: frame 8, 9 of 60, 0.14 frames/s, 5:57 min left"
    assert "\r" not in err.getvalue()


def test_a_short_run_says_nothing_in_a_log() -> None:
    err = io.StringIO()
    run(Console(err=err, out=io.StringIO()), 0.1, 50)
    assert err.getvalue() == ""


def test_machines_get_json_once_a_second() -> None:
    out, err = io.StringIO(), Terminal()
    run(Console(as_json=True, out=out, err=err), 0.25, 20)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [e["done"] for e in events] == [4, 8, 12, 16, 20]
    assert events[1] == {
        "event": "progress",
        "task": "tracking",
        "frame": 7,
        "done": 8,
        "total": 20,
        "per_second": 4.0,
        "seconds_left": 3.0,
    }
    assert err.getvalue() == ""


def test_quiet_means_quiet() -> None:
    err = Terminal()
    console = Console(quiet=True, err=err, out=io.StringIO())
    run(console, 1.0, 5)
    console.note("hello")
    assert err.getvalue().strip("\r ") == ""


def test_time_left_follows_a_change_of_speed() -> None:
    clock = Clock()
    progress = ProgressBar(Console(quiet=True, err=io.StringIO(), out=io.StringIO()), "x", 1000, clock=clock)
    for _ in range(100):
        clock.now += 10
        progress.step()
    for _ in range(60):
        clock.now += 0.5
        progress.step()
    assert progress.seconds_left == pytest.approx(840 * 0.5)
    assert progress.overall_rate == pytest.approx(160 / 1030)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (42.4, "42 s"),
        (59.6, "1:00 min"),
        (187, "3:07 min"),
        (7500, "2:05 h"),
        (90061, "25:01 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_rates() -> None:
    assert rate_text(4.16) == "4.2 frames/s"
    assert rate_text(0.312) == "0.31 frames/s"
    assert rate_text(12.0, "MB") == "12.0 MB/s"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_a_wish_the_second_ends(number: int) -> None:
    before = signal.getsignal(number)
    told: list[str] = []
    with graceful_interrupt(lambda: told.append("once")) as wish:
        assert not wish
        signal.raise_signal(number)
        assert wish
        assert wish.signal_number == number
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert told == ["once"]
    assert signal.getsignal(number) is before
