"""The HTTP clients, against a real server: when they retry, and what their errors say."""

from __future__ import annotations

import base64
import datetime
import email.utils
import gzip
import io
import json
import pickle
import time
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from conftest import TOKEN, blocking
from local_server import Answer
from pydantic import SecretStr

from prefect_my_system.common import errors, http

if TYPE_CHECKING:
    from pathlib import Path

    from local_server import FileServer

Send = Callable[..., httpx.Response]

OK = Answer(body=b'{"id": 7}')
BUSY = Answer(status=503)
BROKEN = Answer(body=b"{", size=10)


def words(text: object, status: int = 422, kind: str = "application/json") -> Answer:
    body = text if isinstance(text, bytes) else json.dumps(text).encode()
    return Answer(status=status, headers={"Content-Type": kind}, body=body)


@pytest.fixture(params=["sync", "async"])
def send(request: pytest.FixtureRequest, web: FileServer) -> Send:
    """Send a request to `web` by either client."""

    def options(given: dict[str, Any]) -> tuple[http.Policy, dict[str, Any]]:
        policy = http.Policy(name="System", **given.pop("policy", {}))
        auth = given.pop("auth", None) or http.bearer(SecretStr(TOKEN))
        url, timeout = given.pop("base_url", f"{web.url}/api"), given.pop("timeout", 5)
        return policy, {"base_url": url, "auth": auth, "timeout": timeout}

    def sync(method: str, path: str, **given: Any) -> httpx.Response:
        policy, client_options = options(given)
        with http.Client(policy, **client_options) as client:
            return client.request(method, path, **given)

    async def other(method: str, path: str, **given: Any) -> httpx.Response:
        policy, client_options = options(given)
        async with http.AsyncClient(policy, **client_options) as client:
            return await client.request(method, path, **given)

    if request.param == "sync":
        return sync
    return blocking(other)


@pytest.mark.parametrize("first", [*(Answer(status=s) for s in (429, 502, 503, 504)), BROKEN])
def test_what_is_safe_is_sent_again(first: Answer, web: FileServer, send: Send) -> None:
    web.put("/api/things", first, OK)
    assert send("GET", "things").json() == {"id": 7}
    assert len(web.requests) == 2


def test_attempts_end(web: FileServer, send: Send) -> None:
    web.put("/api/things", BUSY)
    with pytest.raises(http.BusyError, match=r"System answers 503 to GET /api/things\."):
        send("GET", "things")
    assert len(web.requests) == http.ATTEMPTS


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_what_another_attempt_does_not_cure_is_sent_once(
    status: int, web: FileServer, send: Send
) -> None:
    web.put("/api/things", Answer(status=status))
    wanted = errors.TransientError if status == 500 else http.RefusedError
    with pytest.raises(wanted, match=f"System answers {status} to GET") as caught:
        send("GET", "things")
    assert status == 500 or pickle.loads(pickle.dumps(caught.value)).status == status
    assert len(web.requests) == 1


def test_the_pause_is_the_one_that_is_asked_for(web: FileServer, send: Send) -> None:
    web.put("/api/things", Answer(status=429, headers={"Retry-After": "1"}), OK)
    start = time.monotonic()
    assert send("GET", "things").is_success
    assert time.monotonic() - start >= 1


def test_a_pause_beyond_the_deadline_is_left_to_the_task(web: FileServer, send: Send) -> None:
    web.put("/api/things", Answer(status=503, headers={"Retry-After": "3600"}))
    with pytest.raises(http.BusyError, match="asks to wait 3600 s") as caught:
        send("GET", "things")
    assert caught.value.retry_after_seconds == 3600
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    "limit",
    [
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000000000"},
        {"RateLimit": "limit=9, remaining=0, reset=0"},
        {"Retry-After-Ms": "1"},
    ],
)
def test_a_used_up_rate_limit_passes(limit: dict[str, str], web: FileServer, send: Send) -> None:
    web.put("/api/things", Answer(status=403, headers=limit), OK)
    assert send("POST", "things").is_success
    assert len(web.requests) == 2


def test_another_403_does_not(web: FileServer, send: Send) -> None:
    web.put("/api/things", Answer(status=403, headers={"X-RateLimit-Remaining": "9"}))
    with pytest.raises(errors.PermanentError, match="Check the credentials and their rights"):
        send("GET", "things")
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": " 7 "}, 7),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "in a minute, as HTTP"}, 60),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0),
        ({"Retry-After": "Fri, 31 Dec 99999999999 23:59:59 GMT"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"}, 30),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "in a minute"}, 60),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "5"}, 5),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "30"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "in a minute, in ms"}, 60),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "in a minute, ISO 8601"}, 60),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1994-11-06T08:49:37"}, 0),
        ({"Retry-After-Ms": "1500", "Retry-After": "2"}, 1.5),
        ({"RateLimit": "limit=100, remaining=0, reset=50"}, 50),
        ({"RateLimit": "limit=100, remaining=1, reset=50"}, None),
        ({"RateLimit": '"hourly";r=9;t=500, "daily";r=0;t=5000'}, 5000),
        ({"RateLimit": '"hourly";r=9;t=500'}, None),
        ({"RateLimit": "none"}, None),
    ],
)
def test_seconds_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    soon = time.time() + 60
    texts = {
        "in a minute": str(soon),
        "in a minute, as HTTP": email.utils.formatdate(soon, usegmt=True),
        "in a minute, in ms": f"{soon * 1000:.0f}",
        "in a minute, ISO 8601": datetime.datetime.fromtimestamp(soon, datetime.UTC).isoformat(),
    }
    headers = {name: texts.get(text, text) for name, text in headers.items()}
    found = http.seconds_to_wait(httpx.Headers(headers))
    near = 30 if seconds == 60 else 0.1
    assert found == (None if seconds is None else pytest.approx(seconds, abs=near))


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("answer", [Answer(status=502), Answer(status=500), BROKEN])
def test_what_may_have_been_carried_out_is_not_sent_again(
    answer: Answer, method: str, web: FileServer, send: Send
) -> None:
    web.put("/api/things", answer)
    with pytest.raises(http.OutcomeUnknownError, match="look in System before you send it again"):
        send(method, "things", json={"name": "a"})
    assert web.bodies == [b'{"name":"a"}']


def test_a_time_out_leaves_the_outcome_open(web: FileServer, send: Send) -> None:
    web.put("/api/things", Answer(silent=True))
    with pytest.raises(http.OutcomeUnknownError, match=r"\(ReadTimeout\)"):
        send("POST", "things", timeout=0.2)
    assert len(web.requests) == 1


def test_what_was_refused_for_now_is_sent_again(web: FileServer, send: Send) -> None:
    web.put("/api/things", Answer(status=429), OK)
    assert send("POST", "things", json={}).is_success
    assert web.methods == ["POST", "POST"]


def test_what_was_never_sent_may_be_repeated(send: Send) -> None:
    with pytest.raises(http.BusyError, match=r"does not answer POST /things \(ConnectError\)"):
        send("POST", "things", base_url="http://127.0.0.1:9")


def test_an_empty_key_does_not_make_it_safe(web: FileServer, send: Send) -> None:
    web.put("/api/things", Answer(status=502), OK)
    with pytest.raises(http.OutcomeUnknownError):
        send("POST", "things", json={}, headers={"Idempotency-Key": ""})
    assert len(web.requests) == 1


@pytest.mark.parametrize("status", [302, 303, 408])
def test_what_is_answered_after_it_was_carried_out(
    status: int, web: FileServer, send: Send
) -> None:
    """Such as the address of a created object, or a timeout of a slow request."""
    web.put("/api/things", Answer(status=status, headers={"Location": "/api/new"}), OK)
    with pytest.raises(http.OutcomeUnknownError, match="look in System before"):
        send("POST", "things", json={})
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [words(b"x" * 2000, 201), Answer(status=201, headers={"Content-Encoding": "br"}, body=b"x")],
)
def test_what_was_carried_out_is_not_told_as_if_not(
    answer: Answer, web: FileServer, send: Send
) -> None:
    web.put("/api/things", answer)
    with pytest.raises(http.OutcomeUnknownError, match="It was carried out: do not send it again"):
        send("POST", "things", json={}, policy={"max_bytes": 1000})


def test_a_second_attempt_that_finds_it_done_says_so(web: FileServer, send: Send) -> None:
    web.put("/api/things", Answer(status=502), Answer(status=404))
    with pytest.raises(http.RefusedError, match=r"404 .*An earlier attempt may have done it\."):
        send("DELETE", "things")


@pytest.mark.parametrize("path", ["../admin", "a/%2e%2e/b", "a#b", "a/./b"])
def test_a_path_that_leads_elsewhere_is_refused(path: str, web: FileServer, send: Send) -> None:
    with pytest.raises(errors.PermanentError, match="leads elsewhere"):
        send("DELETE", path)
    assert web.requests == []


def test_a_path_with_a_colon_is_a_path(web: FileServer, send: Send) -> None:
    web.put("/api/queue:purge", OK)
    assert send("POST", "queue:purge").is_success


def test_a_key_makes_it_safe(web: FileServer, send: Send) -> None:
    web.put("/api/things", Answer(status=502), BROKEN, OK)
    send("POST", "things", json={}, headers={"Idempotency-Key": "k"})
    assert [headers["Idempotency-Key"] for _, headers in web.requests] == ["k"] * 3


def test_a_file_is_not_sent_again(web: FileServer, tmp_path: Path) -> None:
    web.put("/api/f", BUSY, OK)
    (tmp_path / "f").write_bytes(b"abc")
    with (
        http.Client(http.Policy(name="System"), base_url=f"{web.url}/api") as client,
        (tmp_path / "f").open("rb") as file,
    ):
        with pytest.raises(http.BusyError):
            client.put("f", content=file)
        assert client.put("f", files={"f": io.BytesIO(b"abc")}).is_success
        assert client.put("f", content=b"abc").is_success
    assert web.bodies[0] == web.bodies[2] == b"abc"
    assert len(web.requests) == 3


ODD = "k/y s?cr+t~~~>"
"""A password whose encodings all differ."""


@pytest.mark.parametrize("size", [2, 4])
def test_a_file_that_changes_as_it_is_sent(size: int, web: FileServer, tmp_path: Path) -> None:
    options: dict[str, Any] = {"base_url": web.url, "headers": {"Content-Length": "3"}}
    (tmp_path / "f").write_bytes(b"x" * size)

    def sync() -> None:
        with http.Client(http.Policy(name="System"), **options) as client:
            client.put("f", content=(tmp_path / "f").open("rb"))

    async def other() -> None:
        async with http.AsyncClient(http.Policy(name="System"), **options) as client:
            await client.put("f", content=http.chunks(tmp_path / "f"))

    for upload in (sync, blocking(other)):
        with pytest.raises(errors.PermanentError, match="the size of its body is the one"):
            upload()


def test_a_redirect_within_the_server_is_followed(web: FileServer, send: Send) -> None:
    web.put("/api/old", Answer(status=301, headers={"Location": "/api/new?page=2"}))
    web.put("/api/new", OK)
    assert send("GET", "old").json() == {"id": 7}
    assert web.requests[1][0] == "/api/new?page=2"
    assert web.requests[1][1]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_to_another_server_is_explained(
    method: str, web: FileServer, other_web: FileServer, send: Send
) -> None:
    target = f"{other_web.url}/elsewhere?signature=hunter2"
    web.put("/api/old", Answer(status=302, headers={"Location": target}))
    with pytest.raises(errors.PermanentError, match="it has moved to http") as caught:
        send(method, "old")
    assert f"{other_web.url}/elsewhere, where" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert other_web.requests == []


@pytest.mark.parametrize("encode", ["percent", "base64", "base64 for URLs"])
@pytest.mark.parametrize("auth", ["bearer", "basic"])
def test_an_address_is_told_without_credentials(
    auth: str, encode: str, web: FileServer, other_web: FileServer, send: Send
) -> None:
    secret = SecretStr(ODD)
    given = http.basic("ann", secret) if auth == "basic" else http.bearer(secret)
    raw = (f"ann:{ODD}" if auth == "basic" and encode != "percent" else ODD).encode()
    code = {
        "percent": "".join(f"%{byte:02x}" for byte in raw),
        "base64": urllib.parse.quote(base64.b64encode(raw), safe=""),
        "base64 for URLs": base64.urlsafe_b64encode(raw).decode().rstrip("="),
    }[encode]
    url = f"{other_web.url}/{code}/end"
    web.put("/api/old", Answer(status=302, headers={"Location": url}))
    with pytest.raises(errors.PermanentError, match=r"/\*{8}=*/end, where"):
        send("GET", "old", auth=given)
    with pytest.raises(errors.PermanentError, match=r"/\*{8}=*/end, which is not System"):
        send("GET", url, auth=given)


def test_a_redirected_post_is_not_sent_again(web: FileServer, send: Send) -> None:
    web.put("/api/old", Answer(status=301, headers={"Location": "/api/new"}))
    with pytest.raises(errors.PermanentError, match=r"has moved to http://localhost:\d+/api/new"):
        send("POST", "old")
    assert len(web.requests) == 1


def test_a_circle_ends(web: FileServer, send: Send) -> None:
    web.put("/api/old", Answer(status=302, headers={"Location": "/api/old"}))
    with pytest.raises(errors.PermanentError, match="in a circle"):
        send("GET", "old")


def test_no_other_server_gets_the_credentials(
    web: FileServer, other_web: FileServer, send: Send
) -> None:
    with pytest.raises(errors.PermanentError, match="no other server gets its credentials"):
        send("GET", f"{other_web.url}/things")
    assert other_web.requests == []


@pytest.mark.parametrize("headers", [{"X-Long": "x" * 2000}, {}], ids=["headers", "body"])
def test_the_deadline_holds_for_what_drips(
    headers: dict[str, str], web: FileServer, send: Send
) -> None:
    # The response would take 100 s, but no single byte is late.
    web.put("/api/things", Answer(pause=0.05, headers=headers, body=b"x" * 2000))
    policy = {"deadline_seconds": 2}
    start = time.monotonic()
    with pytest.raises(http.BusyError, match=r"\(deadline of 2 s\)"):
        send("GET", "things", policy=policy)
    with pytest.raises(http.OutcomeUnknownError, match=r"\(deadline of 2 s\)"):
        send("POST", "things", policy=policy)
    assert time.monotonic() - start < 60
    assert len(web.requests) == 2


@pytest.mark.parametrize("packed", [False, True])
def test_the_size_is_bounded(packed: bool, web: FileServer, send: Send) -> None:
    body = gzip.compress(b"\0" * 10**7) if packed else b"\0" * 10**6
    headers = {"Content-Encoding": "gzip"} if packed else {}
    web.put("/api/things", Answer(body=body, headers=headers))
    with pytest.raises(errors.PermanentError, match="more than 100,000 bytes"):
        send("GET", "things", policy={"max_bytes": 100_000})


def test_a_packed_answer_that_is_cut_off_is_refused(web: FileServer, send: Send) -> None:
    packed = gzip.compress(json.dumps([*range(9999)]).encode())
    headers = {"Content-Encoding": "gzip"}
    web.put("/api/things", Answer(headers=headers, body=packed[: len(packed) // 2]))
    with pytest.raises(errors.PermanentError, match="cannot be unpacked"):
        send("GET", "things")
    parts = gzip.compress(b"[1,") + gzip.compress(b"2]")
    web.put("/api/parts", Answer(headers=headers, body=parts))
    assert send("GET", "parts").json() == [1, 2]


def test_a_packed_answer_is_unpacked(web: FileServer, send: Send) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    web.put("/api/things", Answer(body=gzip.compress(b'{"id": 7}'), headers=headers))
    assert send("GET", "things").json() == {"id": 7}


@pytest.mark.parametrize("packing", ["gzip, gzip", "br", "deflate"])
def test_what_cannot_be_unpacked_is_refused(packing: str, web: FileServer, send: Send) -> None:
    web.put("/api/things", Answer(body=b"nonsense", headers={"Content-Encoding": packing}))
    with pytest.raises(errors.PermanentError, match=r"packs its answer|cannot be unpacked"):
        send("GET", "things")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (words({"message": "title is taken."}), ": title is taken."),
        (words({"error": {"code": 7}, "detail": "no"}), ': {"code": 7}; no.'),
        (words({"errors": ["a\nb", "c\x1b[31m"]}), ': ["a\\nb", "c\\u001b[31m"].'),
        (words(["a\nb", "c\x1b[31m"]), ": a b; c [31m."),
        (words(b"plainly  not", kind="text/plain"), ": plainly not."),
        (words(b"<html>Bad</html>", kind="text/html"), "/api/things."),
        (words(b"{", kind="application/json"), ": {."),
        (words(b"[" * 100_000), "..."),
        (words({"message": "a" * 1000}), "a..."),
    ],
)
def test_the_system_s_own_words_are_told(
    answer: Answer, said: str, web: FileServer, send: Send
) -> None:
    web.put("/api/things", answer)
    with pytest.raises(errors.PermanentError) as caught:
        send("POST", "things")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


HIDDEN = 'p"ss w/rd'
PAIR = base64.b64encode(f"ann:{HIDDEN}".encode()).decode()


@pytest.mark.parametrize(
    ("auth", "sent", "hidden"),
    [
        (http.bearer(SecretStr(TOKEN)), ("Authorization", f"Bearer {TOKEN}"), TOKEN),
        (http.basic("ann", SecretStr(HIDDEN)), ("Authorization", f"Basic {PAIR}"), HIDDEN),
        (http.basic("ann", SecretStr(HIDDEN)), ("Authorization", f"Basic {PAIR}"), PAIR),
        (http.header("X-API-Key", SecretStr(HIDDEN)), ("X-API-Key", HIDDEN), HIDDEN),
    ],
)
def test_credentials_are_sent_and_not_told(
    auth: http.Auth, sent: tuple[str, str], hidden: str, web: FileServer, send: Send
) -> None:
    web.put("/api/things", words({"message": f"no {hidden}", "detail": {"got": hidden}}, 401))
    with pytest.raises(errors.PermanentError, match=r"no \*{8}") as caught:
        send("GET", "things", auth=auth)
    assert web.requests[0][1][sent[0]] == sent[1]
    assert hidden not in str(caught.value)
    assert json.dumps(hidden)[1:-1] not in str(caught.value)


@pytest.mark.parametrize("token", ["", " a", "a\n", "a\r\nHost: b", "clé"])
def test_credentials_that_cannot_be_sent(token: str) -> None:
    with pytest.raises(errors.PermanentError, match=r"^The credentials cannot be sent") as caught:
        http.header("X-API-Key", SecretStr(token))
    assert "Host" not in str(caught.value)


def test_a_request_that_cannot_be_built(send: Send) -> None:
    with pytest.raises(errors.PermanentError, match="cannot be built"):
        send("POST", "things", json=float("nan"))
    with pytest.raises(errors.PermanentError, match="URL that cannot be used"):
        send("GET", "things\n")


def test_a_stream_is_read_as_it_comes(web: FileServer) -> None:
    web.put("/api/f", BUSY, Answer(body=b"abc"))
    web.put("/api/none", words({"message": "gone"}, 404))
    policy = http.Policy(name="System", max_bytes=1)
    with http.Client(policy, base_url=f"{web.url}/api") as client:
        with client.stream("GET", "f") as response:
            assert b"".join(response.iter_bytes()) == b"abc"
        with pytest.raises(errors.PermanentError), client.stream("GET", "none"):
            pass


def test_proxies_of_the_environment_are_used(
    web: FileServer, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", web.url)
    web.put("http://system.test/things", OK)
    assert send("GET", "things", base_url="http://system.test").is_success


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("http_proxy", "hunter2://x", "A proxy cannot be used"),
        ("all_proxy", "socks5://ann:hunter2@x", "A proxy cannot be used"),
        ("no_proxy", "[::1", "A proxy cannot be used"),
        ("SSL_CERT_FILE", "/hunter2", "No certificates can be read"),
        ("SSL_CERT_FILE", __file__, "No certificates can be read"),
    ],
)
def test_a_wrong_environment_is_told(
    variable: str, value: str, problem: str, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(errors.PermanentError, match=f"^{problem}.*: check ") as caught:
        send("GET", "things")
    assert "hunter2" not in str(caught.value)


def test_an_untrusted_certificate_is_not_retried(secure_web: FileServer, send: Send) -> None:
    with pytest.raises(errors.PermanentError, match="not trusted here"):
        send("GET", "things", base_url=secure_web.url)


@pytest.mark.usefixtures("trusted")
def test_a_trusted_one_is_taken(secure_web: FileServer, send: Send) -> None:
    secure_web.put("/things", OK)
    assert send("GET", "things", base_url=secure_web.url).is_success
