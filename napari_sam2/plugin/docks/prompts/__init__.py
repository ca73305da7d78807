"""The docks of points, shapes and painted prompts."""
