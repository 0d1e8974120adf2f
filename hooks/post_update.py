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
MARKERS = "^(<<<<<<< before|>>>>>>> after) updating"
RECOPY = "uvx copier recopy -q --defaults --overwrite -r :current: -x '**'"
SHORTCUTS = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/", "git+": ""}


def ask(folder: Path, *command: str) -> str | None:
    """Print a command, run it, and return what it prints, or None if it fails."""
    print("$", shlex.join(command), flush=True)
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}  # never wait for a password
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def scalars(text: str) -> dict[str, str]:
    """Return the top-level scalars of an answers file; enough YAML for names and paths."""
    found = re.findall(r"^(\w+): *(.+(?:\n +.+)*)", text, re.MULTILINE)
    values = {name: re.sub(r"\s*\n\s+", " ", value.strip()) for name, value in found}
    for name, value in values.items():
        if value[0] == value[-1] and value[0] in "'\"":
            values[name] = value[1:-1].replace("''", "'")
    return values


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


def seed_patterns(config: str) -> list[re.Pattern[str]]:
    """Return the patterns of `_skip_if_exists` in a copier.yml."""
    block = re.search(r"^_skip_if_exists:\n((?: *(?:- .*|#.*)?\n)+)", config, re.MULTILINE)
    lines = re.findall(r"^ *- +['\"]?([^'\"\s]+)", block[1] if block else "", re.MULTILINE)
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    patterns = []
    for line in lines:
        parts = re.split(r"(\*\*/|\*\*|\*|\?)", line.strip("/"))
        start = "" if "/" in line.rstrip("/") else "(?:.*/)?"  # without a slash: anywhere
        body = "".join(words.get(part, re.escape(part)) for part in parts)
        patterns.append(re.compile(f"{start}{body}(?:/.*)?"))
    return patterns


def rendered(path: str, config: str, answers: dict[str, str]) -> str | None:
    """Return where a template's file lands in the project, or None if it does not."""
    parts = []
    for part in path.split("/")[1:]:  # without template/
        name = re.sub(r"\{%.*?%\}", "", part).removesuffix(".jinja")
        word = re.fullmatch(r"\{\{ *(\w+) *\}\}", name)
        if word and word[1] not in answers:
            # A folder of one kind: '.' for it, '' for the others.
            kinds = r"default: .*'(.*)' if project_kind == '(\w+)' else '(.*)'"
            rule = rf"^{word[1]}:\n(?:  .*\n)*?  {kinds}"
            found = re.search(rule, config, re.MULTILINE)
            if found and not (found[1] if answers.get("project_kind") == found[2] else found[3]):
                return None
            continue
        parts.append(re.sub(r"\{\{ *(\w+) *\}\}", lambda found: answers.get(found[1], ""), name))
    return "/".join(parts)


def changed_seeds(clone: Path, old: str, new: str, project: Path) -> list[str]:
    """Return the project's seeds that the template changed or added between two versions."""
    answers = scalars((project / ANSWERS).read_text(encoding="utf-8"))
    config = ask(clone, "git", "show", f"{new}:copier.yml") or ""
    patterns = seed_patterns(config)
    command = ("git", "-c", "core.quotePath=false", "diff", "--name-status", "--no-renames")
    seeds = []
    for line in (ask(clone, *command, old, new, "--", "template") or "").splitlines():
        status, path = line.split("\t", 1)
        name = rendered(path, config, answers)
        if name is None or not any(pattern.fullmatch(name) for pattern in patterns):
            continue
        # A seed the user has deleted is not wanted back.
        if status == "A" or (status == "M" and (project / name).is_file()):
            seeds.append(name)
    return seeds


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
    options = parser.parse_args()
    project = options.project.resolve()
    if not (project / ANSWERS).is_file():
        parser.error(f"{options.project} holds no {ANSWERS}: give a folder made by `copier copy`.")
    before = ask(project, "git", "show", f"HEAD:./{ANSWERS}")
    if before is None:
        parser.error(f"{options.project} is not committed to git: commit it first.")

    todo = leftovers(project)
    answers = scalars((project / ANSWERS).read_text(encoding="utf-8"))
    source, new = answers.get("_src_path", ""), answers.get("_commit", "")
    old = options.old or scalars(before).get("_commit", "")
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "template"
        if not fetch(source, project, clone):
            todo.append(f"{source}: cannot be read; is _src_path in {ANSWERS} right?")
        elif missing := [ref for ref in (old, new) if not known(clone, ref)]:
            todo.append(f"{source}: has no version {missing[0]!r}; it may have been removed.")
        else:
            seeds = changed_seeds(clone, old, new, project)
            todo += migrations(clone, new, project, options.migrate and not options.dry_run)

    if seeds:
        print("\nYours, and changed in the template since. To get the template's text of one")
        print("(see it with `git diff HEAD`, go back with `git checkout HEAD -- FILE`):")
    # Copier never writes over a seed; `git rm` refuses to remove what is not committed.
    for name in seeds:
        path, only = shlex.quote(name), shlex.quote(f"!/{name}")
        print(f"  git rm -q --ignore-unmatch -- {path} && {RECOPY} -x {only}")
    print("\nLeft to do:" if todo else "\nNothing is left to do.")
    for item in todo:
        print(f"  {item}")
    return 1 if todo else 0


if __name__ == "__main__":
    sys.exit(main())
