"""Derived tables: expected rows for given input rows (sql_cases.py explains the files)."""

from __future__ import annotations

import pytest
import sql_cases

from my_data_project.common import derived
from my_data_project.common.table import Table
from my_data_project.flows import tables

CASES = sql_cases.read_cases()
LISTED = [case for cases in CASES.values() for case in cases]
NONE = [pytest.param(None, marks=pytest.mark.skip(reason="There is no sql/<name>.yml yet."))]

UNTESTED: set[str] = set()
"""Derived tables without a case."""


@pytest.mark.parametrize("case", LISTED or NONE, ids=str)
def test_given_these_rows_the_sql_makes_those(case: sql_cases.Case) -> None:
    sql_cases.check(case)


def test_every_derived_table_has_a_case() -> None:
    untested = {name for name, cases in CASES.items() if not cases}
    assert untested == UNTESTED, "Write sql/<name>.yml, or list the name in UNTESTED."


def test_every_derived_table_can_be_built() -> None:
    """No cycle, only SELECT statements, and no name of an ingested table."""
    derived.order(derived.read_all())
    derived.check_names(entry.target_name for entry in tables.TABLES if isinstance(entry, Table))
