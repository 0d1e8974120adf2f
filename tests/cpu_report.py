"""Reports the CPU time of the tests at the end of a run.

On a shared machine, wall time means little; the CPU time of tests and their child processes can be
compared between runs.
"""

from __future__ import annotations

import resource
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

PROPERTY = "cpu_seconds"
SHARED = "what tests share: servers, until their end"
"""What the last test of a process ends is no cost of its module."""
LAST = pytest.StashKey[bool]()
DEAREST = 40
"""How many single tests are listed."""
BEGAN = pytest.StashKey[float]()


def cpu_seconds() -> float:
    """Return the CPU time of this process and its finished children, in seconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Record when the test began; its fixtures count too."""
    item.stash[BEGAN] = cpu_seconds()
    item.stash[LAST] = nextitem is None
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write the cost of each phase into its report, which xdist sends to the main process."""
    report = yield
    now = cpu_seconds()
    if call.when == "teardown" and item.stash[LAST]:
        report.user_properties.append((SHARED, now - item.stash[BEGAN]))
    else:
        report.user_properties.append((PROPERTY, now - item.stash[BEGAN]))
    item.stash[BEGAN] = now
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the modules and the most expensive tests by CPU time."""
    tests: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                names = {PROPERTY: report.nodeid, SHARED: SHARED}
                for name, seconds in report.user_properties:
                    if name in names:
                        tests[names[name]] += seconds
    modules: Counter[str] = Counter()
    for name, seconds in tests.items():
        modules[name.split("::")[0]] += seconds
    total = modules.total()
    if total < 60:
        return
    terminalreporter.section(f"CPU time: {total:.0f} s")
    for name, seconds in [*modules.most_common(), *tests.most_common(DEAREST)]:
        terminalreporter.write_line(f"{seconds:6.1f} s  {seconds / total:4.0%}  {name[:120]}")
