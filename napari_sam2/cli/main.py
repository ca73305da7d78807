"""The entry point: parse the arguments and run one command."""

from __future__ import annotations

from collections.abc import Sequence

from napari_sam2.cli.options.parser import make_parser
from napari_sam2.cli.run_command import run_command
from napari_sam2.cli.terminal.console import Console


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``napari-sam2`` with these arguments (by default those of the process); return the exit code.

    0: done. 1: it failed. 2: what was typed can't be meant. 130: stopped with Ctrl-C, what was done is saved.
    """
    try:
        args = make_parser().parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong, or shown the help
        return int(end.code or 0)
    return run_command(args, Console(args.as_json, args.quiet))
