"""Numbers for people: reported and stored, never asserted."""
