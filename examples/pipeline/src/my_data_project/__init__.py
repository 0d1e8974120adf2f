"""Imports nothing on purpose: `import prefect` costs seconds, which `--help` need not pay."""
