"""A local HTTP server that sends given responses; a pytest plugin."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import ssl
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
import trustme

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from email.message import Message
    from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A response of the server.

    Attributes:
        body: The body.
        status: The status.
        headers: More headers.
        size: The `Content-Length`; None takes the body's, -1 sends none.
        silent: Whether to send nothing until the test ends.
        pause: Seconds before each byte of the headers and the body.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    size: int | None = None
    silent: bool = False
    pause: float = 0


class FileServer(http.server.ThreadingHTTPServer):
    """Serves the responses in `answers`; the last one of a path is repeated for ever.

    Requests are recorded in `requests` (path and headers), `methods` and `bodies`.
    """

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, Message]] = []
        self.methods: list[str] = []
        self.bodies: list[bytes] = []
        self.over = threading.Event()
        self.url = f"{'https' if context else 'http'}://localhost:{self.server_port}"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def put(self, path: str, *answers: Answer) -> str:
        """Set the responses of a path, and return its URL."""
        self.answers[path] = list(answers)
        return self.url + path


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = cast("FileServer", self.server)
        path = self.path.partition("?")[0]
        server.requests.append((self.path, self.headers))
        server.methods.append(self.command)
        server.bodies.append(self.rfile.read(int(self.headers["Content-Length"] or 0)))
        answers = server.answers.get(path, [Answer(status=404)])
        answer = answers[0] if len(answers) == 1 else answers.pop(0)
        if answer.silent:
            server.over.wait(60)
            return
        with contextlib.suppress(OSError):
            if answer.pause:
                head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
                whole = f"HTTP/1.1 {answer.status} Slow\r\n{head}\r\n".encode() + answer.body
                for byte in whole:
                    server.over.wait(answer.pause)
                    self.wfile.write(bytes([byte]))
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            size = len(answer.body) if answer.size is None else answer.size
            if size >= 0:
                self.send_header("Content-Length", str(size))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

    do_DELETE = do_HEAD = do_PATCH = do_POST = do_PUT = do_GET  # noqa: N815 - as inherited

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        """Print nothing."""


@contextlib.contextmanager
def _running(server: FileServer) -> Generator[FileServer]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join(60)


@pytest.fixture
def web() -> Generator[FileServer]:
    with _running(FileServer()) as server:
        yield server


@pytest.fixture
def other_web() -> Generator[FileServer]:
    with _running(FileServer()) as server:
        yield server


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure_web(authority: trustme.CA) -> Iterator[FileServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with _running(FileServer(context)) as server:
        yield server


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(certificates)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
