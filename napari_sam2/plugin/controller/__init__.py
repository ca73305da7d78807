"""The headless API of the plugin: what a user can do, without a widget."""
