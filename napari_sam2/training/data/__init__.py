"""Training data: clips, still images made into clips, augmentation, simulated prompts."""
