"""Helpers of the benchmarks: CPU time of commands, measured in turns and shown as ratios.

Machines differ and are shared, so seconds alone mean little. Everything is measured in turns with
something to compare with, and shown as a ratio: median and spread.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RELEASE = "v999.0.0"  # the tag for the template in the work tree


@dataclass(frozen=True)
class Cost:
    """The cost of a command, including its child processes.

    Args:
        cpu: CPU time, in seconds.
        wall: Wall time, in seconds.
    """

    cpu: float
    wall: float

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of both."""
        return Cost(self.cpu + other.cpu, self.wall + other.wall)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def attempt(
    *command: str | Path, cwd: Path, timeout: float | None = None, **env: str
) -> tuple[Cost, int, str]:
    """Run a command, even if it fails.

    Args:
        *command: The command and its arguments.
        cwd: Folder to run in.
        timeout: Seconds after which it is killed, with its child processes.
        **env: Variables to set.

    Returns:
        Its cost, exit code and output.
    """
    kept = {k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    # Without compiled modules, every start takes seconds longer.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    cpu, wall = _children(), time.perf_counter()
    with subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env={**kept, "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # with its child processes
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            output = f"{process.communicate()[0]}\nended after {timeout} s"
    cost = Cost(_children() - cpu, time.perf_counter() - wall)
    return cost, process.returncode, output


def run(*command: str | Path, cwd: Path, **env: str) -> Cost:
    """Run a command that has to succeed.

    Args:
        *command: The command and its arguments.
        cwd: Folder to run in.
        **env: Variables to set.

    Returns:
        Its cost.

    Raises:
        SystemExit: The command failed; with its output.
    """
    cost, code, output = attempt(*command, cwd=cwd, **env)
    if code:
        sys.exit(f"{' '.join(map(str, command))} ended with {code}:\n{output}")
    return cost


def update(project: Path, folder: Path, copies: int, *command: str | Path) -> Cost:
    """Update fresh copies of a project with one command, which gets their paths."""
    targets = [folder / f"updated {number}" for number in range(copies)]
    for target in targets:
        shutil.copytree(project, target, symlinks=True)
        run("git", "status", cwd=target)  # reads the copied files into the cache
    cost = run(*command, *targets, cwd=folder)
    for target in targets:
        shutil.rmtree(target)
    return cost


def in_turns(sides: dict[str, Callable[[], Cost]], times: int) -> dict[str, list[Cost]]:
    """Measure each side once in each round, after one warm-up round.

    Args:
        sides: What to measure, by name.
        times: Number of rounds.

    Returns:
        The costs of each side, one for each round.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for round_ in range(times + 1):
        for name, measure in sides.items():
            cost = measure()
            if round_:
                costs[name].append(cost)
    return costs


def spread(values: list[float], unit: str = "") -> str:
    """Return the median with the smallest and the largest value."""
    return f"{statistics.median(values):.2f}{unit} [{min(values):.2f} to {max(values):.2f}]"


def tell(costs: dict[str, list[Cost]], base: str) -> None:
    """Print the costs of each side, and its ratio to the base in the same round.

    Args:
        costs: The result of `in_turns`.
        base: The side to compare with.
    """
    width = max(map(len, costs))
    for name, found in costs.items():
        line = f"{name:<{width}}  CPU {spread([cost.cpu for cost in found], ' s')}"
        line += f"  wall {spread([cost.wall for cost in found], ' s')}"
        if name != base:
            rounds = list(zip(found, costs[base], strict=True))
            line += f"  CPU ratio {spread([one.cpu / other.cpu for one, other in rounds])}"
            line += f"  over it {spread([one.cpu - other.cpu for one, other in rounds], ' s')}"
        print(line, flush=True)


def template(folder: Path) -> Path:
    """Clone this repository with the template of the work tree, and tag it as a release.

    Args:
        folder: Folder for the clone.

    Returns:
        The clone's folder.
    """
    clone = folder / "copier-prefect"
    run("git", "clone", "-q", ROOT, clone, cwd=folder)
    for name in ("copier.yml", "includes", "template", "hooks"):
        run("rm", "-rf", clone / name, cwd=folder)
        run("cp", "-r", ROOT / name, clone, cwd=folder)
    run(
        "find", clone, "-name", "__pycache__", "-prune", "-exec", "rm", "-rf", "{}", "+", cwd=folder
    )
    commit(clone)
    run("git", "tag", "--force", RELEASE, cwd=clone)
    return clone


def empty_template(folder: Path, name: str = "empty") -> Path:
    """Create a template repository that has only an answers file.

    Args:
        folder: Folder for the repository.
        name: Name of its folder.

    Returns:
        Its folder, tagged as a release.
    """
    empty = folder / name
    empty.mkdir()
    (empty / "copier.yml").write_text("name: {type: str, default: x}\n")
    answers = "{{ _copier_conf.answers_file }}.jinja"
    (empty / answers).write_text("{{ _copier_answers | to_nice_yaml }}")
    run("git", "init", "-q", cwd=empty)
    commit(empty)
    run("git", "tag", RELEASE, cwd=empty)
    return empty


def commit(folder: Path) -> None:
    """Commit everything in a git repository."""
    who = ("-c", "user.name=Benchmark", "-c", "user.email=benchmark@example.com")
    run("git", "add", "--all", cwd=folder)
    run("git", *who, "commit", "-q", "--allow-empty", "-m", "State", cwd=folder)
