from __future__ import annotations

import gzip
import hashlib
import logging
import os
import socket
import stat
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pandera.pandas as pa
import pytest
from local_server import Answer
from prefect import flow
from prefect.blocks.system import Secret
from prefect.runtime import flow_run
from pydantic import SecretStr
from server_side import everything_kept

from my_task_library import data
from my_task_library.common import (
    errors,
    files,
    settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from local_server import FileServer

BODY = b"species,mass\nAdelie,3750\n" * 9000
SHA256 = hashlib.sha256(BODY).hexdigest()

fetch = data.download_data.fn


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "table.csv"


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


def test_http(web: FileServer, target: Path) -> None:
    url = web.put("/table.csv", Answer(body=BODY))
    result = fetch(url, target, sha256=SHA256.upper())
    assert target.read_bytes() == BODY
    assert (result.path, result.source, result.fetched) == (target, url, True)
    assert (result.size, result.sha256) == (len(BODY), SHA256)
    assert names(target) == ["table.csv"]


@pytest.mark.usefixtures("trusted")
def test_https(secure_web: FileServer, target: Path) -> None:
    url = secure_web.put("/table.csv", Answer(body=BODY))
    assert fetch(url, target).size == len(BODY)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("form", ["path", "text", "url"])
def test_file(form: str, tmp_path: Path, target: Path) -> None:
    source = tmp_path / "a table.csv"
    source.write_bytes(BODY)
    given = {"path": source, "text": str(source), "url": source.as_uri()}[form]
    assert fetch(given, target, sha256=SHA256).fetched
    assert target.read_bytes() == BODY


def test_empty_file(web: FileServer, target: Path) -> None:
    assert fetch(web.put("/empty", Answer()), target).size == 0
    assert target.read_bytes() == b""


def test_packed_body_is_unpacked(web: FileServer, target: Path) -> None:
    packed = Answer(body=gzip.compress(BODY), headers={"Content-Encoding": "gzip"})
    assert fetch(web.put("/table.csv", packed), target, sha256=SHA256).size == len(BODY)


def test_packed_body_by_its_old_name_and_padded(web: FileServer, target: Path) -> None:
    for zeros in (b"\0", b"\0" * 100_000):
        body = gzip.compress(BODY) + zeros
        packed = Answer(body=body, headers={"Content-Encoding": "x-gzip"})
        assert fetch(web.put("/table.csv", packed), target, sha256=SHA256).size == len(BODY)
        target.unlink()


def test_packed_body_in_parts(web: FileServer, target: Path) -> None:
    parts = gzip.compress(BODY) + gzip.compress(b"") + gzip.compress(BODY)
    packed = Answer(body=parts, headers={"Content-Encoding": "gzip"}, size=-1)
    assert fetch(web.put("/table.csv", packed), target).size == 2 * len(BODY)


def test_file_with_the_checksum_is_kept(web: FileServer, target: Path) -> None:
    url = web.put("/table.csv", Answer(body=BODY))
    fetch(url, target)
    again = fetch(url, target, sha256=SHA256)
    assert not again.fetched
    assert again.size == len(BODY)
    assert len(web.requests) == 1


def test_file_with_another_checksum_is_replaced(web: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    assert fetch(web.put("/table.csv", Answer(body=BODY)), target, sha256=SHA256).fetched
    assert target.read_bytes() == BODY


ANSWERS = {
    "404": (Answer(status=404), errors.PermanentError, "answers 404"),
    "403": (Answer(status=403), errors.PermanentError, "answers 403"),
    "429": (Answer(status=429), errors.TransientError, "answers 429"),
    "503": (Answer(status=503), errors.TransientError, "answers 503"),
    "202": (Answer(status=202, body=BODY), errors.TransientError, "answers 202"),
    "203": (Answer(status=203, body=BODY), errors.PermanentError, "answers 203. That is no whole"),
    "204": (Answer(status=204), errors.PermanentError, "answers 204. That is no whole file"),
    "205": (Answer(status=205), errors.PermanentError, "answers 205. That is no whole file"),
    "206": (Answer(status=206, body=BODY), errors.PermanentError, "answers 206. That is no whole"),
    "later than the deadline": (
        Answer(status=503, headers={"Retry-After": "7200"}),
        errors.PermanentError,
        "asks to wait 7,200 s, longer than deadline_seconds",
    ),
    "cut gzip": (
        Answer(body=gzip.compress(BODY)[:-9], headers={"Content-Encoding": "gzip"}),
        errors.TransientError,
        "packed body that is cut off",
    ),
    "bomb": (
        Answer(body=gzip.compress(bytes(10**7)), headers={"Content-Encoding": "gzip"}),
        errors.PermanentError,
        "more than 500,000 bytes",
    ),
    "endless parts": (
        Answer(body=gzip.compress(b"") * 30_000, headers={"Content-Encoding": "gzip"}, size=-1),
        errors.PermanentError,
        "more than 500,000 bytes",
    ),
    "packed otherwise": (
        Answer(body=BODY, headers={"Content-Encoding": "br"}),
        errors.PermanentError,
        "is packed by 'br'",
    ),
    "drip": (Answer(body=BODY, pause=0.02), errors.TransientError, "took more than 1 s"),
    "silent": (Answer(silent=True), errors.TransientError, "ReadTimeout"),
    "truncated": (Answer(body=BODY, size=len(BODY) + 1), errors.TransientError, "Protocol"),
    "too large, as announced": (
        Answer(body=b"", size=10**6),
        errors.PermanentError,
        "more than 500,000 bytes",
    ),
    "too large, unannounced": (
        Answer(body=BODY * 4, size=-1),
        errors.PermanentError,
        "more than 500,000 bytes",
    ),
    "not gzip": (
        Answer(body=BODY, headers={"Content-Encoding": "gzip"}),
        errors.PermanentError,
        "packed in an unknown way",
    ),
    "redirected for ever": (
        Answer(status=302, headers={"Location": "/table.csv"}),
        errors.PermanentError,
        "TooManyRedirects",
    ),
    "redirected to a file": (
        Answer(status=302, headers={"Location": "file:///etc/passwd"}),
        errors.PermanentError,
        "UnsupportedProtocol",
    ),
    "wrong content": (Answer(body=b"else"), errors.PermanentError, "has the checksum"),
}


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("name", ANSWERS)
def test_failure_changes_nothing(name: str, there: bool, web: FileServer, target: Path) -> None:
    answer, error, message = ANSWERS[name]
    if there:
        target.parent.mkdir()
        target.write_bytes(b"old")
    url = web.put("/table.csv", answer)
    with pytest.raises(error, match=message):
        fetch(
            *(url, target),
            sha256=SHA256,
            max_bytes=500_000,
            timeout_seconds=0.3,
            deadline_seconds=1 if "took more" in message else 60,
        )
    assert names(target) == (["table.csv"] if there else [])
    if there:
        assert target.read_bytes() == b"old"


def test_nobody_answers(target: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(errors.TransientError, match="ConnectError"):
            fetch(url, target)


def test_untrusted_certificate(secure_web: FileServer, target: Path) -> None:
    with pytest.raises(errors.PermanentError, match="certificate that is not trusted"):
        fetch(secure_web.put("/table.csv", Answer(body=BODY)), target)


def test_deadline_holds_for_a_server_that_drips(web: FileServer, target: Path) -> None:
    dripping = Answer(body=BODY, pause=0.2, headers={"Content-Length": str(len(BODY))})
    begin = time.monotonic()
    with pytest.raises(errors.TransientError, match=r"took more than 0\.5 s"):
        fetch(web.put("/table.csv", dripping), target, deadline_seconds=0.5)
    assert time.monotonic() - begin < 10
    assert names(target) == []


def test_late_server_leaves_nothing(web: FileServer, target: Path) -> None:
    url = web.put("/table.csv", Answer(body=BODY))
    before = threading.enumerate()
    with pytest.raises(errors.TransientError, match="took more than 1e-09 s"):
        fetch(url, target, deadline_seconds=1e-9)
    for thread in set(threading.enumerate()).difference(before):
        thread.join(60)
    assert names(target) == []


def test_body_without_an_end_needs_a_checksum(web: FileServer, target: Path) -> None:
    url = web.put("/table.csv", Answer(body=BODY, size=-1))
    with pytest.raises(errors.PermanentError, match=r"does not tell where .* Give its sha256"):
        fetch(url, target)
    assert fetch(url, target, sha256=SHA256).size == len(BODY)


def test_bound_of_a_file(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "table.csv"
    source.write_bytes(BODY)
    with pytest.raises(errors.PermanentError, match="more than 10 bytes"):
        fetch(source, target, max_bytes=10)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gopher://localhost/table.csv", "Cannot download by 'gopher'"),
        ("zip://table.csv::s3://bucket/all.zip", "Cannot download by 'zip'"),
        ("gs://bucket/table.csv", "gs:// needs a package that is not installed: pip install gcsfs"),
        ("memory://none/table.csv", "memory://none/table.csv: FileNotFoundError. Check the URL"),
        ("http://[::1/table.csv", r"http://\.\.\.: InvalidURL"),
        ("http://localhost:port/table.csv", "InvalidURL"),
        ("file://elsewhere/table.csv", "on another machine"),
        ("no/such/file.csv", "There is no file"),
        (".", "There is no file"),
        ("/dev/zero", "There is no file"),
    ],
)
def test_wrong_source(source: str, message: str, target: Path) -> None:
    with pytest.raises(errors.PermanentError, match=message):
        fetch(source, target)


def test_wrong_arguments(tmp_path: Path) -> None:
    source, loop = tmp_path / "table.csv", tmp_path / "loop"
    source.write_bytes(BODY)
    loop.symlink_to(loop)
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path, loop, tmp_path / "pipe", f"{tmp_path}\0"):
        with pytest.raises(errors.PermanentError, match="is not the path of a file"):
            fetch(source, target)
    with pytest.raises(errors.PermanentError, match=r"is not the path of a file|name too long\.$"):
        fetch(source, tmp_path / ("x" * 300))
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(errors.PermanentError, match="64 hexadecimal digits"):
        fetch("table.csv", tmp_path / "table.csv", sha256="12")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_bytes": -1}, "max_bytes is -1: give 0 or more"),
        ({"max_bytes": 0}, "more than 0 bytes"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds is nan: give more than 0"),
        ({"deadline_seconds": 0}, "deadline_seconds is 0: give more than 0"),
        ({"deadline_seconds": -1}, "deadline_seconds is -1"),
        ({"deadline_seconds": "9"}, "deadline_seconds is '9': give more than 0"),
        ({"max_bytes": "9"}, "max_bytes is '9': give 0 or more"),
        ({"token": "text"}, "token is a plain text: make it a SecretStr"),
        ({"deadline_seconds": float("inf")}, "deadline_seconds is inf: .* at most 604,800"),
    ],
)
def test_limits_are_as_written(
    arguments: dict[str, Any], message: str, web: FileServer, target: Path
) -> None:
    url = web.put("/table.csv", Answer(body=BODY))
    with pytest.raises(errors.PermanentError, match=message):
        fetch(url, target, **arguments)
    assert fetch(web.put("/empty", Answer()), target, max_bytes=0).size == 0


def test_links_and_permissions_are_kept(web: FileServer, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real.name)
    url = web.put("/table.csv", Answer(body=BODY))
    assert fetch(url, link).path == link
    assert link.is_symlink()
    assert real.read_bytes() == BODY
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    before = os.umask(0o027)
    try:
        fetch(url, tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_other_stores(target: Path) -> None:
    fsspec.filesystem("memory").pipe("/bucket/table.csv", BODY)
    assert fetch("memory://bucket/table.csv", target).sha256 == SHA256
    with pytest.raises(errors.PermanentError, match="more than 10 bytes"):
        fetch("memory://bucket/table.csv", target, max_bytes=10)


def test_target_that_cannot_be_written(web: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.PermanentError, match="Cannot write"):
        fetch(web.put("/table.csv", Answer(body=BODY)), tmp_path / "file" / "table.csv")


def test_bound_from_the_settings(
    web: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{settings.ENV_PREFIX}DOWNLOAD_MAX_BYTES", "10")
    with pytest.raises(errors.PermanentError, match="more than 10 bytes"):
        fetch(web.put("/table.csv", Answer(body=BODY)), target)


def test_token_goes_to_its_own_server_only(
    web: FileServer, other_web: FileServer, target: Path
) -> None:
    elsewhere = other_web.put("/table.csv", Answer(body=BODY))
    url = web.put("/table.csv", Answer(status=302, headers={"Location": elsewhere}))
    fetch(url, target, token=SecretStr("t0ken"))
    assert web.requests[0][1]["Authorization"] == "Bearer t0ken"
    assert other_web.requests[0][1]["Authorization"] is None


@pytest.mark.parametrize("token", ["t0ken\n", "t0k\nen"])
def test_token_that_cannot_be_sent(token: str, web: FileServer, target: Path) -> None:
    with pytest.raises(errors.PermanentError, match="LocalProtocolError") as caught:
        fetch(web.put("/table.csv", Answer(body=BODY)), target, token=SecretStr(token))
    assert "t0k" not in str(caught.value)
    assert not web.requests


@pytest.mark.usefixtures("trusted")
def test_redirect_without_tls(secure_web: FileServer, web: FileServer, target: Path) -> None:
    insecure = web.put("/table.csv", Answer(body=BODY))
    url = secure_web.put("/table.csv", Answer(status=302, headers={"Location": insecure}))
    with pytest.raises(errors.PermanentError, match="without TLS"):
        fetch(url, target)
    assert not web.requests


@pytest.mark.usefixtures("prefect_server")
class TestRuns:
    def test_flow_retries_what_is_transient(self, web: FileServer, target: Path) -> None:
        url = web.put("/table.csv", Answer(status=503), Answer(status=503), Answer(body=BODY))
        impatient = data.download_data.with_options(retry_delay_seconds=0)

        @flow
        def use() -> data.Download:
            return impatient(url, target)

        assert use().size == len(BODY)
        assert len(web.requests) == 3

    def test_retries_wait_as_long_as_the_server_asks(self, web: FileServer, target: Path) -> None:
        busy = Answer(status=429, headers={"Retry-After": "1"})
        url = web.put("/table.csv", busy, Answer(body=BODY))
        impatient = data.download_data.with_options(retry_delay_seconds=0)

        @flow
        def use() -> data.Download:
            return impatient(url, target)

        begin = time.monotonic()
        assert use().size == len(BODY)
        assert time.monotonic() - begin >= 1
        assert len(web.requests) == 2

    def test_flow_does_not_retry_what_is_permanent(self, web: FileServer, target: Path) -> None:
        @flow
        def use() -> data.Download:
            return data.download_data(web.url + "/none", target)

        with pytest.raises(errors.PermanentError, match="answers 404"):
            use()
        assert len(web.requests) == 1

    # Prefect warns that the logs of such a run stay local.
    @pytest.mark.filterwarnings("ignore:.*without a flow run id:UserWarning")
    def test_task_without_flow(self, web: FileServer, target: Path) -> None:
        url = web.put("/table.csv", Answer(body=BODY))
        assert data.download_data(url, target).sha256 == SHA256


# Secrets go only to the right server: to no log, artifact, result or error.
TOKEN = "s3cret-token"
PASSWORD = "s3cret-password"
SIGNATURE = "s3cret-signature"


def signed(url: str) -> str:
    return url.replace("://", f"://user:{PASSWORD}@") + f"?signature={SIGNATURE}#{SIGNATURE}"


def assert_no_secret(text: str) -> None:
    for secret in (TOKEN, PASSWORD, SIGNATURE, "s3cret"):
        assert secret not in text


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    # At DEBUG, httpcore logs all headers; that is the user's choice.
    caplog.set_level(logging.INFO, logger="httpcore")
    return caplog


def test_no_secret_of_a_download_is_shown(
    web: FileServer, tmp_path: Path, everything_logged: pytest.LogCaptureFixture
) -> None:
    url = web.put("/table.csv", Answer(body=b"data"))
    result = fetch(signed(url), tmp_path / "t.csv", token=SecretStr(TOKEN))
    assert f"signature={SIGNATURE}" in web.requests[0][0]
    assert result.source == url
    assert f"4 bytes from {url}" in everything_logged.text
    assert_no_secret(f"{result!r} {everything_logged.text}")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=403),
        Answer(status=503),
        Answer(silent=True),
        Answer(body=b"x", size=9),
        Answer(body=b"x" * 99),
        Answer(status=302, headers={"Location": f"ftp://u:{PASSWORD}@host/?{SIGNATURE}"}),
        Answer(body=b"x" * 20, headers={"Content-Encoding": "gzip"}),
        Answer(status=206),
        Answer(status=503, headers={"Retry-After": "9999999"}),
    ],
)
def test_no_secret_of_a_failed_download_is_shown(
    answer: Answer,
    web: FileServer,
    tmp_path: Path,
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    source = signed(web.put("/table.csv", answer))
    with pytest.raises((errors.PermanentError, errors.TransientError)) as caught:
        fetch(source, tmp_path / "t", token=SecretStr(TOKEN), timeout_seconds=0.3, max_bytes=50)
    shown = "".join(traceback.format_exception(caught.value))
    assert_no_secret(f"{caught.value!r} {shown} {everything_logged.text}")


HOSTILE = [
    "http://u:s3cret@[::1/",
    "http://u:s3cret@host:port/?s3cret",
    "http://u:12/s3cret@host/t.csv",
    "http://u:s3/s3cret@host/t.csv",
    "http://u:p?s3cret@host/t.csv",
    "HTTP://u:s3cret@host/t.csv",
    "u:s3cret@host/t.csv",
    "t.csv?token=s3cret",
    "memory://u:s3cret@bucket/t.csv?s3cret",
    "zip://t.csv::memory://u:s3cret@bucket/t.zip",
    "gopher://u:s3cret@host/t.csv#s3cret",
    "file://u:s3cret@host/t.csv",
]


@pytest.mark.parametrize("kind", [str.strip, Path])
@pytest.mark.parametrize("source", HOSTILE)
def test_no_secret_of_a_source_that_is_not_there_is_shown(
    source: str,
    kind: Callable[[str], str | Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    # Nothing listens there, and no DNS request is sent.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises((errors.PermanentError, errors.TransientError)) as caught:
        fetch(kind(source), tmp_path / "t")
    shown = "".join(traceback.format_exception(caught.value))
    assert_no_secret(f"{shown} {everything_logged.text} {files.public_name(source)}")


def test_no_secret_of_a_target_that_is_a_url_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fsspec.filesystem("memory").pipe("/bucket/t.csv", b"data")
    with pytest.raises(errors.PermanentError, match="is not the path of a file") as caught:
        fetch("memory://bucket/t.csv", "s3://u:s3cret@bucket/t.csv")
    assert_no_secret(str(caught.value))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("https://host/a/react@18/t.csv", "https://host/a/react@18/t.csv"),
        ("s3://bucket/key@1/t.csv", "s3://bucket/key@1/t.csv"),
        ("http://u:p@[::1]:80/t.csv?q#f", "http://[::1]:80/t.csv"),
        (Path("/tmp/a b/t.csv"), "/tmp/a b/t.csv"),
        ("https://host/a;v=1/t.csv;sig=s3cret", "https://host/a/t.csv"),
        ("a;b/t.csv", "a;b/t.csv"),
        ("C:\\data\\t.csv", "C:\\data\\t.csv"),
        ("a@b/t.csv", "a@b/t.csv"),
    ],
)
def test_what_is_no_secret_is_shown(source: str | Path, shown: str) -> None:
    assert files.public_name(source) == shown


@pytest.mark.parametrize("kind", [str.strip, Path])
@pytest.mark.parametrize("source", HOSTILE)
def test_no_secret_of_a_table_that_is_not_there_is_shown(
    source: str, kind: Callable[[str], str | Path], everything_logged: pytest.LogCaptureFixture
) -> None:
    for given, target in ((kind(source), None), ("t.csv", source)):
        with pytest.raises(errors.PermanentError) as caught:
            data.transform_data.fn(given, pa.DataFrameSchema({}), target=target)
        shown = "".join(traceback.format_exception(caught.value))
        assert_no_secret(f"{shown} {everything_logged.text}")


@pytest.mark.usefixtures("prefect_server")
class TestSecretsInRuns:
    @pytest.mark.parametrize("status", [200, 403])
    def test_a_block(
        self,
        status: int,
        web: FileServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        everything_logged: pytest.LogCaptureFixture,
    ) -> None:
        Secret(value=TOKEN).save("portal-token", overwrite=True)
        monkeypatch.setenv(f"{settings.ENV_PREFIX}DOWNLOAD_TOKEN", "block:portal-token")
        source = signed(web.put("/table.csv", Answer(body=b"data", status=status)))

        runs: list[str] = []

        @flow(persist_result=True, result_serializer="json")
        def use() -> str:
            runs.append(str(flow_run.id))
            token = settings.load().download_token
            return data.download_data(source, tmp_path / "t.csv", token=token).source

        try:
            shown = use()
        except errors.PermanentError as error:
            shown = "".join(traceback.format_exception(error))
        kept = everything_kept(runs[0])
        assert f"{web.url}/table.csv" in "".join(kept)
        assert_no_secret(f"{shown} {kept} {everything_logged.text}")
        assert web.requests[0][1]["Authorization"] == f"Bearer {TOKEN}"
        assert f"{web.url}/table.csv" in shown

    @pytest.mark.parametrize("source", ["http://u:s3cret@host/?s3cret", "u:s3cret@h/t.csv?s3cret"])
    def test_nothing_of_a_wrong_source_or_target_is_kept(
        self, source: str, everything_logged: pytest.LogCaptureFixture
    ) -> None:
        runs: list[str] = []

        @flow(persist_result=True, result_serializer="json")
        def use() -> None:
            runs.append(str(flow_run.id))
            assert data.download_data("none", source, return_state=True).is_failed()
            schema = pa.DataFrameSchema({})
            assert data.transform_data(source, schema, return_state=True).is_failed()

        use()
        assert_no_secret(f"{everything_kept(runs[0])} {everything_logged.text}")
