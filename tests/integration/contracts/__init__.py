"""What services agree on, as a real server takes it."""
