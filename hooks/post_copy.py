# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Set up a new project: git, environment, first commit, pre-commit.

Run it in the folder that `copier copy` made. It does only what is missing, so running it
twice is safe.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ANSWERS = ".copier-answers.yml"
WHO = (
    "git does not know who you are: run `git config --global user.name 'Your Name'` and "
    "`git config --global user.email you@example.com`, then run this again."
)


class StopError(Exception):
    """What the user has to do first, in one sentence."""


class Project:
    """A project folder, and the commands that run in it."""

    def __init__(self, folder: Path, dry_run: bool) -> None:
        self.folder = folder
        self.dry_run = dry_run
        self.ran = 0
        # `uv run` sets it for this script; in the project, uv would warn about it.
        self.env = {name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"}

    def run(self, *command: str) -> None:
        """Print a command and run it."""
        print("$", shlex.join(command), flush=True)
        self.ran += 1
        if self.dry_run:
            return
        if subprocess.run(command, cwd=self.folder, env=self.env, check=False).returncode:
            raise StopError(f"`{shlex.join(command)}` failed: see above, then run this again.")

    def ask(self, *command: str) -> str | None:
        """Return a command's output, or None if it fails."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None


def start_git(project: Project) -> None:
    """Create a repository unless the project is already in one."""
    if project.ask("git", "rev-parse", "--show-toplevel") is None:
        project.run("git", "init", "--quiet", "--initial-branch", "main")


def make_environment(project: Project) -> bool:
    """Synchronise the environment; return whether uv is installed."""
    if shutil.which("uv") is None:
        print("uv is not installed: install it (`pip install uv`), then run this again.")
        return False
    if not ((project.folder / ".venv").is_dir() and (project.folder / "uv.lock").is_file()):
        project.run("uv", "sync")
    return True


def first_commit(project: Project) -> None:
    """Commit everything if there is no commit yet: an update needs one."""
    if project.ask("git", "rev-parse", "--verify", "--quiet", "HEAD") is not None:
        if project.ask("git", "ls-tree", "--name-only", "HEAD", ".") and not project.ask(
            "git", "ls-tree", "--name-only", "HEAD", ANSWERS
        ):
            print("The folder had its own files: merge them with hooks/adopt.py (docs/adopt.md).")
        elif project.ask("git", "ls-files", "--", ANSWERS) == "":
            print("The repository has other commits already; commit the project yourself:")
            print(f'  git add --all . && git commit -m "{subject(project)}"')
        return
    for person in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
        if project.ask("git", "var", person) is None:
            raise StopError(WHO)
    project.run("git", "add", "--all", ".")
    project.run("git", "commit", "--quiet", "--message", subject(project))


def subject(project: Project) -> str:
    """Return the subject of the first commit."""
    answers = (project.folder / ANSWERS).read_text(encoding="utf-8")
    found = re.search(r"^_commit: *['\"]?([^\s'\"]+)", answers, re.MULTILINE)
    return f"Start from copier-prefect {found[1] if found else ''}".strip()


def tell_folder(project: Project) -> None:
    """Print the command that records the project's folder in a shared repository."""
    folder = (project.ask("git", "rev-parse", "--show-prefix") or "").rstrip("/")
    answers = (project.folder / ANSWERS).read_text(encoding="utf-8")
    if folder and f"\nfolder: {folder}\n" not in answers.replace("'", ""):
        print(f"The project is in the folder {folder} of a repository. Once it is committed, set")
        print("`folder` for version and CI (docs/monorepo.md of the template says what changes):")
        print(f"  uvx copier update --defaults -r :current: -d folder={shlex.quote(folder)}")


def install_pre_commit(project: Project) -> None:
    """Let git run the project's checks before each commit."""
    if not (project.folder / ".pre-commit-config.yaml").is_file():
        return
    # In a shared repository, the configuration is at the top.
    if project.ask("git", "rev-parse", "--show-prefix"):
        return
    hook = project.ask("git", "rev-parse", "--git-path", "hooks/pre-commit")
    if hook is None or not (project.folder / hook).exists():
        project.run("uv", "run", "pre-commit", "install")


def main() -> int:
    """Do what is missing; return 0 if nothing is left to do."""
    parser = argparse.ArgumentParser(
        description="Set up a new project: git, environment, first commit, pre-commit.",
        epilog="Exit code: 0 all is done, 1 something is left to do, 2 wrong usage.",
    )
    parser.add_argument("project", nargs="?", default=".", type=Path, help="folder (default: .)")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    options = parser.parse_args()
    if not (options.project / ANSWERS).is_file():
        parser.error(f"{options.project} holds no {ANSWERS}: give a folder made by `copier copy`.")
    if shutil.which("git") is None:
        parser.error("git is not installed: install it first.")

    project = Project(options.project, options.dry_run)
    try:
        start_git(project)
        uv = make_environment(project)
        # Before pre-commit, so that its checks do not delay the first commit.
        first_commit(project)
        tell_folder(project)
        if uv:
            install_pre_commit(project)
    except StopError as error:
        print(error, file=sys.stderr)
        return 1
    if not project.ran and uv:
        print("Nothing to do: everything is set up.")
    return 0 if uv else 1


if __name__ == "__main__":
    sys.exit(main())
