"""The recipes of docs/recipes about Prefect's server and workers, followed step by step."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import child_processes
import projects
import pytest
import recipes
import warehouse_files
from environments import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from environments import Environments
    from projects import Render

WAIT_SECONDS = 300


@pytest.fixture(scope="module")
def server(pipeline: Path, migrated: Path) -> Iterator[str]:
    """A separate server, because tests list everything on it; yields the URL of its API."""
    with serve(pipeline / ".venv" / "bin" / "python", migrated) as url:
        yield url


class Reader:
    """A reader who follows a page in a project's folder, for the environment `dev`."""

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
        """Run a code block of a page."""
        wanted = {"UV_NO_SYNC": "1", **self.env, **env}
        return projects.run("bash", "-ec", commands, cwd=self.folder, **wanted)

    def ask(self, path: str, **body: object) -> Any:
        """Send a request to the server, with retries while it is busy."""
        request = urllib.request.Request(
            f"{self.server}/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )

        def answer() -> Any:
            try:
                with urllib.request.urlopen(request, timeout=180) as response:
                    return [json.load(response)]
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
            return None

        return wait_for(answer, f"an answer to {path}")[0]

    def start(self, deployment: Any) -> Any:
        """Start a run of a deployment."""
        path = f"deployments/{deployment['id']}/create_flow_run"
        return self.ask(path, state={"type": "SCHEDULED"}, idempotency_key=uuid.uuid4().hex)

    def deployments(self) -> dict[str, Any]:
        """Return the deployments by entry point and name."""
        found = self.ask("deployments/filter")
        return {f"{one['entrypoint'].rpartition('.')[2]}/{one['name']}": one for one in found}

    def ended(self, run: str) -> str:
        """Wait until a run has ended, and return its state."""
        which = {"flow_runs": {"id": {"any_": [run]}}}
        ends = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        return str(
            wait_for(
                lambda: {one["state_type"] for one in self.ask("flow_runs/filter", **which)} & ends,
                f"the end of run {run}",
            ).pop()
        )


def wait_for(find: Callable[[], Any], what: str) -> Any:
    """Call a function until it returns something, and return that; fail after a while."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := find()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.3)
    return found


Make = Callable[..., Reader]


@pytest.fixture
def make(render: Render, environments: Environments, server: str, tmp_path: Path) -> Make:
    """Create an empty project with one table, and a source and a warehouse for it."""

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
    head, mark, entry = file.read_text().partition("This entry gives one its own schedule.\n")
    file.write_text(head + mark + re.sub("^  # ", "  ", entry, flags=re.MULTILINE))
    reader("git commit -qam Second; git tag v1.1.0")
    reader("uv run my-data-project deploy")

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
    assert reader.start(one)["deployment_version"] == one["version"]
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
    assert [version for (version,) in everyone if version] == [
        f"{tag.removeprefix('v')}+g{commits[tag]}" for tag in ("v1.1.0", "v1.0.0")
    ]


@pytest.mark.large("combinations")
def test_several_projects_on_one_server(make: Make) -> None:
    readers = {name: make(name) for name in ("my-data-project", "sales")}
    first, second = readers.values()
    for name, reader in readers.items():
        reader(f"uv run {name} deploy")
    for name, reader in readers.items():
        assert reader(f"uv run {name} deploy --plan; echo exit $?").endswith("exit 0\n")
    found = first.deployments()
    assert {one["name"] for one in found.values()} == {
        f"{name}-dev{suffix}" for name in readers for suffix in ("", "-manual")
    }
    flows = {key.partition("/")[0] for key in found}
    assert len(found) == 2 * 3
    assert flows == {"ingest_all", "transform_all"}
    for one in found.values():
        project = one["name"].partition("-dev")[0]
        assert set(one["tags"]) == {project, f"{project}-dev"}
        assert one["work_pool_name"] == f"{project}-dev"
    limits = [one["global_concurrency_limit"] for one in found.values()]
    ids = [limit["id"] for limit in limits if limit]
    assert len(ids) == len({*ids}) == 4
    page = recipes.block(recipes.read("servers.md"), "bash", "automation ls")
    printed = first(page, COLUMNS="200")
    for name in readers:
        assert f"{name}-dev-stuck" in printed
        assert f"transform/{name}-dev" in printed

    # An ingestion triggers the transformation of its own project.
    def transformations(name: str) -> int:
        id_ = found[f"transform_all/{name}-dev"]["id"]
        return len(first.ask("flow_runs/filter", deployments={"id": {"any_": [id_]}}))

    first("uv run my-data-project ingest")
    wait_for(lambda: transformations("my-data-project"), "a transformation")
    assert transformations("sales") == 0
    second("uv run sales ingest")
    keys = {one["key"] for one in first.ask("artifacts/latest/filter")}
    assert keys == {"my-data-project-dev-ingestion", "sales-dev-ingestion"}

    # A deployment that one project has removed is not an orphan of the other.
    file = second.folder / "prefect.yaml"
    head, _, rest = file.read_text().partition("  # The same by hand")
    file.write_text(head + rest[rest.index("  # No schedule") :])
    first("uv run my-data-project deploy --prune")
    assert first.deployments().keys() == found.keys()
    second("uv run sales deploy --prune")
    assert found.keys() - first.deployments().keys() == {"ingest_all/sales-dev-manual"}


DECODE = """
import json, sys
from pathlib import Path
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

found = {"spans": [], "metrics": [], "logs": [], "services": []}
for file in sorted(Path(sys.argv[1]).iterdir()):
    kind, body = file.name.partition("-")[0], file.read_bytes()
    if kind == "traces":
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            found["services"].append(named.get("service.name"))
            found["spans"] += [
                (span.name, span.span_id.hex(), span.parent_span_id.hex())
                for scope in resource.scope_spans
                for span in scope.spans
            ]
    elif kind == "metrics":
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            found["metrics"] += [
                (metric.name, named.get("prefect.flow-run.id"))
                for scope in resource.scope_metrics
                for metric in scope.metrics
            ]
    elif kind == "logs":
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            found["logs"] += [
                record.body.string_value
                for scope in resource.scope_logs
                for record in scope.log_records
            ]
print(json.dumps(found))
"""


@contextlib.contextmanager
def collector(folder: Path) -> Iterator[str]:
    """Stand in for OpenTelemetry's collector: save each request to a file; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = self.path.removeprefix("/v1/")
            (folder / f"{kind}-{uuid.uuid4().hex}").write_bytes(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_port}"
    finally:
        served.shutdown()


@pytest.fixture
def own_server(pipeline: Path, migrated: Path) -> Iterator[str]:
    """A server without runs of other tests, which a worker would also execute."""
    with serve(pipeline / ".venv" / "bin" / "python", migrated) as url:
        yield url


def test_opentelemetry(make: Make, own_server: str, tmp_path: Path) -> None:
    page = recipes.read("opentelemetry.md")
    reader = make()
    reader.server = reader.env["PREFECT_API_URL"] = own_server
    file = reader.folder / "pyproject.toml"
    dependencies, mark, rest = file.read_text().partition("  # Yours, below this line:\n")
    file.write_text(dependencies + mark + recipes.block(page, "toml", "otel") + rest)
    received = tmp_path / "received"
    received.mkdir()
    commands = recipes.block(page, "bash", "worker start")
    setup, start = commands.strip().rsplit("\n", 1)
    # Without its schedule: a scheduled run would prevent this one.
    reader("uv sync -q; uv run my-data-project deploy", MY_DATA_PROJECT_SCHEDULE_ACTIVE="false")
    with collector(received) as url, (tmp_path / "worker.log").open("wb") as log:
        setup = setup.replace("http://127.0.0.1:4318", url)
        env = projects.clean_environment(
            **reader.env, UV_NO_SYNC="1", PREFECT_WORKER_QUERY_SECONDS="1"
        )
        worker = child_processes.start(
            ["bash", "-ec", f"{setup}\nexec {start}"],
            cwd=reader.folder,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            run = reader.start(reader.deployments()["ingest_all/my-data-project-dev"])
            assert reader.ended(run["id"]) == "COMPLETED", (tmp_path / "worker.log").read_text()
            # The process sends the rest when it ends, after it has reported the final state.
            for kind, word in (("traces", b"all tables"), ("metrics", run["id"].encode())):
                files = f"{kind}-*"
                wait_for(
                    lambda files=files, word=word: any(
                        word in file.read_bytes() for file in received.glob(files)
                    ),
                    f"{word!r} among the {kind}",
                )
        finally:
            child_processes.stop(worker, 60)
    printed = projects.tool(reader.folder, "python", "-c", DECODE, str(received))
    found = json.loads(printed.splitlines()[-1])
    assert {*found["services"]} == {"my-data-project"}
    ids = {name.partition(",")[0]: id_ for name, id_, _ in found["spans"]}
    parents = {name.partition(",")[0]: parent for name, _, parent in found["spans"]}
    assert parents["ingest-orders"] == ids["all tables"]
    assert parents["load-orders"] == ids["ingest-orders"]
    assert ["process.memory.usage", run["id"]] in found["metrics"]
    assert "orders: 1 rows loaded" in found["logs"]
