"""What a command says: sentences for people, or one JSON object a line for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO


class Console:
    """Results go to standard output, everything else to standard error.

    Parameters
    ----------
    as_json : bool
        Standard output gets JSON lines: ``{"event": "progress" | "warning" | "error" | "result", ...}``.
    quiet : bool
        No progress and no notes; results and errors only.
    out, err : text streams
        Where to write.
    """

    def __init__(
        self,
        as_json: bool = False,
        quiet: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.out = out or sys.stdout
        self.err = err or sys.stderr

    @property
    def is_terminal(self) -> bool:
        """Whether progress can be drawn over itself."""
        return not self.as_json and self.err.isatty()

    def result(self, data: Mapping[str, Any], text: str) -> None:
        """Say what came out, at the end of a command."""
        if self.as_json:
            self._line({"event": "result", **data})
        else:
            print(text, file=self.out, flush=True)

    def note(self, text: str) -> None:
        """Say something in passing; machines don't need it."""
        if not self.as_json and not self.quiet:
            print(text, file=self.err, flush=True)

    def progress(self, data: Mapping[str, Any], text: str, end: str = "\n") -> None:
        """Say how far the work is."""
        if self.as_json:
            self._line({"event": "progress", **data})
        elif not self.quiet:
            print(text, end=end, file=self.err, flush=True)

    def warning(self, text: str) -> None:
        """Say what is not as it should be, without ending the command."""
        if self.as_json:
            self._line({"event": "warning", "message": text})
        else:
            print(f"warning: {text}", file=self.err, flush=True)

    def error(self, text: str, exit_code: int) -> None:
        """Say why the command ends."""
        if self.as_json:
            self._line({"event": "error", "message": text, "exit_code": exit_code})
        else:
            print(text if exit_code >= 128 else f"error: {text}", file=self.err, flush=True)

    def _line(self, data: Mapping[str, Any]) -> None:
        print(json.dumps(data, ensure_ascii=False, default=_plain), file=self.out, flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
