"""Collections in pages, against a real server: all of them, or a refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from conftest import TOKEN, blocking
from local_server import Answer
from pydantic import SecretStr

from prefect_my_system.common import errors, http, paging

if TYPE_CHECKING:
    from local_server import FileServer

Walk = Callable[..., list[list[dict[str, Any]]]]

CURSOR = paging.by_cursor("records")
NUMBER = paging.by_number(None)
LINK = paging.by_link()


def page(body: object, **headers: str) -> Answer:
    return Answer(body=json.dumps(body).encode(), headers=headers)


@pytest.fixture(params=["sync", "async"])
def walk(request: pytest.FixtureRequest, web: FileServer) -> Walk:
    """Read all pages of `/api/things` by either client."""
    policy = http.Policy(name="System")
    options: dict[str, Any] = {
        "base_url": f"{web.url}/api",
        "auth": http.bearer(SecretStr(TOKEN)),
    }

    def sync(how: paging.Paging, path: str = "things", **parameters: str | int) -> Any:
        with http.Client(policy, **options) as client:
            return list(paging.pages(client, path, parameters, how))

    async def other(how: paging.Paging, path: str = "things", **parameters: str | int) -> Any:
        async with http.AsyncClient(policy, **options) as client:
            return [one async for one in paging.apages(client, path, parameters, how)]

    if request.param == "sync":
        return sync
    return blocking(other)


def test_by_cursor(web: FileServer, walk: Walk) -> None:
    bodies: list[dict[str, Any]] = [
        {"records": [{"id": 1}], "next": "b/2"},
        {"records": [], "next": 3},
        {"records": [{"id": 2}], "next": None},
    ]
    web.put("/api/things", *map(page, bodies))
    assert walk(CURSOR, limit=1) == [[{"id": 1}], [], [{"id": 2}]]
    asked = [path.partition("?")[2] for path, _ in web.requests]
    assert asked == ["limit=1", "limit=1&cursor=b%2F2", "limit=1&cursor=3"]


def test_by_number(web: FileServer, walk: Walk) -> None:
    web.put("/api/things", page([{"id": 1}, {"id": 2}]), page([{"id": 3}]), page([]))
    assert walk(NUMBER, per_page=2) == [[{"id": 1}, {"id": 2}], [{"id": 3}], []]
    asked = [path.partition("?")[2] for path, _ in web.requests]
    assert asked == ["per_page=2", "per_page=2&page=2", "per_page=2&page=3"]


@pytest.mark.parametrize(
    "parameters",
    ['rel="NEXT"', 'REL="next"', 'rel="last next"', 'title="a; b, <c>"; rel="next"', "rel=next"],
)
def test_by_link_in_other_spellings(parameters: str, web: FileServer, walk: Walk) -> None:
    web.put("/api/things", page([{"id": 1}], Link=f"</api/more>; {parameters}"))
    web.put("/api/more", page([{"id": 2}]))
    assert walk(LINK) == [[{"id": 1}], [{"id": 2}]]


def test_by_link(web: FileServer, walk: Walk) -> None:
    link = '</api/more?after=x&limit=1>; rel="next", </api/things>; rel="first"'
    web.put("/api/things", page([{"id": 1}], Link=link))
    web.put("/api/more", page([{"id": 2}]))
    assert walk(LINK, limit=1) == [[{"id": 1}], [{"id": 2}]]
    assert web.requests[1][0] == "/api/more?after=x&limit=1"


@pytest.mark.parametrize(
    ("how", "body", "problem"),
    [
        (CURSOR, b"", "does not answer /api/things in JSON"),
        (CURSOR, b"<html>", "does not answer /api/things in JSON"),
        (CURSOR, b"[" * 100_000, "does not answer /api/things in JSON"),
        (CURSOR, b"[]", "'records' is no list of records"),
        (CURSOR, b'{"records": null}', "'records' is no list of records"),
        (CURSOR, b'{"records": [1]}', "'records' is no list of records"),
        (CURSOR, b'{"records": [], "next": {"a": 1}}', "'next' that is no text"),
        (CURSOR, b'{"records": [], "next": true}', "'next' that is no text"),
        (CURSOR, b'{"records": [], "next": "a"}', "the same page again and again"),
        (NUMBER, b'{"message": "no"}', "the body is no list of records"),
        (NUMBER, b'[{"id": 1}]', "the same page again and again"),
    ],
)
def test_what_is_no_page_is_refused(
    how: paging.Paging, body: bytes, problem: str, web: FileServer, walk: Walk
) -> None:
    web.put("/api/things", Answer(body=body))
    with pytest.raises(errors.PermanentError, match=problem):
        walk(how)


def test_a_walk_is_bounded(web: FileServer, walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAXIMUM", 2)
    web.put("/api/things", *(page([{"id": number}]) for number in range(4)))
    with pytest.raises(errors.PermanentError, match="more than 2 pages"):
        walk(NUMBER)


def test_a_link_to_another_server_is_refused(
    web: FileServer, other_web: FileServer, walk: Walk
) -> None:
    web.put("/api/things", page([{"id": 1}], Link=f'<{other_web.url}/x>; rel="next"'))
    with pytest.raises(errors.PermanentError, match="no other server gets its credentials"):
        walk(LINK)
    assert other_web.requests == []


def test_a_link_that_is_none_is_refused(web: FileServer, walk: Walk) -> None:
    web.put("/api/things", page([{"id": 1}], Link='</api/a\tb>; rel="next"'))
    with pytest.raises(errors.PermanentError, match="by a URL that cannot be used"):
        walk(LINK)


def test_a_page_has_a_number(web: FileServer, walk: Walk) -> None:
    web.put("/api/things", page([{"id": 1}]))
    with pytest.raises(errors.PermanentError, match="Give a number for 'page', not 'first'"):
        walk(NUMBER, page="first")


def test_a_query_is_given_as_parameters(walk: Walk) -> None:
    with pytest.raises(errors.PermanentError, match="as parameters"):
        walk(CURSOR, "things?state=open")
