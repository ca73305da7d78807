"""Segment and track objects in videos, time-lapses and z-stacks with SAM 2.

Public names are those of ``__init__.pyi``; they are imported on first use, so that importing this package loads
neither torch nor Qt.
"""

import lazy_loader

__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
