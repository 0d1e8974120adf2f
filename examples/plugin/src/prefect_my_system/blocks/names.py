"""The names that Prefect shows for the system, and links to its documentation."""

SYSTEM = "My System"
"""The system's name, for people."""

SLUG = "my-system"
"""The system's name, for machines. Saved blocks are found by it: never change it after a release."""

LOGO_URL: str | None = None
"""A square picture for Prefect's UI. `tests/test_blocks.py` asks for it before the first release."""

DOCUMENTATION_URL = "https://example.com/"
"""Where the UI sends those who want to read more: the same holds for it."""
