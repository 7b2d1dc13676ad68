"""The live feed: what the streams carry, fanned out to WebSockets in batches."""
