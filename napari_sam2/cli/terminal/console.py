"""Output of a command: sentences for people, or one JSON object a line for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

# C0 and C1 without tab and line end, delete, and what reorders or hides text.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


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
        """True where progress can be drawn over itself."""
        return not self.as_json and self.err.isatty()

    def result(self, data: Mapping[str, Any], text: str) -> None:
        """Print the result, at the end of a command."""
        if self.as_json:
            self._line({"event": "result", **data})
        else:
            print(printable(text), file=self.out, flush=True)

    def note(self, text: str) -> None:
        """Print a remark; programs do not get it."""
        if not self.as_json and not self.quiet:
            print(printable(text), file=self.err, flush=True)

    def progress(self, data: Mapping[str, Any], text: str) -> None:
        """Report progress."""
        if self.as_json:
            self._line({"event": "progress", **data})
        elif not self.quiet:
            print(printable(text), file=self.err, flush=True)

    def warning(self, text: str) -> None:
        """Print a warning; the command goes on."""
        if self.as_json:
            self._line({"event": "warning", "message": text})
        else:
            print(printable(f"warning: {text}"), file=self.err, flush=True)

    def error(self, text: str, exit_code: int) -> None:
        """Print why the command ends."""
        if self.as_json:
            self._line({"event": "error", "message": text, "exit_code": exit_code})
        else:
            print(printable(text if exit_code >= 128 else f"error: {text}"), file=self.err, flush=True)

    def _line(self, data: Mapping[str, Any]) -> None:
        takes_all = (self.out.encoding or "utf-8").lower().startswith("utf")
        line = json.dumps(data, ensure_ascii=not takes_all, default=_plain)
        print(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line), file=self.out, flush=True)


def printable(text: str) -> str:
    """Return a text in which control characters, also those of names of files and objects, are written out.

    A terminal would obey them: move the cursor, change its title, or show text in another order than it is. Line ends
    and tabs stay.
    """
    return _UNSAFE.sub(lambda found: repr(found[0])[1:-1], text)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
