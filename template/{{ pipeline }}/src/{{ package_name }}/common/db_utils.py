"""URLs of sources and warehouses: what they must look like, and how they look without secrets."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import sqlalchemy as sa

from . import errors, settings
from .secrets import reveal

# Parameters whose values no message may show, such as password, sslpassword, motherduck_token.
_SECRET = re.compile("pass(?!file)|pwd|secret|token|_key$|credential", re.IGNORECASE)
_HOST = re.compile(r"[\w.,-]+|[0-9A-F:.]+(%\w+)?", re.IGNORECASE)
_SEVERAL = re.compile(r"[\w.-]+(:\d+)?(,[\w.-]+(:\d+)?)+")
# A password before the first "@" that is the end of a port, a database and a parameter.
_SWALLOWED = re.compile(r"/[^?@]*\?[^@]*(pass(word|wd)|pwd)=", re.IGNORECASE)
_SHAPE = (
    "A URL must look like sqlite:///path, duckdb:///path or postgresql://user:password@host/name."
)
_ENCODE = (
    "A database URL must look like postgresql://user:password@host:5432/name:"
    " percent-encode its user and password (% as %25, @ as %40, / as %2F, : as %3A, $ as %24)."
)
_HOSTS = (
    "Several hosts go into the parameters of a PostgreSQL URL:"
    " postgresql://user:password@/name?host=first,second&port=5432,5432."
)


def parse_url(url: str) -> sa.URL:
    """Read the URL of a database or of a folder of files.

    Raises:
        PermanentError: It is not a URL, or names no database. The message repeats nothing of it
            that could be a part of a password.
    """
    if re.match(r"postgres\w*://([^/?]*@)?[^/?@]*,[^/?@]*([/?][^@]*)?$", url):
        raise errors.PermanentError(_HOSTS)
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise errors.PermanentError(_SHAPE) from None
    except ValueError:  # a port that is no number
        raise errors.PermanentError(_ENCODE) from None
    match parsed.get_backend_name():
        case "sqlite" | "duckdb" as name if parsed.database in {None, "", ":memory:"}:
            message = f"A {name} database needs a file, because runs share it: {name}:///path."
            raise errors.PermanentError(message)
        case "postgresql" | "postgres":
            if _is_cut_wrongly(url, parsed):
                raise errors.PermanentError(_ENCODE)
            return parsed.set(drivername="postgresql")
        case _:
            return parsed


def _is_cut_wrongly(url: str, parsed: sa.URL) -> bool:
    """Tell whether a part of the password was taken for the host or what follows it.

    A password ends at the first "@". If it had to be another one, there is one left behind it.
    """
    if parsed.host and not _HOST.fullmatch(parsed.host):
        return True
    if parsed.password is None:
        return "@" in (parsed.database or "")
    password, _, rest = url.partition("://")[2].partition(":")[2].partition("@")
    return "@" in rest or _SWALLOWED.search(password) is not None


def describe(url: str | sa.URL) -> str:
    """Return a URL without its secrets, for messages."""
    parsed = parse_url(url) if isinstance(url, str) else url
    shown = {
        name: "..." if _SECRET.search(name) or "@" in "".join(value) else value
        for name, value in parsed.query.items()
    }
    return parsed.set(query=shown).render_as_string(hide_password=True)


def file_of(url: sa.URL) -> Path | None:
    """Return the file of an embedded database, or None for a server."""
    return Path(url.database or "") if url.get_backend_name() in {"sqlite", "duckdb"} else None


def source_url(name: str | None) -> str:
    """Return the URL of a source, with its secrets: keep it out of logs and results.

    Args:
        name: Name of the source; None means the one of `SOURCE_URL`.

    Raises:
        PermanentError: There is no source of that name.
    """
    config = settings.load()
    if name is None:
        return reveal(config.source_url)
    if name not in config.source_urls:
        variable = f"{settings.ENV_PREFIX}SOURCE_URLS__{name.upper()}"
        raise errors.PermanentError(f"There is no source {name!r}: set {variable} to its URL.")
    return reveal(config.source_urls[name])


def missing_driver(what: str, extra: str) -> errors.PermanentError:
    """Return the error for a database whose driver is not installed.

    Args:
        what: The database, such as `MySQL`.
        extra: Extra of this project that brings its driver.
    """
    distribution = metadata.distribution(settings.PROJECT)
    if extra in (distribution.metadata.get_all("Provides-Extra") or ()):
        advice = f"install the extra {extra!r}: uv sync --extra {extra}"
    else:
        # The extra is the template's to add, so that its versions stay current.
        advice = f"add the template's extra {extra!r} (docs/operations.md, Databases)"
    return errors.PermanentError(f"The driver for {what} is not installed: {advice}.")


def warehouse_url() -> str:
    """Return the URL of the warehouse, with its secrets: keep it out of logs and results."""
    return reveal(settings.load().warehouse_url)
