"""Values of all types of all sources. Runs inside a generated project with all extras."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pymysql
import pytest
import sqlalchemy as sa
from bench import Bench, use_bench
from my_data_project.common import errors, readers, warehouse
from my_data_project.common.table import Table
from value_cases import ARRIVES, REFUSED, Case, Refused

bench = use_bench

DIALECTS = list(ARRIVES)
TABLE = 'all%s types:x "; DROP TABLE x; -- `'
POSTGRES = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN positive AS bigint CHECK (value > 0);
CREATE TYPE place AS (a int, b text);
"""


class Database:
    """An empty database of one kind; environment variables name the servers."""

    def __init__(self, dialect: str, folder: Path) -> None:
        self.dialect = dialect
        match dialect:
            case "sqlite":
                self.url = f"sqlite:///{folder / 'source.db'}"
                self.connection: Any = sqlite3.connect(folder / "source.db", isolation_level=None)
            case "duckdb":
                self.url = f"duckdb:///{folder / 'source.duckdb'}"
                duckdb.connect(folder / "source.duckdb").close()
            case "postgresql":
                self.url = fresh(os.environ["TEST_POSTGRES_URL"])
                self.connection = psycopg2.connect(self.url)
                self.connection.autocommit = True
                self.run(POSTGRES)
            case "mysql":
                self.url = fresh(os.environ["TEST_MYSQL_URL"])
                url = sa.make_url(self.url)
                self.connection = pymysql.connect(
                    **url.translate_connect_args(username="user"),
                    **url.query,
                    charset="utf8mb4",
                    autocommit=True,
                )
                self.run("SET time_zone = '+05:30', sql_mode = 'ALLOW_INVALID_DATES'")

    def run(self, sql: str) -> None:
        if self.dialect == "duckdb":  # one process at a time can open it
            with duckdb.connect(self.url.removeprefix("duckdb:///")) as connection:
                connection.execute("SET TimeZone = 'Asia/Kolkata'")
                connection.execute(sql)
            return
        self.connection.cursor().execute(sql)

    def quote(self, name: str) -> str:
        mark = "`" if self.dialect == "mysql" else '"'
        return mark + name.replace(mark, mark * 2) + mark

    def fill(self, name: str, columns: dict[str, tuple[str, str]]) -> None:
        """Create a table with columns of given types: one row of values, one of nulls."""
        declared = ", ".join(
            f"{self.quote(column)} {type_}" for column, (type_, _) in columns.items()
        )
        values = ", ".join(value for _, value in columns.values())
        table = self.quote(name)
        self.run(f"CREATE TABLE {table} (id integer, {declared})")
        self.run(f"INSERT INTO {table} VALUES (1, {values})")
        self.run(f"INSERT INTO {table} (id) VALUES (2)")


def fresh(server: str) -> str:
    """Create an empty database on a server and return its URL."""
    name = f"values_{os.urandom(6).hex()}"
    url = sa.make_url(server)
    if url.get_backend_name() == "postgresql":
        connection: Any = psycopg2.connect(server)
        connection.autocommit = True
    else:
        connection = pymysql.connect(**url.translate_connect_args(username="user"), **url.query)
    utf8 = " CHARACTER SET utf8mb4" if url.get_backend_name() == "mysql" else ""
    connection.cursor().execute(f"CREATE DATABASE {name}{utf8}")
    connection.close()
    return url.set(database=name).render_as_string(hide_password=False)


def read(url: str, table: Table, **window: Any) -> pa.Table:
    columns = readers.columns(url, table)
    schema = pa.schema([(column.name, column.type) for column in columns])
    found = pa.Table.from_batches(readers.read(url, table, columns, **window), schema)
    found.validate(full=True)
    return found


def same(found: Any, wanted: Any) -> bool:
    both_nan = isinstance(wanted, float) and math.isnan(wanted) and math.isnan(found)
    return both_nan or (found == wanted and type(found) is type(wanted))


@pytest.fixture(params=DIALECTS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return Database(request.param, tmp_path)


def test_values_arrive_as_they_are(database: Database) -> None:
    cases = {f"c{at} %s:x": case for at, case in enumerate(ARRIVES[database.dialect])}
    database.fill(TABLE, {name: (case.declared, case.written) for name, case in cases.items()})
    table = Table(name=TABLE, target="t", where="id % 5 > 0 OR '50%:s' = ''")
    found = {column.name: column for column in readers.columns(database.url, table)}
    rows = read(database.url, table).sort_by("id").drop(["id"]).to_pylist()
    for name, case in cases.items():
        assert isinstance(case, Case)
        kind = f"{found[name].type}{' json' if found[name].is_json else ''}"
        assert kind == case.arrives, case
        assert same(rows[0][name], case.value), (case, rows[0][name])
        assert rows[1][name] is None, case


def test_values_arrive_in_the_warehouse(bench: Bench, database: Database) -> None:
    cases = {f"c{at} %s:x": case for at, case in enumerate(ARRIVES[database.dialect])}
    database.fill(TABLE, {name: (case.declared, case.written) for name, case in cases.items()})
    bench.set("SOURCE_URL", database.url)
    bench.ingest(Table(name=TABLE, target="Every table"))
    text = "VARCHAR" if bench.kind == "duckdb" else "text"
    with warehouse.connect() as opened:
        selected = ", ".join(
            f"{opened.quote(name)}::{text}" if case.arrives.endswith("json") else opened.quote(name)
            for name, case in cases.items()
        )
        name = opened.name("raw", "Every table")
        rows = opened.query(f"SELECT {selected} FROM {name} ORDER BY id")
    assert rows[1] == (None,) * len(cases)
    for found, case in zip(rows[0], cases.values(), strict=True):
        if case.arrives.endswith("json"):
            assert parse_json(found) == parse_json(case.value), case
            continue
        value = bytes(found) if isinstance(found, memoryview) else found
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = value.astimezone(UTC)
        assert same(value, case.value), (case, value)


def test_a_table_with_a_history_is_one_of_the_tables(tmp_path: Path) -> None:
    """MariaDB does not count it among its base tables."""
    database = Database("mysql", tmp_path)
    database.run("CREATE TABLE old (id integer PRIMARY KEY, v integer) WITH SYSTEM VERSIONING")
    database.run("CREATE SEQUENCE numbers")
    database.run("INSERT INTO old VALUES (1, 1)")
    database.run("UPDATE old SET v = 2")
    assert readers.list_tables(database.url) == ["old"]
    assert read(database.url, Table(name="old")).to_pylist() == [{"id": 1, "v": 2}]


def test_a_password_may_hold_any_character(tmp_path: Path) -> None:
    database = Database("mysql", tmp_path)
    database.run("CREATE TABLE t (id integer)")
    name = f"u{os.urandom(6).hex()}"
    database.run(f"CREATE USER {name}@localhost IDENTIFIED BY 'é ж+%'")
    database.run(f"GRANT SELECT ON *.* TO {name}@localhost")
    url = sa.make_url(database.url)
    right, wrong = (url.set(username=name, password=text) for text in ("é ж+%", "hunter2"))
    assert read(right.render_as_string(hide_password=False), Table(name="t")).num_rows == 0
    with pytest.raises(errors.PermanentError, match=r"using password: YES\)") as caught:
        readers.list_tables(wrong.render_as_string(hide_password=False))
    assert "hunter2" not in str(caught.value)


def test_a_parameter_that_a_driver_does_not_know_is_one_sentence(tmp_path: Path) -> None:
    url = sa.make_url(Database("mysql", tmp_path).url).update_query_dict({"nothing": "1"})
    with pytest.raises(errors.PermanentError, match=r"parameter of the URL: .*nothing"):
        readers.list_tables(url.render_as_string(hide_password=False))


def parse_json(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


@pytest.mark.parametrize(
    ("dialect", "case"), [(name, case) for name in DIALECTS for case in REFUSED[name]]
)
def test_what_would_not_survive_is_refused_by_name(
    dialect: str, case: Refused, tmp_path: Path
) -> None:
    database = Database(dialect, tmp_path)
    database.fill("odd", {"The Column": (case.declared, case.written)})
    with pytest.raises(errors.PermanentError) as caught:
        read(database.url, Table(name="odd"))
    message = str(caught.value)
    assert message.startswith("Column 'The Column'")
    assert case.reason in message
    if case.remedy:
        remedy = f"types={{'The Column': '{case.remedy}'}}"
        assert remedy in message
        found = read(database.url, Table(name="odd", types={"The Column": case.remedy}))
        assert found.sort_by("id").column("The Column").to_pylist() == [case.value, None]


# The cursor's type, the first rows, and later rows that must be read, in order.
CURSORS = [
    ("sqlite", "DATETIME", "", ["'2013-01-01 10:00:00'"], ["'2013-01-01 10:00:00'"]),
    ("sqlite", "DATETIME", "", ["'2013-01-01'"], ["'2013-01-01'", "'2013-01-01 00:00:00.5'"]),
    ("sqlite", "DATETIME", "", ["'2013-01-01T10:00'"], ["'2013-01-01 10:00:30'"]),
    ("sqlite", "DATETIME", "", ["'2013-01-01 10:00'"], ["'2013-01-01T10'", "'2013-01-01 10:01'"]),
    ("sqlite", "DATE", "", ["'2013-01-01'"], ["'2013-01-01'", "'2013-01-02'"]),
    (
        *("sqlite", "DATETIME", "timestamptz", ["'2013-01-01 10:00:00-05:00'"]),
        ["'2013-01-01 15:00:00Z'", "'2013-01-01T23:00:00.5+0530'", "'2013-01-01 18:00:00+00'"],
    ),
    ("sqlite", "TEXT", "timestamptz", ["'2013-01-01T10:00Z'"], ["'2013-01-01 07:30:00-05'"]),
    ("sqlite", "TEXT", "", ["'Zebra'"], ["'apple'", "'ä'"]),
    ("sqlite", "TEXT COLLATE NOCASE", "", ["'Zebra'"], ["'apple'", "'ä'"]),
    ("sqlite", "TEXT", "", ["'2013-01-01 10:00:00'"], ["'2013-01-01 10:00:01'"]),
    ("sqlite", "INTEGER", "", ["9"], ["9", "10", "100"]),
    ("sqlite", "REAL", "", ["0.1"], ["0.30000000000000004"]),
    ("postgresql", "timestamptz", "", ["'2013-01-01 10:00+05:30'"], ["'2013-01-01 04:30+00'"]),
    ("postgresql", "timestamptz", "", ["'2013-01-01 23:00-08'"], ["'2013-01-02 07:00:00.000001Z'"]),
    ("postgresql", "timestamp", "timestamptz", ["'2013-01-01 10:00'"], ["'2013-01-01 10:00'"]),
    ("postgresql", "text", "timestamptz", ["'2013-01-01T10:00Z'"], ["'2013-01-01 07:30:00-05'"]),
    ("postgresql", "text", "", ["'Zebra'"], ["'apple'", "'ä'", "'ä''\\ 100%:x'"]),
    ("postgresql", "uuid", "", ["gen_random_uuid()"], ["'ffffffff-ffff-ffff-ffff-ffffffffffff'"]),
    ("postgresql", "date", "", ["'1969-01-01'"], ["'1969-01-01'", "'1970-01-01'"]),
    ("postgresql", "numeric(12,1)", "", ["9"], ["9.1", "100"]),
    ("postgresql", "float8", "", ["9"], ["9.1", "'NaN'", "'NaN'"]),
    ("mysql", "TIMESTAMP(6) NULL", "", ["'2013-01-01 10:00'"], ["'2013-01-01 10:00:00.000001'"]),
    ("mysql", "DATETIME", "", ["'2013-01-01 10:00'"], ["'2013-01-01 10:00'"]),
    ("mysql", "DATETIME", "timestamptz", ["'2013-01-01 10:00'"], ["'2013-01-01 10:00'"]),
    ("mysql", "VARCHAR(30)", "", ["'Zebra'"], ["'apple'", "'ä'", "'ä''\\\\ 100%:x'"]),
    ("mysql", "VARCHAR(9) CHARACTER SET latin1", "", ["'Zebra'"], ["'apple'", "'ä'"]),
    ("mysql", "BIGINT UNSIGNED", "", ["9223372036854775807"], ["18446744073709551615"]),
    ("mysql", "DOUBLE", "", ["0.1"], ["0.30000000000000004"]),
    ("duckdb", "TIMESTAMPTZ", "", ["'2013-01-01 10:00:00+05:30'"], ["'2013-01-01 04:30:00+00'"]),
    ("duckdb", "TIMESTAMP", "", ["'2013-01-01 10:00:00'"], ["'2013-01-01 10:00:00'"]),
    ("duckdb", "VARCHAR", "", ["'Zebra'"], ["'apple'", "'ä'"]),
    ("duckdb", "VARCHAR COLLATE NOCASE", "", ["'Zebra'"], ["'apple'", "'ä'"]),
    ("duckdb", "HUGEINT", "", ["9223372036854775808"], ["18446744073709551615"]),
    ("duckdb", "DOUBLE", "", ["9"], ["9.1", "'nan'", "'nan'"]),
]


@pytest.mark.parametrize(("dialect", "type_", "wanted", "early", "late"), CURSORS)
def test_no_late_row_is_missed(
    dialect: str, type_: str, wanted: str, early: list[str], late: list[str], tmp_path: Path
) -> None:
    database = Database(dialect, tmp_path)
    database.run(f"CREATE TABLE late (id integer, seen {type_})")
    database.run("INSERT INTO late VALUES (-1, NULL)")
    types = {"seen": wanted} if wanted else {}
    table = Table(name="late", mode="incremental", cursor="seen", types=types)
    for number, value in enumerate(early):
        database.run(f"INSERT INTO late VALUES ({number}, {value})")
    newest = read(database.url, table).filter(pc.field("id") == len(early) - 1)["seen"][0].as_py()
    for number, value in enumerate(late, start=len(early)):
        database.run(f"INSERT INTO late VALUES ({number}, {value})")
        found = read(database.url, table, since=newest)
        assert {-1, number} <= set(found["id"].to_pylist()), value
        newest = found.filter(pc.field("id") == number)["seen"][0].as_py()
        if newest == newest:
            assert newest not in read(database.url, table, until=newest)["seen"].to_pylist()


DISORDERED = [
    ("sqlite", "DATETIME", "", ["'2013-01-01 10:00:00'", "'2012-12-31 10:00:00-05:00'"]),
    ("sqlite", "DATETIME", "", ["'2013-01-01 10:00:00'", "'1/2/2012'"]),
    ("sqlite", "DATETIME", "", ["'2013-01-01 10:00:00'", "1372636800"]),
    ("sqlite", "DATETIME", "timestamptz", ["'2013-01-01 10:00:00Z'", "'2012-01-01 10:00:00'"]),
    ("sqlite", "DATE", "", ["'2013-01-01'", "'2012-01-01 10:00:00'"]),
    ("sqlite", "TEXT", "", ["'2013-01-01T10:00:00Z'", "'2013-01-01T09:00:00-05:00'"]),
    ("sqlite", "TEXT", "", ["'2013-01-01T10:00:00Z'", "'2013-01-01 11:00:00Z'"]),
    ("sqlite", "TEXT", "", ["'2013-01-01T10:00:00Z'", "'2013-01-01T10:00:00.5Z'"]),
    ("postgresql", "text", "", ["'2013-01-01T10:00:00Z'", "'2013-01-01T09:00:00-05:00'"]),
    ("mysql", "VARCHAR(40)", "", ["'2013-01-01T10:00:00Z'", "'2013-01-01T09:00:00-05:00'"]),
    ("duckdb", "VARCHAR", "", ["'2013-01-01T10:00:00Z'", "'2013-01-01T10:00:00.5Z'"]),
]


@pytest.mark.parametrize(("dialect", "type_", "wanted", "values"), DISORDERED)
def test_a_cursor_without_an_order_is_refused_at_the_source(
    dialect: str, type_: str, wanted: str, values: list[str], tmp_path: Path
) -> None:
    """Even if the row without a place in the order is not read."""
    database = Database(dialect, tmp_path)
    types = {"seen": wanted} if wanted else {}
    table = Table(name="late", mode="incremental", cursor="seen", types=types)
    database.run(f"CREATE TABLE late (id integer, seen {type_})")
    for value in values:
        database.run(f"INSERT INTO late VALUES (1, {value})")
    since: Any = values[0].strip("'")
    if "CHAR" not in type_ and type_.lower() != "text":
        since = datetime.fromisoformat(since)
    with pytest.raises(errors.PermanentError, match=r"^Column 'seen'"):
        read(database.url, table, since=since)


@pytest.mark.parametrize(
    ("dialect", "type_", "wanted"),
    [
        ("sqlite", "BOOLEAN", ""),
        ("sqlite", "INTEGER", "text"),
        ("postgresql", "interval", ""),
        ("postgresql", "mood", ""),
        ("postgresql", "jsonb", ""),
        ("mysql", "VARCHAR(30)", "timestamp"),
        ("duckdb", "TIMETZ", ""),
    ],
)
def test_a_type_without_an_order_is_no_cursor(
    dialect: str, type_: str, wanted: str, tmp_path: Path
) -> None:
    database = Database(dialect, tmp_path)
    database.run(f"CREATE TABLE late (seen {type_})")
    types = {"seen": wanted} if wanted else {}
    table = Table(name="late", mode="incremental", cursor="seen", types=types)
    with pytest.raises(
        errors.PermanentError, match=r"^Column 'seen' .* cannot be a cursor of type"
    ):
        readers.columns(database.url, table)


# Other kinds by `types`: parsed from the source's text, or refused.
OVERRIDDEN = [
    ("sqlite", "TEXT", "'5'", "bigint", 5),
    ("sqlite", "TEXT", "'5.5'", "bigint", None),
    ("sqlite", "", "5.5", "double", 5.5),
    ("sqlite", "REAL", "0.1", "decimal(10,2)", Decimal("0.10")),
    ("sqlite", "REAL", "0.1 + 0.2", "decimal(10,2)", None),
    ("sqlite", "INTEGER", "1", "bool", True),
    ("sqlite", "REAL", "0.1 + 0.2", "text", "0.30000000000000004"),
    ("sqlite", "TEXT", "'[1]'", "json", "[1]"),
    ("postgresql", "double precision", "0.1", "decimal(10,2)", Decimal("0.10")),
    ("postgresql", "double precision", "0.1::float8 + 0.2", "decimal(10,2)", None),
    ("postgresql", "numeric", "1e30", "decimal(38,18)", None),
    ("postgresql", "numeric", "340282366920938463463374607431768211456", "decimal", None),
    ("postgresql", "numeric(5,0)", "7", "decimal(38,38)", None),
    ("postgresql", "numeric(5,2)", "5.00", "double", 5.0),
    ("postgresql", "text", "'5'", "bigint", 5),
    ("postgresql", "timestamp", "'2013-01-01 10:00'", "date", None),
    (
        "postgresql",
        "timestamp",
        "'2013-01-01 10:00'",
        "timestamptz",
        datetime(2013, 1, 1, 10, tzinfo=UTC),
    ),
    (
        "postgresql",
        "timestamptz",
        "'2013-01-01 10:00+05:30'",
        "timestamp",
        datetime(2013, 1, 1, 4, 30),
    ),
    ("postgresql", "date", "'2013-01-01'", "timestamp", datetime(2013, 1, 1)),
    (
        "postgresql",
        "uuid",
        "'12345678-1234-5678-1234-567812345678'",
        "binary",
        b"12345678-1234-5678-1234-567812345678",
    ),
    ("postgresql", "boolean", "true", "text", "true"),
    ("postgresql", "boolean", "true", "number", None),
    ("mysql", "FLOAT", "0.1", "text", "0.10000000149011612"),
    ("mysql", "BIT(8)", "b'10000001'", "text", "129"),
    ("mysql", "TINYINT(1)", "1", "bool", True),
    ("mysql", "TINYINT(1)", "2", "bool", None),
    ("mysql", "VARCHAR(9)", "'[1]'", "json", "[1]"),
    (
        "mysql",
        "DATETIME",
        "'2013-01-01 10:00'",
        "timestamptz",
        datetime(2013, 1, 1, 10, tzinfo=UTC),
    ),
    ("duckdb", "DECIMAL(10,2)", "7", "decimal(38,38)", None),
    (
        "duckdb",
        "VARCHAR",
        "'2013-01-01T10:00:00Z'",
        "timestamptz",
        datetime(2013, 1, 1, 10, tzinfo=UTC),
    ),
    ("duckdb", "INTEGER[]", "[1, 2]", "text", "[1,2]"),
]


@pytest.mark.parametrize(("dialect", "type_", "written", "wanted", "value"), OVERRIDDEN)
def test_types_are_overridden(
    dialect: str, type_: str, written: str, wanted: str, value: Any, tmp_path: Path
) -> None:
    database = Database(dialect, tmp_path)
    database.fill("some", {"c": (type_, written)})
    table = Table(name="some", types={"c": wanted})
    if value is None:
        with pytest.raises(errors.PermanentError, match=r"column 'c'|Column 'c'"):
            read(database.url, table)
        return
    found = read(database.url, table).sort_by("id")["c"].to_pylist()
    assert same(found[0], value), found
    assert found[1] is None


def test_any_other_database_is_read_through_sqlalchemy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite, with the reader for databases without their own reader."""
    monkeypatch.setattr(readers, "_READERS", {})
    database = Database("sqlite", tmp_path)
    columns = {
        "is %s": ("BOOLEAN", "1", True),
        "price": ("NUMERIC(10, 2)", "12.5", Decimal("12.50")),
        "share": ("FLOAT", "0.1 + 0.2", 0.1 + 0.2),
        "day": ("DATE", "'2013-01-01'", date(2013, 1, 1)),
        "seen": ("TIMESTAMP", "'2013-01-01 10:00:00'", datetime(2013, 1, 1, 10)),
        "name": ("VARCHAR(9)", "'ä 100%'", "ä 100%"),
        "data": ("BLOB", "x'00ff'", b"\x00\xff"),
        "more": ("JSON", "'[1]'", "[1]"),
    }
    database.fill("some", {name: case[:2] for name, case in columns.items()})
    table = Table(name="some", mode="incremental", cursor="name", key=("id",))
    found = read(database.url, table, since="ä 100%", until="ö").drop(["id"]).to_pylist()
    assert found == [{name: value for name, (_, _, value) in columns.items()}]
    assert read(database.url, table, since="ö")["id"].to_pylist() == [2]
    with pytest.raises(errors.PermanentError, match="no table 'same'"):
        read(database.url, Table(name="same"))
