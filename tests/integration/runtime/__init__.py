"""Tests of a node."""
