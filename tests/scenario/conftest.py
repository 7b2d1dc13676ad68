"""Fixtures of the scenarios: whole networks, one for all tests and one for those that break it."""

from tests.kit.network import network, own_network

__all__ = ["network", "own_network"]
