"""Fixtures for all tests: a web server and a Prefect server, both real and both local."""

from __future__ import annotations

pytest_plugins = ["local_server", "prefect_server"]
