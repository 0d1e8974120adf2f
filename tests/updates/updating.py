"""A template repository with all releases, and projects created from it.

The releases come from `tests/releases.bundle`, which contains only the template's content, so these
tests need no tags and no history of the checkout. The work tree is release `v999.0.0`. Variants of
it (`v999.1.0` and so on) are created when needed.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import copier
import pathspec
import projects
import yaml
from answer_sets import HEAVY
from projects import KINDS as KINDS
from projects import choices, questions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    TemplateEdit = Callable[[Path], None]

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "tests" / "releases.bundle"
CONTENT = ("copier.yml", "includes", "template", "hooks")
"""What makes the template; everything else in this repository may change freely."""
CURRENT = "v999.0.0"
ANSWERS = ".copier-answers.yml"

Snapshot = dict[str, tuple[bool, bytes]]
"""Content of a project: path to (executable, bytes)."""


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command and capture its output.

    Args:
        *command: The command and its arguments.
        cwd: Folder to run in.
        check: Whether a failure fails the test, with the output as its message.

    Returns:
        The finished process.
    """
    done = projects.complete(
        command,
        projects.RUN_SECONDS,
        cwd=cwd,
        text=True,
        encoding="utf-8",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if check and done.returncode:
        message = f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        raise AssertionError(message)
    return done


def git(cwd: Path, *arguments: str | Path) -> str:
    """Run git and return its output, or fail the test."""
    return run("git", *arguments, cwd=cwd).stdout


def isolation(folder: Path) -> dict[str, str]:
    """Return an environment in which no setting of the user changes a result.

    Args:
        folder: A new folder for settings and caches.

    Returns:
        Variables to set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "settings.yml"
    settings.write_text("{}\n", encoding="utf-8")
    config = folder / "gitconfig"
    # A user's machine has an identity; Copier must not need it.
    config.write_text(
        "[user]\n\tname = Test User\n\temail = test@example.com\n[init]\n\tdefaultBranch = main\n",
        encoding="utf-8",
    )
    return {
        "COPIER_SETTINGS_PATH": str(settings),
        "COPIER_CACHE_DIR": str(folder / "cache"),
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        # The `copier` of this environment comes first.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


def release_tags() -> list[str]:
    """List the releases in the bundle, oldest first; none before the first release."""
    if not BUNDLE.exists():
        return []
    heads = git(ROOT, "bundle", "list-heads", BUNDLE).split()
    tags = {name.removeprefix("refs/tags/") for name in heads if name.startswith("refs/tags/v")}
    return sorted(tags, key=version)


def version(tag: str) -> tuple[int, ...]:
    """Return `v1.2.3` in a form that sorts."""
    return tuple(int(part) for part in tag.removeprefix("v").split("."))


@functools.cache
def settings() -> dict[str, Any]:
    """Read `copier.yml` of the work tree."""
    return dict(yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8")))


def seed_patterns() -> list[str]:
    """Return the patterns of files that an update does not touch."""
    return list(settings()["_skip_if_exists"])


KEPT = {
    "pipeline": ("engine", "own", "dlt"),
    "library": ("parts", "all", "chosen"),
    "plugin": ("parts", "all", "chosen"),
}
"""What tells projects of an older kind: an answer, its value for them, and for new ones."""


def kept_patterns() -> list[str]:
    """Return the patterns of files that a project of an older kind keeps."""
    return [line for line in settings()["_exclude"][1].splitlines() if line.startswith("/")]


def older(content: str, kind: str) -> dict[str, str]:
    """Return the recorded answer of older projects, for a release's `copier.yml`."""
    name, old, _ = KEPT.get(kind, ("project_kind", "", ""))
    asked = yaml.safe_load(content).get(name)
    return {} if asked and choices(asked, kind) else {name: old}


def newer(content: str, kind: str) -> dict[str, str]:
    """Return the answer that moves such projects to the current kind."""
    name, _, new = KEPT.get(kind, ("project_kind", "", ""))
    return {name: new} if older(content, kind) else {}


def snapshot(folder: Path) -> Snapshot:
    """Read a project without git's files and the answers file."""
    return {
        path.relative_to(folder).as_posix(): (os.access(path, os.X_OK), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and ".git" not in path.relative_to(folder).parts
        and path.relative_to(folder).as_posix() != ANSWERS
    }


def empty_folders(folder: Path) -> list[str]:
    """List empty folders, which git does not store."""
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_dir()
        and ".git" not in path.relative_to(folder).parts
        and not any(path.iterdir())
    ]


def unmerged(folder: Path) -> set[str]:
    """List files with conflicts in git's index, relative to the folder."""
    lines = git(folder, "ls-files", "-z", "--unmerged").split("\0")
    return {line.split("\t", 1)[1] for line in lines if line}


def answers(folder: Path) -> dict[str, Any]:
    """Read a project's answers."""
    return dict(yaml.safe_load((folder / ANSWERS).read_text(encoding="utf-8")))


def commit_all(folder: Path, message: str = "Work") -> None:
    """Commit everything in a folder, if there is anything."""
    git(folder, "add", "--all", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "--no-verify", "--message", message)


@dataclass
class TemplateRepository:
    """The template with its releases, and cached projects made from it.

    Args:
        folder: A new folder.
        bundle: The releases; none if the file does not exist.
    """

    folder: Path
    bundle: Path = BUNDLE
    _variants: dict[tuple[Any, ...], str] = field(default_factory=dict)
    _rendered: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Build the repository: the releases, then the work tree as the newest."""
        self.path = self.folder / "template"
        self.path.mkdir(parents=True)
        git(self.path, "init", "--quiet")
        if self.bundle.exists():
            git(self.path, "fetch", "--quiet", self.bundle, "refs/tags/*:refs/tags/*")
        for name in tracked_content():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        commit_all(self.path, "The work tree")
        self._tag(CURRENT)

    def _tag(self, tag: str) -> None:
        git(self.path, "tag", "--annotate", "--message", tag, tag)

    def file(self, ref: str, name: str) -> str:
        """Read a file of the template at a release."""
        return git(self.path, "show", f"{ref}:{name}")

    def variant(self, *edits: TemplateEdit, base: str = CURRENT) -> str:
        """Create a newer release of the template with the given edits.

        Args:
            *edits: Functions that change a checkout of the template.
            base: The release to edit.

        Returns:
            The new release's tag.
        """
        key = (base, *edits)
        if key not in self._variants:
            tag = f"v999.{len(self._variants) + 1}.0"
            git(self.path, "checkout", "--quiet", "--detach", base)
            for edit in edits:
                edit(self.path)
            commit_all(self.path, tag)
            self._tag(tag)
            self._variants[key] = tag
        return self._variants[key]

    def render(self, data: Mapping[str, Any], ref: str = CURRENT) -> Path:
        """Render a project once; do not change the folder, because it is shared.

        Args:
            data: Answers that differ from the defaults.
            ref: The release.

        Returns:
            The folder, committed to a git repository.
        """
        key = json.dumps([ref, dict(data)], sort_keys=True)
        if key not in self._rendered:
            target = self.folder / "rendered" / f"{len(self._rendered)}"
            copier.run_copy(
                str(self.path),
                target,
                data=dict(data),
                vcs_ref=ref,
                defaults=True,
                quiet=True,
                unsafe=False,
            )
            git(target, "init", "--quiet")
            commit_all(target, f"Generate from {ref}")
            self._rendered[key] = target
        return self._rendered[key]

    def project(self, data: Mapping[str, Any], target: Path, ref: str = CURRENT) -> Path:
        """Copy a cached render, to change it.

        Args:
            data: Answers that differ from the defaults.
            target: Folder for the project.
            ref: The release.

        Returns:
            The target.
        """
        shutil.copytree(self.render(data, ref), target, symlinks=True)
        # The copied files are newer than in the index: without this, git reads them each time.
        git(target, "status", "--porcelain")
        return target


def update(project: Path, data: Mapping[str, Any] | None = None, ref: str = CURRENT) -> None:
    """Update a project as `copier update --defaults` does, without trust.

    Args:
        project: Its folder, committed.
        data: Answers to change.
        ref: The release to update to.
    """
    copier.run_update(
        project,
        data=dict(data or {}),
        vcs_ref=ref,
        defaults=True,
        overwrite=True,
        quiet=True,
        unsafe=False,
    )


def tracked_content() -> list[str]:
    """List the template's files in the work tree, as a commit would have them."""
    listed = git(
        ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *CONTENT
    ).split("\0")
    return sorted(name for name in set(listed) if name and (ROOT / name).is_file())


# -- Where a file of a project comes from ------------------------------------------------


def destination(source: str, settings: Mapping[str, Any]) -> str:
    """Return the path in a project of a file under `template/`.

    Optional folders count as chosen.

    Args:
        source: Path below `template/`.
        settings: The document of `copier.yml`.

    Returns:
        The path, with `{package}` for the package's name.
    """
    parts = []
    for part in source.removesuffix(".jinja").split("/"):
        variable = re.fullmatch(r"\{\{ (\w+) \}\}", part)
        if part == "{{ _copier_conf.answers_file }}":
            name = ANSWERS
        elif variable and variable[1] != "package_name":
            literal = re.search(r"'([^']*)'", str(settings[variable[1]]["default"]))
            assert literal, f"{part} of {source} has no name to be switched on by"
            name = literal[1]
        else:
            name = part.replace("{{ package_name }}", "{package}")
        if name not in ("", "."):
            parts.append(name)
    return "/".join(parts)


def sources(template: Path, path: str) -> list[Path]:
    """Return the files of the template that become a file of a project.

    Args:
        template: A checkout of the template.
        path: The file in a project, with `{package}` for the package's name.

    Returns:
        One for each kind that has its own, otherwise one; empty without such a file.
    """
    settings = yaml.safe_load((template / "copier.yml").read_text(encoding="utf-8"))
    root = template / "template"
    return [
        file
        for file in sorted(root.rglob("*"))
        if file.is_file() and destination(file.relative_to(root).as_posix(), settings) == path
    ]


def is_seed(path: str, patterns: Iterable[str] | None = None) -> bool:
    """Return whether a file of a project is seeded, so the user's from the first commit."""
    lines = tuple(patterns) if patterns is not None else tuple(seed_patterns())
    return _spec(lines).match_file(path)


@functools.cache
def _spec(lines: tuple[str, ...]) -> pathspec.GitIgnoreSpec:
    return pathspec.GitIgnoreSpec.from_lines(lines)


def covering(content: str, kind: str) -> list[dict[str, Any]]:
    """Choose a few sets of answers that cover all choices of all questions.

    Args:
        content: The release's `copier.yml`.
        kind: The kind of project.

    Returns:
        The sets of answers; the last one has hostile text.
    """
    values: dict[str, list[Any]] = {}
    for name, details in questions(content).items():
        listed = choices(details, kind)
        if name == "project_kind" or not listed:
            continue
        if details.get("multiselect"):
            values[name] = [[], listed, *([one] for one in listed if one not in HEAVY)]
        else:
            values[name] = listed
    count = max(map(len, values.values()))
    rows = [
        {name: listed[row % len(listed)] for name, listed in values.items()} for row in range(count)
    ]
    return [{"project_kind": kind, **row} for row in [*rows, HOSTILE]]


HOSTILE = {
    "user_name": 'Ann "Q" O\'Neil 🚀',
    "project_description": 'C:\\new "x" {{ 7*7 }}',
}
"""Text that breaks a template which puts answers between quotes."""


@functools.cache
def release_copier_yml() -> dict[str, str]:
    """Read `copier.yml` of every release and, last, of the work tree.

    Parametrized tests need it before fixtures exist.

    Returns:
        The tag and the text.
    """
    texts = {}
    with tempfile.TemporaryDirectory() as folder:
        if BUNDLE.exists():
            git(ROOT, "clone", "--quiet", "--bare", BUNDLE, folder)
        for tag in release_tags():
            texts[tag] = git(Path(folder), "show", f"{tag}:copier.yml")
    return {**texts, CURRENT: (ROOT / "copier.yml").read_text(encoding="utf-8")}
