"""Sessions: where arrays meet tensors, and where time lives.

Names are resolved when they are used: the records of a session are read without loading torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
