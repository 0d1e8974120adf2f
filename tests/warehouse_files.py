"""DuckDB files of generated projects; one process at a time may open them."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import TYPE_CHECKING, Any

import child_processes
import projects

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ASK = """
import json, sys
from my_data_project.common import warehouse
with warehouse.connect() as opened:
    rows = [opened.query(statement) for statement in sys.argv[1:]][-1]
print(json.dumps(rows, default=str))
"""

HOLD = """
import sys
from my_data_project.common import warehouse
with warehouse.connect():
    print("held", flush=True)
    sys.stdin.read()
"""


def _python(project: Path) -> str:
    return str(project / ".venv" / "bin" / "python")


def ask(project: Path, url: str, *statements: str) -> list[Any]:
    """Run statements in a warehouse, after waiting for its lock; return the last one's rows."""
    env = {"MY_DATA_PROJECT_WAREHOUSE_URL": url}
    printed = projects.run(_python(project), "-c", ASK, *statements, cwd=project, **env)
    return list(json.loads(printed.splitlines()[-1]))


@contextlib.contextmanager
def held(project: Path, url: str) -> Iterator[None]:
    """Keep a warehouse open in another process, so that runs wait in the middle."""
    env = projects.clean_environment(MY_DATA_PROJECT_WAREHOUSE_URL=url)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [_python(project), "-c", HOLD]
    with child_processes.running(command, env=env, cwd=project, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield
        process.stdin.close()
        process.wait(60)
