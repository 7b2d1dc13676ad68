"""The HTTP API under `/api/v1`: one controller per noun."""
