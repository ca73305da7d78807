"""Where a frame is prompted: crops, grids of points, and their decoding."""
