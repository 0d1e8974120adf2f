"""A small REST API on this machine, for the examples and the tests.

It keeps records in memory, requires a token, and returns pages in the form that `blocks/client.py`
reads. Like a real system it is busy at times: it answers 429 or 503 and asks to wait.
"""

from __future__ import annotations

import contextlib
import csv
import http.server
import importlib.util
import json
import threading
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import HttpUrl, SecretStr

from prefect_my_system import blocks

if TYPE_CHECKING:
    from collections.abc import Generator

TOKEN = "demo-token"  # noqa: S105 - works only here, while the server runs
BUSY = {3: 429, 6: 503}
"""Requests that find it busy, by their number, and the status they get."""


class System(http.server.ThreadingHTTPServer):
    """The system.

    Attributes:
        collections: Records by the name of their collection.
        files: Uploaded files by their path.
        told: The status of each response.
    """

    daemon_threads = True

    def __init__(self, **collections: list[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.collections = collections
        self.files: dict[str, bytes] = {}
        self.created: dict[str, dict[str, Any]] = {}
        self.told: list[int] = []
        self.lock = threading.Lock()

    @property
    def credentials(self) -> blocks.MySystemCredentials:
        """Credentials for this system."""
        url = HttpUrl(f"http://127.0.0.1:{self.server_port}/api")
        return blocks.MySystemCredentials(base_url=url, token=SecretStr(TOKEN))


class _Handler(http.server.BaseHTTPRequestHandler):
    @property
    def system(self) -> System:
        return cast("System", self.server)

    def do_GET(self) -> None:
        if (name := self._admitted()) is None:
            return
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        records = self.system.collections.get(name)
        if records is None:
            self._answer(404, {"message": f"There is no {name}."})
            return
        start, size = int(query.get("cursor", 0)), int(query.get("limit", 100))
        end = start + size
        following = str(end) if end < len(records) else None
        self._answer(200, {"records": records[start:end], "next": following})

    def do_POST(self) -> None:
        record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if (name := self._admitted()) is None:
            return
        with self.system.lock:
            # Requests with the same key create one record.
            key = self.headers["Idempotency-Key"] or f"none {len(self.system.told)}"
            if key not in self.system.created:
                collection = self.system.collections.setdefault(name, [])
                collection.append(record)
                self.system.created[key] = {"id": len(collection), **record}
            self._answer(201, self.system.created[key])

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if (name := self._admitted()) is None:
            return
        self.system.files[name] = content
        self._answer(200, {"bytes": len(content)})

    def _admitted(self) -> str | None:
        """Return the path below `/api/`; None if the request was refused."""
        status = BUSY.get(len(self.system.told) + 1)
        if status is not None:
            self._answer(status, {"message": "Come back in a moment."}, {"Retry-After": "1"})
            return None
        if TOKEN not in str(self.headers):  # in any header
            self._answer(401, {"message": "Who are you?"})
            return None
        return urllib.parse.urlsplit(self.path).path.removeprefix("/api/")

    def _answer(
        self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        self.system.told.append(status)
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        """Print nothing."""


@contextlib.contextmanager
def running(**collections: list[dict[str, Any]]) -> Generator[System]:
    """Run the system with these records during the `with` block."""
    server = System(**collections)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def penguins() -> list[dict[str, Any]]:
    """Return the 344 penguins of the Palmer Archipelago (palmerpenguins, CC0): text by column."""
    # Found by path, because importing the package imports pandas.
    spec = importlib.util.find_spec("palmerpenguins")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The example needs its data: pip install palmerpenguins")
    with (Path(spec.origin).parent / "data" / "penguins-raw.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: None if text == "NA" else text for key, text in row.items()} for row in rows]
