"""A node: keeps measurement functions running in isolated workers."""
