"""Training: `nano` from nothing, and fine-tuning of a checkpoint on a user's own masklets.

Prompts are simulated, clips are drawn from the synthetic generator, still images or labelled videos, and the
network is trained through time with the same five verbs that the sessions use.
"""
