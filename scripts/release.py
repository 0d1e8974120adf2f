# /// script
# requires-python = ">=3.11"
# ///
"""Add the committed template to tests/releases.bundle as a new release.

The bundle contains only the template's content of each release, so that update tests find the
releases in a checkout without tags. The same commit always gives the same release: author, date
and parents are fixed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CONTENT = ("copier.yml", "includes", "template", "hooks")
VERSION = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


class ReleaseError(Exception):
    """Why a release is not possible."""


def git(cwd: Path, *arguments: str, text: str | None = None) -> str:
    """Run git and return its output.

    Args:
        cwd: Folder to run in.
        *arguments: Arguments of git.
        text: Its standard input.

    Returns:
        Its output without the last line end.
    """
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, input=text, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise ReleaseError(f"`git {arguments[0]}` failed: {done.stderr.strip()}")
    return done.stdout.rstrip("\n")


def content_of(repository: Path, commit: str) -> str:
    """List the template's content at a commit, in the format of `git mktree`."""
    return git(repository, "ls-tree", "--full-tree", commit, "--", *CONTENT)


def changelog_section(text: str, version: str) -> str:
    """Return the changelog's section for a release without its heading, or an empty text."""
    heading = rf"(?m)^## \[?v?{re.escape(version.removeprefix('v'))}\]?(?![\d.]).*$"
    parts = re.split(heading, text, maxsplit=1)
    return re.split(r"(?m)^## ", parts[1])[0].strip() if len(parts) == 2 else ""


def add_release(repository: Path, version: str, *, dry_run: bool = False) -> str:
    """Add the template at HEAD to the bundle.

    Args:
        repository: The template's repository.
        version: The release, such as `v1.2.3`.
        dry_run: Whether to check only.

    Returns:
        The commit in the bundle that holds the release.

    Raises:
        ReleaseError: The release exists, is not the newest, or something is missing.
    """
    if not VERSION.fullmatch(version):
        raise ReleaseError(f"{version} is not a version: give one like v1.2.3")
    dirty = git(repository, "status", "--porcelain", "--", *CONTENT)
    if dirty:
        raise ReleaseError(f"commit these first, a release holds what is committed:\n{dirty}")
    changelog = repository / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8") if changelog.exists() else ""
    if not changelog_section(text, version):
        raise ReleaseError(f"CHANGELOG.md says nothing under `## {version}`")
    bundle = repository / "tests" / "releases.bundle"
    date = git(repository, "show", "--no-patch", "--format=%ct +0000", "HEAD")
    objects = git(repository, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        git(work, "init", "--quiet", "--bare", "--initial-branch=main")
        # Read from the repository's objects, so line ends and executable bits stay as they are.
        (work / "objects" / "info" / "alternates").write_text(f"{objects}\n", encoding="utf-8")
        if bundle.exists():
            git(work, "fetch", "--quiet", str(bundle), "refs/tags/*:refs/tags/*")
        tags = git(work, "tag", "--list", "v*").split()
        if version in tags:
            raise ReleaseError(f"{version} exists: a release is never changed, make the next one")
        newest = max(tags, key=_sortable, default=None)
        if newest and _sortable(version) < _sortable(newest):
            raise ReleaseError(f"{version} is older than {newest}, the newest release")
        tree = git(work, "mktree", text=f"{content_of(repository, 'HEAD')}\n")
        if newest and git(work, "rev-parse", f"{newest}^{{tree}}") == tree:
            raise ReleaseError(f"the template has not changed since {newest}")
        for person in ("AUTHOR", "COMMITTER"):
            os.environ[f"GIT_{person}_NAME"] = "copier-prefect"
            os.environ[f"GIT_{person}_EMAIL"] = "releases@copier-prefect.invalid"
            os.environ[f"GIT_{person}_DATE"] = date
        parent = ["-p", f"{newest}^{{commit}}"] if newest else []
        commit = git(work, "commit-tree", tree, *parent, "-m", f"Release {version}")
        git(work, "tag", "--annotate", "--no-sign", "--message", version, version, commit)
        git(work, "update-ref", "refs/heads/main", commit)
        made = work / "new.bundle"
        # One thread: with several, the order in the pack varies.
        pack = ("-c", "pack.threads=1", "bundle", "create", "--quiet")
        git(work, *pack, str(made), "HEAD", "main", "--tags")
        if not dry_run:
            bundle.parent.mkdir(exist_ok=True)
            bundle.write_bytes(made.read_bytes())
    return commit


def _sortable(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.removeprefix("v").split("."))


def main() -> int:
    """Run the command.

    Returns:
        0 if the release was added, 1 if not.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", help="the release, such as v1.2.3")
    parser.add_argument("--dry-run", action="store_true", help="check only, write nothing")
    arguments = parser.parse_args()
    repository = Path(__file__).resolve().parents[1]
    version = arguments.version
    try:
        commit = add_release(repository, version, dry_run=arguments.dry_run)
    except ReleaseError as error:
        print(f"no release: {error}", file=sys.stderr)
        return 1
    if arguments.dry_run:
        print(f"{version} can be released")
        return 0
    print(f"tests/releases.bundle holds {version} now ({commit[:12]}). Next:")
    print("  git add CHANGELOG.md tests/releases.bundle")
    print(f'  git commit --message "Release {version}"')
    print(f"  git tag --annotate --message {version} {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
