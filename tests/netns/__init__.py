"""Accuracy against a known truth, in network namespaces."""
