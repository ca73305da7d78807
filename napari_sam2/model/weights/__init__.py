"""Weights: files in, a network out."""
