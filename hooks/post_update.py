# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Say what `copier update` has left for you to do, and how to do it.

Run it before committing an update. It changes nothing, unless `--migrate` is given.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ANSWERS = ".copier-answers.yml"
KEPT = b"Copier does not write over this.\n"
MARKERS = "^(<<<<<<< before|>>>>>>> after) updating"
RECOPY = "uvx copier recopy -q --defaults --overwrite -r :current: -x '**'"
SHORTCUTS = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/", "git+": ""}


def ask(folder: Path, *command: str) -> str | None:
    """Print a command, run it, and return what it prints, or None if it fails."""
    print("$", shlex.join(command), flush=True)
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}  # never wait for a password
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def recorded(answers: str, name: str) -> str:
    """Return a name, path or version from the text of an answers file, '' if it has none."""
    found = re.search(rf"^{name}: *(.+(?:\n +.+)*)", answers, re.MULTILINE)
    value = re.sub(r"\s*\n\s+", " ", found[1].strip()) if found else ""
    if quoted := re.match(r"'((?:[^']|'')*)'|\"([^\"]*)\"", value):
        return (quoted[1] or "").replace("''", "'") or quoted[2] or ""
    return re.sub(r"(^|\s+)#.*", "", value)


def answers_of(project: Path, version: str, now: str) -> str:
    """Return the last committed answers of a version that are not those of now."""
    commits = ask(project, "git", "log", "-n", "20", "--format=%H", "--", ANSWERS) or ""
    for commit in commits.split():
        text = ask(project, "git", "show", f"{commit}:./{ANSWERS}") or ""
        if text != now and recorded(text, "_commit") == version:
            return text
    return now


def leftovers(project: Path) -> list[str]:
    """Return what the update's own result still needs."""
    todo = []
    listed = ask(project, "git", "ls-files", "--unmerged") or ""
    unmerged = {line.split("\t", 1)[1] for line in listed.splitlines()}
    marked = (ask(project, "git", "grep", "-lE", "--untracked", MARKERS) or "").splitlines()
    todo += [f"{name}: has conflict markers; edit it, then: git add {name}" for name in marked]
    todo += [
        f"{name}: is marked as a conflict; when it is right: git add {name}"
        for name in sorted(unmerged - set(marked))
    ]
    # Without --exclude-standard: a project that ignores *.rej would hide them.
    rejected = ask(project, "git", "ls-files", "--cached", "--others", "*.rej") or ""
    todo += [
        f"{name}: what could not be merged; apply it by hand, then: rm {name}"
        for name in rejected.splitlines()
        if not name.startswith(".venv/")
    ]
    locked = (project / "uv.lock").is_file() and shutil.which("uv")
    if locked and ask(project, "uv", "lock", "--check") is None:
        todo.append("uv.lock: does not fit pyproject.toml; run: uv lock")
    return todo


def fetch(source: str, project: Path, target: Path) -> bool:
    """Clone the template without checking anything out; return whether that worked."""
    for prefix, start in SHORTCUTS.items():
        if source.startswith(prefix):
            source = start + source.removeprefix(prefix)
    local = (project / Path(source).expanduser()).resolve()
    source = str(local) if local.exists() else source
    command = ("git", "clone", "--quiet", "--no-checkout", source, str(target))
    return ask(project, *command) is not None


def known(clone: Path, ref: str) -> bool:
    """Return whether the template has a version."""
    return bool(ask(clone, "git", "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"))


def render(project: Path, copier: str, answers: str, version: str, target: Path) -> bool:
    """Render the template with answers, over what is there; return whether that worked."""
    data = target.with_suffix(".yml")
    data.write_text(answers, encoding="utf-8")
    source = recorded((project / ANSWERS).read_text(encoding="utf-8"), "_src_path")
    command = [*shlex.split(copier), "copy", "-q", "--defaults", "--overwrite", "-r", version]
    command += ["--data-file", str(data), source, str(target)]
    print("$", shlex.join(command), flush=True)
    if not shutil.which(command[0]):
        return False
    # What goes wrong, Copier says itself.
    done = subprocess.run(command, cwd=project, stdin=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def files(folder: Path) -> dict[str, bytes]:
    """Return the text of each file but the answers, by its path."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if path.is_file() and name != ANSWERS
    }


def renamed(old: dict[str, bytes], before: str, now: str) -> dict[str, bytes]:
    """Return files as they are once the package has its new name."""
    names = [recorded(answers, "package_name") for answers in (before, now)]
    if names[0] == names[1]:
        return old
    word, name = re.compile(rf"\b{names[0]}\b".encode()), names[1].encode()
    return {
        path.replace(f"src/{names[0]}/", f"src/{names[1]}/"): word.sub(name, text)
        for path, text in old.items()
    }


def compare(
    project: Path, copier: str, before: tuple[str, str], now: tuple[str, str], folder: Path
) -> tuple[list[str], list[str], list[str]] | None:
    """Compare what the template makes of two answers and versions; None if it makes nothing.

    Returns the user's files that it makes otherwise now, its own that it changed and that are
    not there, and modules of the user that a package of its hides.
    """
    was, made = folder / "was", folder / "made"
    if not render(project, copier, *before, was) or not render(project, copier, *now, made):
        return None
    old, new = renamed(files(was), before[0], now[0]), files(made)
    for name in new:
        (made / name).write_bytes(KEPT)
    if not render(project, copier, *now, made):
        return None
    seeds = {name for name, text in files(made).items() if text == KEPT}
    yours, absent, hidden = [], [], []
    for name, text in sorted(new.items()):
        path = project / name
        mine = path.read_bytes() if path.is_file() else None
        if old.get(name) != text and name in seeds:
            # A seed the user has deleted is not wanted back.
            if mine != text and (mine is not None or name not in old):
                yours.append(name)
        elif old.get(name) != text and name in old and mine is None:
            absent.append(name)
        package, init = os.path.split(name)
        module = f"{package}.py"
        if init == "__init__.py" and module not in new and (project / module).is_file():
            hidden.append(module)
    return yours, absent, hidden


def migrations(clone: Path, new: str, project: Path, run: bool) -> list[str]:
    """Return the migrations that the project still needs, after running them if asked to."""
    if not ask(clone, "git", "ls-tree", "--name-only", new, "hooks/migrations/"):
        return []
    ask(clone, "git", "checkout", "--quiet", new, "--", "hooks/migrations")
    todo = []
    for script in sorted((clone / "hooks" / "migrations").glob("*.py")):
        command = [sys.executable, str(script)]
        needed = ask(clone, *command, "--check", str(project)) is None
        if needed and run:
            ask(clone, *command, str(project))
            needed = ask(clone, *command, "--check", str(project)) is None
        if needed:
            todo.append(f"{script.name}: is needed; run this again with --migrate")
    return todo


def main() -> int:
    """Print what is left to do; return 0 when nothing is."""
    parser = argparse.ArgumentParser(
        description="Say what `copier update` has left for you to do, and how to do it.",
        epilog="Exit code: 0 nothing is left to do, 1 something is, 2 wrong usage.",
    )
    parser.add_argument("project", nargs="?", default=".", type=Path, help="folder (default: .)")
    parser.add_argument("--from", dest="old", help="template version before (default: git's HEAD)")
    parser.add_argument("--migrate", action="store_true", help="run the migrations needed")
    parser.add_argument("--dry-run", action="store_true", help="never migrate")
    parser.add_argument("--copier", default="uvx copier", help='command (default: "uvx copier")')
    options = parser.parse_args()
    project = options.project.resolve()
    if not (project / ANSWERS).is_file():
        parser.error(f"{options.project} holds no {ANSWERS}: give a folder made by `copier copy`.")
    before = ask(project, "git", "show", f"HEAD:./{ANSWERS}")
    if before is None:
        parser.error(f"{options.project} is not committed to git: commit it first.")

    todo = leftovers(project)
    now = (project / ANSWERS).read_text(encoding="utf-8")
    source, new = recorded(now, "_src_path"), recorded(now, "_commit")
    old = options.old or recorded(before, "_commit")
    if options.old:
        before = answers_of(project, old, now)
    yours, absent, hidden = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "template"
        if not source or not new:
            name = "_commit" if source else "_src_path"
            todo.append(f"{ANSWERS}: has no {name}; bring it back from: git log -p -- {ANSWERS}")
        elif not old:
            todo.append(f"{ANSWERS}: had no _commit in git's HEAD; give that version with --from")
        elif not fetch(source, project, clone):
            todo.append(f"{source}: cannot be read; is _src_path in {ANSWERS} right?")
        elif missing := [ref for ref in (old, new) if not known(clone, ref)]:
            todo.append(f"{source}: has no version {missing[0]!r}; it may have been removed.")
        else:
            if (before, old) != (now, new):
                pairs = ((before, old), (now, new))
                found = compare(project, options.copier, *pairs, Path(folder))
                yours, absent, hidden = found or ([], [], [])
                if not found:
                    todo.append(f"{options.copier}: fails, so files to compare are not known")
            todo += migrations(clone, new, project, options.migrate and not options.dry_run)
    todo += [f"{name}: hidden by the template's package of that name; move it" for name in hidden]

    if yours:
        print("\nYours, and changed since in the template or by an answer. To get its text of one")
        print("(see it with `git diff HEAD`, go back with `git checkout HEAD -- FILE`):")
    # Copier never writes over a seed; `git rm` refuses to remove what is not committed.
    for name in yours:
        path, only = shlex.quote(name), shlex.quote(f"!/{name}")
        print(f"  git rm -q --ignore-unmatch -- {path} && {RECOPY} -x {only} && git add -- {path}")
    if absent:
        print("\nThe template's, and changed since; moved or deleted here. To get one:")
    for name in absent:
        print(f"  {RECOPY} -x {shlex.quote(f'!/{name}')}")
    nothing = "Nothing else is left to do." if yours or absent else "Nothing is left to do."
    print("\nLeft to do:" if todo else f"\n{nothing}")
    for item in todo:
        print(f"  {item}")
    return 1 if todo else 0


if __name__ == "__main__":
    sys.exit(main())
