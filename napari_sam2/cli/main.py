"""The entry point: parse the arguments, run one command, and end with a sentence and an exit code."""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from napari_sam2.cli.errors import CommandError, CommandInterrupted, UsageError
from napari_sam2.cli.options.parser import make_parser
from napari_sam2.cli.terminal.console import Console, printable

OK, FAILURE, USAGE, STOPPED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``napari-sam2`` with these arguments (by default those of the process); return the exit code.

    0: done. 1: it failed. 2: the arguments are wrong. 130: stopped with Ctrl-C, what was done is saved.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # on Windows, a file or a pipe may take few letters only
            stream.reconfigure(errors="backslashreplace")
    try:
        args = make_parser().parse_args(argv)
    except SystemExit as end:  # argparse has printed the error or the help
        return int(end.code or 0)
    return run_command(args, Console(args.as_json, args.quiet))


def run_command(args: Namespace, console: Console) -> int:
    """Run one command, report on the console how it ended, and return the exit code."""
    with warnings.catch_warnings():
        _show_warnings(console, args.debug)
        try:
            module, function = args.command.split(":")
            getattr(import_module(f"napari_sam2.cli.commands.{module}"), function)(args, console)
        except BrokenPipeError:
            # The reader of our output has left (`| head`): nothing can be reported any more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILURE
        except CommandInterrupted as stop:
            console.error(str(stop), stop.exit_code)
            return stop.exit_code
        except KeyboardInterrupt:
            console.error("stopped", STOPPED)
            return STOPPED
        except Exception as error:
            if args.debug:
                print(printable(traceback.format_exc()), file=console.err)
            code = USAGE if isinstance(error, UsageError) else FAILURE
            console.error(_sentence(error, args.debug), code)
            return code
    return OK


def _sentence(error: Exception, debug: bool) -> str:
    from napari_sam2.frames.errors import one_line  # takes numpy along, which --help does without

    text = one_line(str(error.args[0] if isinstance(error, KeyError) and error.args else error))
    expected = (UsageError, CommandError, ValueError, TypeError, KeyError, OSError, RuntimeError, ImportError)
    if isinstance(error, MemoryError):
        return "there is not enough memory: track fewer objects at once, or use a smaller model"
    if text and isinstance(error, expected):
        return text
    more = "" if debug else ": run it again with --debug and report what it prints"
    return f"unexpected {type(error).__name__} {text}".rstrip() + more


def _show_warnings(console: Console, debug: bool) -> None:
    """Show warnings for users (a truncated video) as sentences; warnings for programmers only with --debug."""

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if debug or issubclass(category, UserWarning):
            console.warning(" ".join(str(message).split()))

    warnings.showwarning = show
