"""The block that reads from the system and writes to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field

from ..common import errors, http, paging
from . import names
from .credentials import MySystemCredentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx

    from ..common.paging import Record

PAGING = paging.by_cursor("records", key="next", parameter="cursor")
"""How the system pages its collections; `paging.by_number` and `paging.by_link` are others."""


class MySystemClient(Block):
    """Reads and writes records of the system; each method has an async version.

    Requests are retried where that is safe; a request that creates a record is sent once.

    Example:
        Load it and read records:

        ```python
        from prefect_my_system import MySystemClient

        client = MySystemClient.load("BLOCK_NAME")
        for page in client.pages("penguins"):
            print(len(page))
        ```
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str | None] = f"{names.SYSTEM} Client"
    _block_type_slug: ClassVar[str | None] = f"{names.SLUG}-client"
    _logo_url: ClassVar[Any] = names.LOGO_URL
    _documentation_url: ClassVar[Any] = names.DOCUMENTATION_URL

    credentials: MySystemCredentials = Field(
        title="Credentials", description="Address of the system, and a token for it."
    )
    page_size: int = Field(
        default=100,
        ge=1,
        le=10_000,
        title="Page size",
        description="Records to request for each page, at most 10,000.",
    )
    # Empty rather than None: for `| None`, the form in Prefect's UI asks for a type first.
    rate_limit: str = Field(
        default="",
        title="Rate limit",
        description=(
            "Name of a global concurrency limit with a slot decay; each request takes a slot."
            " Empty for no limit."
        ),
    )

    def get(self, path: str, /, **parameters: str | int) -> Any:
        """Read JSON from a path below the base URL.

        Raises:
            PermanentError: The system refuses, or does not return JSON.
            TransientError: The system is unavailable or busy for too long.
        """
        with self.credentials.get_client(rate_limit=self.rate_limit) as client:
            return http.read_json(names.SYSTEM, client.get(path, params=parameters or None))

    async def aget(self, path: str, /, **parameters: str | int) -> Any:
        """Read JSON like `get`, from async code."""
        async with self.credentials.get_async_client(rate_limit=self.rate_limit) as client:
            return http.read_json(names.SYSTEM, await client.get(path, params=parameters or None))

    def pages(
        self, path: str, how: paging.Paging = PAGING, /, **parameters: str | int
    ) -> Iterator[list[Record]]:
        """Read a collection; only one page of records at a time is in memory.

        Args:
            path: Path of the collection, below the base URL.
            how: How it is paged, if not like the system's other collections.
            parameters: Query parameters.

        Raises:
            PermanentError: The system refuses, or its responses are not pages.
            TransientError: The system is unavailable or busy for too long.
        """
        asked = {"limit": self.page_size, **parameters}
        with self.credentials.get_client(rate_limit=self.rate_limit) as client:
            yield from paging.pages(client, path, asked, how)

    async def apages(
        self, path: str, how: paging.Paging = PAGING, /, **parameters: str | int
    ) -> AsyncIterator[list[Record]]:
        """Read a collection like `pages`, for `async for`."""
        asked = {"limit": self.page_size, **parameters}
        async with self.credentials.get_async_client(rate_limit=self.rate_limit) as client:
            async for page in paging.apages(client, path, asked, how):
                yield page

    def create(self, path: str, record: Record, /, *, key: str | None = None) -> Record:
        """Add a record to a collection, and return the system's response.

        Args:
            path: Path of the collection, below the base URL.
            record: The record.
            key: `Idempotency-Key` of the request, for a system that supports this header: requests
                with the same key add one record, so retries are safe. Without it, the request is
                sent once.

        Raises:
            OutcomeUnknownError: The record may have been added; a PermanentError.
            PermanentError: The system refuses, or does not return JSON.
            TransientError: The system is unavailable or busy for too long; nothing was added.
        """
        with self.credentials.get_client(rate_limit=self.rate_limit) as client:
            answer = client.post(path, json=record, headers=_headers(key))
        return _created(answer)

    async def acreate(self, path: str, record: Record, /, *, key: str | None = None) -> Record:
        """Add a record like `create`, from async code."""
        async with self.credentials.get_async_client(rate_limit=self.rate_limit) as client:
            answer = await client.post(path, json=record, headers=_headers(key))
        return _created(answer)

    def upload(self, path: str, file: Path, /) -> None:
        """Upload a file to a path below the base URL, without reading it into memory.

        Raises:
            PermanentError: The system refuses.
            TransientError: The system is unavailable or busy; the upload is not retried here.
        """
        with (
            self.credentials.get_client(rate_limit=self.rate_limit) as client,
            file.open("rb") as content,
        ):
            client.put(path, content=content)

    async def aupload(self, path: str, file: Path, /) -> None:
        """Upload a file like `upload`, from async code."""
        size = (await asyncio.to_thread(file.stat)).st_size
        headers = {"Content-Length": str(size)}
        async with self.credentials.get_async_client(rate_limit=self.rate_limit) as client:
            await client.put(path, content=http.chunks(file), headers=headers)


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": key}


def _created(answer: httpx.Response) -> Record:
    try:
        record = answer.json() if answer.content else {}
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise errors.PermanentError(f"{names.SYSTEM} created it, and answers with no record.")
    return record
