"""What a command prints: control characters of names do not reach a terminal."""

from __future__ import annotations

import io
import json
from itertools import count

import pytest

from napari_sam2.cli.main import main
from napari_sam2.cli.terminal.console import Console, printable
from napari_sam2.cli.terminal.progress import ProgressBar

NAME = "movie\x1b]0;owned\x07\x9b2J\u202egpj\r.tif"
SHOWN = r"movie\x1b]0;owned\x07\x9b2J\u202egpj\r.tif"


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert printable(NAME) == SHOWN
    assert printable("µm, naïve, 細胞\tand a line\nmore") == "µm, naïve, 細胞\tand a line\nmore"
    assert printable("no text \udcff") == r"no text \udcff"


@pytest.mark.parametrize("method", ["result", "note", "progress", "warning", "error"])
def test_every_line_for_people_is_printable(method: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    arguments = {"result": ({}, NAME), "progress": ({}, NAME), "error": (NAME, 1)}
    getattr(Console(out=out, err=err), method)(*arguments.get(method, (NAME,)))
    assert SHOWN in out.getvalue() + err.getvalue()
    assert not {"\x1b", "\x07", "\x9b", "\r", "\u202e"} & set(out.getvalue() + err.getvalue())


def test_lines_for_programs_are_printable_and_exact() -> None:
    out = io.StringIO()
    Console(as_json=True, out=out).result({"name": NAME}, "")
    assert not {"\x1b", "\x07", "\x9b", "\r", "\u202e"} & set(out.getvalue())
    assert json.loads(out.getvalue())["name"] == NAME


def test_progress_and_errors_about_what_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    err = Terminal()
    bar = ProgressBar(Console(err=err), f"writing {NAME}", 2, clock=count(0.0, 9.0).__next__)
    bar.step()
    bar.finish()
    assert "owned" in err.getvalue()
    assert "\x1b" not in err.getvalue()
    assert main(["track", "a.tif", NAME]) == 2
    assert main(["info", NAME]) == 1
    said = capsys.readouterr().err
    assert said.count(r"movie\x1b]0;owned\x07\x9b2J\u202egpj") == 2
    assert "\x1b" not in said
