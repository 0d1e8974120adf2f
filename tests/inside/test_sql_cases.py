"""Tests of SQL by given and expected rows. Runs inside a generated project, all extras."""

from __future__ import annotations

from pathlib import Path

import pytest
import sql_cases
from my_data_project.common import derived

FAILURE = pytest.fail.Exception


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(derived, "FOLDER", tmp_path)
    return tmp_path


def check(folder: Path, sql: str, cases: str) -> None:
    (folder / "a.sql").write_text(sql)
    (folder / "a.yml").write_text(cases)
    for case in sql_cases.read_cases()["a"]:
        sql_cases.check(case)


TYPES = """
values have the types of the rows, and a row names what it wants compared:
  given:
    raw.orders:
      - {id: 1, moment: 2013-01-01T10:00:00Z, day: 2013-01-01, price: 1.5, paid: true, on: NO}
      - {id: 2}
    b: SELECT 1 AS id WHERE false
  expect:
    - {id: 2, moment: null, n: 1}
    - {id: 1, moment: 2013-01-01T12:00:00+02:00, day: 2013-01-02, third: 0.3333333333, paid: true}
    - {id: 1, exact: "1.50", on: "NO", list: [1, 2], time: "10:00:00"}
"""


def test_values_are_compared_by_their_types(folder: Path) -> None:
    (folder / "b.sql").write_text("SELECT 1 AS id")
    sql = (
        'SELECT o.id, moment, day + 1 AS day, 1 / 3 AS third, paid, o."on", [1, 2] AS list,'
        " CAST(price AS DECIMAL(9, 2)) AS exact, CAST(moment AT TIME ZONE 'UTC' AS TIME) AS time,"
        " 1 AS n FROM orders AS o CROSS JOIN range(2) AS r (i) LEFT JOIN b ON b.id = o.id"
        " WHERE r.i < 3 - o.id"
    )
    check(folder, sql, TYPES)


@pytest.mark.parametrize(
    ("sql", "given", "expect", "message"),
    [
        ("SELECT id FROM orders", "{orders: [{id: 1}]}", "[{id: 2}]", r"- {'id': 2}\n\+ {'id': 1}"),
        ("SELECT id FROM orders", "{orders: [{id: 1}]}", "[]", r"\+ {'id': 1}"),
        ("SELECT id FROM orders", "{orders: [{id: 1}]}", "[{id: 1}, {id: 1}]", r"- {'id': 1}"),
        (
            "SELECT id FROM orders",
            "{orders: [{id: 1}]}",
            '[{id: "1"}]',
            r"- {'id': '1'}\n\+ {'id': 1}",
        ),
        (
            "SELECT id FROM orders",
            "{orders: [{id: 1}]}",
            "[{id: true}]",
            r"- {'id': True}\n\+ {'id': 1}",
        ),
        ("SELECT id FROM orders", "{orders: [{id: 1}]}", "[{other: null}]", r"- {'other': None}"),
        ("SELECT 1.5 AS id", "{}", "[{id: 1.51}]", r"- {'id': 1.51}\n\+ {'id': Decimal"),
        ("SELECT id FROM orders", "{}", "[]", "also reads orders, which is not given"),
        ("SELECT id FROM orders", "{orders: []}", "[]", "orders without rows is given"),
        ("SELECT nope FROM orders", "{orders: [{id: 1}]}", "[]", '"nope" not found'),
        ("SELECT id FROM orders", "{orders: [{id: 1}, {id: x}]}", "[]", "sql/a.sql, it:"),
    ],
)
def test_a_failure_shows_the_difference(
    folder: Path, sql: str, given: str, expect: str, message: str
) -> None:
    with pytest.raises(FAILURE, match=message):
        check(folder, sql, f"it:\n  given: {given}\n  expect: {expect}\n")


@pytest.mark.parametrize(
    "cases",
    ["- a list", "it: {given: {}}", "it: {given: {}, expect: [], expected: []}", "just a text"],
)
def test_a_file_of_another_shape_is_one_clear_error(folder: Path, cases: str) -> None:
    with pytest.raises(AssertionError, match=r"sql/a\.yml must hold cases"):
        check(folder, "SELECT 1 AS id", cases)


def test_two_cases_of_one_name_are_refused(folder: Path) -> None:
    with pytest.raises(AssertionError, match="doubled name"):
        check(folder, "SELECT 1 AS id", "it: {given: {}, expect: []}\n" * 2)


def test_sql_of_another_dialect_is_tested_too(folder: Path) -> None:
    sql = "-- dialect: bigquery\nSELECT DATE_ADD(day, INTERVAL 1 DAY) AS day FROM `orders`"
    rows = "given: {orders: [{day: 2013-01-01}]}\n  expect: [{day: 2013-01-02 00:00:00}]"
    check(folder, sql, f"it:\n  {rows}\n")
