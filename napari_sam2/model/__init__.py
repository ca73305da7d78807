"""SAM 2 in PyTorch: knows tensors; knows no videos, files or users.

Source: N. Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024.
"""
