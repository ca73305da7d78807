"""File name endings of the formats that can be read."""

from __future__ import annotations

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm")


TIFF_ENDINGS = (".tif", ".tiff", ".btf", ".tf8", ".lsm")


VIDEO_ENDINGS = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".ogv", ".gif", ".h264", ".hevc"),
)


ZARR_ENDINGS = (".zarr", ".ome.zarr", ".n5", ".ozx", ".zarr.zip")
