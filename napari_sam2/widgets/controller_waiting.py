"""Waiting for answers without a window: for scripts and tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam2.widgets.controller import Controller

_NAP_SECONDS = 0.02


def process_until(controller: Controller, done: Callable[[], bool], timeout: float) -> None:
    """Take over answers until ``done()``; TimeoutError after ``timeout`` seconds, RuntimeError when it was closed."""
    end = time.monotonic() + timeout
    controller.process()
    while not done():
        if controller.closed:
            raise RuntimeError("this controller is closed")
        if time.monotonic() > end:
            status = controller.status
            raise TimeoutError(f"no answer within {timeout:g} seconds: {status.message or status}")
        controller.mailbox.wait(_NAP_SECONDS)
        controller.process()
