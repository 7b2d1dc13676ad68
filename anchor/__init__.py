"""Admits, queues, routes and reroutes jobs; any number of Anchors may run side by side."""
