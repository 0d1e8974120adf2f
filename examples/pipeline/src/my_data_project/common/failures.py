"""Errors of databases and dlt, as one sentence."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from sqlalchemy import exc

from . import errors

if TYPE_CHECKING:
    from collections.abc import Generator

_FULL_DISK = re.compile(r"no space left|disk full|could not extend file", re.IGNORECASE)
# Transient classes of SQLSTATE: connection, resources (except a full disk), locks, timeouts,
# shutdown.
_TRANSIENT_STATES = re.compile(r"08|40|53(?!100)|55P03|57014|57P0|58")
_TRANSIENT_WORDS = re.compile(
    r"connection (refused|reset|timed out|is lost|was closed)|server closed the connection"
    r"|terminating connection|could not connect|connection failed|starting up|shutting down"
    r"|too many (clients|connections)|deadlock|database is (locked|busy)|lock timeout"
    r"|could not set lock on file|conflicting lock|write-write conflict|transaction conflict"
    r"|timed? ?out|broken pipe|eof detected|lost connection|server has gone away"
    r"|different configuration than existing",
    re.IGNORECASE,
)
_PASSWORD = re.compile(
    r"(://[^:/@\s]*:)[^@\s]*@"
    r"|((?:password|passwd|pwd) ?[=:] ?(?!(?:YES|NO)\))|(?:token|api_?key|sig|secret\w*)=)"
    r"[^&;,\s]+",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"^(.*?ERROR:  |[A-Z_]+: \[libpq\] |Connection with .*? reason given is: )")
"""What ADBC and dlt put before a database's message."""


@contextlib.contextmanager
def explained(where: str) -> Generator[None]:
    """Raise errors of databases and dlt as one sentence that begins with `where`.

    Raises:
        PermanentError: A retry does not help.
        TransientError: A retry may help.
    """
    try:
        yield
    except (errors.PermanentError, errors.TransientError):
        raise
    except (ImportError, TypeError, AttributeError):
        raise  # a bug, or a missing driver
    except Exception as error:  # drivers have no common base class
        raise explain(error, where) from error


def explain(error: BaseException, where: str) -> errors.PermanentError | errors.TransientError:
    """Return our error for an error of a database or of dlt."""
    chain = _chain(error)
    for link in chain:
        if isinstance(link, errors.PermanentError | errors.TransientError):
            return link
    text = _sentence(chain)
    if _FULL_DISK.search(text):
        return errors.PermanentError(f"{where}: {text} Make room, then run it again.")
    states = (getattr(link, name, None) for link in chain for name in ("pgcode", "sqlstate"))
    state = next((found for found in states if isinstance(found, str) and found), "")
    passes = isinstance(chain[-1], ConnectionError | TimeoutError)
    if passes or _TRANSIENT_STATES.match(state) or _TRANSIENT_WORDS.search(text):
        return errors.TransientError(f"{where}: {text}")
    return errors.PermanentError(f"{where}: {text}")


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, the root cause last."""
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain:
        chain.append(found)
        found = (
            getattr(found, "dbapi_exception", None)  # of dlt, or wrapped by SQLAlchemy
            or (found.orig if isinstance(found, exc.DBAPIError) else None)
            or getattr(found, "exception", None)
            or getattr(found, "client_exception", None)
            or found.__cause__
        )
    return chain


def _sentence(chain: list[BaseException]) -> str:
    """Return the first line with text, without passwords."""
    text = next((str(link) for link in reversed(chain) if str(link).strip()), "")
    # dlt keeps the traceback of a load job as text: take its last line that names an error.
    if "Traceback (most recent call last)" in text:
        named = re.findall(r"^[\w.]+(?:Error|Exception): (.+)$", text, re.MULTILINE)
        text = named[-1] if named else text
    line = text.strip().partition("\n")[0].strip() or type(chain[-1]).__name__
    line = _BEFORE.sub("", line)
    if hint := re.search("^HINT:  (.+)$", text, re.MULTILINE):
        line = f"{line} ({hint[1].rstrip('.')})"
    shown = _PASSWORD.sub(lambda hit: f"{hit[1]}...@" if hit[1] else f"{hit[2]}...", line)[:500]
    return shown if shown.endswith((".", "!", "?")) else f"{shown}."
