"""Imports nothing on purpose: `import prefect` takes seconds, and `--help` should be fast."""
