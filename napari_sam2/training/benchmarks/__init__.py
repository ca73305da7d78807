"""Benchmarks of a network on synthetic and real data, and baselines to beat."""
