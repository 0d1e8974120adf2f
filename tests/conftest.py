"""Fixtures that many tests share: renders, environments, one Prefect server."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import child_processes
import cpu_report
import faster_copier
import projects
import pytest
import skip_report
from environments import Environments, link_pythons, serve
from mariadb import mariadb  # noqa: F401 - a fixture
from postgres import postgres, postgres_server  # noqa: F401 - fixtures
from projects import Render, tool

if TYPE_CHECKING:
    from collections.abc import Iterator

ORDER = ("test_style", "test_render", "test_ci_files", "test_combinations.py::test_files")
"""What runs first: checks that are fast. Real runs follow."""

SPREAD = (
    *ORDER,
    *("test_answers", "test_terminal", "test_copy_safety"),
    *("test_combinations", "updates/", "hooks/"),
)
"""Tests that may run anywhere; those of one other module share fixtures and stay together."""

LAST = ("test_combinations.py::test_gates", "updates/")
"""Many tests of the same size: they fill what time is left when large modules are done."""


LARGE = ("combinations", "containers", "faults", "answers", "dependencies", "updates")
"""Runs too large for the gate: tests marked `large(name)`, or larger counts of one test."""

LARGE_SECONDS = 2 * 60 * 60
"""How long one of them may take; what others may is in pyproject.toml."""


collect_ignore = ["inside"]
"""Runs inside generated projects: test_databases.py and test_faults.py start it there."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--large",
        action="append",
        default=[],
        choices=LARGE,
        help="also do this large run, which the gate does not do; may be given several times",
    )


def pytest_xdist_auto_num_workers() -> int:
    """Three processes for two cores: some tests wait for servers and schedules."""
    return max(2, len(os.sched_getaffinity(0)) * 3 // 2)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(cpu_report)
    config.pluginmanager.register(skip_report)
    # Including xdist's processes, which this one starts.
    child_processes.take_charge()


# Before xdist's hook, which reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def chosen(item: pytest.Item) -> bool:
        marker = item.get_closest_marker("large")
        return marker is None or marker.args[0] in config.getoption("--large")

    config.hook.pytest_deselected(items=[item for item in items if not chosen(item)])
    items[:] = [item for item in items if chosen(item)]

    def name(item: pytest.Item) -> str:
        path = item.path.relative_to(projects.ROOT / "tests").as_posix()
        return f"{path}::{item.name}"

    def place(item: pytest.Item) -> int:
        order = (*ORDER, "", *LAST)
        found = [at for at, start in enumerate(order) if start and name(item).startswith(start)]
        return found[0] if found else order.index("")

    items.sort(key=place)
    for item in items:
        if item.get_closest_marker("large"):
            item.add_marker(pytest.mark.timeout(LARGE_SECONDS))
        if not name(item).startswith(SPREAD):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run the tests of a group apart: some continue where the previous one ended."""
    grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
    if "PYTEST_XDIST_WORKER" in os.environ and not all("@" in item.nodeid for item in grouped):
        raise pytest.UsageError("this pytest does not let pytest-xdist keep groups together")


@pytest.fixture(scope="session", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's settings out of the tests, and let uv find each Python."""
    home = tmp_path_factory.mktemp("home")
    # A short path, because paths of sockets have at most 107 characters.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(projects, "TEMPORARY", Path(temporary))
        (home / "settings.yml").write_text("{}")
        patch.setenv("COPIER_SETTINGS_PATH", str(home / "settings.yml"))
        patch.setenv("COPIER_CACHE_DIR", str(home / "cache"))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setattr(projects, "PREFECT_HOME", home / "prefect")
        link_pythons(home / "pythons")
        patch.setenv("PATH", f"{home / 'pythons'}{os.pathsep}{os.environ['PATH']}")
        faster_copier.speed_up_copier(patch, home / "clones")
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template of the work tree, as a plain folder."""
    return projects.copy_content(tmp_path_factory.mktemp("template") / "copier-prefect")


@pytest.fixture(scope="session")
def render(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Render a project, once for each set of answers; do not change it."""
    cache: dict[str, Path] = {}

    def rendered(**answers: object) -> Path:
        key = json.dumps(answers, sort_keys=True)
        if key not in cache:
            name = str(answers.get("project_name", "project"))[:20]
            target = tmp_path_factory.mktemp("render") / name
            cache[key] = projects.render(template, target, dict(answers))
        return cache[key]

    return rendered


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Render:
    """A copy of a rendered project that a test may change."""

    def copied(**answers: object) -> Path:
        source = render(**answers)
        return Path(shutil.copytree(source, tmp_path / source.name))

    return copied


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """An environment for each Python, copied for each project that needs one."""
    base = tmp_path_factory.getbasetemp()
    # With xdist, each process has a subfolder of the run's.
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return Environments(run / "environments")


@pytest.fixture(scope="session")
def pipeline(
    render: Render, environments: Environments, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The default pipeline with its environment; tests may run it but not change it."""
    project = tmp_path_factory.mktemp("pipeline") / "my-data-project"
    shutil.copytree(render(), project)
    environments.sync(project)
    return project


@pytest.fixture(scope="session")
def everything(
    render: Render, environments: Environments, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A pipeline with all extras, on the same Python as the default one."""
    project = tmp_path_factory.mktemp("everything") / "my-data-project"
    shutil.copytree(render(**{**projects.EVERYTHING, "minimum_python": "3.11"}), project)
    environments.sync(project)
    return project


@pytest.fixture
def sources(pipeline: Path, tmp_path: Path) -> dict[str, str]:
    """A source with a small part of the data, and settings with it and a warehouse."""
    code = (
        "import sys; from pathlib import Path; from my_data_project import demo_source;"
        "demo_source.build_source(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    source = tmp_path / "source.db"
    tool(pipeline, "python", "-c", code, str(pipeline / "tests" / "data"), str(source))
    return {
        "MY_DATA_PROJECT_SOURCE_URL": f"sqlite:///{source}",
        "MY_DATA_PROJECT_WAREHOUSE_URL": f"duckdb:///{tmp_path / 'warehouse.duckdb'}",
    }


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The migrated database of a Prefect server, created by the first worker that needs it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return shared / "migrated-server" / "migrated.db"


@pytest.fixture(scope="session")
def prefect_api(pipeline: Path, migrated: Path) -> Iterator[str]:
    """One Prefect server for all projects; the URL of its API."""
    with serve(pipeline / ".venv" / "bin" / "python", migrated) as url:
        yield url
