"""The timeline dock."""
