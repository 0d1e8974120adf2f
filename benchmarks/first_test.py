"""Compare the way from an empty folder to the first green test, and to a finished example run.

    uv run benchmarks/first_test.py [--times 3] [--only pipeline kedro]

Each side scaffolds a project, synchronises it with a warm cache of packages, runs its tests
until the first one passes, all of its tests, and its example, with the commands that its own
documentation gives. Scaffolders are run by name with `uvx`; one that does not install, or
whose example does not run, is named and left out. What a side does in its tests and example
differs: this compares what a new user waits for, not what the tools can do.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import measure

FIRST_GREEN = ("-p", "first_green")


DAGSTER = "uv run dg scaffold defs dagster.asset assets.py && uv run dg launch --assets '*'"
SQLMESH = "uv init -q --bare peer && cd peer && uv add -q sqlmesh && uv run sqlmesh init duckdb"


@dataclass(frozen=True)
class Side:
    """The commands of one scaffolder; `{target}` is the new project's folder.

    Args:
        scaffold: Makes the project, in an empty folder.
        folder: The project's folder, below the empty one.
        install: Makes its environment.
        tests: Runs its tests.
        example: Runs what it brings along as an example.
        pytest: Whether the tests are run by pytest, and can be stopped at the first.
    """

    scaffold: tuple[str, ...]
    folder: str
    install: tuple[str, ...]
    tests: tuple[str, ...]
    example: tuple[str, ...]
    pytest: bool = True


def ours(template: Path, name: str, **answers: str) -> Side:
    """Return the commands of this template."""
    options = [word for key, value in answers.items() for word in ("-d", f"{key}={value}")]
    return Side(
        scaffold=("copier", "copy", "-q", "--defaults", *options, str(template), name),
        folder=name,
        install=("uv", "sync", "-q"),
        tests=("uv", "run", "poe", "test", "-q"),
        example=("uv", "run", "poe", "demo"),
    )


def sides(template: Path) -> dict[str, Side]:
    """Return everything that is compared."""
    return {
        "pipeline": ours(template, "my-data-project", project_kind="pipeline"),
        "library": ours(template, "my-task-library", project_kind="library"),
        "library-bare": ours(template, "my-task-library", project_kind="library", extras="[]"),
        "plugin": ours(template, "prefect-my-system", project_kind="plugin"),
        "kedro": Side(
            scaffold=(
                *("uvx", "kedro", "new", "--name", "peer", "--telemetry", "no"),
                # Its example comes from a repository, not from the package: with `yes` where
                # that can be reached, `kedro run` has something to run.
                *("--tools", "lint,test,log,docs,data", "--example", "no"),
            ),
            folder="peer",
            install=("uv", "sync", "-q", "--extra", "dev"),
            tests=("uv", "run", "pytest", "-q"),
            example=("uv", "run", "kedro", "run"),
        ),
        "create-dagster": Side(
            # 1.13.28 asks for a version of dagster-dg-cli that does not exist.
            scaffold=("uvx", "create-dagster@1.13.27", "project", "peer", "--no-uv-sync"),
            folder="peer",
            install=("uv", "sync", "-q", "--group", "dev"),
            tests=("uv", "run", "dg", "check", "defs"),
            example=("bash", "-c", DAGSTER),
            pytest=False,
        ),
        "sqlmesh": Side(
            scaffold=("bash", "-c", SQLMESH),
            folder="peer",
            install=("uv", "sync", "-q"),
            tests=("uv", "run", "sqlmesh", "test"),
            example=("uv", "run", "sqlmesh", "plan", "--auto-apply"),
            pytest=False,
        ),
    }


def journey(side: Side, folder: Path, goal: str) -> measure.Cost:
    """Go from an empty folder to a goal.

    Args:
        side: The commands.
        folder: Where the empty folder is made; it is removed again.
        goal: `green` (first test that passes), `tests` (all of them) or `example`.

    Returns:
        What it took, from the empty folder on.
    """
    start = folder / "start"
    start.mkdir()
    project = start / side.folder
    # A user's second project: Prefect has made its database once before.
    env = {"PREFECT_HOME": str(folder / "prefect")}
    cost = measure.run(*side.scaffold, cwd=start, **env)
    cost += measure.run(*side.install, cwd=project, **env)
    if goal == "example":
        cost += measure.run(*side.example, cwd=project, **env)
    elif goal == "green" and side.pytest:
        path = str(Path(__file__).parent)
        cost += measure.run(*side.tests, *FIRST_GREEN, cwd=project, PYTHONPATH=path, **env)
    else:
        cost += measure.run(*side.tests, cwd=project, **env)
    shutil.rmtree(start)
    return cost


def main() -> None:
    """Measure every side that installs, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="rounds that count")
    parser.add_argument("--only", nargs="*", default=[], help="sides to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = sides(measure.template(folder))
        chosen = {key: side for key, side in found.items() if key in (options.only or found)}
        for goal in ("green", "tests", "example"):
            able = {}
            for key, side in chosen.items():
                try:
                    journey(side, folder, goal)
                except SystemExit as error:
                    shutil.rmtree(folder / "start", ignore_errors=True)
                    reason = str(error).strip().splitlines()[-1]
                    print(f"{key}: left out of '{goal}': {reason}", flush=True)
                else:
                    able[key] = functools.partial(journey, side, folder, goal)
            print(f"from an empty folder to: {goal}", flush=True)
            if able:
                base = "pipeline" if "pipeline" in able else next(iter(able))
                measure.tell(measure.in_turns(able, options.times), base)


if __name__ == "__main__":
    main()
