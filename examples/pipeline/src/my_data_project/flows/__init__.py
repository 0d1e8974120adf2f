"""Flows: which tasks run, in which order, for which tables."""
