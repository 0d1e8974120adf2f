"""Measure the cost of a project with 5, 50 and 500 tables.

    uv run benchmarks/tables.py [--times 3] [--sizes 5 50 500] [--no-ingestion]

A generated project gets tables of ten rows each, and is compared with itself with the fewest
tables: importing its flows, `deploy` (with an entry for each table, the first time and again; and
without entries) and the run that ingests all tables, the first time and again. Memory is the peak
of the measured process. The Prefect server is separate, on SQLite; its CPU time is shown apart, and
its speed affects the wall time.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import measure

sys.path.insert(0, str(measure.ROOT / "template" / "tests"))
from prefect_server import Server

PREFIX = "MY_DATA_PROJECT_"
IMPORT = "import my_data_project.flows.ingestion_flow"
INGEST = "from my_data_project.flows import ingestion_flow as flows; flows.ingest_all()"
ENTRY = """
  - name: *name
    entrypoint: my_data_project.flows.ingestion_flow.ingest_{name}
    tags: *tags
    work_pool: *work_pool
"""


@dataclass(frozen=True)
class Taken:
    """The cost of one command.

    Args:
        cpu: CPU time, in seconds.
        wall: Wall time, in seconds.
        memory: Peak of resident memory, in MiB.
    """

    cpu: float
    wall: float
    memory: float


def take(*command: str | Path, cwd: Path, env: dict[str, str]) -> Taken:
    """Run a command.

    Args:
        *command: The command and its arguments.
        cwd: Folder to run in.
        env: The whole environment.

    Returns:
        Its cost.

    Raises:
        SystemExit: The command failed; with the end of its output.
    """
    with tempfile.TemporaryFile() as printed:
        wall = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - wall
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            printed.seek(0)
            sys.exit(f"{command}: {process.returncode}\n{printed.read()[-3000:].decode()}")
    return Taken(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)


def cpu_of(process: int) -> float:
    """Return the CPU time of a process, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def prepare(project: Path, tables: int) -> None:
    """Add tables to the project's source, its list and its deployments.

    Args:
        project: The project.
        tables: Number of tables.
    """
    names = [f"t{number}" for number in range(tables)]
    mode = 'key=("id",), mode="incremental", cursor="id"'
    entries = "".join(f'    Table(name="{name}", {mode}),\n' for name in names)
    (project / "src/my_data_project/flows/tables.py").write_text(
        f"from ..common.table import Table\n\nTABLES: tuple[Table, ...] = (\n{entries})\n"
    )
    start, _, _ = (project / "prefect.original").read_text().partition("  # No table needs")
    with_tables = start + "".join(ENTRY.replace("{name}", name) for name in names)
    for folder, text in (("shared", start), ("each", with_tables)):
        (project / folder).mkdir(exist_ok=True)
        (project / folder / "prefect.yaml").write_text(text)
    source = project / "data" / "source.db"
    source.parent.mkdir(exist_ok=True)
    for old in source.parent.iterdir():
        old.unlink()
    connection = sqlite3.connect(source)
    for name in names:
        connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, text TEXT)")
        connection.executemany(f"INSERT INTO {name} VALUES (?, 'row')", [(n,) for n in range(10)])
    connection.commit()
    connection.close()


def tell(what: str, found: dict[int, list[Taken]]) -> None:
    """Print the cost of each number of tables, and its ratio to the smallest number.

    Args:
        what: What was measured.
        found: The costs of all rounds, by number of tables.
    """
    print(what)
    base = found[min(found)]
    for tables, rounds in found.items():
        line = f"  {tables:>4} tables"
        for name, unit in (("cpu", " s"), ("wall", " s"), ("memory", " MiB")):
            values = [getattr(taken, name) for taken in rounds]
            line += f"  {name} {measure.spread(values, unit)}"
            if rounds is not base:
                pairs = zip(rounds, base, strict=True)
                ratios = [getattr(one, name) / getattr(other, name) for one, other in pairs]
                line += f" x{statistics.median(ratios):.2f}"
        print(line, flush=True)


def main() -> None:
    """Measure all sizes in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="rounds")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 50, 500])
    parser.add_argument("--no-ingestion", action="store_true", help="leave out the slowest part")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = folder / "my-data-project"
        copy = ("-q", "--defaults", "-d", "project_kind=pipeline")
        measure.run("copier", "copy", *copy, measure.template(folder), project, cwd=folder)
        measure.run("uv", "sync", "-q", "--compile-bytecode", cwd=project)
        (project / "prefect.yaml").rename(project / "prefect.original")
        server = Server(folder / "migrated.db", python=str(project / ".venv/bin/python"))
        server.start()
        try:
            server.wait()
            assert server.process is not None
            rounds(project, server.url, server.process.pid, options)
        finally:
            server.stop()


def rounds(project: Path, api: str, server: int, options: argparse.Namespace) -> None:
    """Measure all rounds, and print the results.

    Args:
        project: The project.
        api: URL of the Prefect server.
        server: Its process.
        options: Arguments of the command.
    """
    python = project / ".venv" / "bin" / "python"
    env = {k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env |= {
        "DO_NOT_TRACK": "1",
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(project.parent / "home"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    for line in (project / "environments" / "dev.env").read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and key.startswith(PREFIX):
            env[key] = value.strip('"').replace("${PWD}", str(project))
    command = python.with_name("my-data-project")

    def deploy(folder: str, *words: str) -> Taken:
        return take(command, "deploy", *words, cwd=project / folder, env=env)

    sides: dict[str, Callable[[], Taken]] = {
        "import the flows": lambda: take(python, "-c", IMPORT, cwd=project, env=env),
        "deploy, an entry for each table, the first time": lambda: deploy("each"),
        "deploy, an entry for each table, with nothing new": lambda: deploy("each"),
        "deploy --prune, no entry for any table": lambda: deploy("shared", "--prune"),
        "deploy, no entry for any table": lambda: deploy("shared"),
    }
    if not options.no_ingestion:
        for run in ("at first", "with nothing new"):
            sides[f"ingest all, {run}"] = lambda: take(python, "-c", INGEST, cwd=project, env=env)
    found: dict[str, dict[int, list[Taken]]] = {
        what: {tables: [] for tables in options.sizes} for what in sides
    }
    for _ in range(options.times):
        for tables in options.sizes:
            prepare(project, tables)
            for what, side in sides.items():
                before = cpu_of(server)
                found[what][tables].append(side())
                if what.startswith("ingest"):
                    time.sleep(2 + tables / 10)  # the server processes the run's events
                if what.startswith(("ingest", "deploy")):
                    spent = (cpu_of(server) - before) / tables
                    print(f"{what}, {tables} tables: server {spent:.3f} CPU s a table", flush=True)
    for what, sizes in found.items():
        tell(what, sizes)


if __name__ == "__main__":
    main()
