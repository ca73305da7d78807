"""Automatic masks: everything on a frame without a click, filtered live, and a start for tracking."""

import lazy_loader

# Names are imported on first use: the options are read without loading torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
