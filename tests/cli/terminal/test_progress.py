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
    assert drawn[4].startswith("tracking:  50%|")
    assert "| 4/8 [00:02<00:02,  2.00 frames/s, frame 3]" in drawn[4]
    assert drawn[-2].strip() == ""  # the line is cleared at the end
    assert drawn[-1] == ""


def test_a_download_is_shown_in_megabytes() -> None:
    err, log = Terminal(), io.StringIO()
    for text in (err, log):
        clock = Clock()
        bar = ProgressBar(Console(err=text, out=io.StringIO()), "downloading tiny", 80 * 10**6, "B", clock)
        clock.now += 61
        bar.advance_to(20 * 10**6)
        bar.finish()
    assert "| 20.0M/80.0M [01:01<03:03, 328kB/s]" in err.getvalue()
    assert log.getvalue() == "downloading tiny: 20 of 80, 0.33 MB/s, 3:03 min left\n"


def test_a_terminal_is_not_flooded() -> None:
    err = Terminal()
    run(Console(err=err, out=io.StringIO()), 0.001, 1000)
    assert 5 <= err.getvalue().count("tracking") <= 11


def test_a_bar_that_never_showed_leaves_no_trace() -> None:
    err = Terminal()
    run(Console(err=err, out=io.StringIO()), 0.01, 5)
    assert err.getvalue() == ""


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
    assert err.getvalue() == ""


def test_time_left_follows_a_change_of_speed() -> None:
    clock, out = Clock(), io.StringIO()
    progress = ProgressBar(Console(as_json=True, out=out), "x", 1000, clock=clock)
    for _ in range(100):
        clock.now += 10
        progress.step()
    for _ in range(100):
        clock.now += 0.5
        progress.step()
    last = json.loads(out.getvalue().splitlines()[-1])
    assert last["done"] == 200
    assert last["seconds_left"] == pytest.approx(800 * 0.5, rel=0.01)
    assert progress.seconds == pytest.approx(1050)


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


HANG_UP = getattr(signal, "SIGHUP", signal.SIGTERM)  # not on Windows


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, HANG_UP])
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


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no hang-up")
def test_a_hang_up_stays_ignored_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with graceful_interrupt(lambda: None) as flag:
            signal.raise_signal(signal.SIGHUP)
            assert not flag
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_gone_does_not_stop_the_stopping() -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    with graceful_interrupt(fail) as flag:
        signal.raise_signal(HANG_UP)
        assert flag.signal_number == HANG_UP
