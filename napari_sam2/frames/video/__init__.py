"""Frame-exact decoding of videos."""
