"""Create a project with each well-known scaffolder, and compare the results in a table.

    uv run benchmarks/peers.py [--templates DIR] [--times 3] [--only pipeline kedro]

Each creates a project with the command of its documentation, in an empty folder with an empty home;
then that project's own checks run unchanged. CPU time only, with warm package caches, in turns.
Prints Markdown: the table, and the names of the commands that it counts.

Templates on GitHub are read from clones of any age: `git clone URL DIR/NAME` for each of
`TEMPLATES`. Without a clone, a row says "not measured", as for tools that cannot be installed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import measure

Command = tuple[str, ...]

TEMPLATES = {
    "template-starter": "https://github.com/zenml-io/template-starter",
    "copier-uv": "https://github.com/pawamoy/copier-uv",
    "substrate": "https://github.com/superlinear-ai/substrate",
    "simple-modern-uv": "https://github.com/jlevy/simple-modern-uv",
    "python-copier-template": "https://github.com/DiamondLightSource/python-copier-template",
}
LINT = ("uvx", "ruff", "check", ".")
FORMAT = ("uvx", "ruff", "format", "--check", ".")
TYPES = ("uvx", "pyrefly", "check", "--python-interpreter-path", ".venv/bin/python")
DEFAULTS = (LINT, FORMAT, TYPES)  # for projects without their own checks
UV_RUN = ("uv", "run")
# 1.12 downloads a part from outside of PyPI when it is built.
DBT = "uvx --from 'dbt-core<1.12' --with dbt-duckdb dbt"
DLT = "uvx --from 'dlt[duckdb]' dlt"
ZENML = ("--with", "jinja2-time", "--with", "ruff", "--with", "black")  # its extra "templates"
# From its task "format", which changes files.
COPIER_UV = ("--config", "config/ruff.toml", "src", "tests", "duties.py", "scripts")
OLD_UV = ("uvx", "--from", "uv<0.13", "uv")  # simple-modern-uv accepts no newer one
PREFECT_COMMANDS = "uvx prefect --help"
NAMES = r"^[ │]{0,8}([a-z][\w-]*)(?: \([\w, -]+\))?(?: {2,}| -> )\S"
COUNT = r"\d+ (error|fail|diagnostic)|would be reformatted|need reformatting|ERROR=\d"
WIDTH = 90  # of quotes in a cell
GUIDES = ("AGENTS.md", "CLAUDE.md", "GEMINI.md", ".github/copilot-instructions.md", ".cursor/rules")
SKIPPED = {".git", ".ruff_cache", ".venv", "__pycache__", "logs"}  # not part of a project
QUIET = {
    "NO_COLOR": "1",
    "TERM": "dumb",
    "COLUMNS": "200",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "KEDRO_DISABLE_TELEMETRY": "true",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "SQLMESH__DISABLE_ANONYMIZED_ANALYTICS": "true",
    "ZENML_ANALYTICS_OPT_IN": "false",
    "GIT_AUTHOR_NAME": "Benchmark",
    "GIT_AUTHOR_EMAIL": "benchmark@example.com",
    "GIT_COMMITTER_NAME": "Benchmark",
    "GIT_COMMITTER_EMAIL": "benchmark@example.com",
}
LIMIT = 900.0  # seconds for one command


@dataclass(frozen=True)
class Peer:
    """The commands of one scaffolder. All but `create` run in the project, the folder `peer`.

    Args:
        create: Creates the project in an empty folder.
        version: Prints the scaffolder's version; for a template, the newest tag is shown.
        install: Creates the project's environment.
        tests: Runs its own tests.
        example: Runs its example.
        lint: Lints it.
        format: Checks its formatting.
        types: Checks its types.
        build: Builds its wheel.
        update: Updates it to a newer version of the scaffolder.
        commands: Print the commands for its users, with a line of help each.
        names: Pattern of a command's name in that output.
        first: What its documentation says to run first, if that has a surprising result.
        template: Clone of a Copier template.
    """

    create: Command
    version: Command = ()
    install: Command = ()
    tests: Command = ()
    example: Command = ()
    lint: Command = LINT
    format: Command = FORMAT
    types: Command = TYPES
    build: Command = ("uv", "build")
    update: Command = ()
    commands: tuple[Command, ...] = ()
    names: str = NAMES
    first: Command = ()
    template: Path | None = None


def shell(line: str) -> Command:
    """Return a command that runs a line of shell."""
    return ("bash", "-c", line)


def inside(line: str) -> Command:
    """Return a command that runs a line of shell in a new folder, for tools that fill one."""
    return shell(f"mkdir peer && cd peer && {line}")


def environment(*requirements: str) -> Command:
    """Return a command that creates an environment if the project does not define one."""
    return shell(f"uv venv -q && uv pip install -q {' '.join(requirements)}")


def copier(template: Path, *answers: str, more: Command = ()) -> Peer:
    """Return the commands of a Copier template.

    Args:
        template: Its clone.
        *answers: Answers as `name=value`.
        more: Options of `uvx`, for its extensions.
    """
    options = ("-q", "--defaults")
    data = tuple(word for answer in answers for word in ("-d", answer))
    return Peer(
        create=("uvx", *more, "copier", "copy", *options, *data, str(template), "peer"),
        update=("uvx", *more, "copier", "update", *options),
        install=("uv", "sync", "-q"),
        lint=(*UV_RUN, "ruff", "check", "--no-fix"),
        format=(*UV_RUN, "ruff", "format", "--check"),
        template=template,
    )


def ours(template: Path, kind: str) -> Peer:
    """Return the commands of this template."""
    peer = copier(template, f"project_kind={kind}", "project_name=peer")
    demo = {
        "pipeline": (*UV_RUN, "peer", "demo"),
        "library": (*UV_RUN, "poe", "demo"),
        "plugin": (*UV_RUN, "poe", "demo"),
    }
    listed = {"pipeline": ((*UV_RUN, "peer", "--help"),)}
    return replace(
        peer,
        tests=(*UV_RUN, "pytest", "-q"),
        example=demo[kind],
        types=(*UV_RUN, "pyrefly", "check"),
        commands=(*listed.get(kind, ()), (*UV_RUN, "poe")),
    )


def peers(template: Path, clones: Path) -> dict[str, Peer]:
    """Return all peers by name.

    Args:
        template: A clone of this repository.
        clones: Folder of the clones of `TEMPLATES`.
    """
    author = ("author_name=A", "author_email=a@example.com")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {
        **{f"this: {kind}": ours(template, kind) for kind in ("pipeline", "library", "plugin")},
        "prefect init": Peer(
            create=inside("uvx prefect init"),
            version=shell("uvx prefect --version"),
            install=environment("prefect"),
            commands=(shell(PREFECT_COMMANDS),),
        ),
        "create-dagster": Peer(
            # The newest version of which all packages were available.
            create=("uvx", "create-dagster@1.13.27", "project", "peer", "--no-uv-sync"),
            version=shell("uvx create-dagster@1.13.27 --version"),
            install=("uv", "sync", "-q", "--group", "dev"),
            tests=(*UV_RUN, "dg", "check", "defs"),
            # With the current typer, its --help lists no commands, but its completion does.
            commands=(shell("_DG_COMPLETE=bash_complete COMP_WORDS='dg ' COMP_CWORD=1 uv run dg"),),
            names=r"^plain,(.+)",
        ),
        "kedro new": Peer(
            create=shell(
                "uvx kedro new --name peer --telemetry no"
                # Its example is in a repository, not in the package.
                " --tools lint,test,log,docs,data --example no"
            ),
            version=shell("uvx kedro --version"),
            install=("uv", "sync", "-q", "--extra", "dev"),
            tests=(*UV_RUN, "pytest", "-q"),
            lint=(*UV_RUN, "ruff", "check"),
            format=(*UV_RUN, "ruff", "format", "--check"),
            commands=((*UV_RUN, "kedro", "--help"),),
        ),
        "sqlmesh init": Peer(
            create=inside("uvx sqlmesh init duckdb"),
            version=shell("uvx sqlmesh --version"),
            install=environment("sqlmesh"),
            tests=(".venv/bin/sqlmesh", "test"),
            example=(".venv/bin/sqlmesh", "plan", "--auto-apply", "--no-prompts"),
            lint=(".venv/bin/sqlmesh", "lint"),
            format=(".venv/bin/sqlmesh", "format", "--check"),
            commands=((".venv/bin/sqlmesh", "--help"),),
        ),
        "dlt init": Peer(
            create=inside(f"{DLT} init sql_database duckdb"),
            version=shell(f"{DLT} --version"),
            install=environment("-r", "requirements.txt"),
            example=(".venv/bin/python", "sql_database_pipeline.py"),
            update=shell(f"{DLT} init sql_database duckdb"),
            commands=((".venv/bin/dlt", "-h"),),
        ),
        "dbt init": Peer(
            create=shell(f"echo 1 | {DBT} init peer"),
            version=shell(f"{DBT} --version"),
            install=environment("'dbt-core<1.12'", "dbt-duckdb"),
            tests=(".venv/bin/dbt", "build"),
            example=(".venv/bin/dbt", "run"),
            commands=((".venv/bin/dbt", "--help"),),
        ),
        "ZenML starter": replace(
            copier(clones / "template-starter", more=ZENML),
            install=environment("-r", "requirements.txt"),
            example=(".venv/bin/python", "run.py", "--feature-pipeline"),
            lint=LINT,
            format=FORMAT,
            commands=((".venv/bin/zenml", "--help"),),
        ),
        "copier-uv": replace(
            copier(
                clones / "copier-uv",
                *("project_name=peer", "project_description=A peer"),
                *("author_fullname=A", "author_email=a@example.com"),
                more=("--with", "copier-templates-extensions"),
            ),
            tests=(*UV_RUN, "pytest", "-c", "config/pytest.ini", "tests"),
            lint=(*UV_RUN, "duty", "check-quality"),
            format=(*UV_RUN, "ruff", "format", "--check", *COPIER_UV),
            types=(*UV_RUN, "duty", "check-types"),
            commands=(shell("python scripts/make.py help"),),
        ),
        "substrate": replace(
            copier(
                clones / "substrate",
                *("project_name=peer", "project_description=A peer", *author),
                *("project_url=https://github.com/example/peer", f"python_version={python}"),
            ),
            tests=(*UV_RUN, "pytest"),
            types=(*UV_RUN, "ty", "check"),
            commands=((*UV_RUN, "poe"),),
        ),
        "simple-modern-uv": replace(
            copier(clones / "simple-modern-uv", "package_name=peer"),
            install=(*OLD_UV, "sync", "-q", "--all-extras", "--all-groups"),
            tests=(*OLD_UV, "run", "pytest"),
            lint=(*OLD_UV, "run", "ruff", "check", "src", "tests", "devtools"),
            format=(*OLD_UV, "run", "ruff", "format", "--check", "src", "tests", "devtools"),
            types=(*OLD_UV, "run", "basedpyright", "src", "tests", "devtools"),
            build=(*OLD_UV, "build", "--no-build-isolation"),
            commands=(("grep", "-E", "^[a-z-]+:", "Makefile"),),
            names=r"^([a-z-]+):",
            first=("uv", "sync"),
        ),
        "python-copier-template": replace(
            copier(
                clones / "python-copier-template",
                *("package_name=peer", "description=A peer", *author),
                *("git_platform=github.com", "github_org=example", "docker=false"),
                *("docs_type=README", "type_checker=pyright", "pypi=false"),
            ),
            tests=(*UV_RUN, "pytest"),
            types=(*UV_RUN, "tox", "-q", "-e", "type-checking"),
            commands=((*UV_RUN, "tox", "list"),),
            first=("uv", "run", "--locked", "pytest"),
        ),
    }


def home(folder: Path) -> dict[str, str]:
    """Create an empty home and return its variables; uv keeps its caches.

    Args:
        folder: Folder for the home.
    """
    path = folder / "home"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    found = {"HOME": str(path), **QUIET}
    for name, question in (("UV_CACHE_DIR", "cache"), ("UV_PYTHON_INSTALL_DIR", "python")):
        told = subprocess.run(["uv", question, "dir"], capture_output=True, text=True, check=True)
        found[name] = told.stdout.strip()
    config = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "uv"
    if config.is_dir():  # package index settings
        (path / ".config").mkdir()
        (path / ".config" / "uv").symlink_to(config)
    return found


def told(output: str) -> str:
    """Return the line of a command's output that shows how it ended."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", output)
    lines = [line for row in plain.splitlines() if (line := row.strip(" │╭╰─╮╯"))]
    errors = [line for line in lines if re.match(r"error:|\w*Error: ", line)]
    counts = [line for line in lines if re.search(COUNT, line)]
    line = (errors[:1] or counts[-1:] or lines[-1:] or ["no output"])[0]
    line = re.sub(r"^\d\d:\d\d:\d\d +|^INFO |^error: |/\S+/(?=\S)", "", line)
    line = line.strip("=! .").replace("|", "/").replace("`", "")
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


class Trial:
    """One peer's project, created anew for each measurement of cost.

    Args:
        name: Its name in the table.
        peer: Its commands.
        folder: Folder for temporary folders.
    """

    def __init__(self, name: str, peer: Peer, folder: Path) -> None:
        self.name = name
        self.peer = peer
        self.folder = folder
        self.start = folder / "start"
        self.project = self.start / "peer"
        self.env: dict[str, str] = {}
        self.costs: list[tuple[float, float]] = []  # created, first green

    def attempt(self, command: Command, cwd: Path | None = None) -> tuple[measure.Cost, int, str]:
        """Run a command of the peer in its project."""
        where = cwd or self.project
        path = {"PYTHONPATH": str(Path(__file__).parent)} if "first_green" in command else {}
        return measure.attempt(*command, cwd=where, timeout=LIMIT, **self.env, **path)

    def need(self, command: Command, cwd: Path | None = None) -> measure.Cost:
        """Run a command that has to succeed.

        Raises:
            SystemExit: It failed; with the line that shows why.
        """
        cost, code, output = self.attempt(command, cwd)
        if code:
            raise SystemExit(told(output))
        return cost

    def create(self) -> measure.Cost:
        """Create the project and commit it; the commit does not count."""
        shutil.rmtree(self.start, ignore_errors=True)
        self.start.mkdir()
        self.env = home(self.folder)
        cost = self.need(self.peer.create, self.start)
        self.commit()
        return cost

    def commit(self) -> None:
        """Commit the project, in a new repository if it has none."""
        for words in ("init -q", "add --all", "commit -q --no-verify -m State"):
            self.need(("git", *words.split()))

    def journey(self) -> None:
        """Go from an empty folder to the first green test, and record the cost."""
        created = self.create()
        tests = self.peer.tests
        if "pytest" in tests:
            tests = (*tests, "-p", "first_green")
        cost = created + self.need(self.peer.install)
        tested, red, _ = self.attempt(tests) if tests else (cost, 1, "")
        self.costs.append((created.cpu, 0 if red else cost.cpu + tested.cpu))

    def check(self, command: Command) -> str:
        """Run a check, and return in a few words how it ended."""
        if not command:
            return "none"
        if command in DEFAULTS and not self.python():
            return "no Python"
        mark = "*" if command in DEFAULTS else ""
        cost, code, output = self.attempt(command)
        if code:
            return f"fails{mark}: {told(output)}"
        passed = re.search(r"(\d+) passed", output)
        count = f": {passed[1]} test{'s' * (passed[1] != '1')}" if passed else ""
        if command in (self.peer.tests, self.peer.example):
            count += f", {cost.cpu:.1f} s"
        return f"passes{mark}{count}"

    def files(self) -> list[Path]:
        """Return the files of the project."""
        found = (path for path in self.project.rglob("*") if path.is_file())
        return [path for path in found if not SKIPPED & set(path.relative_to(self.project).parts)]

    def python(self) -> int:
        """Return its number of lines of Python that are not blank."""
        texts = (path.read_text() for path in self.files() if path.suffix == ".py")
        return sum(bool(line.strip()) for text in texts for line in text.splitlines())

    def built(self) -> str:
        """Build its wheel."""
        if not (self.project / "pyproject.toml").exists():
            return "no pyproject.toml"
        return self.check(self.peer.build)

    def guides(self) -> str:
        """Return the project's files for coding agents."""
        found = [name for name in GUIDES if (self.project / name).exists()]
        skills = sum(path.name == "SKILL.md" for path in self.files())
        return ", ".join([*found, *([f"skills: {skills}"] if skills else [])]) or "none"

    def listed(self) -> list[str]:
        """Return the names of the commands for its users."""
        text = "\n".join(self.attempt(command)[2] for command in self.peer.commands)
        return sorted(set(re.findall(self.peer.names, text, re.MULTILINE)))

    def version(self) -> str:
        """Return the version of the scaffolder."""
        if self.peer.template:
            return tags(self.peer.template)[0]
        output = self.attempt(self.peer.version, self.folder)[2]
        return re.findall(r"\d+\.\d+\.\d+\w*", output)[0]

    def updated(self) -> str:
        """Update an unedited project from the template's last release but one."""
        if not self.peer.update:
            return "none"
        if not self.peer.template:
            _, code, output = self.attempt(self.peer.update)
            return f"{'fails' if code else 'runs'}: {told(output)}"
        newest, before = tags(self.peer.template)[:2]
        words = self.peer.create
        shutil.rmtree(self.project)
        self.need((*words[:-2], "--vcs-ref", before, *words[-2:]), self.start)
        self.commit()
        _, code, output = self.attempt(self.peer.update)
        if code:
            return f"fails: {told(output)}"
        marks = ("git", "grep", "--untracked", "-l", "-e", "^<<<<<<< ")
        conflicts = len(self.attempt(marks)[2].splitlines())
        return f"runs, {before} to {newest}, {conflicts} conflicts"

    def row(self) -> list[str]:
        """Measure everything except the cost, and return the cells of the table.

        Raises:
            SystemExit: The project or its environment cannot be created.
        """
        if self.peer.template and not self.peer.template.is_dir():
            raise SystemExit(f"no clone in {self.peer.template.name}, see --templates")
        version = self.version()
        self.create()
        size = f"{len(self.files())} files, {self.python():,} lines"
        guides = self.guides()
        first = self.attempt(self.peer.first) if self.peer.first else (None, 0, "")
        self.surprise = told(first[2]) if first[1] else ""
        self.need(("git", "checkout", "-q", "."))
        self.need(self.peer.install)
        # Before the tests and the example create files.
        checks = [self.check(self.peer.lint), self.check(self.peer.format)]
        types = self.check(self.peer.types)
        tests = self.check(self.peer.tests)
        example = self.check(self.peer.example)
        built = self.built()
        self.names = self.listed()
        count = str(len(self.names))
        update = self.updated()
        return [
            version,
            size,
            tests,
            "; ".join(checks),
            types,
            built,
            example,
            update,
            count,
            guides,
        ]


def tags(template: Path) -> list[str]:
    """Return the release tags of a template, newest first."""
    words = ("git", "tag", "--sort=-version:refname")
    listed = subprocess.run(words, cwd=template, capture_output=True, text=True, check=True)
    return [tag for tag in listed.stdout.split() if re.fullmatch(r"v?\d+(\.\d+)+", tag)]


def this(folder: Path) -> Path:
    """Return a clone of this repository with its releases, even from a shallow checkout."""
    template = measure.template(folder)
    bundle = measure.ROOT / "tests" / "releases.bundle"
    measure.run("git", "fetch", "-q", bundle, "refs/tags/*:refs/tags/*", cwd=template)
    return template


def say(text: str) -> None:
    """Print progress to standard error; only the table goes to standard output."""
    print(text, file=sys.stderr, flush=True)


HEAD = (
    "",
    "Version",
    "Create: CPU s, size",
    "First green test, CPU s",
    "Own tests",
    "Lint; format",
    "Types",
    "Build",
    "Example",
    "Update",
    "Commands",
    "For agents",
)


def seconds(values: list[float]) -> str:
    """Return the median with the smallest and largest value."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    """Check every peer, then measure those that work in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--templates", type=Path, default=Path(), help="folder of clones")
    parser.add_argument("--times", type=int, default=3, help="rounds that count")
    parser.add_argument("--only", nargs="*", default=[], help="words of the names to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        known = peers(this(folder), options.templates.resolve())
        rows: dict[str, list[str]] = {}
        trials: list[Trial] = []
        for peer, commands in known.items():
            if options.only and not any(word in peer for word in options.only):
                continue
            say(peer)
            trial = Trial(peer, commands, folder)
            try:
                rows[peer] = trial.row()
                trials.append(trial)
            except SystemExit as error:
                reason = "it needs `--trust`" if "--trust" in str(error) else str(error)
                rows[peer] = [f"not measured: {reason}"]
            rows[peer] = [cell.replace(measure.RELEASE, "main") for cell in rows[peer]]
            say("  " + " | ".join(rows[peer]))
        for number in range(options.times):
            say(f"round {number + 1}")
            for trial in trials:
                try:
                    trial.journey()
                except SystemExit as error:
                    say(f"{trial.name}: {error}")
        tell(rows, trials)


def tell(rows: dict[str, list[str]], trials: list[Trial]) -> None:
    """Print the table and the names of commands.

    Args:
        rows: The cells of each peer, except the cost.
        trials: The peers that were measured.
    """
    for trial in trials:
        version, size, *rest = rows[trial.name]
        created = seconds([cost for cost, _ in trial.costs]) if trial.costs else "failed"
        green = [cost for _, cost in trial.costs if cost]
        first = seconds(green) if green else "none"
        rows[trial.name] = [version, f"{created}, {size}", first, *rest]
    uv = subprocess.run(["uv", "--version"], capture_output=True, text=True, check=True).stdout
    python = ".".join(map(str, sys.version_info[:3]))
    date = datetime.now(tz=UTC).date()
    print(f"{date}, Python {python}, uv {uv.split()[1]}, {os.cpu_count()} cores\n")
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for peer, cells in rows.items():
        padded = [*cells, *[""] * (len(HEAD) - 1 - len(cells))]
        print(f"| {' | '.join((peer, *padded))} |")
    print()
    for trial in trials:
        print(f"- {trial.name}: {', '.join(trial.names) or 'none'}")
        if trial.surprise:
            print(f"  `{' '.join(trial.peer.first)}` fails: {trial.surprise}")


if __name__ == "__main__":
    main()
