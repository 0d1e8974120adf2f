"""The client block and the tasks, against a real server."""

from __future__ import annotations

import json
import logging
import traceback
import uuid
from typing import TYPE_CHECKING, Any, cast

import pytest
from conftest import TOKEN, blocking, is_open
from local_server import Answer
from prefect import flow
from prefect.runtime import flow_run
from server_side import artifact, everything_kept

from prefect_my_system import blocks, tasks
from prefect_my_system.blocks import names
from prefect_my_system.blocks.client import PAGING
from prefect_my_system.common import errors, http, paging

if TYPE_CHECKING:
    from pathlib import Path

    from local_server import FileServer

Client = blocks.MySystemClient


@pytest.fixture
def client(credentials: blocks.MySystemCredentials) -> Client:
    return Client(credentials=credentials, page_size=2)


def collection(*ids: int) -> tuple[Answer, Answer]:
    """Return a page of records, and the empty page that follows if pages have numbers."""
    key = PAGING.records

    def page(*records: dict[str, int]) -> Answer:
        body = records if key is None else {key: records}
        return Answer(body=json.dumps(body).encode())

    return page(*({"id": number} for number in ids)), page()


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, client: Client) -> Any:
    """Call a method of the client, or its async version; return pages as a list."""

    def sync(method: str, *arguments: Any, **named: Any) -> Any:
        result = getattr(client, method)(*arguments, **named)
        return list(result) if method == "pages" else result

    async def other(method: str, *arguments: Any, **named: Any) -> Any:
        result = getattr(client, f"a{method}")(*arguments, **named)
        return [page async for page in result] if method == "pages" else await result

    if request.param == "sync":
        return sync
    return blocking(other)


def test_get(web: FileServer, call: Any) -> None:
    web.put("/api/things/7", Answer(body=b'{"id": 7}'))
    assert call("get", "things/7", full="yes") == {"id": 7}
    assert web.requests[0][0] == "/api/things/7?full=yes"
    assert call("get", "things/7?full=no") == {"id": 7}
    assert web.requests[1][0] == "/api/things/7?full=no"


def test_pages(web: FileServer, call: Any) -> None:
    first = b'{"records": [{"id": 1}, {"id": 2}], "next": "b"}'
    web.put("/api/things", Answer(body=first), Answer(body=b'{"records": [{"id": 3}]}'))
    how = paging.by_cursor("records")
    assert call("pages", "things", how, state="open") == [[{"id": 1}, {"id": 2}], [{"id": 3}]]
    assert web.requests[1][0] == "/api/things?limit=2&state=open&cursor=b"


def test_create(web: FileServer, call: Any) -> None:
    web.put("/api/things", Answer(status=201, body=b'{"id": 7}'), Answer(status=201))
    assert call("create", "things", {"name": "a"}) == {"id": 7}
    assert call("create", "things", {"name": "a"}, key="k") == {}
    assert web.bodies == [b'{"name":"a"}'] * 2
    assert [headers["Idempotency-Key"] for _, headers in web.requests] == [None, "k"]


def test_what_was_stored_and_then_failed_is_stored_once(web: FileServer, call: Any) -> None:
    web.put("/api/things", Answer(status=502))
    with pytest.raises(http.OutcomeUnknownError):
        call("create", "things", {"name": "a"})
    assert len(web.bodies) == 1
    web.put("/api/things", Answer(status=502), Answer(body=b'{"id": 7}'))
    assert call("create", "things", {"name": "a"}, key="k") == {"id": 7}


def test_upload(web: FileServer, call: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc" * 100_000)
    web.put("/api/files/f", Answer(status=204))
    call("upload", "files/f", tmp_path / "f")
    assert web.bodies == [b"abc" * 100_000]
    assert web.methods == ["PUT"]


@pytest.mark.parametrize("body", [b"", b"[1]", b"7", b"<html>"])
def test_what_is_no_record_is_refused(body: bytes, web: FileServer, client: Client) -> None:
    web.put("/api/things/7", Answer(body=body))
    with pytest.raises(errors.PermanentError, match=r"is no record|in JSON"):
        tasks.fetch_record.fn(client, "things/7")


def test_records_are_bounded(web: FileServer, client: Client) -> None:
    web.put("/api/things", *collection(1, 2))
    assert tasks.fetch_records.fn(client, "things", maximum=2) == [{"id": 1}, {"id": 2}]
    web.put("/api/things", *collection(1, 2))
    with pytest.raises(errors.PermanentError, match="more than 1 records"):
        tasks.fetch_records.fn(client, "things", maximum=1)


@pytest.mark.usefixtures("prefect_server")
def test_tasks_in_a_flow(web: FileServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    web.put("/api/things/7", Answer(body=b'{"id": 7}'))
    web.put("/api/things", *collection(1))
    # The task retries the upload; the client cannot, because the file has been read.
    web.put("/api/files/f", Answer(status=503), Answer(status=204))
    web.put("/api/copies", Answer(status=502))

    @flow
    def copy() -> Any:
        record = tasks.fetch_record(client, "things/7")
        records = tasks.fetch_records(client, "things")
        again = tasks.upload_file.with_options(retry_delay_seconds=0)
        return record, records, again(client, "files/f", tmp_path / "f")

    assert copy() == ({"id": 7}, [{"id": 1}], 3)
    assert web.bodies[-2:] == [b"abc"] * 2
    assert '"records": 1' in artifact(f"fetched-{names.SLUG}-things").data

    @flow
    def write() -> None:
        tasks.create_record(client, "copies", {"id": 1})

    with pytest.raises(http.OutcomeUnknownError):
        write()
    assert [path for path, _ in web.requests].count("/api/copies") == 1


@pytest.mark.parametrize(("status", "saved"), [(200, False), (401, True), (503, False)])
@pytest.mark.usefixtures("prefect_server")
def test_the_token_is_kept_nowhere(
    status: int,
    saved: bool,
    web: FileServer,
    client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    # At DEBUG, httpcore logs all headers; that is the user's choice.
    caplog.set_level(logging.INFO, logger="httpcore")
    refusal = Answer(status=status, body=json.dumps({"message": TOKEN}).encode())
    web.put("/api/things", *(collection() if status == 200 else [refusal]))
    if saved:
        client.credentials.save("kept", overwrite=True)
        client.save("kept", overwrite=True)
        client = cast("Client", Client.load("kept"))
    runs: list[str] = []

    @flow(persist_result=True, result_serializer="json")
    def use(client: Client) -> int:
        runs.append(str(flow_run.id))
        return len(tasks.fetch_records.with_options(retries=0)(client, "things"))

    try:
        shown = str(use(client))
    except (errors.PermanentError, errors.TransientError) as error:
        shown = "".join(traceback.format_exception(error))
    kept = "".join(everything_kept(runs[0]))
    assert is_open(web.requests[0], client.credentials)
    assert "fetch-things" in kept
    assert "********" in kept  # the token among the flow run's parameters
    for text in (shown, kept, caplog.text, repr(client)):
        assert TOKEN not in text


@pytest.mark.usefixtures("prefect_server")
def test_requests_take_turns(web: FileServer, client: Client) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

    name = f"turns-{uuid.uuid4().hex[:8]}"  # the server may be shared
    limit = GlobalConcurrencyLimitCreate(name=name, limit=1, slot_decay_per_second=2)
    with get_client(sync_client=True) as api:
        api.create_global_concurrency_limit(limit)
    web.put("/api/things/7", Answer(body=b'{"id": 7}'))
    limited = client.model_copy(update={"rate_limit": name})

    @flow
    def read_twice() -> None:
        for _ in range(2):
            limited.get("things/7")

    read_twice()
    with get_client(sync_client=True) as api:
        assert api.read_global_concurrency_limit_by_name(name).active_slots > 0
