"""Processes of this computer: whether the one that left something behind still runs."""

from __future__ import annotations

import os
import sys


def is_running(process: object) -> bool:
    """Return whether a process with this number runs on this computer; True when that cannot be known."""
    if not isinstance(process, int) or isinstance(process, bool) or process <= 0:
        return True
    if sys.platform == "win32":  # os.kill would end it there
        return _runs_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


if sys.platform == "win32":
    import ctypes

    _SYNCHRONIZE, _NO_SUCH_PROCESS, _STILL_RUNNING = 0x100000, 87, 258

    def _runs_on_windows(process: int) -> bool:
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel.OpenProcess(_SYNCHRONIZE, False, process & 0xFFFFFFFF))
        if not handle:
            return ctypes.get_last_error() != _NO_SUCH_PROCESS
        try:
            return bool(kernel.WaitForSingleObject(handle, 0) == _STILL_RUNNING)
        finally:
            kernel.CloseHandle(handle)
