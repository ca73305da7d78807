"""Review of tracked objects: facts, states and uncertainty of each object on each frame, and what to look at next."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
