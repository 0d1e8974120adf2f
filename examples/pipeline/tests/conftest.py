"""Fixtures of this project's tests: yours go here. The template's are in `databases.py`."""

from __future__ import annotations

pytest_plugins = ("prefect_server", "databases")
