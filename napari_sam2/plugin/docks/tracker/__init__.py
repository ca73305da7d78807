"""The tracker dock."""
