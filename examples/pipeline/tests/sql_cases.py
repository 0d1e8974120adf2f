"""Tests of SQL: input rows of a derived table, and the rows that it should have.

`sql/<name>.yml` stands beside `sql/<name>.sql` and holds cases by name:

    cancelled flights are counted, but did not depart:
      given:
        flights:
          - {carrier: UA, dep_time: 517}
          - {carrier: UA, dep_time: null}
      expect:
        - {carrier: UA, flights: 2, departed: 1}

`given` has the tables that the SQL reads, as it names them: rows, or a SELECT that makes them.
Columns that a row of `expect` does not name are not compared, nor is the order of rows.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest
import yaml

from my_data_project.common import derived

Row = dict[str, Any]
BOOL = "tag:yaml.org,2002:bool"


class Loader(yaml.SafeLoader):
    """YAML in which only true and false are booleans: NO is a country, `on` a column."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in the base class
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != BOOL]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Loader.add_implicit_resolver(BOOL, re.compile("true|false"), ["t", "f"])


@dataclass(frozen=True)
class Case:
    """One case of a derived table."""

    table: str
    name: str
    given: dict[str, list[Row] | str]
    expect: list[Row]

    def __str__(self) -> str:
        return f"{self.table}: {self.name}"


def read_cases() -> dict[str, list[Case]]:
    """Return the cases of each derived table by name."""
    found: dict[str, list[Case]] = {}
    for table in derived.read_all():
        file = derived.FOLDER / f"{table}.yml"
        text = file.read_text(encoding="utf-8") if file.is_file() else "{}"
        try:
            cases = yaml.load(text, Loader)
            found[table] = [Case(table, name, **case) for name, case in cases.items()]
        except (AttributeError, TypeError):
            message = f"sql/{table}.yml must hold cases as tests/sql_cases.py describes them."
            raise AssertionError(message) from None
        # YAML would keep the last of two cases with the same name.
        assert len(found[table]) == len(yaml.compose(text).value), f"sql/{table}.yml: doubled name"
    return found


def check(case: Case) -> None:
    """Build the table in memory; fail and show the rows that differ."""
    try:
        _compare(case.expect, _build(case))
    except (AssertionError, duckdb.Error, pa.ArrowException) as error:
        pytest.fail(f"sql/{case.table}.sql, {case.name}:\n{error}", pytrace=False)


def _build(case: Case) -> list[Row]:
    queries = derived.read_all()
    reads = {(read.layer, read.table.lower()) for read in queries[case.table].reads}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, rows in case.given.items():
            schema, _, table = name.rpartition(".")
            schema = schema or derived.locate(table, queries)
            reads.discard((schema, table.lower()))
            select = rows if isinstance(rows, str) else "SELECT * FROM given"
            if not isinstance(rows, str):
                assert rows, f"{name} without rows is given as a SELECT, which knows its columns"
                columns = dict.fromkeys(column for row in rows for column in row)
                given = pa.table({column: [row.get(column) for row in rows] for column in columns})
                connection.register("given", given)
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            connection.execute(f'CREATE TABLE "{schema}"."{table}" AS {select}')
        lacking = ", ".join(sorted(table for _, table in reads))
        assert not lacking, f"the SQL also reads {lacking}, which is not given"
        made = connection.execute(queries[case.table].sql("duckdb", '"{}"."{}"'.format))
        columns = [column[0] for column in made.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in made.fetchall()]


def _compare(expected: list[Row], built: list[Row]) -> None:
    named = {column for row in expected or built for column in row}
    rest = list(built)
    missing: list[Row] = []
    for row in expected:
        for number, other in enumerate(rest):
            if all(_is_same(value, other.get(column, ...)) for column, value in row.items()):
                del rest[number]
                break
        else:
            missing.append(row)
    extra = [{name: row[name] for name in row if name in named} for row in rest]
    lines = [f"- {row}" for row in missing] + [f"+ {row}" for row in extra]
    assert not lines, "\n".join(["- is expected, + is what the SQL makes:", *lines])


def _is_same(expected: object, value: object) -> bool:
    if isinstance(expected, str) and isinstance(value, Decimal | UUID | time | timedelta):
        return expected == str(value)
    if isinstance(expected, bool) or isinstance(value, bool):
        return expected is value
    if isinstance(expected, float) and isinstance(value, int | float | Decimal):
        return math.isclose(expected, value) or (math.isnan(expected) and math.isnan(value))
    return expected == value
