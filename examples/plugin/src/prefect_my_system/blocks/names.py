"""The names that Prefect shows for the system, and links to its documentation."""

SYSTEM = "My System"
"""The system's name for people."""

SLUG = "my-system"
"""The system's name for machines. Prefect finds saved blocks by it: do not change it later."""

LOGO_URL: str | None = None
"""A square picture for Prefect's UI. `tests/test_blocks.py` requires it for the first release."""

DOCUMENTATION_URL = "https://example.com/"
"""Link to the documentation in the UI; also required for the first release."""
