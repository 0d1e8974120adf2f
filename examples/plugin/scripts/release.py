"""Release this project: check its API and its changelog, then commit and tag a version.

The version follows from the changes since the last one: a breaking change needs a new major
version (a minor one before 1.0), any other change of the API a minor one. `--check` changes
nothing: it shows the next version, and fails if anything is missing for a release.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import public_api

PACKAGE = "prefect_my_system"
TAG = "v"
ROOT = Path(__file__).parents[1]
CHANGELOG = ROOT / "CHANGELOG.md"
LEVELS = ("patch", "minor", "major")


def git(*words: str) -> str:
    """Run git in the project, and return its output."""
    command = ["git", *words]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"git {words[0]} failed.")
    return done.stdout.strip()


def versions(*words: str) -> list[tuple[int, ...]]:
    """Return the versions of this project's tags that `git tag` lists, oldest first."""
    pattern = re.compile(re.escape(TAG) + r"(\d+)\.(\d+)\.(\d+)")
    found = map(pattern.fullmatch, git("tag", *words).split())
    return sorted(tuple(map(int, match.groups())) for match in found if match)


def tag_of(version: tuple[int, ...]) -> str:
    """Return the tag of a version."""
    return TAG + ".".join(map(str, version))


def changes_since(version: tuple[int, ...]) -> list[public_api.Change]:
    """Compare the public API with that of a released version."""
    command = ["git", "archive", tag_of(version), "src", "pyproject.toml"]
    packed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(folder, filter="data")
        return public_api.changes(Path(folder), ROOT, PACKAGE)


def next_version(last: tuple[int, ...], level: str) -> tuple[int, ...]:
    """Return the next version."""
    kept = len(LEVELS) - 1 - LEVELS.index(level)
    return (*last[:kept], last[kept] + 1, *[0] * (2 - kept))


def section(heading: str) -> str:
    """Return the text under a heading of the changelog."""
    text = CHANGELOG.read_text(encoding="utf-8")
    found = re.search(rf"(?ims)^## \[?v?{re.escape(heading)}\b[^\n]*(.*?)(?=^## |\Z)", text)
    return found[1].strip() if found else ""


def unnamed(changes: list[public_api.Change], heading: str) -> str:
    """Return a changelog entry for the changes that it does not name yet, or an empty text."""
    told = " ".join(re.findall(r"`[^`]+`", section(heading))).lower()
    lines: list[str] = []
    for title in ("Added", "Changed", "Deprecated", "Removed"):
        missing = [
            str(change)
            for change in changes
            if change.section == title
            and change.name.partition("(")[0].rpartition(".")[2].lower() not in told
        ]
        lines += [f"### {title}", "", *missing, ""] if missing else []
    return "\n".join(lines).strip()


def judged(changes: list[public_api.Change], heading: str) -> list[public_api.Change]:
    """Return the changes; those that the changelog marks "(not breaking)" do not break."""
    told = " ".join(section(heading).split())
    return [
        dataclasses.replace(change, breaks=change.breaks and f"{line} (not breaking)" not in told)
        for change in changes
        for line in [" ".join(str(change).split()).removeprefix("- ")]
    ]


def without_urls() -> list[str]:
    """Return what to set if pyproject.toml has no project URLs."""
    if re.search(r"(?m)^\[project\.urls\]\n(#.*\n)*\w", (ROOT / "pyproject.toml").read_text()):
        return []
    url = git("config", "--default", "https://...", "--get", "remote.origin.url")
    url = re.sub(r"^(ssh://)?git@([^:/]+)(:\d+/|[:/])", r"https://\2/", url)
    url = re.sub(r"//[^/]*@", "//", url).removesuffix(".git")  # without user and token
    return [f'pyproject.toml: set Repository = "{url}" under [project.urls]']


def unfinished() -> list[str]:
    """Return the TODOs that the command `add` wrote and that are still in the code."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[2:]}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if line.strip().startswith("# TODO: put ") and path.parent.name != "commands"
    ]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only show what a release would be")
    parser.add_argument(
        "--change", action="store_true", help="only check the changelog of a change, as CI does"
    )
    parser.add_argument("--level", choices=LEVELS, default="patch", help="smallest version step")
    parser.add_argument("--branch", default="main", help="branch to release from (default: main)")
    given = parser.parse_args()
    check = given.check or given.change
    if git("rev-parse", "--is-shallow-repository") == "true":
        print("This clone is shallow, so the last release is unknown: git fetch --unshallow --tags")
        sys.exit(0 if given.change else 1)
    edited = git("status", "--porcelain", "--", "src", "pyproject.toml")
    tagged = versions("--points-at", "HEAD")[: 0 if edited else None]
    heading = tag_of(tagged[-1]).removeprefix(TAG) if tagged else "Unreleased"
    changes: list[public_api.Change] = []
    released = [one for one in versions("--merged", "HEAD") if one not in tagged]
    if released:
        changes = judged(changes_since(released[-1]), heading)
        breaks = any(change.breaks for change in changes)
        level = "major" if breaks and released[-1][0] else "minor" if changes else "patch"
        needed = next_version(released[-1], max(level, given.level, key=LEVELS.index))
        noun = "change" if len(changes) == 1 else "changes"
        print(f"{len(changes)} {noun} of the public API since {tag_of(released[-1])}")
        for change in changes:
            print(f"{change}{' (breaking)' if change.breaks else ''}")
        if breaks:
            print("If one breaks nobody, copy its line to the changelog with (not breaking).")
    else:
        needed = (1, 0, 0) if given.level == "major" else (0, 1, 0)
        print("Nothing has been released yet.")

    problems = []
    version = tagged[-1] if tagged else needed
    if released and version < needed:
        problems.append(f"{tag_of(version)} must be {tag_of(needed)} at least")
    if entry := unnamed(changes, heading):
        problems.append(f"CHANGELOG.md: name this under '## {heading}', such as\n\n{entry}\n")
    if tagged or not given.change:
        problems += [*public_api.overdue(ROOT / "src", version), *unfinished()]
        if not section(heading):
            problems.append(f"CHANGELOG.md: says nothing under '## {heading}'")
    if not (tagged or given.change):
        problems += without_urls()
        if git("branch", "--show-current") != given.branch:
            problems.append(
                f"a release is made from {given.branch}: git switch {given.branch}, or rename this"
                f" branch: git branch -m {given.branch}"
            )
    if not check:
        if tagged:
            problems.append(f"{tag_of(version)} is this commit already")
        elif version in versions():
            problems.append(f"{tag_of(version)} is another commit: merge it, or ask for a --level")
        if git("status", "--porcelain", "--", "."):
            problems.append("commit or stash your changes first: git status")
    if check:
        print(f"The version is {tag_of(version)}." if tagged else f"Next: {tag_of(version)}.")
    if problems:
        sys.exit("\n".join(["", "This is no release yet:", *problems]))
    if check:
        return

    today = datetime.datetime.now(tz=datetime.UTC).date()
    with CHANGELOG.open(encoding="utf-8", newline="") as file:
        text = file.read()
    title = f"## {tag_of(version).removeprefix(TAG)} ({today})"
    end = "\r\n" if "\r\n" in text else "\n"
    CHANGELOG.write_text(
        re.sub(
            r"(?im)^## \[?unreleased\b[^\r\n]*", f"## Unreleased{end * 2}{title}", text, count=1
        ),
        encoding="utf-8",
        newline="",
    )
    try:
        git("commit", "--quiet", "--message", f"Release {tag_of(version)}", "--", "CHANGELOG.md")
    except SystemExit:  # such as a commit hook that fails
        CHANGELOG.write_text(text, encoding="utf-8", newline="")
        raise
    git("tag", "--annotate", tag_of(version), "--message", tag_of(version))
    print(f"Tagged. To publish it: git push --atomic origin {given.branch} {tag_of(version)}")


if __name__ == "__main__":
    main()
