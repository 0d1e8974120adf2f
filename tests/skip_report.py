"""Reports at the end of a run what was skipped, and what this machine lacks for it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import answer_sets
import environments

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the interpreters of the tests, and the reasons for skipped tests."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    if not reasons:
        return
    terminalreporter.section(f"Not tested here: {sum(reasons.values())}")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:4}  {reason}")
    for version in answer_sets.PYTHONS:
        found = environments.find_python(version)
        terminalreporter.write_line(f"Python {version}: {found or 'none that runs'}")
