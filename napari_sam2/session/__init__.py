"""Sessions, where numpy arrays meet tensors: prompts and frames in, masks out, memories over time."""

import lazy_loader

# Names are imported on first use: records and options are read without loading torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
