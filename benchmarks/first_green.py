"""Stop pytest after the first test that passes: loaded by `peers.py` with `-p`."""

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """End the run, as a success, when a test has passed."""
    if report.when == "call" and report.passed:
        pytest.exit("first green test", returncode=0)
