"""Errors of Prefect's client, as one sentence."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import httpx
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL

from . import errors

if TYPE_CHECKING:
    from collections.abc import Generator


@contextlib.contextmanager
def explained() -> Generator[None]:
    """Turn errors of Prefect's client into one that says which server it is.

    Raises:
        PermanentError: The server refuses a request.
        TransientError: It does not answer, or is unavailable.
    """
    try:
        yield
    except httpx.HTTPError as error:
        raise _sentence(error) from error
    except PrefectException as error:
        # Prefect's own exceptions for 404 and 409.
        if isinstance(cause := getattr(error, "http_exc", None), httpx.HTTPError):
            raise _sentence(cause) from error
        raise
    except RuntimeError as error:
        # Prefect's "Failed to reach API"; our own errors are subclasses of RuntimeError.
        if type(error) is RuntimeError and isinstance(error.__cause__, httpx.HTTPError):
            raise _sentence(error.__cause__) from error
        raise


def address() -> str:
    """Return the address of Prefect's server, without a login."""
    return re.sub("//[^/@]*@", "//", PREFECT_API_URL.value() or "")


def _sentence(error: httpx.HTTPError) -> Exception:
    where = address()
    server = f"Prefect's server{where and f' at {where}'}"
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        if status >= 500 or status == 429:
            return errors.TransientError(f"{server} is unavailable ({status}). See its log.")
        refusal = f"{server} refuses: {status}{_reason(error.response)}."
        return errors.PermanentError(f"{refusal} Check its log and your login.")
    return errors.TransientError(f"{server} does not answer ({type(error).__name__}).")


def _reason(response: httpx.Response) -> str:
    """Return the server's reason, without the values it was sent: they may be secrets."""
    try:
        body = response.json()
        if response.status_code != 422:
            return f", {' '.join(body['detail'].split()).rstrip('.')}"
        wrong = body["exception_detail"]  # `detail` and messages may quote values
        fields = (".".join([*map(str, one["loc"]), one["type"]]) for one in wrong)
        return f", {', '.join(fields)}"
    except (AttributeError, LookupError, TypeError, ValueError):  # the answer is not Prefect's
        return ""
