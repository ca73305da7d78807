"""The auto-mask dock."""
