"""The command `add` in a project of each kind: its files pass all of the project's checks.

The projects' own tests cover refusals and edits; these tests add everything that the project's
README adds, and use it.
"""

from __future__ import annotations

import shutil
import sqlite3
import zipfile
from typing import TYPE_CHECKING

import projects
import pytest
import warehouse_files

if TYPE_CHECKING:
    from pathlib import Path

    from environments import Environments
    from projects import Render

# Tests that involve the additions; test_combinations.py runs all in an unchanged project.
TESTS = {
    "pipeline": (
        *("flows", "ingestion", "quality", "deployments", "sql"),
        *("count_orders", "report_orders_flow"),
    ),
    "library": ("add", "namespaces", "use_geo_task", "keep_rows_task", "use_task"),
    "plugin": ("add", "blocks", "read_ticket_task", "close_ticket_task", "ticket_queue_block"),
}
COMMANDS = {
    "pipeline": ["my-data-project", "add"],
    "library": ["scripts/add.py"],
    "plugin": ["python", "-m", "prefect_my_system", "add"],
}


# A name that the files of a task also use.
ALSO = {"library": [["task", "use", "--namespace", "geo"]]}


def listed(folder: Path, kind: str) -> list[list[str]]:
    """Return the arguments of all additions: those in the README, and names that may clash."""
    lines = (folder / "README.md").read_text().splitlines()
    start = "uv run poe add "
    said = [line.removeprefix(start).split() for line in lines if line.startswith(start)]
    return said + ALSO.get(kind, [])


LARGE = pytest.mark.large("combinations")
"""The kinds whose own tests of `add` are as good as whole."""


@pytest.fixture(
    scope="module",
    params=["pipeline", *(pytest.param(kind, marks=LARGE) for kind in ("library", "plugin"))],
)
def grown(
    request: pytest.FixtureRequest,
    render: Render,
    environments: Environments,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path]:
    """A project with all additions; yields its kind and folder."""
    kind: str = request.param
    folder = tmp_path_factory.mktemp(kind) / "project"
    shutil.copytree(render(project_kind=kind), folder)
    projects.run("git", "init", "-q", cwd=folder)
    environments.sync(folder)
    commit(folder)
    if kind == "pipeline":
        make_orders(folder)
    for words in listed(folder, kind):
        add(folder, kind, words)
    return kind, folder


def source(folder: Path) -> Path:
    """Return the path of the source database for added tables."""
    return folder.parent / "source.db"


def make_orders(folder: Path) -> None:
    """Create the table that the README adds."""
    connection = sqlite3.connect(source(folder))
    connection.execute(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT NOT NULL, updated_at DATETIME)"
    )
    connection.close()


def add(folder: Path, kind: str, words: list[str]) -> None:
    """Show an addition, then write it."""
    command = (*(["python"] if kind == "library" else []), *COMMANDS[kind], *words)
    env = {"MY_DATA_PROJECT_SOURCE_URL": f"sqlite:///{source(folder)}"}
    patch = folder.parent / "patch"
    patch.write_text(projects.tool(folder, *command, "--dry-run", **env))
    assert changed(folder) == []
    printed = projects.tool(folder, *command, **env)
    assert [path for path in changed(folder) if f" {path}\n" not in printed] == []
    # The shown changes are those that were written.
    projects.run("git", "apply", "--check", "--reverse", patch, cwd=folder)
    assert patch.read_text().count("\n+++ b/") == len(changed(folder))
    commit(folder)


def changed(folder: Path) -> list[str]:
    """Return the paths of new or changed files."""
    status = projects.run("git", "status", "--porcelain", "--untracked-files=all", cwd=folder)
    return [line[3:] for line in status.splitlines()]


def commit(folder: Path) -> None:
    projects.run("git", "add", "--all", cwd=folder)
    projects.run("git", "commit", "-qm", "Change", "--allow-empty", cwd=folder)


def test_what_is_added_passes_what_the_project_asks(
    grown: tuple[str, Path], prefect_api: str, tmp_path: Path
) -> None:
    kind, folder = grown
    # A new extra changes the lock file, which `uv add --optional` would update.
    projects.run("uv", "lock", "-q", cwd=folder)
    commit(folder)
    projects.tool(folder, "pre-commit", "run", "--all-files")
    assert changed(folder) == []
    tests = [f"tests/test_{name}.py" for name in TESTS[kind]]
    projects.tool(folder, "pytest", "-q", "--no-cov", *tests, PREFECT_TEST_API_URL=prefect_api)
    files = [*folder.glob("src/**/*.py"), *folder.glob("src/**/*.sql")]
    new = [path for path in files if "TODO" in path.read_text() and "commands" not in path.parts]
    assert len(new) == sum(words[0] != "table" for words in listed(folder, kind))
    assert all(path.read_text().count("TODO") == 1 for path in new)
    projects.run("uv", "build", "-q", "--wheel", "-o", tmp_path, cwd=folder)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for path in new:
        assert path.relative_to(folder / "src").as_posix() in names
    # The wheel does not contain the command.
    assert not [name for name in names if "/commands/add" in name or "/commands/edits" in name]


RUN = """
from my_data_project.flows import ingestion_flow

done = ingestion_flow.ingest_orders()
print(f"read {done.read}, loaded {done.loaded}")
"""


@pytest.mark.parametrize("grown", ["pipeline"], indirect=True)
def test_an_added_table_is_ingested(
    grown: tuple[str, Path], prefect_api: str, tmp_path: Path
) -> None:
    """With the key and cursor that `add` found in the source."""
    _, folder = grown
    (tmp_path / "run.py").write_text(RUN)
    url = f"duckdb:///{tmp_path}/warehouse.duckdb"
    env = {
        "PREFECT_API_URL": prefect_api,
        "MY_DATA_PROJECT_SOURCE_URL": f"sqlite:///{source(folder)}",
        "MY_DATA_PROJECT_WAREHOUSE_URL": url,
    }
    connection = sqlite3.connect(source(folder))
    # The row at the watermark is read again, because it may have changed.
    for day, done in ((1, "read 1, loaded 1"), (2, "read 2, loaded 2")):
        with connection:
            row = (day, "paid", f"2026-01-0{day} 12:00:00.000000")
            connection.execute("INSERT INTO orders VALUES (?, ?, ?)", row)
        assert done in projects.tool(folder, "python", tmp_path / "run.py", **env)
    connection.close()
    query = "SELECT id, state, updated_at FROM raw.orders ORDER BY id"
    wanted = [[day, "paid", f"2026-01-0{day} 12:00:00"] for day in (1, 2)]
    assert warehouse_files.ask(folder, url, query) == wanted
