"""Masks in the formats of other tools, one format a file: its reader and its writer."""

import lazy_loader

# Names are imported on first use: the list of formats loads neither numpy nor the libraries that write them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
