"""What is seen: the docks, a folder each."""
