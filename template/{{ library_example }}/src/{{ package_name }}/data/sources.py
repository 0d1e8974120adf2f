"""Where a download's bytes come from: a file, or an HTTP server.

Failures become `PermanentError` or `TransientError` here. No message carries the user, the
password or the query of a URL, because signed URLs keep their secret there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

import httpx

from ..common import errors, http_errors

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from pydantic import SecretStr

CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Opened:
    """A source that is ready to be read.

    Attributes:
        chunks: Its bytes, in pieces.
        size: Bytes it is going to have, if it says so.
    """

    chunks: Iterator[bytes]
    size: int | None


def public_name(source: str | Path) -> str:
    """Return a source's name without what may be secret in it.

    Args:
        source: URL or path.

    Returns:
        A URL without user, password, query and fragment; a path as it is.

    Raises:
        PermanentError: It is not a URL, although it begins like one.
    """
    url = _split(source)
    if url is None:
        return str(source)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def open_source(
    source: str | Path, *, timeout_seconds: float, token: SecretStr | None
) -> contextlib.AbstractContextManager[Opened]:
    """Open a source for reading.

    Args:
        source: URL with http, https or file, or a path.
        timeout_seconds: How long a server may keep silent.
        token: Bearer token for the server, or `block:` and the name of a Secret block.

    Returns:
        A context manager that gives the opened source and closes it.

    Raises:
        PermanentError: It cannot be opened or read, now or later.
        TransientError: It cannot be opened or read for the moment.
    """
    url = _split(source)
    if url is None:
        return _open_file(Path(source))
    if url.scheme == "file":
        if url.netloc not in {"", "localhost"}:
            raise errors.PermanentError(f"{public_name(source)} is on another machine.")
        return _open_file(Path(url2pathname(url.path)))
    if url.scheme in {"http", "https"}:
        return _open_http(str(source), timeout_seconds, token)
    raise errors.PermanentError(
        f"Cannot download by {url.scheme!r}: give a URL with http, https or file, or a path."
    )


def _split(source: str | Path) -> SplitResult | None:
    """Split a URL; a path, even one with a drive letter, is none."""
    if isinstance(source, Path):
        return None
    try:
        url = urlsplit(source)
    except ValueError:
        raise errors.PermanentError("The source is not a valid URL.") from None
    return url if len(url.scheme) > 1 else None


@contextlib.contextmanager
def _open_file(path: Path) -> Generator[Opened]:
    # A pipe or a device would never end.
    if not path.is_file():
        raise errors.PermanentError(f"There is no file {path}.")
    with path.open("rb") as file:
        chunks = iter(lambda: file.read(CHUNK_BYTES), b"")
        yield Opened(chunks, os.fstat(file.fileno()).st_size)


@contextlib.contextmanager
def _open_http(source: str, timeout: float, token: SecretStr | None) -> Generator[Opened]:
    name = public_name(source)
    secure = urlsplit(source).scheme == "https"

    def authorize(request: httpx.Request) -> httpx.Request:
        # httpx drops it when another server is the target of a redirect.
        if token is not None:
            request.headers["Authorization"] = http_errors.bearer(token)
        return request

    def stay_secure(request: httpx.Request) -> None:
        if secure and request.url.scheme != "https":
            raise errors.PermanentError(f"{name} redirects to a server without TLS.")

    with (
        http_errors.explained(name),
        _no_urls_in_logs(),
        httpx.Client(
            # Sizes and checksums are those of the file as it was published.
            headers={"Accept-Encoding": "identity"},
            auth=None if token is None else authorize,
            timeout=timeout,
            follow_redirects=True,
            event_hooks={"request": [stay_secure]},
        ) as client,
        client.stream("GET", source) as response,
    ):
        http_errors.check(name, response)
        size = response.headers.get("Content-Length", "")
        packed = "Content-Encoding" in response.headers
        known = int(size) if size.isdecimal() and not packed else None
        yield Opened(response.iter_bytes(CHUNK_BYTES), known)


@contextlib.contextmanager
def _no_urls_in_logs() -> Generator[None]:
    """Keep httpx from logging whole URLs in this thread."""
    thread = threading.get_ident()

    def other_thread(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger = logging.getLogger("httpx")
    logger.addFilter(other_thread)
    try:
        yield
    finally:
        logger.removeFilter(other_thread)
