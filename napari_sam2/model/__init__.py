"""SAM 2 in PyTorch: networks that take tensors and return tensors, without videos, files or users."""
