# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Update many projects in one go, and end with a report.

A project with uncommitted changes is refused, and so is one where an update would write over a
file that git does not have; so nothing can be lost. One that fails does not stop the others.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

ANSWERS = ".copier-answers.yml"
UPDATED = "updated"
NOTHING = "nothing to do"
CONFLICTS = "conflicts"
DIRTY = "refused because dirty"
UNSAVED = "refused to overwrite"
FAILED = "failed"
WOULD = "would be updated"
BEFORE = Path(__file__).resolve().with_name("before_update.py")
GOOD = {UPDATED, NOTHING, WOULD}
CHATTER = re.compile(
    r"(\x1b\[[0-9;]*m)|^(Updating to|Keeping) template version.*|^\s*$", re.MULTILINE
)


class CommandError(Exception):
    """A command failed; the text is the first line that says why."""

    code = 0
    printed = ""


def run(folder: Path, *command: str, show: bool = True) -> str:
    """Run a command and return what it prints."""
    if show:
        print("$", shlex.join(command), flush=True)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,  # nobody is there to answer
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        )
    except OSError as error:
        raise CommandError(str(error)) from error
    if done.returncode:
        failed = CommandError(reason(done.stderr) or f"{command[0]}: exit {done.returncode}")
        failed.code, failed.printed = done.returncode, done.stdout
        raise failed
    return done.stdout


def reason(printed: str) -> str:
    """Return the line that says what went wrong: a traceback's last, or of a check that failed."""
    lines = [line for line in CHATTER.sub("", printed).splitlines() if line.strip()]
    if any("Traceback" in line for line in lines):
        return lines[-1]
    lines = [line for line in lines if not re.search(r"\.(Passed|Skipped)$", line)]
    failed = [line for line in lines if re.search(r"\.Failed$", line)]
    return re.sub(r"\.{3,}", " ", (failed or lines or [""])[0])


def version(project: Path) -> str:
    """Return the template version a project has."""
    text = (project / ANSWERS).read_text("utf-8")
    found = re.search(r"^_commit: *['\"]?([^\s'\"#]+)", text, re.MULTILINE)
    return found[1] if found else "?"


def conflicts(project: Path) -> int:
    """Return how many files the update could not merge."""
    unmerged = run(project, "git", "ls-files", "--unmerged", show=False).splitlines()
    rejected = run(project, "git", "ls-files", "--others", "*.rej", show=False).splitlines()
    names = {line.split("\t", 1)[1] for line in unmerged}
    return len(names) + sum(not name.startswith(".venv/") for name in rejected)


def would_update(project: Path, command: list[str]) -> bool:
    """Return whether there is anything to update to, by Copier's own check."""
    try:
        run(project, *command)
    except CommandError as error:
        if error.code != 2:
            raise
        return True
    return False


def unsaved(project: Path, options: argparse.Namespace) -> list[str]:
    """Return the files that an update would write over and git does not have."""
    try:
        run(project, sys.executable, str(BEFORE), "--copier", options.copier)
    except CommandError as error:
        lines = error.printed.splitlines()
        names = [line.strip() for line in lines if line.startswith("  ")]
        if error.code != 1 or not names:
            raise
        return names
    return []


def commit(project: Path) -> str:
    """Commit an update; return why that was not possible, '' if it was."""
    run(project, "git", "add", "--all", "--", ".")
    message = f"Update the project template to {version(project)}"
    try:
        run(project, "git", "commit", "--quiet", "--message", message, "--", ".")
    except CommandError as error:
        checks = "its own checks refuse the commit" if "Failed" in str(error) else "not committed"
        return f"updated, but {checks}: {error}; the changes are staged"
    return ""


def update(project: Path, options: argparse.Namespace) -> tuple[str, str]:
    """Update one project; return what became of it, and a word about it."""
    if not (project / ANSWERS).is_file():
        return FAILED, f"it holds no {ANSWERS}"
    status = ("git", "status", "--porcelain", "--untracked-files=all", "--", ".")
    if changes := run(project, *status, show=False).splitlines():
        return DIRTY, f"{len(changes)} uncommitted, first {changes[0][3:]}"
    before = version(project)
    copier = shlex.split(options.copier)
    check = [*copier, "check-update", "--quiet"]
    if options.dry_run and not would_update(project, check):
        return NOTHING, before
    if names := unsaved(project, options):
        return UNSAVED, f"{len(names)} that git does not have, first {names[0]}"
    if options.dry_run:
        return WOULD, before
    # Recorded answers stay, new questions get their defaults, nobody is asked.
    command = [*copier, "update", "--defaults", "--skip-answered"]
    run(project, *command)
    if found := conflicts(project):
        return CONFLICTS, f"{found} files; see git status, then hooks/post_update.py"
    changes = run(project, *status, show=False).splitlines()
    if not changes:
        return NOTHING, before
    word = f"{before} -> {version(project)}"
    locked = (project / "uv.lock").is_file()
    if locked and any(line[3:].endswith("pyproject.toml") for line in changes):
        run(project, "uv", "lock")
    if options.commit and (refusal := commit(project)):
        return FAILED, refusal
    return UPDATED, word


def projects(given: list[Path]) -> list[Path]:
    """Return the folders named by the arguments: folders, and files that list folders."""
    found: dict[Path, None] = {}
    for path in given:
        if path.is_file():
            for line in path.read_text(encoding="utf-8-sig").splitlines():
                if name := line.partition("#")[0].strip():
                    found[(path.parent / Path(name).expanduser()).resolve()] = None
        else:
            found[path.resolve()] = None
    return list(found)


def report(results: list[tuple[Path, str, str]]) -> None:
    """Print one line for each project, and how many there are of each result."""
    width = max(len(str(project)) for project, _, _ in results)
    print()
    for project, result, word in results:
        print(f"{project!s:{width}}  {result:{len(DIRTY)}}  {word}")
    counts = Counter(result for _, result, _ in results)
    print()
    print(", ".join(f"{result}: {count}" for result, count in counts.items()))


def main() -> int:
    """Update each project; return 1 if any of them needs a person."""
    parser = argparse.ArgumentParser(
        description="Update many projects in one go, and end with a report.",
        epilog="Exit code: 0 all are current, 1 some need a person, 2 wrong usage.",
    )
    parser.add_argument(
        "projects", nargs="+", type=Path, help="project folders, or files with one folder a line"
    )
    parser.add_argument("--commit", action="store_true", help="commit updates without conflicts")
    parser.add_argument("--copier", default="uvx copier", help='command (default: "uvx copier")')
    parser.add_argument("--dry-run", action="store_true", help="change nothing")
    options = parser.parse_args()
    found = projects(options.projects)
    if not found:
        parser.error("the list names no project.")

    results: list[tuple[Path, str, str]] = []
    for number, project in enumerate(found, 1):
        print(f"[{number}/{len(found)}] {project}", flush=True)
        try:
            results.append((project, *update(project, options)))
        except (CommandError, OSError, UnicodeError) as error:
            results.append((project, FAILED, str(error)))
        except KeyboardInterrupt:
            results.append((project, FAILED, "interrupted: look at its git status"))
            break
    report(results)
    return 0 if len(results) == len(found) and all(r in GOOD for _, r, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
