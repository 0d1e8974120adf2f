# /// script
# requires-python = ">=3.11"
# dependencies = ["copier==9.19.1", "packaging", "pyyaml"]
# ///
"""Update projects that were created from this template, without losing an edit.

Copier renders the template's old and new version, git merges the files that both sides changed,
and this script compares the result with both changes before it writes anything.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import tomllib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

ANSWERS = ".copier-answers.yml"
BEFORE, AFTER = b"<<<<<<< before updating", b">>>>>>> after updating"
SHORTCUTS = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/", "git+": ""}

# What became of a project.
UPDATED = "updated"
NOTHING = "nothing to do"
WOULD = "would be updated"
CONFLICTS = "conflicts"
DIRTY = "refused because dirty"
UNSAVED = "refused to overwrite"
REFUSED = "refused"
FAILED = "failed"
GOOD = {UPDATED, NOTHING, WOULD}

# What becomes of a file.
CLEAN = "clean"
MERGED = "merged"
CONFLICT = "conflict"
YOURS = "yours"
REFRESHED = "refreshed"
OFFERED = "can be refreshed"
LEFT = "left to you"

DROPPED = "the template no longer has it"

MOVES = {"engine": "dlt", "parts": "chosen"}
"""Answers that replace the code of an older kind; hooks/notes tells what each brings."""

NAMES = ("project_name", "package_name", "user_name", "user_email")
"""Answers that only a user may change. Copier takes the default where a version refuses one."""

CHECKS = ("uv sync --quiet", "ruff check .", "ruff format --check .", "pyrefly check", "pytest -q")


class StopError(Exception):
    """Why a project is not updated, in one sentence."""

    def __init__(self, why: str, status: str = REFUSED) -> None:
        super().__init__(why)
        self.status = status


# -- Git, and the environment ------------------------------------------------------------------

USERS = dict(os.environ)
"""The user's environment: for the user's hooks, for uv and for tests."""
REACH = re.compile(
    r"(credential|url|https?|ssh|safe|protocol)\.|core\.(sshcommand|askpass|gitproxy)$",
    re.IGNORECASE,
)
"""The settings of git that say how to reach a repository, and so are kept."""
CHECKOUT = re.compile(r"core\.(autocrlf|eol|excludesfile|attributesfile)$|filter\.", re.IGNORECASE)
"""Those that say what has changed in a project; the template is rendered without them."""
ELSEWHERE = {"VIRTUAL_ENV", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}
"""What would lead git and uv away from the project."""


def neutral(cwd: Path) -> dict[str, str]:
    """Return an environment in which no user setting changes what git and Copier do."""
    words = ("git", "config", "-z")
    own = {name: value for name, value in USERS.items() if name not in ELSEWHERE}
    listed = subprocess.run([*words, "--list"], cwd=cwd, env=own, capture_output=True, check=False)
    settings = [line.partition("\n") for line in os.fsdecode(listed.stdout).split("\0")]
    kept = [(name, value) for name, _, value in settings if REACH.match(name)]
    config = cwd / "checkout.gitconfig"
    config.touch()
    for name, _, value in settings:
        if CHECKOUT.match(name):
            add = ("--file", config, "--add", name, value)
            subprocess.run([*words, *add], cwd=cwd, env=own, check=False)
    env = {
        name: value
        for name, value in USERS.items()
        if not name.startswith("GIT_")
        or re.match(r"GIT_(SSH|ASKPASS|SSL|PROXY|HTTP|ALLOW|CEILING|EXEC)", name)
    }
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    env |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    env |= {"GIT_CONFIG_COUNT": str(len(kept)), "CHECKOUT_CONFIG": str(config)}
    for number, (name, value) in enumerate(kept):
        env |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return env


def git(cwd: Path, *words: str | Path, data: bytes = b"", checkout: bool = False) -> bytes:
    """Run git and return its output; for a checkout, with the user's settings."""
    settings = (f"core.hooksPath={os.devnull}", "core.fsmonitor=false", "color.ui=false")
    command = ["git", *(word for one in settings for word in ("-c", one)), *words]
    env = dict(os.environ)
    if checkout:
        env["GIT_CONFIG_GLOBAL"] = env["CHECKOUT_CONFIG"]
    done = subprocess.run(command, cwd=cwd, input=data, env=env, capture_output=True, check=False)
    if done.returncode:
        said = reason(done.stderr.decode(errors="replace"))
        raise StopError(said or f"git {words[0]}: exit {done.returncode}", FAILED)
    return done.stdout


def asked(cwd: Path, *words: str | Path) -> str:
    """Return the line that git prints, or '' if it fails."""
    try:
        return os.fsdecode(git(cwd, *words)).removesuffix("\n")
    except StopError:
        return ""


def reason(printed: str) -> str:
    """Return the line that tells what failed: from git, a traceback or a failed check."""
    lines = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines() if line.strip()]
    for pattern in (r"(fatal|error|ERROR): ", r"\S*(Error|Exception): ", r".*\.Failed$"):
        if found := [line for line in lines if re.match(pattern, line)]:
            return re.sub(r"\.{3,}", " ", found[0])
    lines = [line for line in lines if not re.search(r"\.(Passed|Skipped)$", line)]
    return lines[0] if lines else ""


# -- Files -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    """A file's bytes or a link's target, and its mode in git."""

    data: bytes
    mode: str = "100644"

    @property
    def is_text(self) -> bool:
        """Whether its lines can be merged."""
        return self.mode != "120000" and b"\0" not in self.data


Tree = dict[str, File]


def read(path: Path) -> File | None:
    """Read a file or a link; return None if it does not exist."""
    try:
        if path.is_symlink():
            return File(os.fsencode(path.readlink()), "120000")
        mode = "100755" if path.stat().st_mode & stat.S_IXUSR else "100644"
        return File(path.read_bytes(), mode)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def put(folder: Path, name: str, file: File | None) -> None:
    """Write, replace or remove a file atomically, with its folders."""
    path = folder / name
    if file is None:
        path.unlink(missing_ok=True)
        for parent in path.relative_to(folder).parents[:-1]:
            with suppress(OSError):
                (folder / parent).rmdir()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.update")
    try:
        if file.mode == "120000":
            temporary.symlink_to(os.fsdecode(file.data))
        else:
            temporary.write_bytes(file.data)
            mode = (path if path.exists() else temporary).stat().st_mode & 0o666
            temporary.chmod(mode | (mode >> 2 & 0o111 if file.mode == "100755" else 0))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def lines(text: bytes) -> list[bytes]:
    """Split a text at line feeds only; the last line may lack one."""
    return re.findall(rb"[^\n]*\n|[^\n]+", text)


def difference(name: str, old: File | None, new: File | None) -> str:
    """Return a unified diff."""
    texts = [file.data if file else b"" for file in (old, new)]
    if any(b"\0" in text for text in texts):
        return f"Binary files a/{name} and b/{name} differ\n"
    told = [[line.decode(errors="replace") for line in lines(text)] for text in texts]
    names = [f"a/{name}" if old else "/dev/null", f"b/{name}" if new else "/dev/null"]
    found = difflib.unified_diff(*told, *names)
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in found)


# -- The project -------------------------------------------------------------------------------


@dataclass
class Project:
    """A project folder in a git repository."""

    folder: Path
    top: Path
    prefix: str
    branch: str
    answers: bytes
    tracked: dict[str, tuple[str, str, bool]] = field(default_factory=dict)
    """Path to mode, object, and whether git shows a change of the file."""

    def recorded(self, name: str) -> str:
        """Return a recorded answer: a name, a path or a version."""
        return str(parsed(self.answers).get(name) or "")


def parsed(answers: bytes) -> dict[str, object]:
    """Read answers."""
    import yaml

    try:
        found = yaml.safe_load(answers)
    except yaml.YAMLError as error:
        first = str(error).splitlines()[-1].strip()
        raise StopError(f"{ANSWERS} cannot be read: {first}", FAILED) from error
    return found if isinstance(found, dict) else {}


def find(folder: Path) -> Project:
    """Find the project, its repository and its branch."""
    if not (folder / ANSWERS).is_file():
        raise StopError(f"it holds no {ANSWERS}", FAILED)
    top = asked(folder, "rev-parse", "--show-toplevel")
    if not top:
        git(folder, "rev-parse", "--show-toplevel")
        raise StopError("it is not a git repository: run git init, and commit first.")
    prefix = asked(folder, "rev-parse", "--show-prefix")
    head = asked(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        raise StopError("nothing is committed yet: commit first.")
    branch = asked(folder, "symbolic-ref", "--quiet", "--short", "HEAD")
    project = Project(folder, Path(top), prefix, branch, (folder / ANSWERS).read_bytes())
    for line in os.fsdecode(git(folder, "ls-files", "-z", "-v", "--stage")).split("\0")[:-1]:
        found, name = line.split("\t", 1)
        mark, mode, sha, _ = found.split(" ")
        # Lower case: assumed unchanged. S: skipped in the work tree.
        project.tracked[name] = (mode, sha, mark.isupper() and mark != "S")
    return project


def changes(project: Project) -> list[str]:
    """Return the changes that git reports in the project's folder, by path."""
    words = ("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", ".")
    listed = os.fsdecode(git(project.folder, *words, checkout=True)).split("\0")[:-1]
    return [line[3:].removeprefix(project.prefix) for line in listed]


def look(project: Project, options: argparse.Namespace) -> None:
    """Refuse a project with uncommitted changes, or on another branch than the one to commit to."""
    if not project.branch:
        commit = asked(project.folder, "rev-parse", "--short", "HEAD")
        raise StopError(f"HEAD is detached at {commit}: git switch to a branch first.")
    git_folder = Path(asked(project.folder, "rev-parse", "--absolute-git-dir"))
    for sign in ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply"):
        if (git_folder / sign).exists():
            raise StopError(f"{sign.split('_HEAD')[0].lower()} is under way: finish it first.")
    if found := changes(project):
        if asked(project.folder, "ls-files", "--unmerged", "--", "."):
            raise StopError("an update or merge is unfinished: finish it, and commit.", DIRTY)
        said = f"{len(found)} uncommitted, first {found[0]}: commit or stash them."
        raise StopError(said, DIRTY)
    if ANSWERS not in project.tracked:
        raise StopError(f"git does not have {ANSWERS}: commit the project first.")
    if options.commit:
        expected = options.branch or default_branch(project)
        if project.branch != expected:
            raise StopError(
                f"it is on branch {project.branch}, not on {expected}: use --branch to commit there"
            )


def default_branch(project: Project) -> str:
    """Return the default branch."""
    remote = asked(project.folder, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
    local = asked(project.folder, "branch", "--format=%(refname:short)").splitlines()
    names = [remote.removeprefix("origin/"), *(n for n in ("main", "master") if n in local)]
    return next(filter(None, names), project.branch)


def obstacle(project: Project, name: str) -> str:
    """Return why a path cannot be written, or ''."""
    path = project.folder / name
    if path.is_dir() and not path.is_symlink():
        return "is a folder here"
    if path.exists() and not path.is_file():
        return "is no regular file"
    for parent in list(Path(name).parents)[:-1]:
        if (project.folder / parent).is_symlink():
            return f"lies behind the link {parent.as_posix()}"
        if (project.folder / parent).is_file():
            return f"lies below a file, {parent.as_posix()}"
        if project.tracked.get(parent.as_posix(), ("",))[0] == "160000":
            return f"lies in the submodule {parent.as_posix()}"
    return ""


def mine(project: Project, name: str) -> File | None:
    """Return the user's file from the disk, or from git if it is not checked out."""
    if obstacle(project, name):
        return None
    mode, sha, shown = project.tracked.get(name, ("", "", True))
    file = read(project.folder / name)
    if file is None and sha and not shown:
        return File(git(project.folder, "cat-file", "blob", sha), mode)
    # Some file systems have no executable bit: take it from git.
    return File(file.data, mode) if file and mode in {"100644", "100755"} else file


# -- The template ------------------------------------------------------------------------------


@dataclass
class Render:
    """The files that the template renders for some answers."""

    files: Tree
    is_seed: Callable[[str], bool]
    is_excluded: Callable[[str], bool]


def clone(project: Project, work: Path) -> Path:
    """Clone the template once, with all branches and tags."""
    source = project.recorded("_src_path")
    if not source or not project.recorded("_commit"):
        name = "_commit" if source else "_src_path"
        raise StopError(f"{ANSWERS} has no {name}: restore it from git log -p -- {ANSWERS}")
    local = (project.folder / Path(source).expanduser()).resolve()
    if local.exists():
        source = str(local)
    for prefix, start in SHORTCUTS.items():
        if source.startswith(prefix):
            source = start + source.removeprefix(prefix)
            if start and not source.endswith(".git"):
                source += ".git"
    target = work / "templates" / hashlib.sha256(source.encode()).hexdigest()
    if not target.exists():
        making = target.with_suffix(f".{os.getpid()}")
        try:
            git(project.folder, "clone", "--quiet", "--mirror", "--", source, making / ".git")
        except StopError as stop:
            said = re.sub(r"//[^/@\s]+@", "//", f"the template {source} cannot be read: {stop}")
            raise StopError(said, FAILED) from stop
        # Copier clones only repositories with a work tree.
        git(making, "config", "core.bare", "false")
        with suppress(OSError):  # another process was faster
            making.rename(target)
    return target


def commit_of(template: Path, ref: str) -> str:
    """Return the commit of a version, or of the newest release."""
    from packaging.version import InvalidVersion, Version

    if not ref:
        releases = {}
        for tag in asked(template, "tag").splitlines():
            with suppress(InvalidVersion):
                if not Version(tag).is_prerelease:
                    releases[Version(tag)] = tag
        ref = releases[max(releases)] if releases else "HEAD"
    commit = asked(template, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if not commit:
        raise StopError(f"the template has no version {ref!r}; it may have been removed.", FAILED)
    return commit


def show(template: Path, commit: str, name: str) -> str:
    """Return a file of the template repository."""
    return git(template, "show", f"{commit}:{name}").decode()


def is_older(template: Path, commit: str, other: str) -> bool:
    """Return whether a commit belongs to an older version than another."""
    from packaging.version import InvalidVersion, Version

    found = []
    for one in (commit, other):
        tag, _, count = (
            asked(template, "describe", "--tags", "--long", one).rpartition("-g")[0].rpartition("-")
        )
        with suppress(InvalidVersion):
            found.append((Version(tag), int(count)))
    if len(found) == 2:
        return found[0] < found[1]
    return commit != other and commit == asked(template, "merge-base", commit, other)


def render(
    template: Path, commit: str, target: Path, data: dict[str, object], recorded: bytes, keep: bool
) -> Render:
    """Render the template as Copier's update does.

    Args:
        template: Clone of the template.
        commit: The version to render.
        target: A new folder.
        data: Answers given on the command line.
        recorded: The project's answers file, which names the template.
        keep: Whether recorded answers apply where none is given.
    """
    import copier

    target.mkdir(parents=True)
    if keep:
        (target / ANSWERS).write_bytes(recorded)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            worker = copier.run_copy(
                str(template),
                target,
                data,
                vcs_ref=commit,
                settings=copier.Settings(),
                defaults=True,
                overwrite=True,
                quiet=True,
            )
            worker.match_skip(Path(ANSWERS))
    except Exception as error:
        said = reason(getattr(error, "stderr", "") or "") or str(error).strip()
        raise StopError(f"Copier: {said or type(error).__name__}", FAILED) from error
    files = {}
    for path in target.rglob("*"):
        if file := None if path.is_dir() and not path.is_symlink() else read(path):
            files[path.relative_to(target).as_posix()] = file
    # The project must record the template's address, not the clone's.
    source = re.compile(rb"^_src_path:.*(?:\n[ \t].*)*", re.MULTILINE)
    if ANSWERS in files:
        if not (named := source.search(recorded)):
            raise StopError(f"{ANSWERS}: write its address as `_src_path: …`, without quotes.")
        answers = source.sub(lambda _: named[0].replace(b"\r", b""), files[ANSWERS].data)
        files[ANSWERS] = File(answers, files[ANSWERS].mode)
    return Render(
        files,
        lambda name: worker.match_skip(Path(name)),
        lambda name: worker.match_exclude(Path(name)),
    )


def render_old(template: Path, answers: bytes, target: Path) -> Render:
    """Render the version that a project was created from or last updated to."""
    data = {
        name: value
        for name, value in parsed(answers).items()
        if not name.startswith("_") or name in {"_commit", "_src_path"}
    }
    commit = commit_of(template, str(data.get("_commit")))
    return render(template, commit, target, data, answers, keep=False)


def renamed(old: Tree, before: str, now: str) -> Tree:
    """Return the files with the package's new name in paths and texts."""
    if not before or before == now:
        return old
    word = re.compile(rf"\b{re.escape(before)}\b".encode())
    return {
        name.replace(f"src/{before}/", f"src/{now}/"): File(
            word.sub(now.encode(), file.data) if name != ANSWERS else file.data, file.mode
        )
        for name, file in old.items()
    }


# -- Merging -----------------------------------------------------------------------------------


@dataclass
class Outcome:
    """The result for a file."""

    kind: str
    result: File | None
    note: str = ""


@dataclass
class Sides:
    """A file in the old template, at the user, and in the new template."""

    old: File | None
    mine: File | None
    new: File | None
    crlf: bool = False


@dataclass
class Plan:
    """A planned update."""

    old: str
    new: str
    commit: str
    template: Path
    sides: dict[str, Sides]
    files: dict[str, Outcome]
    after: Render


def sides_of(old: File | None, user: File | None, new: File | None) -> Sides:
    """Return the three sides, without carriage returns that only a checkout has added."""
    others = [file for file in (old, new) if file]
    crlf = bool(user and user.is_text and b"\r\n" in user.data) and not any(
        b"\r" in file.data for file in others
    )
    if crlf and user:
        text = user.data.replace(b"\r\n", b"\n")
        if text.count(b"\n") == user.data.count(b"\r\n") and b"\r" not in text:
            return Sides(old, File(text, user.mode), new, crlf=True)
    return Sides(old, user, new)


def fault(name: str, text: bytes) -> str:
    """Return why a TOML, JSON or YAML file cannot be parsed (or has a duplicate key), or ''."""
    import yaml

    class Loader(yaml.BaseLoader):
        def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            once(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            return node

    def once(keys: Iterable[str]) -> None:
        if doubled := [key for key, count in Counter(keys).items() if count > 1]:
            raise ValueError(f"{doubled[0]} is there twice")

    def pairs(found: list[tuple[str, object]]) -> None:
        once(key for key, _ in found)

    try:
        match Path(name).suffix:
            case ".toml":
                tomllib.loads(text.decode())
            case ".json":
                json.loads(text, object_pairs_hook=pairs)
            case ".yaml" | ".yml":
                # Only composed, because tags such as those in mkdocs.yml cannot be resolved here.
                list(yaml.compose_all(text, Loader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return f"{error.problem} (at line {line})"
    except (ValueError, yaml.YAMLError) as error:
        return " ".join(str(error).split())
    return ""


def broken(name: str, before: File | None, now: File | None) -> str:
    """Return an error if a file could be parsed before and cannot be now, or ''."""
    if not (before and now) or before == now or fault(name, before.data):
        return ""
    why = fault(name, now.data)
    return why and f"cannot be read: {why}"


def merge(name: str, sides: Sides, user: File, new: File, work: Path) -> Outcome:
    """Merge text and mode of a file that both sides changed."""
    old = sides.old or File(b"", user.mode)
    paths = []
    for side, file in (("mine", user), ("old", old), ("new", new)):
        paths.append(work / f"merge-{side}")
        paths[-1].write_bytes(file.data)
    # Longer than any line that looks like a marker, such as the line below a heading.
    found = re.findall(rb"^(?:<{7,}|={7,}|>{7,})", user.data + b"\n" + new.data, re.MULTILINE)
    size = max([6, *map(len, found)]) + 1
    words = ["git", "-c", "merge.conflictStyle=merge", "merge-file", "-p", "-q"]
    words += [f"--marker-size={size}"]
    words += ["-L", "before updating", "-L", "last update"]
    done = subprocess.run(
        [*words, "-L", "after updating", *paths], cwd=work, capture_output=True, check=False
    )
    if done.returncode > 127 or done.returncode < 0:
        raise StopError(f"git merge-file: {done.stderr.decode(errors='replace').strip()}", FAILED)
    mode = new.mode if user.mode == old.mode else user.mode
    if done.returncode or not holds_both(sides, done.stdout):
        text = done.stdout
        if not holds_both(sides, text):  # such as identical blocks that git has confused
            parts = [b"".join(lines(file.data)) for file in (user, new)]
            mine_, new_ = (t if t.endswith(b"\n") or not t else t + b"\n" for t in parts)
            start, middle, end = (one * (size - 7) for one in (b"<", b"=", b">"))
            text = b"".join(
                [start, BEFORE, b"\n", mine_, b"=======", middle, b"\n", new_, end, AFTER, b"\n"]
            )
        return Outcome(CONFLICT, File(text, mode), "has conflict markers")
    merged = File(done.stdout, mode)
    # For example, both added the same table in different places.
    why = broken(name, user, merged)
    return Outcome(CONFLICT if why else MERGED, merged, why)


def sides_of_conflict(text: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the lines with all conflicts resolved for the user, and for the template."""
    user: list[bytes] = []
    new: list[bytes] = []
    into = (user, new)
    found = re.findall(rb"^<{7,}(?= before updating\r?$)", text, re.MULTILINE)
    size = max(map(len, found), default=7)
    longer = size - 7
    for line in lines(text):
        bare = line.rstrip(b"\r\n")
        if bare == b"<" * longer + BEFORE:
            into = (user,)
        elif bare == b"=" * size and into == (user,):
            into = (new,)
        elif bare == b">" * longer + AFTER:
            into = (user, new)
        else:
            for one in into:
                one.append(line.rstrip(b"\n"))
    return user, new


def holds(old: list[bytes], edited: list[bytes], other: list[bytes], result: list[bytes]) -> bool:
    """Return whether a result keeps each edit from `old` to `edited`, merged with `other`.

    It must contain the added lines and those that neither side removed, in this order, and no
    new line that `other` did not add.
    """
    match = difflib.SequenceMatcher
    blocks = match(None, old, other, autojunk=False).get_matching_blocks()
    kept = {block.a + i for block in blocks for i in range(block.size)}
    origin: dict[int, int] = {}
    for block in match(None, old, edited, autojunk=False).get_matching_blocks():
        origin |= {block.b + i: block.a + i for i in range(block.size)}
    due = [line for i, line in enumerate(edited) if i not in origin or origin[i] in kept]
    rest = iter(result)
    if not all(line in rest for line in due):
        return False
    theirs = {block.b + i for block in blocks for i in range(block.size)}
    added = Counter(line for i, line in enumerate(other) if i not in theirs)
    return Counter(result) - Counter(edited) <= added


def holds_both(sides: Sides, result: bytes) -> bool:
    """Return whether a result, with its conflicts, keeps the changes of both sides."""
    old, user, new = (
        [line.rstrip(b"\n") for line in lines(file.data)] if file else []
        for file in (sides.old, sides.mine, sides.new)
    )
    ours, theirs = sides_of_conflict(result)
    return holds(old, user, new, ours) and holds(old, new, user, theirs)


def decide(
    name: str, sides: Sides, after: Render, seed: bool, options: argparse.Namespace, work: Path
) -> Outcome | None:
    """Decide the outcome for a file; None if nothing changes and nothing is reported."""
    old, user, new = sides.old, sides.mine, sides.new
    if user == new:
        return None
    if name in options.take and new:
        return Outcome(REFRESHED, new, "taken")
    if old == new:
        return None
    if new is None and after.is_excluded(name):
        return None
    if seed:
        if user == old:
            gone = DROPPED if new is None else ""
            gone = gone or ("new in the template" if old is None else "")
            return (
                Outcome(REFRESHED, new, gone) if options.refresh else Outcome(OFFERED, user, gone)
            )
        changed = "what the answer changes in it is left to you" if options.data else ""
        changed = DROPPED if new is None else changed or "the template's changed"
        return Outcome(YOURS, user, f"edited; {changed}") if user else None
    if user == old:
        return Outcome(CLEAN, new)
    if user is None:
        return Outcome(YOURS, None, "deleted or moved; the template's changed") if new else None
    if new is None:
        return Outcome(YOURS, user, f"edited; {DROPPED}")
    if name == ANSWERS and only_values(user.data, old.data if old else b""):
        return Outcome(CLEAN, new)
    if not all(file.is_text for file in (old or user, user, new)):
        return Outcome(LEFT, user, "no text to merge")
    return merge(name, sides, user, new, work)


def only_values(user: bytes, old: bytes) -> bool:
    """Return whether answers are equal and have no comments of the user."""
    mine_, theirs = ({one for one in lines(text) if b"#" in one} for text in (user, old))
    return parsed(user) == parsed(old) and mine_ <= theirs


def unproven(name: str, sides: Sides, outcome: Outcome | None, seed: bool, plan: Plan) -> bool:
    """Return whether an outcome may lose an edit, or silently a change of the template.

    It checks only the result, not how it was made.
    """
    old, user, new = sides.old, sides.mine, sides.new
    result = outcome.result if outcome else user
    if result == user:
        told = outcome is not None or seed or plan.after.is_excluded(name)
        return not (new in (old, user) or told or user is None)
    if result == new and (
        user in (old, None) or (outcome and outcome.kind == REFRESHED) or name == ANSWERS
    ):
        return False
    # The template's text may contain the user's edits, if they made part of its change before.
    return not result or not holds_both(sides, result.data)


def prepare(
    project: Project, options: argparse.Namespace, work: Path, template: Path
) -> Plan | None:
    """Plan an update; return None if there is nothing to do."""
    recorded = project.recorded("_commit")
    before = commit_of(template, recorded)
    ref = recorded if options.ref == ":current:" else options.ref
    commit = commit_of(template, ref or "")
    data = dict(words.split("=", 1) for words in options.data)
    if before == commit and not (data or options.refresh or options.take):
        return None
    if is_older(template, commit, before):
        newest = ref or "the newest release"
        raise StopError(f"{recorded} is newer than {newest}: an update cannot go back.")
    source = {"_src_path": project.recorded("_src_path")}
    after = render(template, commit, work / "new", data | source, project.answers, keep=True)
    old = render_old(template, project.answers, work / "old")
    if unknown := [name for name in options.take if name not in after.files]:
        now = "any more to take" if unknown[0] in old.files else "to take"
        raise StopError(f"the template has no file {unknown[0]} {now}.", FAILED)
    answers = parsed(after.files[ANSWERS].data) if ANSWERS in after.files else {}
    for name in NAMES:
        was, now = project.recorded(name), str(answers.get(name, ""))
        if was and now != was and name not in data:
            raise StopError(f"{name} would be {now}, no longer {was}: give it with -d {name}=…")
    package = str(answers.get("package_name", ""))
    had = project.recorded("package_name")
    if had and package != had and (project.folder / "src" / had).exists():
        raise StopError(
            f"package_name={package}: first git mv src/{had} src/{package}, replace {had} with "
            f"{package} in everything but {ANSWERS}, and commit."
        )
    files = renamed(old.files, had, package)
    plan = Plan(recorded, str(answers.get("_commit")), commit, template, {}, {}, after)
    for name in sorted({*files, *after.files}):
        plan.sides[name] = sides_of(files.get(name), mine(project, name), after.files.get(name))
    past = parsed(project.answers)
    moves = [name for name, new in MOVES.items() if answers.get(name) == new != past.get(name)]
    if [name for name, new in MOVES.items() if answers.get(name, new) != new]:
        gained = {"container", "docs"} & (features(answers) - features(past))
        if gained:
            what = " and ".join(sorted(gained))
            raise StopError(f"the template no longer has {what} for what this project keeps.")
    if options.refresh:
        look_back(project, plan, old, list(renders_before(project, template, package, work)))
    for name in moves:
        kind = str(answers.get("project_kind"))
        note = f"hooks/notes/{name}{'_library' if kind == 'library' else ''}.md"
        print(show(template, commit, note), file=sys.stderr)
        moves_whole(project, plan, name, kind, options.take)
    settle(project, plan, old, options, work)
    return plan


def features(answers: dict[str, object]) -> set[str]:
    """Return the chosen features."""
    chosen = answers.get("features")
    return {*map(str, chosen)} if isinstance(chosen, list) else set()


def look_back(project: Project, plan: Plan, old: Render, earlier: list[Tree]) -> None:
    """Treat files as unedited if an earlier version rendered them: updates have not touched them.

    This applies to the user's files, and to those that an older project keeps.
    """
    for name in sorted({*plan.sides, *(name for tree in earlier for name in tree)}):
        sides = plan.sides.get(name) or sides_of(None, mine(project, name), None)
        is_left = plan.after.is_seed(name) or old.is_seed(name) or old.is_excluded(name)
        if sides.mine in (sides.old, sides.new) or not is_left or obstacle(project, name):
            continue
        # The first render had it, so the user has deleted it, maybe before the first commit.
        if sides.mine is None and name in (earlier[-1] if earlier else old.files):
            continue
        if is_untouched(project, name, sides.mine, earlier):
            plan.sides[name] = Sides(sides.mine, sides.mine, sides.new, sides.crlf)


def moves_whole(project: Project, plan: Plan, name: str, kind: str, take: list[str]) -> None:
    """Refuse to replace code of an older kind if it has been edited: a mixture does not work.

    Args:
        project: The project.
        plan: The planned update.
        name: The answer that replaces the code.
        kind: The kind of project. A team's own files in a library or pipeline stay and still work;
            a plugin's code is all about blocks, which get other names.
        take: Files to take from the template.
    """
    code = ("src/", "tests/")
    none = Sides(None, None, None)
    edited = [
        path
        for path in sorted({*plan.sides, *project.tracked})
        for sides in [plan.sides.get(path, none)]
        if path.startswith(code)
        if sides is none or sides.mine not in (sides.old, sides.new)
    ]
    if kind == "library":
        keep_used(project, plan, edited)
        edited = [path for path in edited if is_in_the_way(plan, path)]
    elif kind == "pipeline":
        for path in edited:
            if (known := plan.sides.get(path)) and lists_only(known):  # as good as unedited
                plan.sides[path] = Sides(known.mine, known.mine, known.new, known.crlf)
        edited = [path for path in edited if prevents_dlt(project, plan, path)]
    if edited := [path for path in edited if path not in take]:
        remedy = "" if kind == "plugin" else "take the template's by --take FILE (git has yours), "
        if kind == "pipeline" and [path for path in edited if not mine(project, path)]:
            remedy += "leave the example's with -d example=false too, "
        raise StopError(
            f"{name}={MOVES[name]} replaces the template's files in src/ and tests/, and these "
            f"of them are yours, edited or deleted: {', '.join(edited)}. Keep them as they are, "
            f"{remedy}or make a new project beside this one and move them there."
        )


def is_in_the_way(plan: Plan, path: str) -> bool:
    """Return whether an edit prevents replacing a library's code; others are merged or stay."""
    sides = plan.sides.get(path)
    if not sides or not path.endswith(".py"):
        return False
    return plan.after.is_seed(path) or not (sides.mine and sides.new)


def prevents_dlt(project: Project, plan: Plan, path: str) -> bool:
    """Return whether an edit of a pipeline's code prevents the change of the engine.

    The list of tables and SQL work with both engines. So does a team's own module, if what it uses
    of the template's modules still exists.
    """
    if not path.endswith(".py"):
        return False
    if path in plan.sides and not path.endswith("/flows/tables.py"):
        return not lists_only(plan.sides[path])
    user = mine(project, path)
    try:
        used = uses(ast.parse(user.data if user else b""), path)
    except (SyntaxError, ValueError):
        return True
    modules = {dotted(name): sides for name, sides in plan.sides.items() if name.endswith(".py")}
    own = {dotted(name) for name in project.tracked if name not in plan.sides}
    for name in used:
        module = name
        while module and module not in modules.keys() | own:
            module = module.rpartition(".")[0]
        if not module or module in own:
            continue
        new = modules[module].new
        member = name.removeprefix(module).lstrip(".").partition(".")[0]
        if not new or (member and not re.search(rb"\b%s\b" % member.encode(), new.data)):
            return True
    return False


def lists_only(sides: Sides) -> bool:
    """Return whether a module only differs in its list of derived tables, which `sql/` replaces."""
    listed = rb"(?ms)^DERIVED_TABLES\b.*?\)\n"
    texts = [re.sub(listed, b"", file.data, count=1) for file in (sides.old, sides.mine) if file]
    return len(texts) == 2 and texts[0] == texts[1] and sides.new is not None


def dotted(path: str) -> str:
    """Return the name by which a file of `src/` or `tests/` is imported."""
    path = path.removesuffix(".py").removesuffix("/__init__")
    return path.removeprefix("src/").removeprefix("tests/").replace("/", ".")


def uses(tree: ast.Module, path: str) -> set[str]:
    """Return what a module imports, and the members of it that it uses, as dotted names."""
    folder = path.removeprefix("src/").split("/")
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {name.asname or name.name: name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = folder[: -node.level] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            known |= {name.asname or name.name: f"{module}.{name.name}" for name in node.names}
    members = {
        f"{known[node.value.id]}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in known
    }
    return {*known.values(), *members}


def keep_used(project: Project, plan: Plan, edited: list[str]) -> None:
    """Keep plumbing that the template has removed but a team's own files import."""
    files = [mine(project, path) for path in edited if path.endswith(".py")]
    code = b"\n".join(file.data for file in files if file)
    for path, sides in plan.sides.items():
        is_plumbing = "/common/" in path or path.startswith("tests/")
        if is_plumbing and sides.new is None and not plan.after.is_seed(path):
            used = rb"(?m)^\s*(from|import) .*\b%s\b" % re.escape(Path(path).stem).encode()
            if re.search(used, code):
                plan.sides[path] = Sides(sides.mine, sides.mine, sides.mine, sides.crlf)


def settle(
    project: Project, plan: Plan, old: Render, options: argparse.Namespace, work: Path
) -> None:
    """Decide the outcome for each file, and prove that no edit is lost."""
    plan.files.clear()
    for name, sides in plan.sides.items():
        seed = plan.after.is_seed(name) or (sides.new is None and old.is_seed(name))
        if (why := obstacle(project, name)) and not makes_room(project, plan, name):
            if name == ANSWERS:
                raise StopError(f"{name} {why}: make it a regular file.")
            if name in options.take:
                raise StopError(f"{name} {why}, so --take cannot write it.")
            kept = options.refresh is False if seed else plan.after.is_excluded(name)
            if sides.new != sides.old and not kept:
                plan.files[name] = Outcome(LEFT, None, why)
            continue
        outcome = decide(name, sides, plan.after, seed, options, work)
        if name == ANSWERS and outcome and outcome.kind == LEFT:
            raise StopError(f"{name} is no plain text: make it a regular file.")
        if unproven(name, sides, outcome, seed, plan):
            raise StopError(f"{name}: the merge cannot be shown to hold every edit.", FAILED)
        if outcome:
            plan.files[name] = outcome
    endangered = [
        name
        for name, outcome in plan.files.items()
        if will_write(outcome, plan.sides[name]) and not is_saved(project, name, plan.sides[name])
    ]
    if endangered:
        raise StopError(
            f"git does not have {len(endangered)} of its files, first {endangered[0]}: rename it, "
            "or git add --force it (git sparse-checkout add its folder if it is not checked out, "
            "git update-index --no-assume-unchanged if git was told to assume so).",
            UNSAVED,
        )


def makes_room(project: Project, plan: Plan, name: str) -> bool:
    """Return whether everything in a file's place is the template's, unedited and removed."""
    path, blocking = project.folder / name, []
    if path.is_dir() and not path.is_symlink():
        blocking = [one for one in path.rglob("*") if not one.is_dir() or one.is_symlink()]
    parents = [project.folder / parent for parent in Path(name).parents[:-1]]
    blocking += [one for one in parents if one.is_symlink() or one.is_file()]
    sides = [plan.sides.get(one.relative_to(project.folder).as_posix()) for one in blocking]
    return bool(sides) and all(
        one and one.mine and one.new is None and one.mine == one.old for one in sides
    )


def will_write(outcome: Outcome, sides: Sides) -> bool:
    """Return whether an outcome changes the file."""
    return outcome.result != sides.mine


def is_saved(project: Project, name: str, sides: Sides) -> bool:
    """Return whether the user's text can be restored from git or from the template."""
    if name in project.tracked:
        return project.tracked[name][2]
    return sides.mine in (sides.old, None)


def renders_before(project: Project, template: Path, package: str, work: Path) -> Iterator[Tree]:
    """Render the project's earlier answers from git's history."""
    known = {project.answers}
    for commit in asked(project.folder, "log", "-n", "20", "--format=%H", "--", ANSWERS).split():
        with suppress(StopError):
            answers = git(project.folder, "show", f"{commit}:./{ANSWERS}")
            if answers not in known:
                known.add(answers)
                files = render_old(template, answers, work / f"at-{commit}").files
                yield renamed(files, str(parsed(answers).get("package_name") or ""), package)


def is_untouched(project: Project, name: str, user: File | None, earlier: list[Tree]) -> bool:
    """Return whether some version rendered a seeded file like this, or it never existed."""
    if user is None:
        return not asked(project.folder, "log", "-n", "1", "--format=%H", "--", name)
    return any(sides_of(tree.get(name), user, None).mine == tree.get(name) for tree in earlier)


# -- Applying ----------------------------------------------------------------------------------


def written(plan: Plan) -> Iterator[tuple[str, File | None]]:
    """Yield the files that the update writes, as they are on disk: removals first."""
    found = [
        (name, outcome.result)
        for name, outcome in plan.files.items()
        if will_write(outcome, plan.sides[name])
    ]
    for name, file in sorted(found, key=lambda item: item[1] is not None):
        if file and plan.sides[name].crlf and file.is_text:
            yield name, File(file.data.replace(b"\n", b"\r\n"), file.mode)
        else:
            yield name, file


def check_unchanged(name: str, now: File | None, before: File | None) -> None:
    """Refuse to continue if a file has changed meanwhile."""
    if now != before:
        raise StopError(f"{name} changed in the meantime: commit it, and run this again.")


def apply(project: Project, plan: Plan) -> None:
    """Write the result; if that fails half-way, restore everything."""
    done: list[tuple[str, File | None]] = []
    try:
        for name, file in written(plan):
            before = read(project.folder / name)
            known = mine(project, name)
            user = sides_of(plan.sides[name].old, known, plan.sides[name].new).mine
            check_unchanged(name, user, plan.sides[name].mine)
            done.append((name, before))
            put(project.folder, name, file)
        mark_conflicts(project, plan)
    except BaseException as error:
        # A second signal would leave a partial update.
        handlers = {one: signal.signal(one, signal.SIG_IGN) for one in interruptions()}
        try:
            left = take_back(project, done)
        finally:
            for one, handler in handlers.items():
                signal.signal(one, handler)
        said = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        if left:
            said = f"{said}; {len(left)} files are not as they were, first {left[0]}"
            back = "git restore --source=HEAD --staged --worktree ."
            raise StopError(f"{said}; go back by: {back}", FAILED) from error
        if isinstance(error, (OSError, KeyboardInterrupt)):
            raise StopError(f"{said}; everything is as it was.", FAILED) from error
        raise


def interruptions() -> list[signal.Signals]:
    """Return the signals that ask to stop: from the keyboard, a job, a closed terminal."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [signal.Signals[name] for name in names if name in signal.Signals.__members__]


def take_back(project: Project, done: list[tuple[str, File | None]]) -> list[str]:
    """Restore files, removing new ones first for space; return those that failed."""
    left = sorted(done, key=lambda item: item[1] is not None)
    while left:
        failed = []
        for name, file in left:
            try:
                if read(project.folder / name) != file:
                    put(project.folder, name, file)
            except OSError:
                failed.append((name, file))
        if len(failed) == len(left):
            break
        left = failed
    return [name for name, _ in left]


def mark_conflicts(project: Project, plan: Plan) -> None:
    """Record conflicts in git's index, with the three versions, as a merge does."""
    listed = []
    for name, outcome in plan.files.items():
        if outcome.kind != CONFLICT or name not in project.tracked:
            continue
        sides, path = plan.sides[name], project.prefix + name
        mode, sha, _ = project.tracked[name]
        listed += [f"0 {'0' * len(sha)}\t{path}", f"{mode} {sha} 2\t{path}"]
        for stage, file in ((1, sides.old), (3, sides.new)):
            if file:
                words = ("hash-object", "-w", "--stdin")
                one = git(project.top, *words, data=file.data).decode().strip()
                listed.append(f"{file.mode} {one} {stage}\t{path}")
    if listed:
        data = os.fsencode("".join(f"{line}\0" for line in listed))
        git(project.top, "update-index", "-z", "--index-info", data=data)


# -- What comes with an update -----------------------------------------------------------------


@dataclass
class Report:
    """The result for a project."""

    project: str
    status: str = FAILED
    word: str = ""
    branch: str = ""
    old: str = ""
    new: str = ""
    files: dict[str, list[str]] = field(default_factory=dict)
    """Path to what became of the file, and a note."""
    left: list[str] = field(default_factory=list)
    diff: str = ""
    written: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether the user need not look at it."""
        return self.status in GOOD and not self.left


def shell(cwd: Path, *command: str) -> tuple[int, str]:
    """Run a command as the user would; return its exit code and output."""
    env = {name: text for name, text in USERS.items() if name not in ELSEWHERE}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**env, "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        return 127, str(error)
    return done.returncode, done.stdout.decode(errors="replace")


def lock(project: Project, report: Report, changed: Iterable[str]) -> None:
    """Bring uv.lock up to date with pyproject.toml."""
    if "pyproject.toml" in changed and (project.folder / "uv.lock").is_file():
        code, printed = shell(project.folder, "uv", "lock")
        if code:
            report.left.append(f"uv.lock: does not fit ({reason(printed)}); run: uv lock")


def migrate(
    project: Project, report: Report, plan_: tuple[Path, str], work: Path, run: bool
) -> None:
    """Run or list the migrations of a version that the project needs."""
    template, commit = plan_
    listed = asked(template, "ls-tree", "--name-only", commit, "hooks/migrations/").splitlines()
    for name in (name for name in listed if name.endswith(".py")):
        script = work / Path(name).name
        script.write_text(show(template, commit, name), encoding="utf-8")
        check = (sys.executable, str(script), "--check", str(project.folder))
        needed = shell(project.folder, *check)[0]
        if needed and run:
            shell(project.folder, sys.executable, str(script), str(project.folder))
            needed = shell(project.folder, *check)[0]
        if needed:
            report.left.append(f"{script.name}: is needed; run this again with --migrate")


def hidden(project: Project, after: Render) -> list[str]:
    """Return the user's modules that a package of the template hides."""
    packages = {name.removesuffix("/__init__.py") for name in after.files if "/__init__" in name}
    modules = sorted(f"{name}.py" for name in packages)
    return [
        f"{name}: hidden by the template's package of that name; move it"
        for name in modules
        if name not in after.files and (project.folder / name).is_file()
    ]


def rehearse(project: Project, plan: Plan, work: Path) -> None:
    """Run the project's checks on the result in a worktree."""
    tree = work / "rehearsal"
    git(project.top, "worktree", "add", "--quiet", "--detach", tree, "HEAD", checkout=True)
    try:
        folder = tree / project.prefix
        for name, file in written(plan):
            put(folder, name, file)
        who = ("-c", "user.name=Update", "-c", "user.email=", "-c", "commit.gpgSign=false")
        git(folder, "add", "--all", "--", ".", checkout=True)
        words = ("commit", "--quiet", "--no-verify", "--allow-empty", "-m", "Rehearsal")
        git(folder, *who, *words)
        for words in CHECKS:
            start = () if words.startswith("uv ") else ("uv", "run", "--no-sync")
            print(f"$ {words}", file=sys.stderr, flush=True)
            code, printed = shell(folder, *start, *words.split())
            if code:
                print(printed, file=sys.stderr)
                raise StopError(f"nothing is changed: the result fails its check: {words}", FAILED)
    finally:
        git(project.top, "worktree", "remove", "--force", tree)


def commit(project: Project, version: str) -> None:
    """Commit an update, as the user."""
    message = f"Update the project template to {version}"
    for words in (["add", "--all"], ["commit", "--quiet", "--message", message]):
        code, printed = shell(project.folder, "git", *words, "--", ".")
        if code:
            said = reason(printed)
            checks = "its own checks refuse the commit" if "Failed" in said else "not committed"
            staged = "" if words[0] == "add" else "; the changes are staged"
            raise StopError(f"updated, but {checks}: {said}{staged}", FAILED)


# -- After `copier update` ---------------------------------------------------------------------


def span(project: Project, version: str) -> tuple[str, str] | None:
    """Return the commits before and after an update; '' for the second if it is not committed."""

    def answers(commit: str) -> bytes:
        with suppress(StopError):
            return git(project.folder, "show", f"{commit}:./{ANSWERS}")
        return b""

    def fits(before: bytes, now: bytes) -> bool:
        return bool(before) and before != now and version in {"", parsed(before).get("_commit")}

    if fits(answers("HEAD"), project.answers):
        return "HEAD", ""
    commits = asked(project.folder, "log", "-n", "50", "--format=%H", "--", ANSWERS).split()
    for one in commits:
        if fits(answers(f"{one}^"), answers(one)):
            return f"{one}^", one
    if version:
        raise StopError(f"no update from {version} is in git's history of {ANSWERS}.", FAILED)
    if asked(project.folder, "rev-parse", "--is-shallow-repository") == "true":
        raise StopError("git's history is cut off here: git fetch --unshallow first.", FAILED)
    return None


def at_commit(project: Project, revision: str) -> Tree:
    """Read the project's files at a commit."""
    listed = git(project.folder, "ls-tree", "-r", "-z", revision).split(b"\0")[:-1]
    entries = [(*line.split(b"\t", 1)[0].split(), line.split(b"\t", 1)[1]) for line in listed]
    blobs = [(mode, sha, name) for mode, kind, sha, name in entries if kind == b"blob"]
    printed = git(
        project.folder, "cat-file", "--batch", data=b"".join(sha + b"\n" for _, sha, _ in blobs)
    )
    found, place = {}, 0
    for mode, _, name in blobs:
        start = printed.index(b"\n", place) + 1
        end = start + int(printed[place:start].split()[2])
        found[os.fsdecode(name)] = File(printed[start:end], mode.decode())
        place = end + 1
    return found


def verify(project: Project, options: argparse.Namespace, work: Path, report: Report) -> None:
    """Compare a finished update with both renders and the user's commit."""
    template = clone(project, work)
    now = commit_of(template, project.recorded("_commit"))
    found = span(project, options.old)
    names: Iterable[str] = ()
    if found:
        before, after = found
        answers = [git(project.folder, "show", f"{before}:./{ANSWERS}"), project.answers]
        if after:
            answers[1] = git(project.folder, "show", f"{after}:./{ANSWERS}")
        packages = [str(parsed(text).get("package_name") or "") for text in answers]
        report.old = str(parsed(answers[0]).get("_commit"))
        if not parsed(answers[0]).get("_commit"):
            raise StopError(
                f"{ANSWERS} had no _commit at {before}: put it back there first.", FAILED
            )
        old = render_old(template, answers[0], work / "old")
        new = render_old(template, answers[1], work / "new")
        files, user = renamed(old.files, *packages), at_commit(project, before)
        result = at_commit(project, after) if after else None
        plan = Plan(report.old, report.new, now, template, {}, {}, new)
        for name in sorted({*files, *new.files} - {ANSWERS}):
            sides = sides_of(files.get(name), user.get(name), new.files.get(name))
            made = result.get(name) if result is not None else mine(project, name)
            made = sides_of(sides.old, made, sides.new).mine
            plan.sides[name] = sides
            seed = new.is_seed(name) or (sides.new is None and old.is_seed(name))
            compare(name, sides, made, seed, plan, report, before, work)
            here = mine(project, name)
            if not (here and BEFORE in here.data) and (why := broken(name, sides.mine, here)):
                report.left.append(f"{name}: {why}; edit it")
        names = plan.sides
        report.left += hidden(project, new)
    report.left[:0] = leftovers(project, names)
    locked = (project.folder / "uv.lock").is_file() and shutil.which("uv", path=USERS.get("PATH"))
    if locked and shell(project.folder, "uv", "lock", "--check")[0]:
        report.left.append("uv.lock: does not fit pyproject.toml; run: uv lock")
    migrate(project, report, (template, now), work, options.migrate and not options.dry_run)
    report.status = FAILED if report.left else NOTHING
    report.word = f"{len(report.left)} left to do" if report.left else "no edit is lost"


def compare(
    name: str, sides: Sides, made: File | None, seed: bool, plan: Plan, report: Report,
    before: str, work: Path,
) -> None:  # fmt: skip
    """Compare one file of a finished update with its expected content."""
    unwanted = made is None and (sides.mine or (seed and sides.old))
    if sides.old != sides.new != made and not unwanted:
        note = "the template's changed" if sides.old else "new in the template"
        missing = seed or made == sides.mine
        if missing and not (sides.new is None and plan.after.is_excluded(name)):
            report.files[name] = [OFFERED if seed and made == sides.old else YOURS, note]
            report.diff += difference(name, sides.old, sides.new)
    if made == sides.mine or (seed and made in (sides.old, sides.new)):
        return
    resolved = made and made.is_text and BEFORE not in made.data
    texts = [file for file in (sides.old, sides.mine, sides.new) if file]
    if resolved and sides.mine and sides.new and all(file.is_text for file in texts):
        resolved = merge(name, sides, sides.mine, sides.new, work).kind == CONFLICT
        if resolved:
            return
    if unproven(name, sides, Outcome(MERGED, made), seed, plan):
        back = shlex.join(["git", "checkout", before, "--", name])
        report.left.append(f"{name}: an edit of yours is lost; see git diff, go back by: {back}")


def leftovers(project: Project, names: Iterable[str]) -> list[str]:
    """Return what is left to do by hand: conflicts, and changes that Copier has rejected."""
    folder = project.folder
    listed = os.fsdecode(git(folder, "ls-files", "-z", "--unmerged")).split("\0")[:-1]
    unmerged = {line.split("\t", 1)[1] for line in listed}
    pattern = f"^(<*{BEFORE.decode()}|>*{AFTER.decode()})"
    marked = asked(folder, "grep", "-lE", "--untracked", pattern).splitlines()
    todo = [f"{name}: has conflict markers; edit it, then: git add {name}" for name in marked]
    todo += [
        f"{name}: is marked as a conflict; when it is right: git add {name}"
        for name in sorted(unmerged - set(marked))
    ]
    return todo + [
        f"{name}.rej: what could not be merged; apply it by hand, then: rm {name}.rej"
        for name in names
        if (folder / f"{name}.rej").is_file() and f"{name}.rej" not in project.tracked
    ]


# -- One project, and many ---------------------------------------------------------------------


def update(folder: Path, options: argparse.Namespace, work: Path) -> Report:
    """Update one project."""
    report = Report(str(folder))
    with tempfile.TemporaryDirectory(dir=work) as name:
        try:
            project = find(folder)
            report.branch = project.branch
            report.old = report.new = project.recorded("_commit")
            if options.verify:
                verify(project, options, Path(name), report)
            else:
                look(project, options)
                carry_out(project, options, work, Path(name), report)
        except StopError as stop:
            report.status, report.word = stop.status, str(stop)
        except Exception as error:  # the fleet's other projects continue
            report.status, report.word = FAILED, f"{type(error).__name__}: {error}"
        except KeyboardInterrupt:
            report.status, report.word = FAILED, "interrupted: see its git status"
    return report


def carry_out(
    project: Project, options: argparse.Namespace, work: Path, own: Path, report: Report
) -> None:
    """Plan one update, then apply it."""
    template = clone(project, work)
    plan = prepare(project, options, own, template)
    offered = [n for n, outcome in plan.files.items() if outcome.kind == OFFERED] if plan else []
    if plan and offered and options.ask:
        question = f"Refresh {len(offered)} of your files that nobody has edited? [y/N] "
        answer = ""
        with suppress(EOFError):
            answer = input(question)
        if answer.strip().lower() in {"y", "yes"}:
            refreshing = argparse.Namespace(**{**vars(options), "refresh": True})
            plan = prepare(project, refreshing, own / "again", template)
    if not plan:
        report.status, report.word = NOTHING, report.old
        if not options.dry_run:
            current = (template, commit_of(template, report.old))
            migrate(project, report, current, own, options.migrate)
        return
    report.new = plan.new
    report.files = {name: [outcome.kind, outcome.note] for name, outcome in plan.files.items()}
    writes = dict(written(plan))
    conflicts = [name for name, outcome in plan.files.items() if outcome.kind == CONFLICT]
    report.diff = shown(plan)
    report.status, report.word = UPDATED, f"{plan.old} -> {plan.new}"
    if conflicts:
        report.status, report.word = CONFLICTS, f"{len(conflicts)} files: {', '.join(conflicts)}"
        report.left += [
            f"{name}: {plan.files[name].note}; edit it, then: git add {name}" for name in conflicts
        ]
    elif not writes:
        report.status, report.word = NOTHING, report.old
    if options.run_tests and writes and not conflicts:
        rehearse(project, plan, own)
    if options.dry_run:
        report.status = WOULD if report.status == UPDATED else report.status
        return
    report.written = [*writes]
    report.created = [n for n, file in writes.items() if file and not read(project.folder / n)]
    try:
        apply(project, plan)
    except StopError:
        report.files, report.left, report.created = {}, [], []
        raise
    if others := sorted({*changes(project)} - {*writes}):
        report.left.append(f"{others[0]}: changed in the meantime, not by this update")
    report.left += hidden(project, plan.after)
    if not conflicts:
        lock(project, report, writes)
    migrate(project, report, (template, plan.commit), own, options.migrate)
    if options.commit and report.status == UPDATED:
        commit(project, plan.new)
        words = ("ls-files", "--others", "--ignored", "--exclude-standard", "--", *report.created)
        ignored = asked(project.folder, *words).splitlines() if report.created else []
        report.left += [f"{name}: git ignores it, so it is not committed" for name in ignored]


def shown(plan: Plan) -> str:
    """Return the diff of an update, and of changes that the user's files lack."""
    told = ""
    for name, outcome in plan.files.items():
        sides = plan.sides[name]
        if will_write(outcome, sides):
            told += difference(name, sides.mine, outcome.result)
    for name, outcome in plan.files.items():
        sides = plan.sides[name]
        if outcome.kind in {YOURS, OFFERED, LEFT}:
            told += f"\n# {name} ({outcome.kind}), not written: what the template changed\n"
            told += difference(name, sides.old, sides.new)
    return told


def projects(given: list[Path]) -> list[Path]:
    """Return the folders in the arguments: folders, and files that list folders."""
    found: dict[Path, None] = {}
    for path in given:
        if path.is_file():
            for line in path.read_text(encoding="utf-8-sig").splitlines():
                # "#" begins a comment only after a space, because names may contain it.
                if name := re.sub(r"(^|\s)#.*", "", line).strip():
                    found[(path.parent / Path(name).expanduser()).resolve()] = None
        else:
            found[path.resolve()] = None
    return list(found)


def tell(report: Report, options: argparse.Namespace) -> None:
    """Print the result for one project, file by file, and what to do next."""
    if options.dry_run or options.verify:
        print(report.diff)
    print(f"{report.project} (branch {report.branch or '-'}): {report.status}, {report.word}")
    for kind in (CLEAN, MERGED, REFRESHED, CONFLICT, LEFT, OFFERED, YOURS):
        names = [name for name, (is_kind, _) in report.files.items() if is_kind == kind]
        for number, name in enumerate(names):
            note = report.files[name][1]
            print(f"  {kind if not number else '':16}  {name}{f'  ({note})' if note else ''}")
    kinds = {kind for kind, _ in report.files.values()}
    if OFFERED in kinds:
        print("To refresh the files that nobody has edited: --refresh")
    if kinds & {YOURS, LEFT}:
        print("To see what the template changed in your files: --dry-run")
    if any(kind in {YOURS, LEFT} and DROPPED not in note for kind, note in report.files.values()):
        print("To replace one of them with the template's: --take FILE")
    if report.left:
        print("Left to do:")
    for item in report.left:
        print(f"  {item}")
    if "pyproject.toml" in report.written and not options.dry_run:
        print("Next: uv sync")
    committed = options.commit and report.status == UPDATED
    if not options.dry_run and report.status in {UPDATED, CONFLICTS} and not committed:
        print(f"See it: git diff. Go back: {way_back(report)}")


def way_back(report: Report) -> str:
    """Return the command that undoes an update; it works in any folder."""
    folder = Path(report.project)
    here = folder == Path.cwd()
    git_ = "git" if here else f"git -C {shlex.quote(report.project)}"
    listed = asked(folder, "ls-files", "-v").splitlines()
    # The command would also undo edits of files that git is told to ignore.
    hidden_ = [line[2:] for line in listed if line[0].islower()]
    what = [name for name in report.written if name not in report.created] if hidden_ else ["."]
    words = [f"{git_} restore --source=HEAD --staged --worktree {shlex.join(what)}"] if what else []
    if report.created:
        made = [name if here else str(folder / name) for name in report.created]
        words.append(f"rm {shlex.join(made)}")
    return " && ".join(words)


def summary(reports: list[Report]) -> None:
    """Print one line for each project, and the count of each status."""
    width = max(len(report.project) for report in reports)
    print()
    for report in reports:
        word = "; ".join([report.word, *(report.left if report.status != CONFLICTS else ())])
        print(f"{report.project:{width}}  {report.status:{len(DIRTY)}}  {word}")
    counts = Counter(report.status for report in reports)
    print()
    print(", ".join(f"{status}: {count}" for status, count in counts.items()))


def deaf(users: dict[str, str]) -> None:
    """Ignore interrupts in a worker process, so that it finishes its update after Ctrl-C."""
    for one in interruptions():
        signal.signal(one, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    USERS.clear()
    USERS.update(users)


def run_several(
    found: list[Path],
    options: argparse.Namespace,
    work: Path,
    take: Callable[[Path, Report], None],
) -> None:
    """Update several projects at a time; after an interruption, finish those in progress."""
    stopped: list[int] = []
    handlers = {
        one: signal.signal(one, lambda number, _: stopped.append(number)) for one in interruptions()
    }
    try:
        with ProcessPoolExecutor(options.jobs, initializer=deaf, initargs=(dict(USERS),)) as pool:
            rest, running = list(found), {}
            while running or (rest and not stopped):
                # Submit only as many as run at once: queued ones cannot be cancelled.
                while rest and len(running) < options.jobs and not stopped:
                    folder = rest.pop(0)
                    running[pool.submit(update, folder, options, work)] = folder
                # Python handles signals between two waits.
                for done in wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done:
                    take(running.pop(done), done.result())
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)
    if stopped:
        raise KeyboardInterrupt


def run_all(found: list[Path], options: argparse.Namespace, work: Path) -> list[Report]:
    """Update the projects; the result has all of them, even after an interruption."""
    reports = {one: Report(str(one), FAILED, "interrupted: not reached") for one in found}

    def take(folder: Path, report: Report) -> None:
        reports[folder] = report
        if len(found) > 1:
            print(f"{folder}: {report.status}", file=sys.stderr, flush=True)

    try:
        if options.jobs == 1 or len(found) == 1:
            for folder in found:
                take(folder, update(folder, options, work))
                if reports[folder].word.startswith("interrupted"):
                    break
            return list(reports.values())
        for folder in found:  # clone each template once, before the processes start
            with suppress(StopError, OSError):
                clone(find(folder), work)
        run_several(found, options, work, take)
    except (KeyboardInterrupt, BrokenExecutor) as error:
        print(f"ended early: {error or 'interrupted'}", file=sys.stderr)
    return list(reports.values())


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Update projects made from this template without losing an edit.",
        epilog="Exit code: 0 nothing is left to do, 1 something is left or refused, 2 wrong usage.",
    )
    add = parser.add_argument
    where = "folders, or files with one folder a line (default: .)"
    add("projects", nargs="*", type=Path, default=[Path()], help=where)
    add("-r", "--vcs-ref", dest="ref", default="", help="version, or :current: (default: newest)")
    answer = "change an answer; implies --refresh"
    add("-d", "--data", action="append", default=[], metavar="NAME=VALUE", help=answer)
    for name, action in (
        ("--refresh", "also update your files that nobody has edited"),
        ("--dry-run", "change nothing, show the verdicts and the diff"),
        ("--run-tests", "run the project's checks on the result first"),
        ("--migrate", "run the migrations that are needed"),
        ("--commit", "commit an update without conflicts"),
        ("--verify", "check that a finished update has lost no edit"),
        ("--json", "print the reports as JSON"),
    ):
        add(name, action="store_true", help=action)
    take = "replace your file with the template's"
    add("--take", action="append", default=[], metavar="FILE", help=take)
    add("--branch", default="", help="the branch to commit on (default: the repository's default)")
    before = "with --verify: the version before the update"
    add("--from", dest="old", default="", metavar="VERSION", help=before)
    add("--jobs", type=int, default=1, metavar="N", help="update N projects at a time")
    return parser


def main() -> int:
    """Update each project; return 1 if the user has to look at one."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = arguments()
    options = parser.parse_args()
    if shutil.which("git") is None:
        parser.error("git is not installed: install it first.")
    if options.jobs < 1:
        parser.error("--jobs takes 1 or more.")
    try:
        found = projects(options.projects)
    except (OSError, UnicodeError, RuntimeError) as error:
        parser.error(f"the list of projects cannot be read: {error}")
    if not found:
        parser.error("the list names no project.")
    if len(found) == 1 and not (found[0] / ANSWERS).is_file():
        parser.error(f"{found[0]} holds no {ANSWERS}: give a folder made by `copier copy`.")
    if wrong := [words for words in options.data if "=" not in words]:
        parser.error(f"-d {wrong[0]}: give it as NAME=VALUE.")
    if wrong := [words for words in options.data if words.startswith("_")]:
        parser.error(f"-d {wrong[0]}: that is a setting of Copier, not an answer.")
    if options.old and not options.verify:
        parser.error("--from needs --verify.")
    options.take = [Path(os.path.normpath(name)).as_posix() for name in options.take]
    options.refresh = options.refresh or bool(options.data)
    quiet = options.json or options.dry_run or options.refresh or len(found) > 1
    options.ask = sys.stdin.isatty() and not quiet
    with tempfile.TemporaryDirectory(prefix="update-") as name:
        env = neutral(Path(name))
        os.environ.clear()
        os.environ.update(env)
        for one in interruptions():
            signal.signal(one, signal.default_int_handler)
        reports = run_all(found, options, Path(name))
    if options.json:
        print(json.dumps([asdict(report) for report in reports], indent=2))
    elif len(found) == 1:
        tell(reports[0], options)
    else:
        summary(reports)
    return 0 if all(report.is_good for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
