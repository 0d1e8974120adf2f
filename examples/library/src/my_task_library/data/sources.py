"""Reads downloads from all kinds of sources, and makes sure that they are complete and in time.

No message has the user, the password or the query of a URL: signed URLs have their secret in the
query.
"""

from __future__ import annotations

import datetime
import email.utils
import hashlib
import logging
import os
import re
import threading
import zlib
from concurrent.futures import Future
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import url2pathname

import httpx

from ..common import errors, files, secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pydantic import SecretStr

BUSY = {202, 408, 425, 429, 500, 502, 503, 504}  # the file may come later
PASSING = httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError | httpx.ProxyError
CHUNK_BYTES = 1 << 16
WEEK_SECONDS = 604_800


class BusyError(errors.TransientError):
    """The server does not send the file now; it may ask to wait."""

    retry_after_seconds: float | None = None


@dataclass(frozen=True)
class Limits:
    """Limits of a download: bytes, seconds without data, seconds in total."""

    max_bytes: int
    timeout_seconds: float
    deadline_seconds: float

    def __post_init__(self) -> None:
        """Refuse invalid limits, such as NaN."""
        if not (isinstance(self.max_bytes, Real) and self.max_bytes >= 0):
            raise errors.PermanentError(f"max_bytes is {self.max_bytes!r}: give 0 or more.")
        for name in ("timeout_seconds", "deadline_seconds"):
            value: float = getattr(self, name)
            if not (isinstance(value, Real) and 0 < value <= WEEK_SECONDS):
                message = f"{name} is {value!r}: give more than 0, and at most {WEEK_SECONDS:,}."
                raise errors.PermanentError(message)


def fetch(
    source: str | Path, target: Path, limits: Limits, token: SecretStr | None, *, known: bool
) -> tuple[int, str]:
    """Copy a source into a file, and return its size and checksum.

    `known` says that the expected checksum is known.
    """
    if isinstance(token, str):
        raise errors.PermanentError("token is a plain text: make it a SecretStr, which hides it.")
    transfer = _Transfer(source, target, limits, known=known)
    token_text = None if token is None else secrets.reveal(token)
    outcome: Future[tuple[int, str]] = Future()

    def work() -> None:
        try:
            outcome.set_result(transfer.run(token_text))
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            outcome.set_exception(error)

    # A socket's timeout restarts with each byte, so another thread enforces the deadline.
    threading.Thread(target=work, daemon=True).start()
    try:
        return outcome.result(limits.deadline_seconds)
    except TimeoutError:
        message = f"{transfer.name} took more than {limits.deadline_seconds:g} s."
        raise errors.TransientError(message) from None
    finally:
        transfer.over = True
        if not outcome.done():
            transfer.close()


class _Transfer:
    """One attempt to download."""

    def __init__(self, source: str | Path, target: Path, limits: Limits, *, known: bool) -> None:
        self.source, self.name = source, files.public_name(source)
        self.target, self.limits, self.known = target, limits, known
        self.over = False
        self.close: Callable[[], None] = lambda: None

    def run(self, token: str | None) -> tuple[int, str]:
        """Copy from a file, an HTTP server or a store."""
        url = str(self.source)
        scheme = re.match(files.URL, url)
        if isinstance(self.source, Path) or scheme is None:
            return self.copy_file(Path(self.source))
        if scheme[1].lower() == "file":
            local = re.match("(?i)file:(?://(?:localhost)?)?(/[^?#]*)", url)
            if local is None or local[1].startswith("//"):
                raise errors.PermanentError(f"{self.name} is on another machine.")
            return self.copy_file(Path(url2pathname(local[1])))
        if scheme[1].lower() not in {"http", "https"}:
            return self.copy_stored(url, scheme[1].lower())
        try:
            return self.copy_http(url, token)
        except (httpx.RequestError, httpx.InvalidURL, UnicodeError) as error:
            # Their messages may contain the URL or the token.
            problem = f"{self.name}: {type(error).__name__}."
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                problem = f"{self.name} has a certificate that is not trusted here."
            elif isinstance(error, PASSING):
                raise errors.TransientError(problem) from None
            raise errors.PermanentError(f"{problem} Check the URL and the token.") from None

    def copy_file(self, path: Path) -> tuple[int, str]:
        """Copy a local file; a pipe or device is refused, because it may never end."""
        if not path.is_file() or not os.access(path, os.R_OK):
            raise errors.PermanentError(f"There is no file {files.public_name(path)} to read.")
        with path.open("rb") as file:
            return self.write(self.bounded(iter(lambda: file.read(CHUNK_BYTES), b"")))

    def copy_http(self, url: str, token: str | None) -> tuple[int, str]:
        """Download by HTTP; only status 200 with a complete body succeeds."""

        def stay_secure(request: httpx.Request) -> None:
            if url.lower().startswith("https:") and request.url.scheme != "https":
                raise errors.PermanentError(f"{self.name} redirects to a server without TLS.")

        def authorize(request: httpx.Request) -> httpx.Request:
            # httpx removes it from redirects to other servers.
            request.headers["Authorization"] = f"Bearer {token}"
            return request

        thread = threading.get_ident()
        logger = logging.getLogger("httpx")

        def quiet(record: logging.LogRecord) -> bool:
            return record.thread != thread

        logger.addFilter(quiet)  # httpx logs whole URLs
        try:
            with httpx.Client(
                # No compression on the way: size and checksum are those of the published file.
                headers={"Accept-Encoding": "identity"},
                auth=None if token is None else authorize,
                timeout=self.limits.timeout_seconds,
                follow_redirects=True,
                event_hooks={"request": [stay_secure]},
            ) as client:
                self.close = client.close
                with client.stream("GET", url) as response:
                    return self.receive(response)
        finally:
            logger.removeFilter(quiet)

    def receive(self, response: httpx.Response) -> tuple[int, str]:
        """Write the body of a response that has the whole file."""
        status, headers = response.status_code, response.headers
        if status in BUSY:
            error = BusyError(f"{self.name} answers {status}.")
            error.retry_after_seconds = wait = seconds_to_wait(headers.get("Retry-After", ""))
            if wait is not None and wait > self.limits.deadline_seconds:
                message = f"{self.name} answers {status}: it asks to wait {wait:,.0f} s, longer"
                raise errors.PermanentError(f"{message} than deadline_seconds. Run again later.")
            raise error
        if status != 200:
            hint = " Check the token and its rights." if status in {401, 403} else ""
            hint = " That is no whole file." if status < 300 else hint
            raise errors.PermanentError(f"{self.name} answers {status}.{hint}")
        size = headers.get("Content-Length", "")
        self.require_room(int(size) if size.isdecimal() else 0)
        # Raw bytes, because httpx accepts a truncated gzip body.
        chunks = self.bounded(response.iter_raw())
        packing = headers.get("Content-Encoding", "identity").strip().lower()
        if packing in {"gzip", "x-gzip"}:
            return self.write(self.bounded(self.unpacked(chunks)))
        if packing != "identity":
            raise errors.PermanentError(f"{self.name} is packed by {packing[:20]!r}.")
        if not self.known and not headers.keys() & {"content-length", "transfer-encoding"}:
            message = f"{self.name}: the server does not tell where the file ends."
            raise errors.PermanentError(f"{message} Give its sha256.")
        return self.write(chunks)

    def copy_stored(self, url: str, scheme: str) -> tuple[int, str]:
        """Copy from a store that fsspec supports."""
        import fsspec
        from fsspec.registry import known_implementations

        store = known_implementations.get(scheme)
        if store is None or "::" in url:
            message = f"Cannot download by {scheme!r}: give a path, or a URL with http, https, file"
            raise errors.PermanentError(f"{message} or a scheme of fsspec, such as s3 or gs.")
        try:
            # Do not cache credentials or listings in this process.
            opened: Any = fsspec.open(url, "rb", skip_instance_cache=True)
            with opened as file:
                done = self.write(self.bounded(iter(lambda: file.read(CHUNK_BYTES), b"")))
                size = getattr(file, "size", None)
        except (errors.PermanentError, errors.TransientError):
            raise
        except ImportError:
            package = store["class"].partition(".")[0]
            advice = f": pip install {package}" if package != "fsspec" else ""
            message = f"{scheme}:// needs a package that is not installed{advice}."
            raise errors.PermanentError(message) from None
        except (FileNotFoundError, PermissionError, ValueError) as error:
            message = f"{self.name}: {type(error).__name__}. Check the URL and the credentials."
            raise errors.PermanentError(message) from None
        except Exception as error:  # noqa: BLE001 - any error; its message may have secrets
            raise errors.TransientError(f"{self.name}: {type(error).__name__}.") from None
        if size not in {None, done[0]}:
            raise errors.TransientError(f"{self.name} broke off after {done[0]:,} bytes.")
        return done

    def require_room(self, size: int) -> None:
        """Raise an error if a size is over the limit."""
        if size > self.limits.max_bytes:
            message = f"{self.name} has more than {self.limits.max_bytes:,} bytes."
            raise errors.PermanentError(message)

    def bounded(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield chunks; raise an error at the size limit, and stop when the attempt is over."""
        size = 0
        for chunk in chunks:
            size += len(chunk)
            self.require_room(size)
            if self.over:
                return
            yield chunk

    def unpacked(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Decompress gzip in small pieces, so that a large content needs little memory."""
        unpacker = zlib.decompressobj(wbits=31)
        try:
            for chunk in chunks:
                rest = chunk
                while rest:
                    if unpacker.eof:  # more members or trailing zeros may follow
                        if not (rest := rest.lstrip(b"\0")):
                            break
                        unpacker = zlib.decompressobj(wbits=31)
                    yield unpacker.decompress(rest, CHUNK_BYTES)
                    rest = unpacker.unconsumed_tail or unpacker.unused_data
            while not unpacker.eof and (part := unpacker.decompress(b"", CHUNK_BYTES)):
                yield part
        except zlib.error:
            raise errors.PermanentError(f"{self.name} is packed in an unknown way.") from None
        if not unpacker.eof:
            raise errors.TransientError(f"{self.name} sends a packed body that is cut off.")

    def write(self, chunks: Iterable[bytes]) -> tuple[int, str]:
        """Write all chunks, and return size and checksum."""
        digest = hashlib.sha256()
        with self.target.open("r+b") as file:  # fails if the attempt is over and the file deleted
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            return file.tell(), digest.hexdigest()


def seconds_to_wait(retry_after: str) -> float | None:
    """Return the seconds in a `Retry-After` header, which may be a date; None if it is neither."""
    if re.fullmatch(" *[0-9]{1,9} *", retry_after):
        return float(retry_after)
    try:
        date = email.utils.parsedate_to_datetime(retry_after)
        # HTTP dates are in GMT, even without a zone.
        date = date if date.tzinfo else date.replace(tzinfo=datetime.UTC)
        return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None
