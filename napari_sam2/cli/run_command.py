"""Run one command and turn every way it can end into a sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from argparse import Namespace
from importlib import import_module
from typing import Any

from napari_sam2.cli.errors import CommandError, CommandInterrupted, UsageError
from napari_sam2.cli.terminal.console import Console

OK, FAILURE, USAGE, STOPPED = 0, 1, 2, 130


def run_command(args: Namespace, console: Console) -> int:
    """Run one command and say on the console how it ended; return the exit code."""
    with warnings.catch_warnings():
        _tell_warnings(console, args.debug)
        return _run(args, console)


def _run(args: Namespace, console: Console) -> int:
    try:
        module, function = args.command.split(":")
        getattr(import_module(f"napari_sam2.cli.commands.{module}"), function)(args, console)
    except BrokenPipeError:
        # The reader of our output has left (`| head`); there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except CommandInterrupted as stop:
        console.error(str(stop), stop.exit_code)
        return stop.exit_code
    except KeyboardInterrupt:
        console.error("stopped", STOPPED)
        return STOPPED
    except Exception as error:
        return _failed(error, args.debug, console)
    return OK


def _failed(error: Exception, debug: bool, console: Console) -> int:
    if debug:
        traceback.print_exc(file=console.err)
    code = USAGE if isinstance(error, UsageError) else FAILURE
    console.error(_sentence(error, debug), code)
    return code


def _sentence(error: Exception, debug: bool) -> str:
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    expected = (UsageError, CommandError, ValueError, TypeError, KeyError, OSError, RuntimeError, ImportError)
    if isinstance(error, MemoryError):
        return "there is not enough memory: track fewer objects at once, or use a smaller model"
    if text and isinstance(error, expected):
        return text
    more = "" if debug else ": run it again with --debug and report what it prints"
    return f"unexpected {type(error).__name__} {text}".rstrip() + more


def _tell_warnings(console: Console, debug: bool) -> None:
    """Show what readers warn about (a truncated video) as a sentence; what programmers warn about only with --debug."""

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if debug or issubclass(category, UserWarning):
            console.warning(" ".join(str(message).split()))

    warnings.showwarning = show
