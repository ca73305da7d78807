"""Segment and track objects in videos, time-lapses and z-stacks with SAM 2; only public names belong here."""

import lazy_loader

__version__ = "0.1.0.dev0"

# Names are those of __init__.pyi, imported on first use: importing this package loads neither torch nor Qt.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
