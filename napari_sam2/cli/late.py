"""``auto``, ``train`` and ``gui``: commands whose work is done elsewhere and bound when they are called."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from importlib.util import find_spec

from napari_sam2.cli.console import Console
from napari_sam2.cli.errors import CommandError


def gui(args: Namespace, console: Console) -> None:
    """Open napari with the tracker beside the viewer; a path is opened, too."""
    if find_spec("napari") is None:
        raise CommandError("napari is not installed: install it with 'pip install napari-sam2[gui]'")
    command = [sys.executable, "-m", "napari"]
    if args.path:
        command.append(args.path)
    code = subprocess.run([*command, "--with", "napari-sam2"], check=False).returncode
    if code:
        raise CommandError(f"napari ended with exit code {code}: run '{' '.join(command[1:])}' to see why")
