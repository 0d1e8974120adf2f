"""Makes Copier's repeated work in one process cheap, without a change of what it does.

An update renders three projects. For each, Copier clones the template six times with git's
commands, and parses `copier.yml` with PyYAML's slow parser. It compiles and renders each part of
each path again, and gathers all answers each time. It asks git for each file that it writes
whether file modes count, and for each folder whether it is a bundle. Hundreds of updates in one
process spend most of their time on that.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import copier._main
import copier._template
import copier._vcs
import jinja2.sandbox
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

OPTIONS = (
    *("block_start_string", "block_end_string", "variable_start_string", "variable_end_string"),
    *("comment_start_string", "comment_end_string", "line_statement_prefix"),
    *("line_comment_prefix", "newline_sequence"),
    *("trim_blocks", "lstrip_blocks", "keep_trailing_newline", "autoescape", "optimized"),
)
"""What the code made from a source depends on."""


def speed_up_copier(patch: pytest.MonkeyPatch, clones: Path) -> None:
    """Make the renders of this process quick.

    Args:
        patch: Takes the change back at the end.
        clones: A folder for clones of templates.
    """
    compile_once(patch)
    patch.setattr(yaml, "SafeLoader", yaml.CSafeLoader)
    share_clones(patch, clones)
    patch.setattr(copier._vcs, "is_git_bundle", is_git_bundle)
    ask_git_once(patch)
    gather_once(patch)


def compile_once(patch: pytest.MonkeyPatch) -> None:
    """Compile each Jinja source once.

    Args:
        patch: Takes the change back at the end.
    """
    compile_ = jinja2.sandbox.SandboxedEnvironment.compile
    compiled: dict[tuple[Any, ...], Any] = {}

    def compiled_before(
        self: jinja2.Environment,
        source: str | jinja2.nodes.Template,
        name: str | None = None,
        filename: str | None = None,
        **more: Any,
    ) -> Any:
        if not isinstance(source, str) or more:
            return compile_(self, source, name, filename, **more)
        options = tuple(getattr(self, option) for option in OPTIONS)
        key = (source, name, options, tuple(self.extensions), tuple(self.filters))
        if key not in compiled:
            compiled[key] = compile_(self, source, name, filename)
        return compiled[key]

    patch.setattr(jinja2.sandbox.SandboxedEnvironment, "compile", compiled_before)


CLONES = 12
"""How many clones are kept: most versions of a template serve one test."""


def share_clones(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Clone each commit of a template on this machine once; Copier only reads its clones.

    Args:
        patch: Takes the change back at the end.
        folder: Where the clones are kept.
    """
    clone = copier._template.clone
    kept: dict[tuple[str, ...], str] = {}

    def clone_once(url: str, ref: str = "HEAD", location: str | None = None) -> str:
        # HEAD may come with changes that are not committed.
        if ref == "HEAD" or not Path(url).is_dir():
            return clone(url, ref, location=location)
        # The commit, and the version that its tags give it.
        describe = ("git", "-C", url, "describe", "--tags", "--long", "--always", "--abbrev=40")
        words = [*describe, ref]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            return clone(url, ref, location=location)
        key = (url, done.stdout)
        if key not in kept:
            while len(kept) >= CLONES:
                shutil.rmtree(kept.pop(next(iter(kept))))
            folder.mkdir(exist_ok=True)
            kept[key] = clone(url, ref, location=tempfile.mkdtemp(dir=folder))
        kept[key] = kept.pop(key)
        return kept[key]

    patch.setattr(copier._template, "clone", clone_once)


def is_git_bundle(path: Path, *, ask: Callable[[Path], bool] = copier._vcs.is_git_bundle) -> bool:
    """Return whether a path is a git bundle; ask git only about files."""
    return not path.is_dir() and ask(path)


def ask_git_once(patch: pytest.MonkeyPatch) -> None:
    """Ask once for each project, not for each of its files, whether modes of files count.

    Args:
        patch: Takes the change back at the end.
    """
    render = copier._main.Worker._render_template
    sync = copier._main.Worker._sync_git_index_executable_bit
    counts = {"modes": False}

    def render_template(self: copier._main.Worker) -> None:
        folder = self.subproject.local_abspath
        while not folder.exists():
            folder = folder.parent
        words = ["git", "-C", str(folder), "config", "--type=bool", "--get", "core.fileMode"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        counts["modes"] = done.stdout.strip() != "false"
        render(self)

    def sync_unless_they_count(self: copier._main.Worker, *arguments: Any) -> None:
        if not counts["modes"]:
            sync(self, *arguments)

    patch.setattr(copier._main.Worker, "_render_template", render_template)
    patch.setattr(copier._main.Worker, "_sync_git_index_executable_bit", sync_unless_they_count)


def gather_once(patch: pytest.MonkeyPatch) -> None:
    """Gather the answers once for each project, and render only parts of paths with Jinja.

    Args:
        patch: Takes the change back at the end.
    """
    worker = copier._main.Worker
    render, string = worker._render_template, worker._render_string
    context, answers_file = worker._render_context, worker.answers_relpath
    # No answer changes while files are written.
    gathered: dict[int, tuple[dict[str, Any], Path]] = {}

    def render_template(self: copier._main.Worker) -> None:
        gathered[id(self)] = dict(context(self)), answers_file.fget(self)
        try:
            render(self)
        finally:
            del gathered[id(self)]

    def render_context(self: copier._main.Worker) -> dict[str, Any]:
        return gathered[id(self)][0] if id(self) in gathered else context(self)

    def answers_relpath(self: copier._main.Worker) -> Path:
        return gathered[id(self)][1] if id(self) in gathered else answers_file.fget(self)

    def render_string(self: copier._main.Worker, text: str, extra_context: Any = None) -> str:
        plain = id(self) in gathered and "{" not in text
        return text if plain else string(self, text, extra_context)

    patch.setattr(worker, "_render_template", render_template)
    patch.setattr(worker, "_render_context", render_context)
    patch.setattr(worker, "answers_relpath", property(answers_relpath))
    patch.setattr(worker, "_render_string", render_string)
