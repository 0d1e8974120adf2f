"""A local MariaDB server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import child_processes
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    """Start a MariaDB server on a socket in a temporary folder, and yield a database's URL."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    install, daemon = (shutil.which(name, path=path) for name in ("mariadb-install-db", "mariadbd"))
    if install is None or daemon is None:
        pytest.skip("no MariaDB server here: install the package mariadb-server")
    folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
    user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        folder.chmod(0o755)
        shutil.chown(folder, "mysql")
        user = ["runuser", "-u", "mysql", "--"]
    data, socket = f"--datadir={folder / 'data'}", folder / "socket"
    command = [*user, install, "--no-defaults", data, "--auth-root-authentication-method=normal"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    options = [data, f"--socket={socket}", "--skip-networking", f"--pid-file={folder / 'pid'}"]
    command = [*user, daemon, "--no-defaults", *options]
    with (
        (folder / "log").open("w") as log,
        child_processes.running(command, stdout=log, stderr=log),
    ):
        deadline = time.monotonic() + 60
        while not socket.exists():
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"mysql://root@localhost/mysql?unix_socket={socket}"
    shutil.rmtree(folder, ignore_errors=True)
