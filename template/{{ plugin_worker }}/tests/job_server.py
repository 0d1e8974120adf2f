"""A small HTTP server that runs jobs as processes, for the tests of the worker."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import child_processes

if TYPE_CHECKING:
    import subprocess


@dataclasses.dataclass
class Job:
    """A job that the server has, and its process while it runs."""

    id: str
    wanted: dict[str, Any]
    log: Path
    state: str = "waiting"
    exit_code: int | None = None
    reason: str = ""
    cancelled: bool = False
    process: subprocess.Popen[bytes] | None = None

    def signal(self, number: int) -> None:
        """Send a signal to the job's processes, if there are any."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def shown(self) -> dict[str, Any]:
        """Return the job as the API shows it, without its environment."""
        told = {name: self.wanted[name] for name in ("name", "labels", "queue")}
        return {
            **told,
            "id": self.id,
            "state": self.state,
            "exit_code": self.exit_code,
            "reason": self.reason,
        }


class JobServer:
    """Runs jobs, and can fail in the ways in which such systems do."""

    def __init__(self, folder: Path, token: str) -> None:
        self.folder = folder
        self.token = token
        self.jobs: dict[str, Job] = {}
        self.slots = 100
        """How many jobs run at once; the others wait."""
        self.lost_answers = 0
        """How many of the next submissions are stored and answered with 502."""
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://127.0.0.1:{self._port}/api"

    def start(self) -> None:
        """Listen; after a `stop`, at the same address."""
        handler = type("_BoundHandler", (_Handler,), {"system": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop listening; jobs continue."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def close(self) -> None:
        """Stop, and kill the jobs."""
        self.stop()
        self.slots = 0
        for job in self.jobs.values():
            if job.process is not None:
                child_processes.kill(job.process)

    def forget(self, job: Job) -> None:
        """Delete a job."""
        del self.jobs[job.id]
        job.signal(signal.SIGKILL)

    def of(self, flow_run: Any) -> list[Job]:
        """Return the jobs of a flow run."""
        label = ("prefect.io/flow-run-id", str(flow_run))
        return [job for job in self.jobs.values() if label in job.wanted["labels"].items()]

    def submit(self, wanted: dict[str, Any]) -> Job:
        """Store a job, and start it if there is a slot."""
        with self._lock:
            number = str(next(self._numbers))
            job = self.jobs[number] = Job(number, wanted, self.folder / f"{number}.log")
            job.log.touch()
            self.start_waiting()
        return job

    def start_waiting(self) -> None:
        """Start waiting jobs while there are slots."""
        with self._lock:
            for job in self.jobs.values():
                if sum(job.state == "running" for job in self.jobs.values()) >= self.slots:
                    return
                if job.state == "waiting":
                    self._start(job)

    def _start(self, job: Job) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        env = {"PATH": path, "HOME": str(self.folder), **job.wanted["env"]}
        with job.log.open("wb") as log:
            job.process = child_processes.start(
                job.wanted["command"], env=env, cwd=self.folder, stdout=log, stderr=log
            )
        job.state = "running"
        threading.Thread(target=self._wait, args=(job,), daemon=True).start()

    def _wait(self, job: Job) -> None:
        assert job.process is not None
        code = job.process.wait()
        with self._lock:
            if code < 0:
                job.reason = f"ended by signal {-code}"
            job.exit_code = code if code >= 0 else 128 - code
            job.state = "cancelled" if job.cancelled else "failed" if code else "done"
            self.start_waiting()

    def cancel(self, job: Job, *, force: bool) -> None:
        """End a waiting job, or ask a running one to end."""
        with self._lock:
            if job.state == "waiting":
                job.state = "cancelled"
            elif job.state == "running":
                job.cancelled = True
                job.signal(signal.SIGKILL if force else signal.SIGTERM)


class _Handler(BaseHTTPRequestHandler):
    system: JobServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  as inherited
        """Print nothing."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        match address.path.removeprefix("/api/").split("/"):
            case _ if self._is_stranger():
                self._answer(401, {"message": "wrong token"})
            case ["jobs"]:
                label = tuple(query["label"].split(":", 1))
                jobs = list(self.system.jobs.values())
                found = [job for job in jobs if label in job.wanted["labels"].items()]
                self._answer(200, [job.shown() for job in found])
            case ["jobs", number] if number in self.system.jobs:
                self._answer(200, self.system.jobs[number].shown())
            case ["jobs", number, "log"] if number in self.system.jobs:
                text = self.system.jobs[number].log.read_bytes()[int(query["offset"]) :]
                self._answer(200, text[: int(query["limit"])])
            case _:
                self._answer(404, {"message": "not found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match self.path.removeprefix("/api/").split("/"):
            case _ if self._is_stranger():
                self._answer(401, {"message": "wrong token"})
            case ["jobs"]:
                job = self.system.submit(body)
                if self.system.lost_answers > 0:
                    self.system.lost_answers -= 1
                    self._answer(502, {"message": "bad gateway"})
                else:
                    self._answer(201, job.shown())
            case ["jobs", number, "cancel"] if number in self.system.jobs:
                self.system.cancel(self.system.jobs[number], force=body["force"])
                self._answer(202, {})
            case _:
                self._answer(404, {"message": "not found"})

    def _is_stranger(self) -> bool:
        return self.headers["Authorization"] != f"Bearer {self.system.token}"

    def _answer(self, status: int, body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Run the system until Ctrl-C, for a worker that is started by hand."""
    name = next(Path(__file__).parents[1].glob("src/*")).name.removeprefix("prefect_")
    setting = f"PREFECT_INTEGRATIONS_{name.upper()}"
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        server = JobServer(Path(folder), "local-token")
        try:
            lines = (f"{setting}_BASE_URL={server.url}", f"{setting}_TOKEN={server.token}")
            sys.stdout.write("".join(f"export {line}\n" for line in lines))
            sys.stdout.flush()
            threading.Event().wait()
        finally:
            server.close()


if __name__ == "__main__":
    main()
