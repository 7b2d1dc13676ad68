"""Tests that need no network, no process and no sleep; folders mirror the packages."""
