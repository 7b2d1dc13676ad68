"""Stories that show what a network withstands: each starts one of its own, does things to it, and counts."""
