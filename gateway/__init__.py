"""The management plane: HTTP API, live feed, web page and command line."""
