"""URLs of sources and warehouses: validates them, and shows them without secrets."""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from . import errors, settings
from .secrets import reveal

DRIVERS = {
    "postgresql": ("PostgreSQL", "postgres"),
    "mysql": ("MySQL", "mysql"),
    "mariadb": ("MariaDB", "mysql"),
    "mssql": ("SQL Server", "mssql"),
    "snowflake": ("Snowflake", "snowflake"),
    "bigquery": ("BigQuery", "bigquery"),
    "redshift": ("Redshift", "redshift"),
    "databricks": ("Databricks", "databricks"),
    "clickhouse": ("ClickHouse", "clickhouse"),
    **dict.fromkeys(("motherduck", "md"), ("MotherDuck", "motherduck")),
    **dict.fromkeys(("file", "s3", "gs", "gcs", "az", "abfss"), ("files", "filesystem")),
}
"""What the scheme of a URL stands for, and the extra that brings its driver."""

# Parameters whose values are secrets, such as password, sslpassword, motherduck_token.
_SECRET = re.compile(
    "pass(?!file)|pwd|secret|token|(_|api)key$|credential|auth|jwt|^sas$|^sig$|odbc_connect",
    re.IGNORECASE,
)
_FILES = {"sqlite", "duckdb"}
_HOST = re.compile(r"[\w.,-]+|[0-9A-F:.]+(%\w+)?", re.IGNORECASE)
# A "password" that is really a port, a database and a parameter: "5432/sales?password=".
_SWALLOWED = re.compile(r"/[^?@]*\?[^@]*(pass(word|wd)|pwd)=", re.IGNORECASE)


def parse_url(url: str) -> sa.URL:
    """Read the URL of a database or of a folder of files.

    Raises:
        PermanentError: It is not a URL, or names no database. The message repeats no part of it
            that may be a password.
    """
    shape = "postgresql://user:password@"
    encode = (
        f"A database URL must look like {shape}host:5432/name: percent-encode its user and password"
        " (% as %25, @ as %40, / as %2F, : as %3A, $ as %24)."
    )
    if re.match(r"postgres\w*://([^/?]*@)?[^/?@]*,[^/?@]*([/?][^@]*)?$", url):
        message = "Several hosts go into the parameters of a PostgreSQL URL:"
        message = f"{message} {shape}/name?host=first,second&port=5432,5432."
        raise errors.PermanentError(message)
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        message = f"A URL must look like sqlite:///path, duckdb:///path or {shape}host/name."
        raise errors.PermanentError(message) from None
    except ValueError:  # the port is not a number
        raise errors.PermanentError(encode) from None
    name = parsed.get_backend_name()
    # After two slashes, the first folder of the path is parsed as a host, and ignored.
    if name in _FILES and (parsed.host or parsed.database in {None, "", ":memory:"}):
        message = f"A {name} database needs a file, because runs share it: {name}:///path."
        raise errors.PermanentError(message)
    is_postgres = name in {"postgresql", "postgres"}
    if name in _FILES or DRIVERS.get(name, ("",))[0] in {"files", "MotherDuck", "BigQuery"}:
        return parsed
    # A password ends at the first "@"; a second one means that it was cut.
    cut = "@" in (parsed.database or "")
    if parsed.password is not None:
        password, _, rest = url.partition("://")[2].partition(":")[2].partition("@")
        cut = "@" in rest or _SWALLOWED.search(password) is not None
    if cut or (is_postgres and parsed.host and not _HOST.fullmatch(parsed.host)):
        raise errors.PermanentError(encode)
    return parsed.set(drivername="postgresql") if is_postgres else parsed


def describe(url: str | sa.URL) -> str:
    """Return a URL without its secrets, for messages."""
    parsed = parse_url(url) if isinstance(url, str) else url
    shown = {
        name: "..." if _SECRET.search(name) or "@" in "".join(value) else value
        for name, value in parsed.query.items()
    }
    return parsed.set(query=shown).render_as_string(hide_password=True)


def locate(url: str) -> str:
    """Return a URL without its secrets, and with the absolute path of a file.

    A relative path would not last: a worker runs flows in a temporary folder.
    """
    parsed = parse_url(url)
    file = file_of(parsed)
    return describe(parsed if file is None else parsed.set(database=f"{file.absolute()}"))


def is_same(one: str, other: str) -> bool:
    """Return whether two URLs without secrets name the same source; paths may be relative.

    Args:
        one: URL in a receipt. Old receipts may have a path relative to an unknown folder: then
            the end of the path is compared.
        other: URL of a load.
    """
    if one == other or not (one.startswith(("sqlite", "duckdb")) and "://" in other):
        return one == other
    first, second = (file_of(sa.make_url(url)) for url in (one, other))
    if first is None or second is None:
        return False
    end = [part for part in Path(os.path.normpath(first)).parts if part != ".."]
    whole = Path(os.path.normpath(second.absolute())).parts
    is_end = not first.is_absolute() and [*whole[-len(end) :]] == end
    return is_end or first.resolve() == second.resolve()


def file_of(url: sa.URL) -> Path | None:
    """Return the file of an embedded database, or None for a server."""
    return Path(url.database or "") if url.get_backend_name() in _FILES else None


def source_url(name: str | None) -> str:
    """Return the URL of a source, with its secrets: keep it out of logs and results.

    Raises:
        PermanentError: There is no source of that name; None means `SOURCE_URL`.
    """
    config = settings.load()
    if name is None:
        return reveal(config.source_url).strip()
    if name not in config.source_urls:
        advice = f"set {settings.ENV_PREFIX}SOURCE_URLS__{name.upper()} to its URL"
        if name.lower() in config.source_urls:
            advice = f"write {name.lower()!r}, as names of sources are lower case"
        raise errors.PermanentError(f"There is no source {name!r}: {advice}.")
    return reveal(config.source_urls[name]).strip()


def missing_driver(backend: str) -> errors.PermanentError:
    """Return the error for a database whose driver comes with an extra."""
    what, extra = DRIVERS[backend]
    distribution = metadata.distribution(settings.PROJECT)
    if extra in (distribution.metadata.get_all("Provides-Extra") or ()):
        advice = f"install the extra {extra!r}: uv sync --extra {extra}"
    else:
        # The template adds the extra, so that updates keep its versions current.
        advice = f"add the template's extra {extra!r} (docs/operations.md, Databases)"
    return errors.PermanentError(f"The driver for {what} is not installed: {advice}.")


def warehouse_url() -> str:
    """Return the URL of the warehouse, with its secrets: keep it out of logs and results."""
    return reveal(settings.load().warehouse_url).strip()
