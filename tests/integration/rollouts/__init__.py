"""Replacing versions on a real server, with real Anchors and runtimes."""
