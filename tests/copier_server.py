"""Copier's command in a process that has already imported Copier, for tests that run it often.

To import Copier takes longer than a render. So one process imports it, renders given releases once,
and forks for each command of `CLIENT`. Actions, output and exit code are Copier's. Scripts that use
Copier run in the same way.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import socket
import sys
import tempfile
import traceback
import types
from pathlib import Path
from typing import Any

import copier
import faster_copier
from copier import _cli
from plumbum import local

CLIENT = """#!{python} -IS
import json, os, socket, sys
if sys.argv[1] != "copier" and not sys.argv[1].endswith(".py"):
    sys.exit(f"uvx {{sys.argv[1]}}: only copier is here")
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = {{"words": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}
    socket.send_fds(server, [b"-"], [0, 1, 2])
    server.sendall(json.dumps(request).encode())
    server.shutdown(socket.SHUT_WR)
    answer = server.recv(1)
# Nothing comes from a process that was killed.
sys.exit(answer[0] if answer else 1)
"""
"""A program in the place of `uvx`; fill in a Python and the server's address."""


def answer(connection: socket.socket) -> int:
    """Run a client's command with its files, folder and environment; return the exit code."""
    _, files, *_ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as stream:
        request = json.load(stream)
    for number, file in enumerate(files):
        os.dup2(file, number)
    # Python's own streams would treat a pipe like the previous file.
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w") for number in (1, 2))
    os.environ.clear()
    os.environ.update(request["env"])
    # Plumbum, with which Copier runs git, has already read both.
    local.env.clear()
    local.env.update(request["env"])
    local.cwd.chdir(request["cwd"])
    sys.argv = request["words"]
    try:
        if sys.argv[0] != "copier":
            return run_script(sys.argv[0])
        _cli.CopierApp.run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def run_script(path: str) -> int:
    """Run a script; git gets the variables that it sets when Copier runs git."""
    run_copy = copier.run_copy

    def told(*arguments: Any, **options: Any) -> Any:
        local.env.clear()
        local.env.update(os.environ)
        return run_copy(*arguments, **options)

    copier.run_copy = told
    runpy.run_path(path, run_name="__main__")
    return 0


def serve(address: str) -> None:
    """Serve connections for ever, each in a fork."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{address}.new")
        server.listen(8)
        # Rename it once the server answers.
        Path(f"{address}.new").rename(address)
        while True:
            connection, _ = server.accept()
            with connection:
                # Reap ended processes, so that their CPU time counts as this process's.
                with contextlib.suppress(ChildProcessError):
                    while os.waitpid(-1, os.WNOHANG)[0]:
                        pass
                if os.fork():
                    continue
                code = 1
                try:
                    code = answer(connection)
                    connection.sendall(bytes([code]))
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)


if __name__ == "__main__":
    address, folder, template, *releases = sys.argv[1:]
    patch: Any = types.SimpleNamespace(setattr=setattr)  # not undone, because the process ends
    faster_copier.speed_up_copier(patch, Path(folder))
    for release in releases:
        with tempfile.TemporaryDirectory() as target:
            copier.run_copy(template, target, vcs_ref=release, defaults=True, quiet=True)
    serve(address)
