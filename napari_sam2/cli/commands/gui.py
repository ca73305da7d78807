"""``napari-sam2 gui``: napari with the tracker beside the viewer."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from importlib.util import find_spec

from napari_sam2.cli.errors import CommandError
from napari_sam2.cli.terminal.console import Console

TRACKER = "SAM2 Tracker"  # the dock's name in the plugin's manifest


def run(args: Namespace, console: Console) -> None:
    """Run the command: a process of its own, because windows and command lines share nothing."""
    if find_spec("napari") is None:
        raise CommandError("napari is not installed: install it with pip install 'napari-sam2[gui]'")
    opened = [args.path] if args.path else []
    command = [sys.executable, "-m", "napari", *opened, "--with", "napari-sam2", TRACKER]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise CommandError(f"napari ended with exit code {code}: see what it printed above")
