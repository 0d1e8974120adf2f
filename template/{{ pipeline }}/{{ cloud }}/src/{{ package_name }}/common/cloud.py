"""Snowflake, BigQuery, Redshift, Databricks, ClickHouse and SQL Server as warehouses."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
import sqlglot
from sqlglot import exp

from . import swap
from .warehouse import OPTIONS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import sqlalchemy as sa
    from dlt.common.destination import Destination

_SWAPS = {"redshift", "tsql"}  # the others commit CREATE TABLE, but can replace a table
_AFTER_NAME = {"snowflake": "COPY GRANTS", "clickhouse": "ENGINE = MergeTree ORDER BY tuple()"}


class Warehouse(swap.Warehouse):
    """A cloud warehouse, or SQL Server."""

    @staticmethod
    def destination(url: sa.URL) -> Destination[Any, Any]:
        """Return dlt's destination for a URL as SQLAlchemy's dialects define it."""
        backend = url.get_backend_name()
        # dlt knows neither a driver (mssql+pyodbc) nor a schema after the database, as in URLs of
        # Snowflake (analytics/public).
        plain = url.set(drivername=backend)
        if backend == "snowflake":
            plain = plain.set(database=(url.database or "").partition("/")[0])
        query: dict[str, Any] = dict(url.query)
        credentials: Any = plain.render_as_string(hide_password=False)
        options = OPTIONS
        if backend == "redshift":
            plain = plain.set(drivername="postgresql", port=url.port or 5439)
            credentials = plain.render_as_string(hide_password=False)
        elif backend == "clickhouse":
            from dlt.destinations.impl.clickhouse.configuration import ClickHouseCredentials

            port = int(query.pop("http_port", 8443))
            plain = plain.set(query=query)
            credentials = ClickHouseCredentials(plain.render_as_string(hide_password=False))
            credentials.http_port = port  # dlt uploads files by HTTP
        elif backend == "databricks":
            who = {"access_token": url.password}
            if url.username != "token":
                who = {"client_id": url.username, "client_secret": url.password}
            where = {name: query.get(name) for name in ("http_path", "catalog")}
            credentials = {**who, **where, "server_hostname": url.host}
        elif backend == "bigquery":
            credentials = _google(query)
            location = query.get("location", "US")
            options = {**OPTIONS, "location": location, "project_id": url.host}
        made: Destination[Any, Any] = getattr(dlt.destinations, backend)(credentials, **options)
        return made

    def building(self) -> AbstractContextManager[Any]:
        """Begin the transaction that builds a derived table, if CREATE TABLE can be rolled back."""
        return super().building() if self.dialect in _SWAPS else contextlib.nullcontext()

    def replace(self, table: str, select: str, *, is_old: bool) -> None:
        """Replace a derived table by the result of a query."""
        if self.dialect in _SWAPS:
            super().replace(table, select, is_old=is_old)
            return
        target = f"{self.name(self.marts, table)} {_AFTER_NAME.get(self.dialect, '')}"
        self.client.execute_sql(f"CREATE OR REPLACE TABLE {target} AS {select}")

    def create(self, table: str, select: str) -> str:
        """Return the statement that creates a table from a query."""
        if self.dialect != "tsql":
            return super().create(table, select)
        query = sqlglot.parse_one(select, dialect="tsql")
        if not query.args.get("limit"):
            query.set("order", None)  # SQL Server refuses it in SELECT INTO
        made = exp.Create(this=exp.to_table(table, dialect="tsql"), kind="TABLE", expression=query)
        return made.sql("tsql")

    def types(self, table: str) -> list[tuple[Any, ...]]:
        """Return names and exact types of a table's columns, in order; nothing for a view."""
        if self.dialect != "tsql":
            return super().types(table)
        return self.query(
            "SELECT column_name, data_type, character_maximum_length, numeric_precision,"
            " numeric_scale, datetime_precision FROM information_schema.columns"
            f" WHERE table_schema = '{self.marts}' AND table_name = '{table}'"
            " ORDER BY ordinal_position"
        )


def _google(query: dict[str, Any]) -> Any:
    """Return the key of a service account; with None, Google's default credentials are used."""
    if "credentials_base64" in query:
        return base64.b64decode(query["credentials_base64"]).decode()
    path = query.get("credentials_path")
    return Path(path).read_text(encoding="utf-8") if path else None
