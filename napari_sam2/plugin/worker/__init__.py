"""The one thread that owns the session: requests in, replies out."""
