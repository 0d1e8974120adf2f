"""Derived tables on DuckDB, PostgreSQL and files. Runs inside a generated project, all extras."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
import sqlalchemy as sa
from my_data_project.common import derived, errors, settings, warehouse
from my_data_project.common.table import AllTables
from my_data_project.flows import ingestion_flow, tables

POSTGRES = os.environ["TEST_POSTGRES_URL"]
Build = Callable[..., int]


def names(layer: str, table: str) -> str:
    return f'"{layer}"."{table}"'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sql"
    folder.mkdir()
    monkeypatch.setattr(derived, "FOLDER", folder)
    return folder


@pytest.fixture(params=["duckdb", "postgres", "files"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Give the URL of a database on the PostgreSQL server for these tests."""
    name = f"derived_{os.getpid()}"
    server = sa.create_engine(sa.make_url(POSTGRES).set(drivername="postgresql+psycopg2"))
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield sa.make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


@pytest.fixture
def url(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Set an empty warehouse."""
    url = f"file://{tmp_path}/lake" if kind == "files" else f"duckdb:///{tmp_path}/w.duckdb"
    if kind == "postgres":
        url = request.getfixturevalue("database")
    monkeypatch.setenv(f"{settings.ENV_PREFIX}WAREHOUSE_URL", url)
    yield url
    if kind == "postgres":
        run("DROP SCHEMA IF EXISTS raw CASCADE", "DROP SCHEMA IF EXISTS marts CASCADE")


@pytest.fixture
def build(url: str, folder: Path) -> Build:
    """Write the files given by name, and build the last of them, beside two ingested tables."""
    with tempfile.TemporaryDirectory() as work:
        made = warehouse.pipeline(work)
        for name, rows in {
            "orders": pa.table({"id": [1, 2, 3], "Price": [10, 20, None]}),
            "clients": pa.table({"id": [1]}),
        }.items():
            made.run(
                rows,
                table_name=name,
                write_disposition="replace",
                loader_file_format="parquet",
                table_format="delta" if url.startswith("file:") else None,
            )

    def run(**queries: str) -> int:
        for name, query in queries.items():
            (folder / f"{name}.sql").write_text(query, encoding="utf-8")
        with warehouse.connect() as opened:
            return derived.build(opened, next(reversed(queries)))

    return run


def read(sql: str) -> list[tuple[Any, ...]]:
    """Run a query in which {x} stands for the table x of marts."""
    with warehouse.connect() as opened:

        class Names(dict[str, str]):
            def __missing__(self, table: str) -> str:
                return opened.name(opened.marts, table)

        return opened.query(sql.format_map(Names()))


def run(*statements: str) -> None:
    with warehouse.connect() as opened:
        opened.execute(*statements)


# A query in which @x@ is to be taken for a table, and x is not.
QUERIES = [
    "SELECT orders.id FROM @orders@",
    "SELECT o.id FROM @orders@ AS o, @clients@ clients",
    "WITH orders AS (SELECT id FROM @orders@) SELECT id FROM orders",
    "WITH a AS (SELECT 1 AS id), b AS (SELECT * FROM a JOIN @clients@ USING (id)) SELECT * FROM b",
    "WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT n.id + 1 FROM n JOIN @orders@ USING (id))"
    " SELECT * FROM n",
    "SELECT * FROM (WITH n AS (SELECT * FROM @orders@) SELECT * FROM n) AS s JOIN @n@ USING (id)",
    "SELECT id, (SELECT MAX(id) FROM @clients@) AS m FROM @orders@ WHERE id IN"
    " (SELECT id FROM @clients@) AND EXISTS (SELECT 1 FROM @n@ WHERE n.id = orders.id)",
    "WITH CLIENTS AS (SELECT 1 AS id) SELECT * FROM clients UNION ALL (SELECT id FROM @orders@)",
    "SELECT * FROM range(3) AS r (id), @orders@ o, LATERAL (SELECT * FROM @clients@ c) AS l",
    "SELECT orders.id AS clients FROM other.clients JOIN @orders@ ON orders.id = clients.id",
    "FROM @orders@ SELECT id",
    "WITH p AS (PIVOT @orders@ ON id USING SUM(price)) SELECT * FROM p, (UNPIVOT @clients@ ON id)",
    "WITH o AS (WITH orders AS (FROM @clients@) FROM orders)"
    " SELECT * FROM o, @orders@ QUALIFY 1 = 1",
    "SELECT ARRAY(SELECT id::INT FROM @orders@), j->>'$.a', SUM(x) FILTER (x > INTERVAL 1 DAY) OVER"
    " (ORDER BY y ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1)) AS clients (id)",
    "SELECT 'FROM orders' AS text /* FROM orders */ FROM @orders@ -- FROM orders",
]


@pytest.mark.parametrize("query", QUERIES)
def test_only_tables_are_taken_for_tables(folder: Path, query: str) -> None:
    text = query.replace("@", "")
    (folder / "a.sql").write_text(f"{text}\n;\n-- the end", encoding="utf-8")
    (folder / "n.sql").write_text("SELECT 1 AS id", encoding="utf-8")
    found = derived.read_all()["a"]
    for table, layer in {"orders": "raw", "clients": "raw", "n": "marts"}.items():
        assert (table in derived.read_tables(found, layer)) == (f"@{table}@" in query)
        query = query.replace(f"@{table}@", names(layer, table))
    assert found.sql("duckdb", names) == query


def test_schemas_are_called_as_the_settings_say(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{settings.ENV_PREFIX}RAW_SCHEMA", "landing")
    (folder / "a.sql").write_text(
        'SELECT raw.orders.id FROM raw.orders JOIN LANDING.clients c ON c.id = "raw".orders.id'
    )
    query = derived.read_all()["a"]
    assert derived.read_tables(query) == {"orders", "clients"}
    assert query.sql("duckdb", lambda _layer, table: f'"landing"."{table}"') == (
        'SELECT "landing"."orders".id FROM "landing"."orders"'
        ' JOIN "landing"."clients" c ON c.id = "landing"."orders".id'
    )


@pytest.mark.parametrize(
    ("dialect", "qualify", "expected"),
    [
        (
            "postgres",
            '"{}"."{}"',
            'SELECT "orders"."Price" AS "p" FROM "raw"."orders" ORDER BY "p" NULLS FIRST',
        ),
        (
            "snowflake",
            '"{}"."{}"',
            'SELECT "orders"."Price" AS "p" FROM "raw"."orders" ORDER BY "p" NULLS FIRST',
        ),
        (
            "bigquery",
            "`my-project`.`{}`.`{}`",
            "SELECT `orders`.`Price` AS `p` FROM `my-project`.`raw`.`orders` ORDER BY `p`",
        ),
        (
            "clickhouse",
            "`{}___{}`",
            'SELECT "orders"."Price" AS "p" FROM "raw___orders" AS "orders"'
            ' ORDER BY "p" NULLS FIRST',
        ),
        (
            "tsql",
            '"{}"."{}"',
            "SELECT [orders].[Price] AS [p] FROM [raw].[orders] ORDER BY [p]",
        ),
    ],
)
def test_files_are_translated_for_the_warehouse(
    folder: Path, dialect: str, qualify: str, expected: str
) -> None:
    (folder / "a.sql").write_text("SELECT orders.Price AS p FROM orders ORDER BY p NULLS FIRST")
    assert derived.read_all()["a"].sql(dialect, qualify.format) == expected


def test_what_cannot_be_translated_is_refused_with_advice_that_works(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "SELECT ANY_VALUE(id) AS id FROM orders"
    (folder / "a.sql").write_text(query)
    with pytest.raises(errors.PermanentError, match=r"a line `(-- dialect: postgres)`") as caught:
        derived.read_all()["a"].sql("postgres", names)
    line = str(caught.value).split("`")[1]
    (folder / "a.sql").write_text(f"{line}\n{query}")
    expected = f'{line}\nSELECT ANY_VALUE(id) AS id FROM "raw"."orders"'
    assert derived.read_all()["a"].sql("postgres", names) == expected
    (folder / "a.sql").write_text(query)
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SQL_DIALECT", "postgres")
    assert derived.read_all()["a"].sql("postgres", names) == expected.removeprefix(f"{line}\n")


def test_an_unknown_dialect_is_one_clear_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.sql").write_text("SELECT 1 AS a")
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SQL_DIALECT", "postgresql")
    with pytest.raises(errors.PermanentError, match=r"Unknown dialect 'postgresql'. Did you mean"):
        derived.read_all()


def test_a_table_is_built_from_tables(build: Build) -> None:
    # Neither a colon nor a percent sign is a parameter in somebody's SQL.
    label = "'50% off: %s' AS label, 7 % 4 AS rest"
    assert build(sums=f"SELECT id, Price, {label} FROM orders -- 100 % :sure\n;") == 3
    assert build(more="SELECT SUM(Price) AS s, MIN(label) AS label FROM sums") == 1
    assert read("SELECT * FROM {more}") == [(30, "50% off: %s")]


def test_a_table_changes_its_columns(build: Build) -> None:
    for query in ("SELECT id FROM orders", "SELECT id, 'x' AS t FROM clients", "SELECT 'x' AS id"):
        rows = build(sums=query)
        assert read("SELECT COUNT(*) FROM {sums}") == [(rows,)]
    assert read("SELECT * FROM {sums}") == [("x",)]
    assert build(sums="SELECT id FROM orders WHERE id > 9") == 0


def test_a_failure_leaves_the_old_table(build: Build) -> None:
    build(sums="SELECT id FROM orders")
    with pytest.raises(errors.PermanentError, match=r"sql/sums\.sql in .*nope"):
        build(sums="SELECT nope FROM orders")
    with pytest.raises(errors.PermanentError, match=r"sql/sums\.sql in .*"):
        build(sums="SELECT CAST(label AS INTEGER) AS id FROM (SELECT 'x' AS label) AS t")
    assert read("SELECT COUNT(*) FROM {sums}") == [(3,)]


@pytest.mark.parametrize("kind", ["duckdb"])
def test_a_view_of_somebody_else_is_left_alone_whatever_its_case(build: Build, kind: str) -> None:
    run("CREATE SCHEMA marts", 'CREATE VIEW marts."Theirs" AS SELECT 7 AS own')
    with pytest.raises(errors.PermanentError, match=r"was not made from .* sql/theirs\.sql"):
        build(theirs="SELECT id FROM orders")
    assert read('SELECT own FROM marts."Theirs"') == [(7,)]


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ({"a": "SELECT 1 AS x; SELECT 2 AS x"}, r"sql/a\.sql must hold one SELECT"),
        ({"a": "DROP TABLE raw.orders"}, r"sql/a\.sql must hold one SELECT"),
        ({"a": "-- nothing yet"}, r"sql/a\.sql must hold one SELECT"),
        ({"a": "SELECT (1 AS x FROM orders"}, r"sql/a\.sql is not SQL of the dialect duckdb"),
        ({"a": f"SELECT {'abs(' * 99}1{')' * 99} AS x"}, r"sql/a\.sql is not SQL.* recursion"),
        ({"a": "SELECT 1 AS x FROM {{ ref('orders') }}"}, r"Expected table name but got {\.$"),
        ({"a": "SELECT * FROM b", "b": "SELECT * FROM a"}, r"a\.sql reads sql/b\.sql reads sql/a"),
        ({"a": "SELECT * FROM a"}, r"sql/a\.sql reads sql/a\.sql"),
        ({"orders": "SELECT 1 AS x"}, "orders is both an ingested table and the derived table"),
        ({"_a": "SELECT 1 AS x"}, "needs another name"),
    ],
)
def test_what_cannot_work_is_one_clear_error(
    folder: Path, queries: dict[str, str], message: str
) -> None:
    for name, query in queries.items():
        (folder / f"{name}.sql").write_text(query, encoding="utf-8")

    def check() -> None:
        derived.check_names(["orders"])
        derived.order(derived.read_all())

    with pytest.raises(errors.PermanentError, match=message):
        check()


def test_a_table_of_a_schema_must_not_have_the_name_of_a_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "source.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE Orders (id INTEGER)")
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SOURCE_URL", f"sqlite:///{path}")
    monkeypatch.setattr(tables, "TABLES", (AllTables(),))
    (folder / "orders.sql").write_text("SELECT 1 AS x")
    with pytest.raises(errors.PermanentError, match="orders is both an ingested table and the der"):
        ingestion_flow.ingest_all.fn()


@pytest.mark.parametrize("kind", ["duckdb"])
def test_a_missing_file_is_one_clear_error(url: str, folder: Path, kind: str) -> None:
    with warehouse.connect() as opened, pytest.raises(errors.PermanentError, match=r"no file sql/"):
        derived.build(opened, "nothing")


def test_settings_of_duckdb_go_into_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"duckdb:///{tmp_path}/w.duckdb?memory_limit=128MiB&threads=1"
    monkeypatch.setenv(f"{settings.ENV_PREFIX}WAREHOUSE_URL", url)
    asked = "SELECT current_setting('memory_limit'), current_setting('threads')"
    assert read(asked) == [("128.0 MiB", 1)]
    monkeypatch.setenv(f"{settings.ENV_PREFIX}WAREHOUSE_URL", url.replace("threads", "treads"))
    with pytest.raises(errors.PermanentError, match=r"unrecognized configuration .*treads"):
        read(asked)


def test_a_table_of_somebody_else_is_left_alone(build: Build, kind: str) -> None:
    build(first="SELECT id FROM orders")
    if kind == "files":
        lake = settings.load().warehouse_url.get_secret_value()
        deltalake.write_deltalake(f"{lake}/marts/theirs", pa.table({"own": [7]}))
    else:
        run("CREATE TABLE marts.theirs AS SELECT 7 AS own")
    with pytest.raises(errors.PermanentError, match=r"was not made from .* sql/theirs\.sql"):
        build(theirs="SELECT id FROM orders")
    assert read("SELECT own FROM {theirs}") == [(7,)]


def test_a_derived_table_of_another_project_is_left_alone(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(sums="SELECT 7 AS own")
    with monkeypatch.context() as patch:
        patch.setattr(settings, "PROJECT", "another")
        with pytest.raises(errors.PermanentError, match=r"was not made from this project's sql/s"):
            build(sums="SELECT id FROM orders")
        assert build(more="SELECT id FROM orders") == 3
    assert read("SELECT own FROM {sums}") == [(7,)]
    assert build(sums="SELECT 8 AS own") == 1


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_tables_built_by_an_older_version_stay_ours(build: Build, kind: str) -> None:
    build(sums="SELECT 7 AS own")
    run("ALTER TABLE marts._derived DROP COLUMN project", "CREATE TABLE marts.theirs (id INT)")
    assert build(more="SELECT 1 AS a") == 1
    assert build(sums="SELECT 8 AS own") == 1
    marks = [("more", settings.PROJECT), ("sums", settings.PROJECT)]
    assert read("SELECT name, project FROM {_derived} ORDER BY name") == marks
    with pytest.raises(errors.PermanentError, match="was not made from this project's"):
        build(theirs="SELECT 1 AS a")


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_what_hangs_on_a_table_stays_while_its_columns_do(build: Build, kind: str) -> None:
    build(sums="SELECT 1 AS a")
    run("CREATE VIEW marts.seen AS SELECT a FROM marts.sums")
    if kind == "postgres":
        run("GRANT SELECT ON marts.sums TO public", "CREATE INDEX own ON marts.sums (a)")
    assert build(sums="SELECT 2 AS a UNION SELECT 3") == 2
    assert read("SELECT a FROM {seen} ORDER BY a") == [(2,), (3,)]
    if kind == "postgres":
        assert "=r/" in read("SELECT relacl::text FROM pg_class WHERE relname = 'sums'")[0][0]
        assert read("SELECT COUNT(*) FROM pg_indexes WHERE indexname = 'own'") == [(1,)]
        with pytest.raises(errors.PermanentError, match="something depends on the old ones"):
            build(sums="SELECT 'x' AS b")
        assert read("SELECT a FROM {seen} ORDER BY a") == [(2,), (3,)]
        run("DROP VIEW marts.seen")
    assert build(sums="SELECT 'x' AS b") == 1
    assert read("SELECT b FROM {sums}") == [("x",)]
    left = read("SELECT table_name FROM information_schema.tables WHERE table_schema = 'marts'")
    assert ("_built",) not in left


@pytest.mark.parametrize("kind", ["postgres"])
def test_types_are_compared_to_the_last_digit(build: Build, kind: str) -> None:
    """A row must not be rounded into an old column."""
    build(sums="SELECT CAST(1.5 AS DECIMAL(10, 1)) AS a, CAST('10:00:00' AS TIME) AS t")
    run("ALTER TABLE marts.sums ALTER t TYPE time(0)")
    build(sums="SELECT CAST(1.55 AS DECIMAL(10, 2)) AS a, CAST('10:00:00.5' AS TIME) AS t")
    assert [tuple(map(str, row)) for row in read("SELECT a, t FROM {sums}")] == [
        ("1.55", "10:00:00.500000")
    ]


@pytest.mark.parametrize("kind", ["postgres"])
def test_a_view_that_took_a_tables_place_is_not_emptied(build: Build, kind: str) -> None:
    build(sums="SELECT id FROM orders")
    run("DROP TABLE marts.sums", "CREATE VIEW marts.sums AS SELECT id FROM raw.orders")
    with pytest.raises(errors.PermanentError, match="is not a table"):
        build(sums="SELECT id FROM clients")
    assert read("SELECT COUNT(*) FROM raw.orders") == [(3,)]


def in_threads(*functions: Callable[[], object]) -> list[BaseException]:
    """Run functions side by side, each with a connection of its own; return what they raised."""
    raised: list[BaseException] = []
    start = threading.Barrier(len(functions))

    def catch(function: Callable[[], object]) -> None:
        try:
            with warehouse.connect():
                start.wait(60)
                function()
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=catch, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return raised


def build_sums() -> None:
    with warehouse.connect() as opened:
        derived.build(opened, "sums")


@pytest.mark.parametrize("kind", ["postgres"])
def test_two_first_builds_at_once(build: Build, folder: Path, kind: str) -> None:
    (folder / "sums.sql").write_text("SELECT id FROM orders")
    assert in_threads(build_sums, build_sums) == []
    assert read("SELECT COUNT(*) FROM {sums}") == [(3,)]
    assert read("SELECT name FROM {_derived}") == [("sums",)]


@pytest.mark.parametrize("kind", ["postgres"])
def test_readers_never_see_a_half(build: Build, kind: str) -> None:
    build(sums="SELECT id FROM orders")
    seen: set[int] = set()
    building = [True, True]

    def again() -> None:
        try:
            for _ in range(10):
                build_sums()
        finally:
            building.pop()

    def look() -> None:
        while building:
            seen.update(read("SELECT COUNT(*) FROM {sums}")[0])

    assert in_threads(again, again, look) == []
    assert seen == {3}


@pytest.mark.parametrize("kind", ["postgres"])
def test_a_name_that_is_too_long_is_refused(build: Build, kind: str) -> None:
    with pytest.raises(errors.PermanentError, match="is too long"):
        build(**{"a" * 64: "SELECT 1 AS a"})
