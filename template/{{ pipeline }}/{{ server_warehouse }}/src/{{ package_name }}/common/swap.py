"""Derived tables in a database server: the rows are replaced in one transaction."""

from __future__ import annotations

from typing import Any

from . import failures, warehouse


class Warehouse(warehouse.Warehouse):
    """A database server."""

    def replace(self, table: str, select: str, *, is_old: bool) -> None:
        """Replace a derived table by the result of a query."""
        run, target, built = (
            self.client.execute_sql,
            self.name(self.marts, table),
            self.name(self.marts, "_built"),
        )
        if not is_old:
            run(self.create(target, select))
            return
        run(self.create(built, select))
        if self.types(table) == self.types("_built"):
            # Keep the table, so that its grants, its indexes and the views on it stay.
            run(f"DELETE FROM {target}")
            run(f"INSERT INTO {target} SELECT * FROM {built}")
        else:
            where = f"sql/{table}.sql gives other columns now, and something depends on the old"
            with failures.explained(f"{where} ones"):
                run(f"DROP TABLE {target}")
            run(self.create(target, f"SELECT * FROM {built}"))
        run(f"DROP TABLE {built}")

    def create(self, table: str, select: str) -> str:
        """Return the statement that creates a table from a query."""
        return f"CREATE TABLE {table} AS {select}"

    def types(self, table: str) -> list[tuple[Any, ...]]:
        """Return names and exact types of a table's columns, in order; nothing for a view."""
        return self.query(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " JOIN pg_class ON pg_class.oid = attrelid AND relkind IN ('r', 'p')"
            " JOIN pg_namespace ON pg_namespace.oid = relnamespace"
            f" WHERE nspname = '{self.marts}' AND relname = '{table}'"
            " AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
