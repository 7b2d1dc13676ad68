"""The web page: its TypeScript sources, how they are built, and how the gateway serves what came of it."""
