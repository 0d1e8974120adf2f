"""The recipes of docs/recipes, written into a generated project and run there unchanged."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import recipes
from buckets import s3_server
from environments import Environments
from projects import Render, run, tool

PACKAGE = "src/my_data_project"
ANSWERS = {"extras": ["filesystem"], "example": False}
READ = """
import duckdb, json, sys
with duckdb.connect(sys.argv[1], read_only=True) as opened:
    rows = opened.execute(f"SELECT {sys.argv[3]} FROM raw.{sys.argv[2]} ORDER BY 1").fetchall()
print("ROWS" + json.dumps(rows, default=str))
"""
"""Reads the warehouse without the project, whose import takes seconds."""


class Project:
    """A generated project with its own warehouse, for recipes."""

    def __init__(self, folder: Path, data: Path, prefect_api: str) -> None:
        self.folder = folder
        self.package = folder / "src" / "my_data_project"
        self.source = data / "source.db"
        self.warehouse = data / "warehouse.duckdb"
        self.env = {
            "PREFECT_API_URL": prefect_api,
            "MY_DATA_PROJECT_SOURCE_URL": f"sqlite:///{self.source}",
            "MY_DATA_PROJECT_WAREHOUSE_URL": f"duckdb:///{self.warehouse}",
        }

    def write(self, page: str, number: int = 0, change: tuple[str, str] | None = None) -> None:
        """Write a module of a page, with the change that a reader would make."""
        path, code = recipes.modules(page, PACKAGE)[number]
        if change is not None:
            assert change[0] in code
            code = code.replace(*change)
        (self.folder / path).write_text(code)

    def run(self, code: str, *words: str, check: bool = True) -> str:
        return tool(self.folder, "python", "-c", code, *words, check=check, **self.env)

    def shell(self, commands: str) -> str:
        """Run a code block of a page."""
        return run("bash", "-c", commands, cwd=self.folder, UV_NO_SYNC="1", **self.env)

    def flow(self, module: str, *names: str, check: bool = True) -> str:
        calls = "".join(f"{module}.{name}();" for name in names)
        return self.run(f"from my_data_project.flows import {module};{calls}", check=check)

    def ingest(self, *, check: bool = True) -> str:
        return self.flow("ingestion_flow", "ingest_all", check=check)

    def read(self, table: str, columns: str = "*") -> list[list[object]]:
        printed = self.run(READ, str(self.warehouse), table, columns)
        rows: list[list[object]] = json.loads(printed.rpartition("ROWS")[2])
        return rows

    def fill(self, script: str) -> None:
        with sqlite3.connect(self.source) as connection:
            connection.executescript(script)
        connection.close()


@pytest.fixture(scope="module")
def synced(
    render: Render, environments: Environments, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("recipes") / "my-data-project"
    shutil.copytree(render(**ANSWERS), folder)
    environments.sync(folder)
    return folder


@pytest.fixture
def project(synced: Path, tmp_path: Path, prefect_api: str) -> Iterator[Project]:
    tables = synced / "src/my_data_project/flows/tables.py"
    before = tables.read_text()
    there = set(tables.parent.iterdir())
    yield Project(synced, tmp_path, prefect_api)
    tables.write_text(before)
    for path in set(tables.parent.glob("*.py")) - there:
        path.unlink()


def test_every_recipe_passes_the_checks_of_a_project(project: Project) -> None:
    files: list[Path] = []
    for page in sorted(recipes.FOLDER.glob("*.md")):
        for number, (_, code) in enumerate(recipes.modules(page.name, PACKAGE)):
            name = f"{page.stem.replace('-', '_')}_{number}.py"
            files.append(project.package / "flows" / name)
            files[-1].write_text(code)
    recipes.check(project.folder, files)


RATES = [
    {"id": n, "rate": 1 + n / 10, "updated_at": f"2026-01-0{n}T00:00:00Z"} for n in range(1, 6)
]


@pytest.fixture
def api() -> Iterator[tuple[str, list[str]]]:
    """An API with pages of two rates; yields its address and the recorded queries."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(urlsplit(self.path).query)
            query = parse_qs(asked[-1])
            since = query.get("since", [""])[0].replace("+00:00", "Z")
            new = [rate for rate in RATES if str(rate["updated_at"]) >= since]
            start = int(query.get("start", ["0"])[0])
            answer: dict[str, object] = {"items": new[start : start + 2]}
            if start + 2 < len(new):
                answer["next"] = f"{address}rates?since={since}&start={start + 2}"
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_address[1]}/v1/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield address, asked
    server.shutdown()


def test_rest_api(project: Project, api: tuple[str, list[str]]) -> None:
    address, asked = api
    project.write("rest-api.md", change=("https://api.example.com/v1/", address))
    project.flow("rates", "ingest_rates")
    assert len(asked) == 3
    assert project.read("rates", "id, rate") == [[n, 1 + n / 10] for n in range(1, 6)]
    RATES.append({"id": 2, "rate": 9.5, "updated_at": "2026-01-07T00:00:00Z"})
    try:
        project.flow("rates", "ingest_rates")
        assert asked[3:] == ["since=2026-01-05T00%3A00%3A00%2B00%3A00"]
        assert project.read("rates", "id, rate")[1] == [2, 9.5]
        RATES[-1] = {"id": 9, "rate": -1, "updated_at": "2026-01-08T00:00:00Z"}
        printed = project.flow("rates", "ingest_rates", check=False)
        assert "rate is at least 0: 1" in printed
        assert len(project.read("rates")) == 5
    finally:
        del RATES[5:]
    printed = tool(project.folder, "my-data-project", "status", "--json", **project.env)
    assert '"table": "rates"' in printed


def test_files(project: Project, tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    (incoming / "orders").mkdir(parents=True)
    (incoming / "orders" / "1.csv").write_text("id,total\n1,9.5\n2,3\n")
    project.write("files.md", change=("data/incoming", str(incoming)))
    project.flow("orders", "ingest_orders")
    assert project.read("orders", "id, total") == [[1, 9.5], [2, 3.0]]
    (incoming / "orders" / "2.csv").write_text("id,total\n3,4.5\n")
    for _ in range(2):
        project.flow("orders", "ingest_orders")
        assert project.read("orders", "id, total") == [[1, 9.5], [2, 3.0], [3, 4.5]]


PARQUET = """
import pyarrow as pa, sys
from pyarrow import parquet
parquet.write_table(pa.table({"id": ["a"], "seconds": [1.5]}), sys.argv[1])
"""


def test_buckets(project: Project, tmp_path: Path) -> None:
    import boto3

    with s3_server() as url:
        project.env |= {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        login = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **login)
        client.create_bucket(Bucket="my-bucket")

        def put(name: str, body: bytes) -> None:
            client.put_object(Bucket="my-bucket", Key=f"incoming/{name}", Body=body)

        put("a/1.jsonl", b'{"id": 1, "at": "2026-01-01T00:00:00Z", "x": {"y": [1]}}\n')
        file = tmp_path / "sessions.parquet"
        project.run(PARQUET, str(file))
        put("s/sessions.parquet", file.read_bytes())
        project.write("files.md", 1)
        project.flow("events", "ingest_events", "ingest_sessions")
        assert project.read("sessions", "id, seconds") == [["a", 1.5]]
        put("a/2.jsonl", b'{"id": 1, "at": "2026-01-02T00:00:00Z", "x": {"y": [2]}}\n')
        for _ in range(2):
            project.flow("events", "ingest_events")
            assert project.read("events", "id, x") == [[1, '{"y":[2]}']]


def test_functions(project: Project) -> None:
    project.write("functions.md")
    project.flow("sensors", "ingest_sensors", "ingest_sensor_values", "ingest_sensor_days")
    assert project.read("sensors", "id, name, tags") == [
        [1, "roof", '["outside","north"]'],
        [2, "cellar", "[]"],
    ]
    assert len(project.read("sensor_values")) == 6
    assert str(project.read("sensor_days", "day, mean")[1]) == "['2026-01-02', nan]"
    # An hour before the watermark, and three hours from there.
    project.flow("sensors", "ingest_sensor_values")
    assert len(project.read("sensor_values")) == 8


FLIGHTS = """
CREATE TABLE airlines (carrier TEXT PRIMARY KEY, name TEXT);
INSERT INTO airlines VALUES ('UA', 'United'), ('AA', 'American');
CREATE TABLE flights (time_hour TIMESTAMP, carrier TEXT, flight INTEGER, dep_delay INTEGER);
INSERT INTO flights VALUES ('2013-01-01 05:00:00', 'UA', 1, 3);
INSERT INTO flights VALUES ('2013-01-01 06:00:00', 'AA', 2, 90);
"""


def test_what_the_warehouse_has(project: Project) -> None:
    project.fill(FLIGHTS)
    project.write("databases.md", 0)
    project.ingest()
    code = (
        "from my_data_project.common import warehouse\n"
        "with warehouse.connect() as w: print('FOUND', *sorted(w.query('SELECT table_schema, "
        "table_name FROM information_schema.tables')))"
    )
    found = {tuple(pair) for pair in re.findall(r"\('(\w+)', '(\w+)'\)", project.run(code))}
    own = {"_dlt_loads", "_dlt_version", "_ingestions"}
    assert {name for schema, name in found if schema == "raw"} == {*own, "airlines", "flights"}
    assert {schema for schema, _ in found} == {"raw", "raw_staging"}
    assert len(project.read("airlines", "_dlt_load_id, carrier, name")) == 2
    assert len(project.read("flights")) == 2
    # All tables: also new ones, and those that became empty.
    project.fill("CREATE TABLE planes (tailnum TEXT); DELETE FROM airlines")
    project.ingest()
    assert project.read("planes") == project.read("airlines") == []


def test_discover(project: Project) -> None:
    project.fill(FLIGHTS)
    printed = tool(project.folder, "my-data-project", "discover", **project.env)
    assert 'name="airlines"' in printed


def test_several_sources(project: Project, tmp_path: Path) -> None:
    project.fill(FLIGHTS)
    for name in ("crm", "erp"):
        url = f"sqlite:///{tmp_path / name}.db"
        project.env[f"MY_DATA_PROJECT_SOURCE_URLS__{name.upper()}"] = url
        with sqlite3.connect(tmp_path / f"{name}.db") as connection:
            connection.executescript(FLIGHTS.replace("'United'", f"'{name}'"))
        connection.close()
    project.write("databases.md", 1)
    project.ingest()
    names = {t: project.read(t, "name")[-1] for t in ("airlines", "crm_airlines", "erp_airlines")}
    assert names == {"airlines": ["United"], "crm_airlines": ["crm"], "erp_airlines": ["erp"]}


def test_types_and_views(project: Project) -> None:
    project.fill(
        """
        CREATE TABLE readings (id INTEGER PRIMARY KEY, taken TEXT, value TEXT, shape GEOMETRY);
        INSERT INTO readings VALUES (1, '2026-01-01 12:00:00', '1.25', x'00');
        CREATE VIEW text_readings AS SELECT id, CAST(shape AS TEXT) AS shape FROM readings;
        """
    )
    project.write("databases.md", 2)
    project.ingest()
    assert project.read("readings", "id, taken, value") == [[1, "2026-01-01 12:00:00", "1.250000"]]


def test_a_part_of_a_table(project: Project) -> None:
    project.fill(FLIGHTS)
    project.write("databases.md", 3)
    project.ingest()
    assert project.read("late_flights", "flight, dep_delay") == [[2, 90]]


def test_rules(project: Project) -> None:
    project.fill(
        "CREATE TABLE payments (id INTEGER PRIMARY KEY, currency TEXT, amount REAL,"
        " ordered DATE, paid DATE);"
        "INSERT INTO payments VALUES (1, 'EUR', 9.99, '2026-01-01', '2026-01-02')"
    )
    project.write("rules.md")
    project.ingest()
    project.fill("INSERT INTO payments VALUES (2, 'CHF', 1.005, '2026-01-01', '2025-12-31')")
    printed = project.ingest(check=False)
    for words in (
        "currency is one of EUR, USD: 1",
        "paid after it was ordered: 1",
        "amount has at most two digits behind the point: 1",
    ):
        assert words in printed
    assert len(project.read("payments")) == 1


def test_schedule(render: Render) -> None:
    """The example's `prefect.yaml` has this entry."""
    entry = recipes.block(recipes.read("schedule.md"), "yaml", "entrypoint")
    lines = [line for line in entry.splitlines() if line.strip()]
    deployed = (render() / "prefect.yaml").read_text().splitlines()
    assert [line for line in lines if line not in deployed] == []


def test_schemas(project: Project) -> None:
    script, code = recipes.modules("schemas.md", "scripts")[0]
    (project.folder / "scripts").mkdir()
    (project.folder / script).write_text(code)
    recipes.check(project.folder, [script])
    page = recipes.read("schemas.md")
    export = recipes.block(page, "bash", "EXPORT_SCHEMA_PATH")
    compare = recipes.block(page, "bash", "git show")

    def change(sql: str) -> list[str]:
        """Change the source, and follow the page; return CI's output and exit code."""
        project.fill(sql)
        project.shell(export)
        return project.shell(f"{compare}echo exit $?").splitlines()

    project.write("schemas.md")
    project.fill(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, n INTEGER);"
        "INSERT INTO orders VALUES (1, 'a', 1)"
    )
    project.shell("git init -q")
    project.shell(export)
    project.shell(
        "git commit -qm 'Commit the schema'; git update-ref refs/remotes/origin/main HEAD"
    )
    project.ingest()
    assert change("UPDATE orders SET n = 2") == ["no change", "exit 0"]
    gift = "additive: orders.gift is new"
    assert change("ALTER TABLE orders ADD COLUMN gift TEXT") == [gift, "exit 0"]
    # The deployed version refuses the column until somebody decides.
    assert "'orders' has new columns in the source: gift" in project.ingest(check=False)
    gone = ["breaking: orders.n is gone", "breaking: orders.note is gone"]
    drop = "ALTER TABLE orders DROP COLUMN note; ALTER TABLE orders DROP COLUMN n"
    assert change(drop) == [gift, *gone, "exit 1"]
    type_ = "breaking: orders.n: data_type=bigint becomes data_type=text"
    assert change("ALTER TABLE orders ADD COLUMN n TEXT") == [gift, type_, gone[1], "exit 1"]
