"""HTTP clients that retry requests where that is safe, and explain errors where it is not.

They extend `httpx.Client` and `httpx.AsyncClient`, with their proxies, authentication, uploads and
streams. All additions are in `send`, so they apply to every request:

- A GET, HEAD, OPTIONS, PUT or DELETE, and any request with an `Idempotency-Key` header, is sent up
  to `ATTEMPTS` times while the system is busy or the connection fails. Other requests are retried
  only if they cannot have been executed: the connection failed, or a rate limit refused them.
- Pauses are as long as the system asks for, in `Retry-After` or in rate limit headers.
- The deadline covers all attempts, even if a server sends a byte now and then. The decompressed
  size of a response is limited. The body of a streamed response has no deadline and no limit.
- Redirects of a GET stay on the same server: no other server gets the credentials.
- Failures are a `PermanentError` or `TransientError` with the system's message, without secrets.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import datetime
import email.utils
import json
import re
import socket
import ssl
import threading
import time
import urllib.parse
import weakref
import zlib
from typing import TYPE_CHECKING, Any

import h11
import httpx
import tenacity

from . import errors, reporting, secrets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator
    from pathlib import Path

    from pydantic import HttpUrl, SecretStr

ATTEMPTS = 5
"""How often a request is sent at most."""

BACKOFF = tenacity.wait_random_exponential(multiplier=1, max=30)
"""Pauses of up to 2, 4, 8 seconds, by chance, where the system does not ask for another one."""

JITTER = tenacity.wait_random(0, 1)
"""Added to the pause that it asks for: those who failed together do not return together."""

IDEMPOTENT = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}  # RFC 9110, section 9.2.2
REFUSED_FOR_NOW = {425, 429}
AWAY_FOR_NOW = {408, 502, 503, 504}
PACKINGS = {"", "identity", "gzip"}  # as requested
REDIRECTS = 5
WORDS = 300
"""Characters of the system's own words that an error quotes at most."""


class BusyError(errors.TransientError):
    """The system is unavailable or busy for longer than the attempts lasted.

    Attributes:
        retry_after_seconds: How long it asks to wait; None if it does not say.
    """

    retry_after_seconds: float | None = None


class RefusedError(errors.PermanentError):
    """The system refuses the request.

    Attributes:
        status: The HTTP status, such as 404.
    """

    status: int = 0


class OutcomeUnknownError(errors.PermanentError):
    """A request failed after it was sent: the system may have executed it.

    Permanent, so that no task retries it: check the system first.
    """


class Auth(httpx.Auth):
    """Sends credentials in a header, and keeps them out of messages."""

    def __init__(self, header: str, value: str, *hidden: str) -> None:
        if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", value):
            message = "The credentials cannot be sent: they are empty, begin or end with a space"
            message += " or a line break, or have a character that is not ASCII. Set them again."
            raise errors.PermanentError(message)
        self.header, self.value, self.hidden = header, value, (value, *hidden)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Add the header."""
        request.headers[self.header] = self.value
        yield request


def bearer(token: SecretStr, *, scheme: str = "Bearer") -> Auth:
    """Authenticate with `Authorization: Bearer ...`; the token may name a block (`block:NAME`).

    Some systems use another scheme, such as `token`.
    """
    text = secrets.reveal(token)
    return Auth("Authorization", f"{scheme} {text}", text)


def basic(username: str, password: SecretStr) -> Auth:
    """Authenticate with user name and password."""
    text = secrets.reveal(password)
    pair = base64.b64encode(f"{username}:{text}".encode()).decode()
    # Some systems take a key as user name, and no password.
    return Auth("Authorization", f"Basic {pair}", pair, text or username)


def header(name: str, key: SecretStr) -> Auth:
    """Authenticate with a custom header, such as `X-API-Key`."""
    return Auth(name, secrets.reveal(key))


def base_url(url: HttpUrl) -> HttpUrl:
    """Refuse a base URL with a login, query or fragment; a field's validator."""
    if url.username or url.password:
        raise ValueError("put no user name or password into it: the block has fields for them")
    if url.query is not None or url.fragment is not None:
        raise ValueError("end it before the `?` or `#`: paths are added at its end")
    return url


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """Limits for the requests of a client.

    Attributes:
        name: Name of the system in errors and logs.
        rate_limit: Name of one of Prefect's global concurrency limits with a slot decay; each
            attempt within a run takes a slot. Empty for none.
        deadline_seconds: Longest time for a request, with its retries and pauses.
        max_bytes: Largest body of a response, decompressed.
    """

    name: str
    rate_limit: str = ""
    deadline_seconds: float = 300
    max_bytes: int = 64 * 2**20


class Client(httpx.Client):
    """`httpx.Client` that retries where that is safe, and explains its errors.

    Send one request at a time: the deadline of one would end the others too.
    """

    def __init__(self, policy: Policy, **options: Any) -> None:
        with _environment():
            super().__init__(**options)
        self.headers["Accept-Encoding"] = "gzip"
        self.policy = policy
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def build_request(self, method: str, url: Any, **options: Any) -> httpx.Request:
        """Build a request; what cannot be sent is a `PermanentError`."""
        with _buildable():
            return super().build_request(method, _path(url), **options)

    def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = httpx.USE_CLIENT_DEFAULT,
        **_options: Any,
    ) -> httpx.Response:
        """Send a request, retry where that is safe, and return a successful response.

        Args:
            request: The request.
            stream: Return as soon as the body begins: read it, and close the response.
            auth: As in httpx.

        Raises:
            PermanentError: The system refuses, or its response cannot be used.
            OutcomeUnknownError: The request may have been executed; a PermanentError.
            TransientError: The system stayed unavailable or busy for all attempts.
        """
        call = _Call(self, self.policy, request, auth)

        def attempt() -> httpx.Response:
            if self.policy.rate_limit and reporting.in_run():
                from prefect.concurrency.sync import rate_limit

                rate_limit(self.policy.rate_limit)
            for following in call.requests():
                with call.explained(), self._watched(following, call.seconds_left()):
                    call.response = super(Client, self).send(
                        following, stream=True, auth=auth, follow_redirects=False
                    )
                    if not (stream and call.response.is_success):
                        with contextlib.closing(call.response):
                            for chunk in call.response.iter_raw():
                                call.add(chunk)
                        call.complete()
            return call.response

        return tenacity.Retrying(**call.repetition())(attempt)

    @contextlib.contextmanager
    def _watched(self, request: httpx.Request, seconds: float) -> Generator[None]:
        """Close connections at the deadline: a timeout restarts with each byte."""
        over = threading.Event()

        def remember(_event: str, details: dict[str, Any]) -> None:
            stream = details.get("return_value")
            if hasattr(stream, "get_extra_info") and (found := stream.get_extra_info("socket")):
                self._sockets.add(found)

        def break_off() -> None:
            over.set()
            for opened in list(self._sockets):
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)

        request.extensions["trace"] = remember
        timer = threading.Timer(seconds, break_off)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (httpx.TransportError, httpx.DecodingError):
            if not over.is_set():
                raise
        finally:
            timer.cancel()
        if over.is_set():
            raise TimeoutError


class AsyncClient(httpx.AsyncClient):
    """`httpx.AsyncClient` that retries where that is safe, and explains its errors."""

    def __init__(self, policy: Policy, **options: Any) -> None:
        with _environment():
            super().__init__(**options)
        self.headers["Accept-Encoding"] = "gzip"
        self.policy = policy

    def build_request(self, method: str, url: Any, **options: Any) -> httpx.Request:
        """Build a request; what cannot be sent is a `PermanentError`."""
        with _buildable():
            return super().build_request(method, _path(url), **options)

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = httpx.USE_CLIENT_DEFAULT,
        **_options: Any,
    ) -> httpx.Response:
        """Send a request, as `Client.send` does."""
        call = _Call(self, self.policy, request, auth)

        async def attempt() -> httpx.Response:
            if self.policy.rate_limit and reporting.in_run():
                from prefect.concurrency.asyncio import rate_limit

                await rate_limit(self.policy.rate_limit)
            for following in call.requests():
                with call.explained():
                    async with asyncio.timeout(call.seconds_left()):
                        call.response = await super(AsyncClient, self).send(
                            following, stream=True, auth=auth, follow_redirects=False
                        )
                        if not (stream and call.response.is_success):
                            async with contextlib.aclosing(call.response):
                                async for chunk in call.response.aiter_raw():
                                    call.add(chunk)
                            call.complete()
            return call.response

        return await tenacity.AsyncRetrying(**call.repetition())(attempt)


class _Call:
    """One request with its attempts: the decisions that both clients share.

    Attributes:
        response: The last response.
        again: Whether to retry after the last failure.
        asked: How long the system asked to wait, in seconds.
    """

    response: httpx.Response
    again: bool = False
    asked: float | None = None

    def __init__(
        self,
        client: httpx.Client | httpx.AsyncClient,
        policy: Policy,
        request: httpx.Request,
        auth: Any,
    ) -> None:
        self.policy, self.name, self.request = policy, policy.name, request
        self.auth = client.auth if auth is httpx.USE_CLIENT_DEFAULT else auth
        self.end = time.monotonic() + policy.deadline_seconds
        self.timeouts = request.extensions.get("timeout", client.timeout.as_dict())
        self.what = f"{request.method} {request.url.path}"
        self.attempts = 0
        self.begin()
        if self.auth and client.base_url.host and _origin(request.url) != _origin(client.base_url):
            message = f"{self.what} goes to {self._address(request)}, which is not {self.name}: no"
            message += " other server gets its credentials. Give a path below the base URL."
            raise errors.PermanentError(message)

    def repetition(self) -> dict[str, Any]:
        """Return the arguments for tenacity."""
        deadline = tenacity.stop_before_delay(self.policy.deadline_seconds)
        return {
            "retry": tenacity.retry_if_exception(lambda _: self.again),
            "stop": tenacity.stop_after_attempt(ATTEMPTS) | deadline,
            "wait": lambda state: (
                BACKOFF(state) if self.asked is None else self.asked + JITTER(state)
            ),
            "before_sleep": _tell,
            "reraise": True,
        }

    def requests(self) -> Iterator[httpx.Request]:
        """Yield the request, then its redirects.

        Raises:
            Exception: The last response is an error.
        """
        self.again, self.asked, following = False, None, self.request
        self.attempts += 1
        if self.seconds_left() <= 0:  # such as after waiting for the rate limit
            problem = f"(deadline of {self.policy.deadline_seconds:g} s)"
            message = f"{self.name} does not answer {self.what} {problem}."
            if self.attempts == 1:
                message = f"{self.name}: {self.what} was not sent {problem}."
            raise self._transient(message, sent=self.attempts > 1, again=False)
        for _ in range(REDIRECTS + 1):
            left = max(self.seconds_left(), 0.001)
            limited = {name: min(left, value or left) for name, value in self.timeouts.items()}
            following.extensions["timeout"] = limited
            self.begin()
            yield following
            if self.response.next_request is None:
                self._judge()
                return
            following = self._redirected(following, self.response.next_request)
        raise errors.PermanentError(f"{self.name} redirects {self.what} in a circle.")

    def seconds_left(self) -> float:
        """Return the time until the deadline."""
        return self.end - time.monotonic()

    def begin(self) -> None:
        """Forget the body of the previous response."""
        self.body: list[bytes] = []
        self.size = 0
        self.unpacker = zlib.decompressobj(wbits=31)

    def add(self, chunk: bytes) -> None:
        """Add a raw chunk of the body.

        Raises:
            PermanentError: The body is too large, or has a compression that was not requested.
            httpx.DecodingError: It cannot be decompressed.
        """
        packing = self.response.headers.get("Content-Encoding", "").strip().lower()
        if packing not in PACKINGS:
            raise self._unusable(f"{self.name} packs its answer to {self.what} in an unknown way.")
        while chunk:
            part, chunk = self._unpack(chunk) if packing == "gzip" else (chunk, b"")
            self.body.append(part)
            self.size += len(part)
            if self.size > self.policy.max_bytes:
                message = f"{self.name} answers {self.what} with more than"
                message += f" {self.policy.max_bytes:,} bytes. Ask for less, or stream it."
                raise self._unusable(message)

    def _unpack(self, chunk: bytes) -> tuple[bytes, bytes]:
        """Decompress a chunk up to the size limit; return the result and the rest of the chunk."""
        if self.unpacker.eof:  # a body may have several gzip members
            self.unpacker = zlib.decompressobj(wbits=31)
        try:
            part = self.unpacker.decompress(chunk, self.policy.max_bytes + 1 - self.size)
        except zlib.error as error:
            raise httpx.DecodingError(str(error)) from error
        return part, self.unpacker.unconsumed_tail or self.unpacker.unused_data

    def complete(self) -> None:
        """Replace the response by one with the decompressed body."""
        packed = self.response.headers.get("Content-Encoding", "").strip().lower() == "gzip"
        if packed and self.body and not self.unpacker.eof:
            raise httpx.DecodingError("It is cut off.")
        old, not_now = self.response, {"content-encoding", "content-length", "transfer-encoding"}
        self.response = httpx.Response(
            old.status_code,
            headers=[pair for pair in old.headers.multi_items() if pair[0] not in not_now],
            content=b"".join(self.body),
            request=old.request,
            extensions=old.extensions,
            default_encoding=old.default_encoding,
        )
        self.response.next_request, self.response.elapsed = old.next_request, old.elapsed

    @contextlib.contextmanager
    def explained(self) -> Generator[None]:
        """Turn errors of httpx into errors of this package."""
        try:
            yield
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            message = f"{self.name}: {self.what} has no usable address. Check the base URL."
            raise errors.PermanentError(message) from None
        except (httpx.LocalProtocolError, h11.LocalProtocolError, UnicodeEncodeError):
            # Their messages may contain the credentials.
            message = f"{self.name}: {self.what} cannot be sent. Check its headers, and whether"
            message += " the size of its body is the one that it began with."
            raise errors.PermanentError(message) from None
        except httpx.DecodingError as error:
            message = f"{self.name} answers {self.what} with a body that cannot be unpacked."
            raise self._unusable(message) from error
        except (TimeoutError, httpx.TransportError) as error:
            if _untrusted(error):
                message = f"{self.name} has a certificate that is not trusted here: {error}."
                raise errors.PermanentError(message) from error
            unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
            problem = type(error).__name__
            if isinstance(error, TimeoutError) or self.seconds_left() < 0.05:
                problem = f"deadline of {self.policy.deadline_seconds:g} s"
            message = f"{self.name} does not answer {self.what} ({problem})."
            raise self._transient(message, sent=not isinstance(error, unsent)) from error

    def _transient(
        self,
        message: str,
        *,
        sent: bool = True,
        refused: bool = False,
        again: bool = True,
        asked: float | None = None,
    ) -> Exception:
        """Return the error for a temporary failure.

        Args:
            message: What happened.
            sent: Whether part of the request was sent.
            refused: Whether the system certainly did nothing.
            again: Whether a retry within seconds may help.
            asked: How long the system asks to wait, in seconds.
        """
        if sent and not refused and not self._repeatable():
            message += f" It may have been carried out all the same: look in {self.name} before"
            return OutcomeUnknownError(f"{message} you send it again. Tasks do not repeat it.")
        # Other streams, such as a file, cannot be read twice.
        self.again = again and (not sent or isinstance(self.request.stream, httpx.ByteStream))
        self.asked = asked
        error = BusyError(message)
        error.retry_after_seconds = asked
        return error

    def _repeatable(self) -> bool:
        """Return whether the request is idempotent."""
        key = self.request.headers.get("Idempotency-Key", "").strip()
        return self.request.method in IDEMPOTENT or bool(key)

    def _unusable(self, message: str) -> Exception:
        """Return the error for a response that cannot be used."""
        if self.response.is_success and not self._repeatable():
            return OutcomeUnknownError(f"{message} It was carried out: do not send it again.")
        return errors.PermanentError(message)

    def _judge(self) -> None:
        """Raise an error if the response is not a success."""
        response, status = self.response, self.response.status_code
        if response.is_success or status == 304:
            return
        message = f"{self.name} answers {status} to {self.what}{self._words(response)}."
        asked = seconds_to_wait(response.headers)
        used_up = asked is not None or bool(_used_up(response.headers))
        refused = status in REFUSED_FOR_NOW or (status == 403 and used_up)
        if refused or status in AWAY_FOR_NOW:
            message += "" if asked is None else f" It asks to wait {asked:.0f} s."
            raise self._transient(message, refused=refused, asked=asked)
        if status >= 500:
            raise self._transient(message, again=False)
        if self.attempts > 1 and status in {404, 409, 412}:
            message += " An earlier attempt may have done it."
            if status == 409 and self.request.headers.get("Idempotency-Key"):
                raise self._transient(message)  # the earlier attempt may still be running
        hint = " Check the credentials and their rights." if status in {401, 403} else ""
        refusal = RefusedError(f"{message}{hint}")
        refusal.status = status  # not an argument: pickle recreates an error from its message
        raise refusal

    def _redirected(self, request: httpx.Request, following: httpx.Request) -> httpx.Request:
        if request.method in {"GET", "HEAD"} and _origin(following.url) == _origin(request.url):
            return following
        status = self.response.status_code
        message = f"{self.name} answers {status} to {self.what}: it has moved to"
        message += f" {self._address(following)}, where nothing was sent. If you trust that"
        message += " address, correct the base URL or the path."
        if status in {302, 303} and request.method not in IDEMPOTENT:
            # Also the usual response to a successful POST, with the address of its result.
            message += f" It may have been carried out: look in {self.name} before you repeat it."
            raise OutcomeUnknownError(message)
        raise errors.PermanentError(message)

    def _words(self, response: httpx.Response) -> str:
        """Return the system's error message, as one line without credentials."""
        kind, said = response.headers.get("Content-Type", ""), None
        if "json" in kind:
            with contextlib.suppress(ValueError, RecursionError):
                said = response.json()
        if isinstance(said, dict):
            keys = ("message", "error", "error_description", "title", "detail", "errors")
            said = [said[key] for key in keys if said.get(key)] or ([said] if said else [])
        parts = said if isinstance(said, list) else [] if "html" in kind else [response.text]
        text = "; ".join(
            part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)
            for part in parts
        )
        text = self._masked(text)
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        text = f"{text[:WORDS]}..." if len(text) > WORDS else text.rstrip(".!? ")
        return f": {text}" if text else ""

    def _address(self, request: httpx.Request) -> str:
        """Return the address of a request, without user, query and credentials."""
        url = request.url
        return self._masked(f"{url.scheme}://{url.netloc.decode()}{url.path}")[:200]

    def _masked(self, text: str) -> str:
        """Return a text without credentials, in plain or encoded form."""
        sent = getattr(self, "response", self).request.headers
        hidden: set[str] = {*getattr(self.auth, "hidden", ())}
        hidden |= {*sent.get("Authorization", "").split()[1:]}
        hidden |= {pair.partition("=")[2].strip() for pair in sent.get("Cookie", "").split(";")}
        # Keep shorter ones: such a password may be part of any word.
        hidden = {one for one in hidden if len(one) > 3}
        hidden |= {base64.b64encode(one.encode()).decode().rstrip("=") for one in hidden}
        hidden |= {one.translate({43: "-", 47: "_"}) for one in hidden}  # as in URLs
        hidden |= {urllib.parse.quote(one, safe=safe) for one in hidden for safe in ("", "/")}
        hidden |= {json.dumps(one, ensure_ascii=False)[1:-1] for one in hidden}
        hidden |= {one.replace("/", "\\/") for one in hidden}
        longest = [re.escape(one) for one in sorted(hidden, key=len, reverse=True)]
        return re.sub("|".join(longest) or "(?!)", "********", text, flags=re.IGNORECASE)


def _path(url: Any) -> Any:
    """Keep a path below the base URL: httpx reads `a:` as a scheme and `#` as a fragment."""
    if not isinstance(url, str) or re.match("https?://", url, re.IGNORECASE):
        return url
    path = url.partition("?")[0]
    if "#" in url or {".", ".."} & {*urllib.parse.unquote(path).split("/")}:
        message = f"The path {url[:100]!r} leads elsewhere: quote names in it, as with"
        raise errors.PermanentError(f"{message} `urllib.parse.quote(name, safe='')`.")
    return "/" + url.lstrip("/")


@contextlib.contextmanager
def _environment() -> Generator[None]:
    try:
        yield
    except OSError as error:
        message = f"No certificates can be read ({error}): check SSL_CERT_FILE and SSL_CERT_DIR."
        raise errors.PermanentError(message) from error
    except (httpx.InvalidURL, ImportError, ValueError):
        # Their messages may contain the password of a proxy.
        message = "A proxy cannot be used: check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY."
        raise errors.PermanentError(message) from None


@contextlib.contextmanager
def _buildable() -> Generator[None]:
    try:
        yield
    except httpx.InvalidURL:
        message = "A request has a URL that cannot be used: give a path below the base URL."
        raise errors.PermanentError(message) from None
    except (RecursionError, TypeError, ValueError) as error:
        message = f"A request cannot be built, as with content that JSON cannot write: {error}."
        raise errors.PermanentError(message) from error


def seconds_to_wait(headers: httpx.Headers) -> float | None:
    """Return how many seconds the headers of a response ask to wait, or None.

    `Retry-After` and the reset of an exhausted rate limit may be a date or a number: seconds from
    now, from 1e9 seconds since 1970, from 1e12 milliseconds since 1970.
    """
    if (asked := _number(headers.get("Retry-After-Ms", ""))) is not None:
        return asked / 1000
    found = map(_pause, [headers.get("Retry-After", ""), *_used_up(headers)])
    return next((pause for pause in found if pause is not None), None)


def _used_up(headers: httpx.Headers) -> list[str]:
    """Return the resets of exhausted rate limits, as in their headers."""
    prefixes = ("X-RateLimit", "RateLimit", "X-Rate-Limit")
    found = [one for one in prefixes if _number(headers.get(f"{one}-Remaining", "")) == 0]
    resets = [headers.get(f"{one}-Reset", "") for one in found]
    # IETF drafts: `limit=9, remaining=0, reset=5`, later `"daily";r=0;t=5, "hourly";r=1;t=5`.
    text = headers.get("RateLimit", "")
    for part in [text] if "remaining" in text else text.split(","):
        fields = dict(re.findall(r"(\w+)\s*=\s*(\d+)", part))
        if _number(fields.get("remaining") or fields.get("r", "")) == 0:
            resets.append(fields.get("reset") or fields.get("t", ""))
    return resets


def _pause(text: str) -> float | None:
    if (number := _number(text)) is not None:
        moment = number / 1000 if number >= 1e12 else number
        return max(0.0, moment - time.time()) if moment >= 1e9 else moment
    for read in (email.utils.parsedate_to_datetime, datetime.datetime.fromisoformat):
        with contextlib.suppress(ValueError, OverflowError):
            date = read(text.strip())
            # HTTP dates are in GMT, even without a zone.
            date = date if date.tzinfo else date.replace(tzinfo=datetime.UTC)
            return max(0.0, date.timestamp() - time.time())
    return None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r" *[0-9]{1,13}(\.[0-9]{1,9})? *", text) else None


def read_json(name: str, response: httpx.Response) -> Any:
    """Return the JSON body of a response; `name` is that of the system, for errors.

    Raises:
        PermanentError: It is not JSON.
    """
    try:
        return response.json()
    except (ValueError, RecursionError) as error:
        kind = response.headers.get("Content-Type", "no type")[:50]
        message = f"{name} does not answer {response.request.url.path} in JSON, but with"
        message += f" {len(response.content):,} bytes of {kind!r}. Check the base URL."
        raise errors.PermanentError(message) from error


async def chunks(path: Path) -> AsyncIterator[bytes]:
    """Yield the bytes of a file, for an upload from asynchronous code."""
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, 2**16):
            yield chunk


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _untrusted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def _tell(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    reporting.logger(__name__).warning(
        "%s Attempt %s of %s in %.0f s.",
        error,
        state.attempt_number + 1,
        ATTEMPTS,
        state.upcoming_sleep,
    )
