# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Say which files an update would write over although git does not have your text.

Copier asks git what has changed. So it writes over a file that git ignores or does not watch
wherever the template has one of that name. This renders the template as before and after the
update in a temporary folder, and looks which of its files you have without git. It changes nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ANSWERS = ".copier-answers.yml"
KEPT = b"Copier does not write over this.\n"


class CommandError(Exception):
    """A command failed; the text is what it printed."""


def run(folder: Path, *command: str) -> str:
    """Print a command, run it, and return what it prints."""
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
        raise CommandError(done.stderr.strip() or f"{command[0]}: exit {done.returncode}")
    return done.stdout


def recorded(answers: str, name: str) -> str:
    """Return a name, path or version from the text of an answers file, '' if it has none."""
    found = re.search(rf"^{name}: *(.+(?:\n +.+)*)", answers, re.MULTILINE)
    value = re.sub(r"\s*\n\s+", " ", found[1].strip()) if found else ""
    if quoted := re.match(r"'((?:[^']|'')*)'|\"([^\"]*)\"", value):
        return (quoted[1] or "").replace("''", "'") or quoted[2] or ""
    return re.sub(r"(^|\s+)#.*", "", value)


def files(folder: Path) -> dict[str, bytes]:
    """Return the text of each file but the answers, by its path."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if path.is_file() and name != ANSWERS
    }


def watched(project: Path) -> tuple[set[str], bool]:
    """Return the files whose changes git shows, and whether there are any others."""
    others = bool(run(project, "git", "ls-files", "-z", "--others"))
    names = set()
    for line in run(project, "git", "ls-files", "-z", "-v").split("\0")[:-1]:
        mark, name = line.split(" ", 1)
        # Small letters: assumed unchanged. S: skipped in the work tree.
        if mark.isupper() and mark != "S":
            names.add(name)
        else:
            others = True
    return names, others


def endangered(project: Path, options: argparse.Namespace) -> list[str]:
    """Return the files that an update would write over or delete, and git does not have."""
    saved, others = watched(project)
    if not others:
        return []
    answers = (project / ANSWERS).read_text(encoding="utf-8")
    source, version = (recorded(answers, name) for name in ("_src_path", "_commit"))
    if not source or not version:
        raise CommandError(f"{ANSWERS} names no _src_path or no _commit.")
    ref = version if options.ref == ":current:" else options.ref
    given = [word for data in options.data for word in ("-d", data)]
    copy = [*shlex.split(options.copier), "copy", "-q", "--defaults", "--overwrite"]
    copy += ["--data-file", str(project / ANSWERS)]
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old", Path(folder) / "new"
        run(project, *copy, "-r", version, source, str(old))
        after = [*copy, *(["-r", ref] if ref else []), *given, source, str(new)]
        run(project, *after)
        before, made = files(old), files(new)
        # What stays yours for ever, an update leaves alone: Copier does not write over it.
        for name in made:
            (new / name).write_bytes(KEPT)
        run(project, *after)
        seeds = {name for name, text in files(new).items() if text == KEPT}
    found = []
    for name in sorted({*before, *made} - seeds - saved):
        path = project / name
        texts = (before.get(name), made.get(name))
        if path.is_symlink() or (path.is_file() and path.read_bytes() not in texts):
            found.append(name)
    return found


def main() -> int:
    """Print the files that would be lost; return 0 when there are none."""
    parser = argparse.ArgumentParser(
        description="Say which files an update would write over although git lacks your text.",
        epilog="Exit code: 0 none, 1 some, 2 wrong usage, or Copier cannot tell.",
    )
    parser.add_argument("project", nargs="?", default=".", type=Path, help="folder (default: .)")
    parser.add_argument("-r", "--vcs-ref", dest="ref", help="as you will give to the update")
    parser.add_argument("-d", "--data", action="append", default=[], help="the same")
    parser.add_argument("--copier", default="uvx copier", help='command (default: "uvx copier")')
    options = parser.parse_args()
    project = options.project.resolve()
    if not (project / ANSWERS).is_file():
        parser.error(f"{options.project} holds no {ANSWERS}: give a folder made by `copier copy`.")
    try:
        found = endangered(project, options)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 2
    if not found:
        print("\nAn update writes over nothing that git does not have.")
        return 0
    print("\nGit does not have your text of these, and an update would write over it:")
    for name in found:
        print(f"  {name}")
    print("For each: rename it, or let git have it (git add --force FILE) and commit.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
