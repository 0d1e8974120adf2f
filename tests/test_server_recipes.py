"""The recipes of docs/recipes about Prefect's server and workers, as their readers follow them."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import projects
import pytest
import recipes
import warehouse_files
from prefect_server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from environments import Environments
    from projects import Render

WAIT_SECONDS = 300


@pytest.fixture(scope="module")
def server(pipeline: Path, migrated: Path) -> Iterator[str]:
    """A server of these tests' own, because they list all that is on it; the URL of its API."""
    server = Server(migrated, python=str(pipeline / ".venv" / "bin" / "python"))
    server.start()
    try:
        server.wait()
        yield server.url
    finally:
        server.stop()


class Reader:
    """Somebody who follows a page in a project's folder, for its environment `dev`."""

    def __init__(self, folder: Path, server: str, data: Path) -> None:
        self.folder, self.server, self.data = folder, server, data
        data.mkdir(exist_ok=True)
        self.warehouse = f"duckdb:///{data / 'warehouse.duckdb'}"
        prefix = folder.name.replace("-", "_").upper()
        self.env = {
            "PREFECT_API_URL": server,
            "PREFECT_HOME": str(data / "home"),
            "UV_ENV_FILE": "environments/dev.env",
            f"{prefix}_SOURCE_URL": f"sqlite:///{data / 'source.db'}",
            f"{prefix}_WAREHOUSE_URL": self.warehouse,
        }
        with contextlib.closing(sqlite3.connect(data / "source.db")) as connection, connection:
            connection.executescript(
                "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, note TEXT);"
                "INSERT OR IGNORE INTO orders VALUES (1, 'a')"
            )

    def __call__(self, commands: str, **env: str) -> str:
        """Run a block of a page."""
        wanted = {"UV_NO_SYNC": "1", **self.env, **env}
        return projects.run("bash", "-ec", commands, cwd=self.folder, **wanted)

    def ask(self, path: str, **body: object) -> Any:
        """Ask the server."""
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.server}/{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=180) as response:
            return json.load(response)

    def deployments(self) -> dict[str, Any]:
        """Return what is deployed, by its entry point and name."""
        found = self.ask("deployments/filter")
        return {f"{one['entrypoint'].rpartition('.')[2]}/{one['name']}": one for one in found}

    def ended(self, run: str) -> str:
        """Wait until a run has ended, and return how."""
        which = {"flow_runs": {"id": {"any_": [run]}}}
        ends = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        return str(
            wait_for(
                lambda: {one["state_type"] for one in self.ask("flow_runs/filter", **which)} & ends,
                f"the end of run {run}",
            ).pop()
        )


def wait_for(find: Callable[[], Any], what: str) -> Any:
    """Return what is found once it is; fail when it does not come."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := find()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.3)
    return found


Make = Callable[..., Reader]


@pytest.fixture
def make(render: Render, environments: Environments, server: str, tmp_path: Path) -> Make:
    """Make an empty project with one table, and a source and a warehouse for it."""

    def made(name: str = "my-data-project") -> Reader:
        folder = tmp_path / name
        shutil.copytree(render(example=False, project_name=name), folder)
        tables = next(folder.glob("src/*/flows/tables.py"))
        code = tables.read_text()
        assert "TABLES: tuple[Table | AllTables, ...] = ()" in code
        tables.write_text(code.replace("= ()", '= (Table(name="orders", key=("id",)),)'))
        environments.sync(folder)
        return Reader(folder, server, tmp_path / f"{name}-data")

    return made


def test_rollback(make: Make) -> None:
    page = recipes.read("rollback.md")
    reader = make()
    file = reader.folder / "prefect.yaml"
    reader("git init -qb main; git add .; git commit -qm First; git tag v1.0.0")
    head, mark, entry = file.read_text().partition("one gets a schedule of its own.\n")
    file.write_text(head + mark + re.sub("^  # ", "  ", entry, flags=re.MULTILINE))
    reader("git commit -qam Second; git tag v1.1.0")
    reader("uv sync -q --reinstall-package my-data-project; uv run my-data-project deploy")

    def versions() -> set[str]:
        return {one["version"] for one in reader.deployments().values()}

    commits = {
        tag: reader(f"git rev-parse --short=8 {tag}").strip() for tag in ("v1.0.0", "v1.1.0")
    }
    assert versions() == {f"1.1.0+g{commits['v1.1.0']}"}
    newer = reader.deployments()
    assert "ingest_orders/my-data-project-dev" in newer
    reader("uv run my-data-project ingest")
    reader(recipes.block(page, "bash", "git switch").replace("--plan", "--plan || test $? = 2"))
    assert versions() == {f"1.0.0+g{commits['v1.0.0']}"}
    older = reader.deployments()
    assert newer.keys() - older.keys() == {"ingest_orders/my-data-project-dev"}
    (one,) = [one for key, one in older.items() if key == "ingest_all/my-data-project-dev"]
    assert not {"version_id", "version_info"} & one.keys()
    run = reader.ask(f"deployments/{one['id']}/create_flow_run")
    assert run["deployment_version"] == one["version"]
    reader("uv run my-data-project ingest")
    rows = warehouse_files.ask(
        reader.folder, reader.warehouse, recipes.block(page, "sql", "_ingestions")
    )
    assert [(row[0], row[2]) for row in rows] == [("orders", 1)]
    which = {"flow_runs": {"id": {"any_": [rows[0][3]]}}}
    assert [one["state_type"] for one in reader.ask("flow_runs/filter", **which)] == ["COMPLETED"]
    everyone = warehouse_files.ask(
        reader.folder, reader.warehouse, "SELECT version FROM raw._ingestions ORDER BY loaded_at"
    )
    assert [version for (version,) in everyone if version] == ["1.1.0", "1.0.0"]
