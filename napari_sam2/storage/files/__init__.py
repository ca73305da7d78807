"""Atomic files, chunks and the write lock."""
