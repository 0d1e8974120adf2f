"""The flows: which tasks run for which tables, and in which order."""
