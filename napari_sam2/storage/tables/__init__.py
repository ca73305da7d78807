"""Versioned tables of masks, memories and labels."""
