"""What a command prints: control characters of names do not reach a terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
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


@pytest.mark.parametrize("as_json", [False, True])
def test_names_that_an_encoding_lacks_are_written_out(tmp_path: Path, as_json: bool) -> None:
    """As on Windows, where what is written to a file or a pipe has the code page of one language."""
    np.save(tmp_path / "細胞😀.npy", np.zeros((2, 8, 8), np.uint8))
    command = [
        sys.executable,
        "-m",
        "napari_sam2.cli",
        "info",
        "細胞😀.npy",
        *(["--json"] if as_json else []),
    ]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("cp1252")
    if as_json:
        assert json.loads(text.splitlines()[-1])["path"].endswith("細胞😀.npy")
    else:
        assert "\\u7d30\\u80de\\U0001f600.npy" in text
        assert "×" in text
