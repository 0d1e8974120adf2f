"""Reads collections page by page: by cursor, page number or `Link` header.

A client block declares how its system pages; `pages` and `apages` read the pages. Responses that
are not pages are refused, and so are circles and more than `MAXIMUM` pages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from . import errors, http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

Record = dict[str, Any]
Parameters = dict[str, str | int]

MAXIMUM = 10_000
"""Largest number of pages in a collection."""


LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w*!-]+(?:\s*=\s*(?:"[^"]*"|[^\s;,"]+))?)*)')
"""A link and its parameters as in RFC 8288; httpx parses fewer forms."""


@dataclass(frozen=True)
class Paging:
    """How a system pages.

    Attributes:
        records: Key of the list in the body of a page; None if the body is the list.
        following: Returns how to request the next page: parameters to add to those of the first
            page, or a URL, or None after the last page. Its arguments are the parameters of this
            page's request, the response, the body from JSON, and the records.
    """

    records: str | None
    following: Callable[[Parameters, httpx.Response, Any, list[Record]], Parameters | str | None]


def by_cursor(records: str | None, *, key: str = "next", parameter: str = "cursor") -> Paging:
    """Page as in `{"records": [...], "next": "cursor"}`: the last page has no cursor."""

    def following(
        _asked: Parameters, _answer: httpx.Response, body: Any, _found: list[Record]
    ) -> Parameters | None:
        cursor = body.get(key) if isinstance(body, dict) else None
        if cursor is None or cursor == "":
            return None
        if isinstance(cursor, bool) or not isinstance(cursor, str | int):
            raise errors.PermanentError(f"A page has a cursor {key!r} that is no text.")
        return {parameter: cursor}

    return Paging(records, following)


def by_number(records: str | None, *, parameter: str = "page", start: int = 1) -> Paging:
    """Page by number: the first page without records ends the collection.

    A short page need not be the last one, because systems may limit the size of pages.
    """

    def following(
        asked: Parameters, _answer: httpx.Response, _body: Any, found: list[Record]
    ) -> Parameters | None:
        number = str(asked.get(parameter, start))
        if not number.isdecimal():
            raise errors.PermanentError(f"Give a number for {parameter!r}, not {number[:50]!r}.")
        return {parameter: int(number) + 1} if found else None

    return Paging(records, following)


def by_link(records: str | None = None) -> Paging:
    """Page by the `Link` header: `<https://...>; rel="next"`."""

    def following(
        _asked: Parameters, answer: httpx.Response, _body: Any, _found: list[Record]
    ) -> str | None:
        for url, parameters in LINK.findall(answer.headers.get("Link", "")):
            kinds = re.search(r"""(?i);\s*rel\s*=\s*["']?([^"';,]*)""", parameters)
            if kinds and "next" in kinds[1].lower().split():
                return url or None
        return None

    return Paging(records, following)


def pages(
    client: http.Client, path: str, parameters: Mapping[str, str | int], paging: Paging
) -> Iterator[list[Record]]:
    """Read the collection at a path; only one page at a time is in memory.

    Raises:
        PermanentError: The system refuses, or its responses are not pages.
        TransientError: The system is unavailable or busy for too long.
    """
    walk = _Walk(client.policy.name, path, parameters, paging)
    while walk.url is not None:
        yield walk.take(client.get(walk.url, params=walk.parameters or None))


async def apages(
    client: http.AsyncClient, path: str, parameters: Mapping[str, str | int], paging: Paging
) -> AsyncIterator[list[Record]]:
    """Read the collection at a path, as `pages` does, for `async for`."""
    walk = _Walk(client.policy.name, path, parameters, paging)
    while walk.url is not None:
        yield walk.take(await client.get(walk.url, params=walk.parameters or None))


class _Walk:
    """The position in a collection.

    Attributes:
        url: URL of the next page; None at the end.
        parameters: Parameters of the next request; None if the URL has them.
    """

    def __init__(
        self, name: str, path: str, parameters: Mapping[str, str | int], paging: Paging
    ) -> None:
        self.name, self.path, self.paging = name, path, paging
        if "?" in path:
            raise errors.PermanentError(f"Give what follows the `?` of {path!r} as parameters.")
        self.first: Parameters = dict(parameters)
        self.url: str | None = path
        self.parameters: Parameters | None = self.first
        self.seen: set[str] = set()
        self.last = b""

    def take(self, answer: httpx.Response) -> list[Record]:
        """Return the records of a page, and move on to the next page."""
        body = http.read_json(self.name, answer)
        key = self.paging.records
        found = body if key is None else body.get(key) if isinstance(body, dict) else None
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            where = "the body" if key is None else f"{key!r}"
            raise self._refuse(f"does not answer with a page: {where} is no list of records")
        following = self.paging.following(self.parameters or {}, answer, body, found)
        if following is None:
            self.url = None
            return found
        if isinstance(following, str):
            try:
                self.url, self.parameters = str(answer.url.join(following)), None
            except httpx.InvalidURL:
                raise self._refuse("links to a next page by a URL that cannot be used") from None
        else:
            self.parameters = {**self.first, **following}
        step = f"{self.url} {self.parameters}"
        if step in self.seen or (found and answer.content == self.last):
            raise self._refuse("gives out the same page again and again")
        if len(self.seen) == MAXIMUM:
            raise self._refuse(f"has more than {MAXIMUM:,} pages: ask for larger ones, or for less")
        self.seen.add(step)
        self.last = answer.content
        return found

    def _refuse(self, problem: str) -> errors.PermanentError:
        return errors.PermanentError(f"{self.name}: {self.path} {problem}.")
