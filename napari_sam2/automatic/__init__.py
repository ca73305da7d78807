"""Automatic masks: everything on a frame without a click, filtered live, and a start for tracking.

Names are resolved when they are used: the options are read without loading torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
