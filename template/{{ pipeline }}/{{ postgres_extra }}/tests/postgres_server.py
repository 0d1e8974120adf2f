"""A PostgreSQL server for the tests: yours, or a local one started for the run.

`TEST_POSTGRES_URL` names yours; its user must be allowed to create databases. Otherwise a server
is started on a socket in a temporary folder, from the programs of Debian's and Ubuntu's package
`postgresql`.
"""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

URL = "TEST_POSTGRES_URL"


class Server:
    """A server in its own folder, without a TCP port, so nothing else can use it."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.data = self.folder / "data"
        self.user: list[str] = []
        if os.geteuid() == 0:
            # The server refuses to run as root.
            self.folder.chmod(0o755)
            shutil.chown(self.folder, "postgres")
            self.user = ["runuser", "-u", "postgres", "--"]

    @property
    def url(self) -> str:
        """URL of the database that every server has."""
        return f"postgresql://tests@/postgres?host={self.folder}"

    @property
    def options(self) -> str:
        """Options of the server itself."""
        return f"-k {self.folder} -c listen_addresses= -c fsync=off"

    def run(self, program: str, *words: object, check: bool = True) -> None:
        """Run one of PostgreSQL's programs on this server's data."""
        command = [*self.user, str(self.programs / program), "-D", str(self.data)]
        subprocess.run([*command, *map(str, words)], check=check, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Create the data if there is none, start the server, and wait until it answers."""
        if not self.data.is_dir():
            self.run("initdb", "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.run("pg_ctl", "-l", self.folder / "log", "-o", self.options, "-w", "start")

    def create_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test_{secrets.token_hex(6)}"
        words = ("createdb", "-h", self.folder, "-U", "tests", "-T", "template0", name)
        program, *rest = map(str, words)
        subprocess.run([*self.user, str(self.programs / program), *rest], check=True)
        return name_database(self.url, name)

    def ask(self, url: str, query: str) -> str:
        """Return the value of a query as text, without a driver."""
        command = [*self.user, str(self.programs / "psql"), url, "-XAtc", query]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; `immediate` is like a power failure."""
        self.run("pg_ctl", "-m", mode, "-w", "stop", check=False)

    def remove(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def find_programs() -> Path | None:
    """Return the folder of the server's programs, or None."""
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    known = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return known[-1].parent if known else None


def missing() -> str:
    """Return why there is no server, or an empty text."""
    if os.environ.get(URL) or (find_programs() is not None and sys.platform != "win32"):
        return ""
    return f"no PostgreSQL server here: install the package postgresql, or set {URL}"


@functools.cache
def url() -> str:
    """Return the URL of a server, started at the first call and stopped with the process."""
    if given := os.environ.get(URL):
        return given
    programs = find_programs()
    assert programs is not None, missing()
    server = Server(programs)
    atexit.register(server.remove)
    server.start()
    return server.url


def create_database(like: str = "") -> str:
    """Create a database and return its URL.

    Args:
        like: URL of a database of this server to copy; None creates an empty database.

    Returns:
        The URL.
    """
    import psycopg2

    name = f"test_{secrets.token_hex(6)}"
    template = like.partition("?")[0].rpartition("/")[2] or "template0"
    connection = psycopg2.connect(url())
    connection.autocommit = True  # CREATE DATABASE cannot run in a transaction
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    connection.close()
    return name_database(url(), name)


def name_database(url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    base, _, query = url.partition("?")
    return f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
