"""Training of ``nano`` and fine-tuning of checkpoints: data, losses, the training loop and benchmarks."""
