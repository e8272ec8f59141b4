"""Measurements for docs/results.md; never part of the timed tests."""
