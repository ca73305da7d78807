"""Candidate masks of one frame: compact, measured, not yet chosen."""
