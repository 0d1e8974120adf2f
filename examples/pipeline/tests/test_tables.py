"""The list of tables: a mistake in an entry fails here, before a run."""

from __future__ import annotations

from my_data_project.common.table import (
    Table,
    check_targets,
)
from my_data_project.flows import tables


def test_each_table_has_a_name_of_its_own_in_the_warehouse() -> None:
    check_targets(entry for entry in tables.TABLES if isinstance(entry, Table))
