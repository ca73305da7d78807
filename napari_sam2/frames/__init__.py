"""Frames for the model from anything: arrays of any shape and type, videos, images, TIFF, zarr; one frame at a time."""
