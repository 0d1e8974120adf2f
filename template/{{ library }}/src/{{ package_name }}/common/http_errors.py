"""Failed requests as errors of this package: what may pass, and what will not.

Also the header for a token, because one that cannot be sent fails far from its cause.

No message carries a URL, because URLs may hold passwords and signatures; they carry the name
that the caller gives.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import re
import ssl
from typing import TYPE_CHECKING

import httpx

from . import errors, secrets

if TYPE_CHECKING:
    from collections.abc import Generator

    from pydantic import SecretStr

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class BusyError(errors.TransientError):
    """The server answers that it cannot, for now.

    Attributes:
        retry_after_seconds: How long it asks to wait; none if it does not say.
    """

    retry_after_seconds: float | None = None


def bearer(token: SecretStr) -> str:
    """Return what the header `Authorization` says for a token.

    Args:
        token: The token, or `block:` and the name of a Secret block.

    Returns:
        The header's value.

    Raises:
        PermanentError: The token cannot be in a header, or there is no such block.
    """
    text = secrets.reveal(token)
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", text):
        message = (
            "The token cannot be sent: it is empty, begins or ends with a space or a line break,"
            " or has a letter that is not ASCII. Set it again."
        )
        raise errors.PermanentError(message)
    return f"Bearer {text}"


def check(name: str, response: httpx.Response) -> None:
    """Raise an error unless the server did what it was asked for.

    Args:
        name: What is asked for, for the message.
        response: The answer; its body need not be read.

    Raises:
        BusyError: Another attempt may succeed.
        PermanentError: No other attempt will.
    """
    status = response.status_code
    if status in TRANSIENT_STATUSES:
        error = BusyError(f"{name} answers {status}.")
        error.retry_after_seconds = seconds_to_wait(response.headers.get("Retry-After", ""))
        raise error
    if not response.is_success:
        hint = " Check the token and its rights." if status in {401, 403} else ""
        raise errors.PermanentError(f"{name} answers {status}.{hint}")


def seconds_to_wait(retry_after: str) -> float | None:
    """Read the header `Retry-After`: seconds, or a date of HTTP.

    Args:
        retry_after: The header's text.

    Returns:
        Seconds from now, 0 for a date gone by; none if the text is neither.
    """
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    # Dates of HTTP are in GMT, also where they do not say so.
    date = date if date.tzinfo else date.replace(tzinfo=datetime.UTC)
    return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())


@contextlib.contextmanager
def explained(name: str) -> Generator[None]:
    """Turn what httpx raises in the `with` block into errors of this package.

    Args:
        name: What is asked for, for the message.

    Yields:
        Nothing.

    Raises:
        PermanentError: The address, a header, the certificate or the body is wrong.
        TransientError: The connection failed or broke off, or the server was silent.
    """
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
        raise errors.PermanentError(f"{name}: {type(error).__name__}.") from None
    except (httpx.LocalProtocolError, UnicodeEncodeError):
        # Their own text may hold the token.
        message = f"{name}: the request cannot be sent. Check the token and other headers."
        raise errors.PermanentError(message) from None
    except httpx.DecodingError:
        raise errors.PermanentError(f"{name} sends a body that cannot be unpacked.") from None
    except httpx.TransportError as error:
        if _untrusted(error):
            message = f"{name} has a certificate that is not trusted here."
            raise errors.PermanentError(message) from None
        raise errors.TransientError(f"{name}: {type(error).__name__}.") from None


def _untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
