"""`hooks/update.py`: no edit is lost in any situation.

Most cases use a template with a few files, to show the result for one file at a time;
`tests/updates` updates projects of the real template.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import child_processes
import projects
import pytest

from hooks.conftest import HOOKS, NEW, OLD, Done, Run, append, commit

QUESTIONS = """\
_subdirectory: template
_exclude: ["{% if _copier_operation == 'update' %}/seeds{% endif %}"]
_skip_if_exists: [/seeds]
colour: {type: str, default: red}
part: {type: bool, default: true}
parts: {type: str, when: false, default: "{{ '.' if part else '' }}"}
"""
LETTERS = [f"{letter}\n" for letter in "abcdefghij"]
FILES = {
    "{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers | to_nice_yaml }}",
    "text.txt": "".join(LETTERS),
    "other.txt": "".join(LETTERS),
    "kept.txt": "the same\n",
    "docs/page.txt": "".join(LETTERS),
    "dropped.txt": "old\n",
    "script.sh": "#!/bin/sh\n",
    "image.bin": "\0one",
    "seeds/colour.txt.jinja": "{{ colour }}\n",
    "seeds/changed.txt": "one\n",
    "seeds/dropped.txt": "old\n",
    "{{ parts }}/seeds/part.txt": "part\n",
    "{{ parts }}/part.txt": "part\n",
}
"""The old release's files."""


def change(name: str) -> str:
    """Return a text of the new release: with one more line at the end."""
    return {"image.bin": "\0two", "seeds/changed.txt": "two\n"}.get(name, f"{FILES[name]}new\n")


@functools.cache
def update_module() -> ModuleType:
    """Import the script, for cases that no command can cause."""
    spec = importlib.util.spec_from_file_location("update", HOOKS / "update.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["update"] = module  # needed by dataclasses
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template of a few files with two releases; the second changes most of them."""
    folder = tmp_path_factory.mktemp("small") / "template"
    projects.run("git", "init", "-qb", "main", folder, cwd=folder.parents[0])

    def write(name: str, text: str) -> None:
        path = folder / "template" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    (folder / "copier.yml").write_text(QUESTIONS)
    for name, text in FILES.items():
        write(name, text)
    commit(folder, "One", OLD)
    for name in ("text.txt", "other.txt", "docs/page.txt", "image.bin", "seeds/changed.txt"):
        write(name, change(name))
    for name in ("dropped.txt", "seeds/dropped.txt"):
        (folder / "template" / name).unlink()
    (folder / "template/script.sh").chmod(0o755)
    write("added.txt", "added\n")
    write("seeds/added.txt", "added\n")
    commit(folder, "Two", NEW)
    return folder


@pytest.fixture(scope="session")
def made(small: Path, uvx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("made") / "project"
    projects.run(
        uvx, "copier", "copy", "-q", "--defaults", "-r", OLD, small, target, cwd=target.parent
    )
    projects.run("git", "init", "-qb", "main", cwd=target)
    commit(target, "Start")
    return target


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A committed project of the small template's old release."""
    return Path(shutil.copytree(made, tmp_path / "project", symlinks=True))


def status(folder: Path, *options: str) -> str:
    return projects.run("git", "status", "--porcelain", "-uall", *options, cwd=folder)


def reports(done: Done) -> list[dict[str, Any]]:
    """Return the reports that `--json` prints."""
    return json.loads(done.printed[done.printed.index("[\n") :])


def kinds(done: Done) -> dict[str, str]:
    """Return the outcome for each file, from `--json`."""
    (report,) = reports(done)
    return {name: kind for name, (kind, _) in report["files"].items()}


def edit(project: Path, name: str, old: str, new: str) -> None:
    """Edit a line as the user, and commit it."""
    path = project / name
    text = path.read_bytes()
    assert old.encode() in text
    path.write_bytes(text.replace(old.encode(), new.encode(), 1))
    commit(project, "Mine")


# -- The outcome for a file ---------------------------------------------------------------------


def test_what_nobody_has_edited(hook: Run, project: Path) -> None:
    done = hook("update.py", "--json", cwd=project)
    assert done.code == 0, done.printed
    assert kinds(done) == {
        **dict.fromkeys(["text.txt", "other.txt", "docs/page.txt", "image.bin"], "clean"),
        **dict.fromkeys(["dropped.txt", "added.txt", "script.sh", ".copier-answers.yml"], "clean"),
        **dict.fromkeys([f"seeds/{n}.txt" for n in ("added", "changed", "dropped")], OFFERED),
    }
    for name in ("text.txt", "docs/page.txt", "image.bin"):
        assert (project / name).read_text() == change(name)
    assert not (project / "dropped.txt").exists()
    assert (project / "added.txt").is_file()
    assert os.access(project / "script.sh", os.X_OK)
    assert (project / "seeds/changed.txt").read_text() == "one\n"
    assert not (project / "seeds/added.txt").exists()
    assert status(project).splitlines() == [
        " M .copier-answers.yml", " M docs/page.txt", " D dropped.txt", " M image.bin",
        " M other.txt", " M script.sh", " M text.txt", "?? added.txt",
    ]  # fmt: skip
    (report,) = reports(done)
    assert (report["status"], report["word"]) == ("updated", f"{OLD} -> {NEW}")


OFFERED = "can be refreshed"


def test_it_is_what_copier_makes_of_it(hook: Run, run: Run, project: Path, tmp_path: Path) -> None:
    plain = Path(shutil.copytree(project, tmp_path / "plain"))
    for folder in (plain, project):
        edit(folder, "text.txt", "c\n", "mine\n")
    assert run("uvx", "copier", "update", "-q", "--defaults", cwd=plain).code == 0
    assert hook("update.py", cwd=project).code == 0
    assert projects.run("diff", "-r", "-x", ".git", plain, project, cwd=tmp_path) == ""
    assert status(plain) == status(project)


def test_files_that_say_where_the_template_is(
    hook: Run, run: Run, source: Path, tmp_path: Path
) -> None:
    """They name its URL, not the clone that was rendered."""
    url = "https://example.com/o/copier-prefect.git"
    env = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{source.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": url,
    }
    project, fresh = tmp_path / "project", tmp_path / "fresh"
    for folder, ref in ((project, OLD), (fresh, NEW)):
        words = ("uvx", "copier", "copy", "-q", "--defaults", "-r", ref, url, folder)
        done = run(*words, cwd=tmp_path, **env)
        assert done.code == 0, done.printed
    projects.run("git", "init", "-qb", "main", cwd=project)
    commit(project, "Start")
    done = hook("update.py", "--refresh", cwd=project, **env)
    assert done.code == 0, done.printed
    assert "https://example.com/o/copier-prefect/raw" in (project / "CONTRIBUTING.md").read_text()
    assert projects.run("diff", "-r", "-x", ".git", project, fresh, cwd=tmp_path) == ""


def test_an_update_is_done_once(hook: Run, project: Path) -> None:
    assert hook("update.py", "--commit", cwd=project).code == 0
    done = hook("update.py", "--json", cwd=project)
    assert (done.code, reports(done)[0]["status"]) == (0, "nothing to do")
    assert status(project) == ""


def test_edits_are_merged(hook: Run, project: Path) -> None:
    edit(project, "text.txt", "c\n", "mine\n")
    (project / "docs/page.txt").chmod(0o755)
    commit(project, "Mode")
    done = hook("update.py", "--json", cwd=project)
    assert done.code == 0, done.printed
    assert kinds(done)["text.txt"] == "merged"
    assert (project / "text.txt").read_text() == change("text.txt").replace("c\n", "mine\n")
    assert (project / "docs/page.txt").read_text() == change("docs/page.txt")
    assert os.access(project / "docs/page.txt", os.X_OK)


def test_a_conflict_shows_both_texts_and_git_knows_it(hook: Run, project: Path) -> None:
    edit(project, "text.txt", "j\n", "j\nmine\n")
    done = hook("update.py", "--json", cwd=project)
    assert (done.code, kinds(done)["text.txt"]) == (1, "conflict")
    assert (
        (project / "text.txt")
        .read_text()
        .endswith("j\n<<<<<<< before updating\nmine\n=======\nnew\n>>>>>>> after updating\n")
    )
    assert "UU text.txt\n" in status(project)
    projects.run("git", "checkout", "--theirs", "text.txt", cwd=project)
    assert (project / "text.txt").read_text() == change("text.txt")
    projects.run("git", "checkout", "--ours", "text.txt", cwd=project)
    assert (project / "text.txt").read_text().endswith("j\nmine\n")


def test_both_added_a_file(hook: Run, project: Path) -> None:
    (project / "added.txt").write_text("mine\n")
    commit(project, "Mine")
    assert hook("update.py", cwd=project).code == 1
    text = (project / "added.txt").read_text()
    assert ("mine\n" in text, "added\n" in text, "AA added.txt\n" in status(project)) == (True,) * 3


def test_what_the_user_has_deleted_moved_or_replaced(hook: Run, project: Path) -> None:
    (project / "text.txt").unlink()
    (project / "seeds/changed.txt").unlink()
    (project / "image.bin").write_bytes(b"\0mine")
    (project / "dropped.txt").write_text("mine\n")
    commit(project, "Mine")
    done = hook("update.py", "--json", cwd=project)
    assert done.code == 0, done.printed
    told = kinds(done)
    assert (told["text.txt"], told["dropped.txt"]) == ("yours", "yours")
    assert (told["image.bin"], "seeds/changed.txt" in told) == ("left to you", False)
    assert not (project / "text.txt").exists()
    assert not (project / "seeds/changed.txt").exists()
    assert (project / "image.bin").read_bytes() == b"\0mine"
    assert (project / "dropped.txt").read_text() == "mine\n"


def test_a_text_of_the_template_can_be_taken(hook: Run, project: Path) -> None:
    (project / "text.txt").unlink()
    (project / "seeds/changed.txt").write_text("mine\n")
    commit(project, "Mine")
    assert hook("update.py", "--commit", cwd=project).code == 0
    taken = ("--take", "text.txt", "--take", "./seeds/changed.txt")
    assert hook("update.py", *taken, cwd=project).code == 0
    assert (project / "text.txt").read_text() == change("text.txt")
    assert status(project) == " M seeds/changed.txt\n?? text.txt\n"
    commit(project, "Take")
    done = hook("update.py", "--take", "no.txt", cwd=project)
    assert (done.code, "the template has no file no.txt" in done.printed) == (1, True)


# -- Files of the user --------------------------------------------------------------------------


def test_refresh(hook: Run, project: Path) -> None:
    edit(project, "seeds/colour.txt", "red", "mine")
    done = hook("update.py", "--refresh", "--json", cwd=project)
    assert done.code == 0, done.printed
    assert (project / "seeds/changed.txt").read_text() == "two\n"
    assert (project / "seeds/added.txt").read_text() == "added\n"
    assert not (project / "seeds/dropped.txt").exists()
    assert (project / "seeds/colour.txt").read_text() == "mine\n"


def test_an_edited_file_of_the_user_is_named_with_what_it_misses(hook: Run, project: Path) -> None:
    edit(project, "seeds/changed.txt", "one", "mine")
    for options in ((), ("--refresh",)):
        done = hook("update.py", "--dry-run", "--json", *options, cwd=project)
        assert kinds(done)["seeds/changed.txt"] == "yours"
        diff = reports(done)[0]["diff"].partition("# seeds/changed.txt (yours)")[2]
        assert "-one\n+two\n" in diff
    done = hook("update.py", "--refresh", cwd=project)
    assert (project / "seeds/changed.txt").read_text() == "mine\n"


def test_refresh_after_updates_that_did_not(hook: Run, run: Run, project: Path) -> None:
    """A file that still equals some version's render is refreshed too."""
    edit(project, "seeds/dropped.txt", "old", "mine")
    run("uvx", "copier", "update", "-q", "--defaults", cwd=project)
    commit(project, "Update")
    assert (project / "seeds/changed.txt").read_text() == "one\n"
    done = hook("update.py", "--refresh", "--json", cwd=project)
    assert done.code == 0, done.printed
    assert (project / "seeds/changed.txt").read_text() == "two\n"
    assert (project / "seeds/added.txt").read_text() == "added\n"
    assert (project / "seeds/dropped.txt").read_text() == "mine\n"
    commit(project, "Refresh")
    (project / "seeds/added.txt").unlink()
    edit(project, "seeds/changed.txt", "two", "mine")
    assert hook("update.py", "--refresh", cwd=project).code == 0
    assert not (project / "seeds/added.txt").exists(), "deleted by its user"
    assert (project / "seeds/changed.txt").read_text() == "mine\n"


def test_an_answer_changes_what_nobody_has_edited(hook: Run, project: Path) -> None:
    edit(project, "part.txt", "part", "mine")
    done = hook(
        "update.py", "-r", ":current:", "-d", "part=false", "-d", "colour=blue", cwd=project
    )
    assert done.code == 0, done.printed
    assert (project / "seeds/colour.txt").read_text() == "blue\n"
    assert not (project / "seeds/part.txt").exists()
    assert (project / "part.txt").read_text() == "mine\n", "edited, so it stays"
    (project / "part.txt").unlink()
    commit(project, "Without")
    assert hook("update.py", "-r", ":current:", "-d", "part=true", cwd=project).code == 0
    assert status(project) == " M .copier-answers.yml\n?? part.txt\n?? seeds/part.txt\n"


# -- Situations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["--global", "--local"])
@pytest.mark.parametrize("whitespace", ["error", "fix"])
def test_settings_of_git(
    scope: str, whitespace: str, hook: Run, run: Run, project: Path, tmp_path: Path
) -> None:
    """Copier's own update drops every edit here, and exits with 0."""
    config = {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    for name, value in {
        "apply.whitespace": whitespace,
        "diff.noprefix": "true",
        "diff.external": "false",
        "merge.conflictStyle": "diff3",
        "core.hooksPath": "/no/where",
        "core.attributesFile": "/no/where",
        "status.showUntrackedFiles": "no",
        "color.ui": "always",
    }.items():
        projects.run("git", "config", scope, name, value, cwd=project, **config)
    edit(project, "text.txt", "c\n", "mine \n")
    edit(project, "other.txt", "j\n", "j\nmine\n")
    done = run(sys.executable, HOOKS / "update.py", cwd=project, GIT_DIR="/no", **config)
    assert done.code == 1, done.printed
    assert (project / "text.txt").read_text() == change("text.txt").replace("c\n", "mine \n")
    assert (
        (project / "other.txt")
        .read_text()
        .endswith("j\n<<<<<<< before updating\nmine\n=======\nnew\n>>>>>>> after updating\n")
    )


def test_settings_that_say_what_has_changed(run: Run, project: Path, tmp_path: Path) -> None:
    """These stay the user's: otherwise, all files of a checkout for Windows would be changed."""
    config = {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    (tmp_path / "ignore").write_text(".editor\n")
    for name, value in {
        "core.autocrlf": "true",
        "core.excludesFile": str(tmp_path / "ignore"),
    }.items():
        projects.run("git", "config", "--global", name, value, cwd=project, **config)
    (project / ".editor").write_text("")
    (project / "text.txt").unlink()
    projects.run("git", "checkout", "text.txt", cwd=project, **config)
    text = (project / "text.txt").read_bytes()
    assert b"\r\n" in text
    os.utime(project / "text.txt", (0, 0))  # so that git reads it again
    done = run(sys.executable, HOOKS / "update.py", cwd=project, **config)
    assert done.code == 0, done.printed
    assert (project / "text.txt").read_bytes() == text + b"new\r\n"
    assert (project / "other.txt").read_text() == change("other.txt")


def test_bytes_that_are_no_text_of_the_locale(run: Run, project: Path) -> None:
    path = project / "text.txt"
    path.write_bytes(path.read_bytes().replace(b"c\n", "Zoë\n".encode() + b"Zo\xeb\n"))
    commit(project, "Mine")
    expected = path.read_bytes() + b"new\n"
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run(sys.executable, HOOKS / "update.py", "--dry-run", cwd=project, **locale)
    assert (done.code, "merged            text.txt" in done.printed) == (0, True), done.printed
    done = run(sys.executable, HOOKS / "update.py", cwd=project, **locale)
    assert done.code == 0, done.printed
    assert path.read_bytes() == expected


@pytest.mark.parametrize("how", ["committed", "autocrlf", "attributes"])
def test_carriage_returns(how: str, hook: Run, project: Path) -> None:
    if how == "autocrlf":
        projects.run("git", "config", "core.autocrlf", "true", cwd=project)
    elif how == "attributes":
        (project / ".gitattributes").write_text("*.txt eol=crlf\n")
    for name in ("text.txt", "other.txt"):
        path = project / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    edit(project, "text.txt", "c\r\n", "mine\r\n")
    expected = change("text.txt").replace("c\n", "mine\n").replace("\n", "\r\n").encode()
    done = hook("update.py", "--json", cwd=project)
    assert done.code == 0, done.printed
    assert (kinds(done)["text.txt"], kinds(done)["other.txt"]) == ("merged", "clean")
    assert (project / "text.txt").read_bytes() == expected
    assert (project / "other.txt").read_bytes() == change("other.txt").replace(
        "\n", "\r\n"
    ).encode()


def test_files_called_rej(hook: Run, project: Path, tmp_path: Path) -> None:
    """Copier would treat them as its own and delete them."""
    mono = tmp_path / "mono"
    shutil.copytree(project, mono / "one", ignore=shutil.ignore_patterns(".git"))
    (mono / "two").mkdir()
    for folder in (mono / "one", mono / "two"):
        (folder / "orders.csv").write_text("1\n")
        (folder / ".gitignore").write_text("*.rej\n")
    projects.run("git", "init", "-qb", "main", cwd=mono)
    commit(mono, "Start")
    for folder in (mono / "one", mono / "two"):
        (folder / "orders.csv.rej").write_text("2\n")
    (mono / "two/orders.csv").write_text("not committed\n")
    (mono / "two/new.csv").write_text("untracked\n")
    edit_ = mono / "one/text.txt"
    edit_.write_text(edit_.read_text().replace("j\n", "j\nmine\n"))
    projects.run("git", "commit", "-qm", "Mine", "one", cwd=mono)
    before = status(mono / "two", "--ignored", ".")
    assert hook("update.py", "one", cwd=mono).code == 1
    assert "UU one/text.txt\n" in status(mono)
    assert status(mono / "two", "--ignored", ".") == before
    for folder in (mono / "one", mono / "two"):
        assert (folder / "orders.csv.rej").read_text() == "2\n"
    assert (mono / "one/orders.csv").read_text() == "1\n"


def test_links(hook: Run, project: Path, tmp_path: Path) -> None:
    """Files that became links, and folders elsewhere, are not written."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (project / "docs/page.txt").rename(shared / "page.txt")
    (project / "docs").rmdir()
    (project / "docs").symlink_to("../shared")
    (project / "other.txt").rename(shared / "other.txt")
    (project / "other.txt").symlink_to(shared / "other.txt")
    commit(project, "Links")
    done = hook("update.py", "--json", cwd=project)
    assert done.code == 0, done.printed
    told = kinds(done)
    assert (told["docs/page.txt"], told["other.txt"]) == ("left to you", "left to you")
    assert told["text.txt"] == "clean"
    for name in ("docs/page.txt", "other.txt"):
        assert (shared / Path(name).name).read_text() == FILES[name]
    assert (project / "other.txt").is_symlink()


def ignore(project: Path, name: str, text: str) -> None:
    """Take a file out of git, ignore it, and write it."""
    projects.run("git", "rm", "-q", "--cached", "--ignore-unmatch", name, cwd=project)
    append(project / ".gitignore", f"/{name}\n") if (project / ".gitignore").exists() else (
        project / ".gitignore"
    ).write_text(f"/{name}\n")
    (project / name).write_text(text)
    commit(project, "Ignore")


@pytest.mark.parametrize("name", ["text.txt", "added.txt"])
def test_what_git_ignores_is_not_written_over(name: str, hook: Run, project: Path) -> None:
    ignore(project, name, "mine\n")
    done = hook("update.py", "--json", cwd=project)
    (report,) = reports(done)
    assert (done.code, report["status"]) == (1, "refused to overwrite")
    assert f"first {name}" in report["word"]
    assert (status(project), (project / name).read_text()) == ("", "mine\n")


@pytest.mark.parametrize("name", ["kept.txt", "seeds/changed.txt", "mine.txt"])
def test_what_git_ignores_and_no_update_writes(name: str, hook: Run, project: Path) -> None:
    ignore(project, name, "mine\n")
    assert hook("update.py", cwd=project).code == 0
    assert (project / name).read_text() == "mine\n"


def test_an_ignored_file_as_the_template_had_it_follows(hook: Run, project: Path) -> None:
    ignore(project, "text.txt", FILES["text.txt"])
    assert hook("update.py", cwd=project).code == 0
    assert (project / "text.txt").read_text() == change("text.txt")


def test_a_file_that_git_is_told_not_to_look_at(hook: Run, project: Path) -> None:
    projects.run("git", "update-index", "--assume-unchanged", "text.txt", cwd=project)
    append(project / "text.txt", "mine\n")
    assert hook("update.py", "--json", cwd=project).code == 1
    assert (project / "text.txt").read_text().endswith("mine\n")
    assert status(project) == ""


def test_a_sparse_checkout(hook: Run, project: Path) -> None:
    """Files that are not checked out stay so; those that would be written are named."""
    status(project)  # otherwise git treats the copied files as changed and keeps them
    projects.run("git", "sparse-checkout", "set", "--no-cone", "/*", "!/seeds", cwd=project)
    assert not (project / "seeds").exists()
    assert hook("update.py", "--commit", cwd=project).code == 0
    assert not (project / "seeds").exists()
    assert (project / "text.txt").read_text() == change("text.txt")
    projects.run("git", "reset", "-q", "--hard", "HEAD^", cwd=project)
    projects.run("git", "sparse-checkout", "set", "--no-cone", "/*", "!/docs", cwd=project)
    done = hook("update.py", cwd=project)
    assert (done.code, "first docs/page.txt" in done.printed) == (1, True)
    assert "git sparse-checkout add" in done.printed


def test_a_repository_of_sha_256_and_a_worktree(hook: Run, project: Path, tmp_path: Path) -> None:
    shutil.rmtree(project / ".git")
    projects.run("git", "init", "-qb", "main", "--object-format=sha256", cwd=project)
    commit(project, "Start")
    edit(project, "text.txt", "j\n", "j\nmine\n")
    projects.run("git", "worktree", "add", "-q", "-b", "work", tmp_path / "tree", cwd=project)
    assert hook("update.py", tmp_path / "tree", cwd=tmp_path).code == 1
    assert "UU text.txt\n" in status(tmp_path / "tree")
    assert status(project) == ""


# -- Refusals -----------------------------------------------------------------------------------


def refusal(done: Done) -> str:
    """Return the one sentence of a refusal."""
    (report,) = reports(done)
    assert (done.code, report["files"]) == (1, {}), done.printed
    assert "\n" not in report["word"]
    assert "Traceback" not in done.printed
    return f"{report['status']}: {report['word']}"


def test_what_is_not_committed(hook: Run, project: Path) -> None:
    # The documented check is git status; it must not show less than this.
    projects.run("git", "config", "status.showUntrackedFiles", "no", cwd=project)
    (project / "new.txt").write_text("mine\n")
    said = refusal(hook("update.py", "--json", cwd=project))
    assert said == "refused because dirty: 1 uncommitted, first new.txt: commit or stash them."


def test_a_detached_head(hook: Run, project: Path) -> None:
    projects.run("git", "checkout", "-q", "--detach", cwd=project)
    assert "HEAD is detached at" in refusal(hook("update.py", "--json", cwd=project))


def test_a_commit_on_another_branch(hook: Run, project: Path) -> None:
    projects.run("git", "switch", "-qc", "feature", cwd=project)
    said = refusal(hook("update.py", "--json", "--commit", cwd=project))
    assert said.startswith("refused: it is on branch feature, not on main")
    assert status(project) == ""
    done = hook("update.py", "--json", "--commit", "--branch", "feature", cwd=project)
    assert (done.code, reports(done)[0]["branch"]) == (0, "feature"), done.printed


def test_a_merge_under_way(hook: Run, project: Path) -> None:
    head = projects.run("git", "rev-parse", "HEAD", cwd=project)
    (project / ".git/MERGE_HEAD").write_text(head)
    assert "merge is under way" in refusal(hook("update.py", "--json", cwd=project))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f"_commit: {OLD}", "_commit: v0.0.7", "the template has no version 'v0.0.7'"),
        ("_src_path: ", "_src_path: /no/where", "cannot be read: fatal: "),
        ("_src_path: ", "# ", "has no _src_path"),
        ("_commit: ", "# ", "has no _commit"),
        ("colour: red", "colour: 'red", "cannot be read: "),
        ("colour: red", "colour: 2026-02-30", "day is out of range"),
        ("_src_path: ", '"_src_path": ', "without quotes"),
    ],
)
def test_answers_that_lead_nowhere(old: str, new: str, said: str, hook: Run, project: Path) -> None:
    edit(project, ".copier-answers.yml", old, new)
    assert said in refusal(hook("update.py", "--json", cwd=project))
    assert status(project) == ""


def test_an_answer_that_is_wrong(hook: Run, old: Path) -> None:
    said = refusal(hook("update.py", "--json", "-d", "license=GPL", cwd=old))
    assert "Copier: " in said
    assert "license" in said


def test_an_older_version(hook: Run, project: Path) -> None:
    assert hook("update.py", "--commit", cwd=project).code == 0
    said = refusal(hook("update.py", "--json", "-r", OLD, cwd=project))
    assert f"{NEW} is newer than {OLD}" in said


def test_wrong_usage(hook: Run, project: Path, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("dörfer\n".encode("latin-1"))
    wrong = (["-d", "colour"], ["-d", "_commit=x"], ["--jobs", "0"], [tmp_path / "latin.txt"])
    for words in ([tmp_path], ["--from", OLD], *wrong):
        done = hook("update.py", *words, cwd=project)
        assert (done.code, "Traceback" in done.printed) == (2, False)


def test_in_the_middle_of_a_conflict(hook: Run, project: Path) -> None:
    edit(project, "text.txt", "j\n", "j\nmine\n")
    assert hook("update.py", "--json", cwd=project).code == 1
    assert "an update or merge is unfinished" in refusal(hook("update.py", "--json", cwd=project))


def test_answers_that_are_a_link(hook: Run, project: Path) -> None:
    (project / "answers").mkdir()
    (project / ".copier-answers.yml").rename(project / "answers/of.yml")
    (project / "answers.yml").symlink_to("answers/of.yml")
    (project / ".copier-answers.yml").symlink_to("answers.yml")
    commit(project, "Link")
    assert ".copier-answers.yml" in refusal(hook("update.py", "--json", cwd=project))
    assert status(project) == ""


# -- The proof, and failures ---------------------------------------------------------------------


def texts(*parts: str) -> Any:
    """Return the old text, the user's and the template's in the script's form."""
    module = update_module()
    return module.Sides(*(module.File(part.encode()) for part in parts))


BLOCK = "- name: {}\n  image: x\n  cpu: 1\n"


@pytest.mark.parametrize(
    ("result", "is_proven"),
    [
        ("a\nmine\nc\nnew\n", True),
        ("a\nb\nc\nnew\n", False),  # the user's edit dropped
        ("a\nmine\nb\nc\nnew\n", False),  # a removed line is back
        ("a\nmine\nc\n", False),  # the template's dropped
        ("mine\na\nc\nnew\n", False),  # in another place
        ("a\nmine\nc\nnew\nmore\n", False),  # an extra line
        ("a\n<<<<<<< before updating\nmine\n=======\nb\n>>>>>>> after updating\nc\nnew\n", True),
    ],
)
def test_the_proof(result: str, is_proven: bool) -> None:
    sides = texts("a\nb\nc\n", "a\nmine\nc\n", "a\nb\nc\nnew\n")
    assert update_module().holds_both(sides, result.encode()) == is_proven


def test_an_edit_in_the_wrong_one_of_two_equal_blocks_is_not_proven() -> None:
    old = "".join(BLOCK.format("same") for _ in range(3))
    user = BLOCK.format("same") + BLOCK.format("same").replace("1", "2") + BLOCK.format("same")
    wrong = BLOCK.format("same").replace("1", "2") + 2 * BLOCK.format("same")
    new = f"# new\n{old}"
    module = update_module()
    assert module.holds_both(texts(old, user, new), f"# new\n{user}".encode())
    assert not module.holds_both(texts(old, user, new), f"# new\n{wrong}".encode())


def test_a_merge_that_loses_an_edit_is_not_applied(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(project, "text.txt", "c\n", "mine\n")
    module = update_module()

    def lose(name: str, sides: Any, user: Any, new: Any, work: Path) -> Any:
        return module.Outcome("merged", new)

    monkeypatch.setattr(module, "merge", lose)
    monkeypatch.setattr(sys, "argv", ["update.py", "--json", str(project)])
    assert in_process(module, monkeypatch) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert "text.txt: the merge cannot be shown to hold every edit" in report["word"]
    assert status(project) == ""


def in_process(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the script in this process, and restore the environment."""
    with monkeypatch.context() as patch:
        before = dict(os.environ)
        patch.setattr(module, "USERS", before)
        try:
            return module.main()
        finally:
            os.environ.clear()
            os.environ.update(before)


@pytest.mark.parametrize("error", [OSError("No space left"), KeyboardInterrupt()])
def test_a_write_that_fails_half_way_is_taken_back(
    error: BaseException,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = update_module()
    put, count = module.put, iter(range(100))

    def fail(folder: Path, name: str, file: Any) -> None:
        if next(count) == 4:
            raise error
        put(folder, name, file)

    monkeypatch.setattr(module, "put", fail)
    monkeypatch.setattr(sys, "argv", ["update.py", "--json", str(project)])
    assert in_process(module, monkeypatch) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert ("as it was" in report["word"]) or ("interrupted" in report["word"])
    assert next(count) > 5, "it did write before"
    assert status(project, "--ignored") == ""


# -- Checks before and after ---------------------------------------------------------------------


def test_dry_run(hook: Run, project: Path) -> None:
    edit(project, "text.txt", "c\n", "mine\n")
    done = hook("update.py", "--dry-run", "--commit", cwd=project)
    assert done.code == 0, done.printed
    assert f"would be updated, {OLD} -> {NEW}" in done.printed
    assert "merged            text.txt" in done.printed
    assert "--- a/text.txt\n+++ b/text.txt\n" in done.printed
    assert status(project) == ""
    edit(project, "other.txt", "j\n", "j\nmine\n")
    done = hook("update.py", "--dry-run", "--json", cwd=project)
    assert (done.code, reports(done)[0]["status"]) == (1, "conflicts")
    assert status(project) == ""


def test_the_way_back(hook: Run, run: Run, project: Path) -> None:
    edit(project, "text.txt", "j\n", "j\nmine\n")
    done = hook("update.py", cwd=project)
    assert done.code == 1
    back = done.printed.partition("Go back: ")[2].splitlines()[0]
    (project / "mine.txt").write_text("not of the update\n")
    assert run("bash", "-ec", back, cwd=project).code == 0
    assert status(project) == "?? mine.txt\n"


def test_verify_after_copier(hook: Run, run: Run, project: Path) -> None:
    edit(project, "text.txt", "c\n", "mine\n")
    assert run("uvx", "copier", "update", "-q", "--defaults", cwd=project).code == 0
    for is_committed in (False, True):
        if is_committed:
            commit(project, "Update")
        done = hook("update.py", "--verify", cwd=project)
        assert (done.code, "no edit is lost" in done.printed) == (0, True), done.printed
        assert "can be refreshed  seeds/added.txt  (new in the template)" in done.printed
        assert "-one\n+two\n" in done.printed
    assert hook("update.py", "--verify", "--from", OLD, cwd=project).code == 0
    done = hook("update.py", "--verify", "--from", "v0.0.7", cwd=project)
    assert (done.code, "no update from v0.0.7" in done.printed) == (1, True)


def test_verify_finds_what_copier_has_lost(hook: Run, run: Run, project: Path) -> None:
    """With these settings Copier drops the edits of all files, and exits with 0."""
    projects.run("git", "config", "apply.whitespace", "error", cwd=project)
    edit(project, "text.txt", "c\n", "mine \n")
    edit(project, "dropped.txt", "old", "mine")
    edit(project, "docs/page.txt", "c\n", "mine\n")
    assert run("uvx", "copier", "update", "-q", "--defaults", cwd=project).code == 0
    done = hook("update.py", "--verify", "--json", cwd=project)
    assert done.code == 1
    left = {line.partition(":")[0] for line in reports(done)[0]["left"]}
    assert left == {"text.txt", "dropped.txt", "docs/page.txt"}
    back = [line.rpartition("back by: ")[2] for line in reports(done)[0]["left"]]
    for command in back:
        assert run("bash", "-c", command, cwd=project).code == 0
    assert (project / "dropped.txt").read_text() == "mine\n"


def test_verify_conflicts_until_they_are_resolved(hook: Run, run: Run, project: Path) -> None:
    projects.run("git", "config", "status.showUntrackedFiles", "no", cwd=project)
    edit(project, "text.txt", "j\n", "j\nmine\n")
    run("uvx", "copier", "update", "-q", "--defaults", cwd=project)
    done = hook("update.py", "--verify", cwd=project)
    assert done.code == 1
    assert "text.txt" in done.printed.partition("Left to do:")[2]
    (project / "text.txt").write_text(change("text.txt").replace("j\n", "j\nmine\n"))
    (project / "text.txt.rej").unlink(missing_ok=True)
    projects.run("git", "add", "text.txt", cwd=project)
    assert hook("update.py", "--verify", cwd=project).code == 0


# -- Many at once --------------------------------------------------------------------------------


@pytest.mark.large("updates")
def test_forty_projects_interrupted_at_random(small: Path, made: Path, tmp_path: Path) -> None:
    """At any interruption, git has each edit, and finally each project is updated."""
    randomly = random.Random(20)
    states = {
        "edited": ("text.txt", "c\n", "mine\n"),
        "clash": ("text.txt", "j\n", "j\nmine\n"),
        "clean": ("kept.txt", "same", "same too"),
        "seed": ("seeds/changed.txt", "one", "mine"),
    }
    folders = [tmp_path / f"{state}-{number}" for number in range(10) for state in states]
    for folder in folders:
        shutil.copytree(made, folder, symlinks=True)
        edit(folder, *states[folder.name.partition("-")[0]])
    (folders[7] / "new.txt").write_text("not committed\n")
    words = [sys.executable, HOOKS / "update.py", *folders, "--commit", "--json", "--jobs"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = projects.clean_environment()
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL) * 4:
        command = [*words, str(randomly.randint(1, 4))]
        with child_processes.running(command, cwd=tmp_path, env=env, **quiet) as process:
            process.stderr.readline()
            time.sleep(randomly.uniform(0, 0.5))
            os.killpg(process.pid, how)
            printed, _ = process.communicate(timeout=projects.RUN_SECONDS)
        if how != signal.SIGKILL:
            assert len(json.loads(printed)) == len(folders)
        for folder in folders:
            # Undo what a kill or a conflict has left, as documented.
            if folder != folders[7] and status(folder):
                projects.run("git", "restore", "-s", "HEAD", "-SW", ".", cwd=folder)
                projects.run("git", "clean", "-qfd", cwd=folder)
    done = projects.run(*words, "2", cwd=tmp_path, check=False)
    last = {Path(one["project"]): one["status"] for one in json.loads(done[done.index("[\n") :])}
    assert {said for one, said in last.items() if "clash" in one.name} == {"conflicts"}
    assert last.pop(folders[7]) == "refused because dirty"
    assert set(last.values()) <= {"conflicts", "updated", "nothing to do"}
    assert (folders[7] / "new.txt").read_text() == "not committed\n"
    for folder in folders:
        name, old, new = states[folder.name.partition("-")[0]]
        assert new.removeprefix(old) in (folder / name).read_text(), folder
        if folder != folders[7] and "clash" not in folder.name:
            assert status(folder) == ""
            assert (folder / "other.txt").read_text() == change("other.txt")


# -- Manual changes -----------------------------------------------------------------------------


def test_a_part_of_the_templates_change_made_before(small: Path, tmp_path: Path) -> None:
    """By a team that did not wait for the next release."""
    old = "".join(LETTERS)
    sides = texts(old, f"first\n{old}", f"first\n{old}last\n")
    module = update_module()
    plan = module.Plan("", "", "", small, {}, {}, None)
    merged = module.merge("text.txt", sides, sides.mine, sides.new, tmp_path)
    assert merged.result == sides.new
    assert not module.unproven("text.txt", sides, merged, seed=False, plan=plan)


JOB = "jobs:\n  a: !one 1\n  b: 2\n  c: 3\n"
OBJECT = '{\n"a": 1,\n"b": 2,\n"c": 3\n}\n'


@pytest.mark.parametrize(
    ("name", "old", "user", "new", "said"),
    [
        ("a.toml", "a = 1\nb = 2\n", "x = 1\na = 1\nb = 2\n", "a = 1\nb = 2\nx = 2\n", "line 4"),
        ("a.json", OBJECT, OBJECT.replace("{", '{\n"x": 1,'), OBJECT.replace("3", '3,\n"x": 2'),
         "x is there twice"),
        ("a.yaml", JOB, f"env: 1\n{JOB}", f"{JOB}env: 2\n", "env is there twice"),
        ("a.yml", JOB, f"name: [x,\n{JOB}", f"{JOB}env: 2\n", ""),
        ("a.yml", JOB, f"name: x\n{JOB}", f"{JOB}env: 2\n", ""),
        ("a.yml", JOB, f"name: x\n{JOB}", f"{JOB} env: 2\n", "(at line 6)"),
        ("a.txt", JOB, f"env: 1\n{JOB}", f"{JOB}env: 2\n", ""),
    ],
    ids=["toml", "json", "yaml", "broken before", "tags of others", "by the template", "text"],
)  # fmt: skip
def test_a_merge_that_cannot_be_read_is_a_conflict(
    name: str, old: str, user: str, new: str, said: str, tmp_path: Path
) -> None:
    sides = texts(old, user, new)
    merged = update_module().merge(name, sides, sides.mine, sides.new, tmp_path)
    assert merged.kind == ("conflict" if said else "merged")
    assert said in merged.note


@pytest.mark.parametrize("marker", ["=======", "<<<<<<< before updating", ">>>>>>>>>>"])
def test_text_that_looks_like_a_marker(marker: str, hook: Run, project: Path) -> None:
    edit(project, "text.txt", "j\n", f"j\nTitle\n{marker}\n")
    done = hook("update.py", "--json", cwd=project)
    assert kinds(done)["text.txt"] == "conflict", done.printed
    text = (project / "text.txt").read_text()
    assert f"Title\n{marker}\n" in text
    size = max(7, len(marker.partition(" ")[0])) + 1
    assert f"{'<' * size} before updating\n" in text
    assert f"{'>' * size} after updating\n" in text
    # It is seen as a conflict until it is resolved.
    projects.run("git", "add", "text.txt", cwd=project)
    assert "text.txt: has conflict markers" in hook("update.py", "--verify", cwd=project).printed


def test_what_was_deleted_before_the_first_commit_stays_away(
    hook: Run, made: Path, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(made, tmp_path / "project", symlinks=True))
    shutil.rmtree(project / ".git")
    (project / "seeds/changed.txt").unlink()
    projects.run("git", "init", "-qb", "main", cwd=project)
    commit(project, "Start")
    done = hook("update.py", "--json", "--refresh", cwd=project)
    assert done.code == 0, done.printed
    assert kinds(done).get("seeds/changed.txt") is None
    assert not (project / "seeds/changed.txt").exists()


def test_comments_in_the_answers_stay(hook: Run, project: Path) -> None:
    edit(project, ".copier-answers.yml", "colour: red\n", "# Ours, by the brand.\ncolour: red\n")
    done = hook("update.py", "--json", cwd=project)
    assert done.code == 0, done.printed
    text = (project / ".copier-answers.yml").read_text()
    assert "# Ours, by the brand.\n" in text
    assert NEW in text


def test_the_way_back_is_to_the_project_wherever_it_is_said(
    hook: Run, run: Run, project: Path, tmp_path: Path
) -> None:
    before = projects.run("git", "ls-files", "-s", cwd=project)
    other = tmp_path / "other"
    projects.run("git", "init", "-q", other, cwd=tmp_path)
    (other / "work.txt").write_text("1\n")
    commit(other, "Start")
    (other / "work.txt").write_text("2\n")
    printed = hook("update.py", project, cwd=other).printed
    back = printed.rpartition("Go back: ")[2].strip()
    assert run("bash", "-c", back, cwd=other).code == 0
    assert (other / "work.txt").read_text() == "2\n"
    assert (status(project), projects.run("git", "ls-files", "-s", cwd=project)) == ("", before)


def test_the_way_back_leaves_what_git_was_told_not_to_look_at(
    hook: Run, run: Run, project: Path
) -> None:
    projects.run("git", "update-index", "--assume-unchanged", "kept.txt", cwd=project)
    (project / "kept.txt").write_text("local\n")
    printed = hook("update.py", cwd=project).printed
    back = printed.rpartition("Go back: ")[2].strip()
    assert run("bash", "-c", back, cwd=project).code == 0
    assert (project / "kept.txt").read_text() == "local\n"
    assert "new\n" not in (project / "text.txt").read_text()


def test_history_that_is_cut_off_proves_nothing(hook: Run, project: Path, tmp_path: Path) -> None:
    assert hook("update.py", "--commit", cwd=project).code == 0
    short = tmp_path / "short"
    projects.run("git", "clone", "-q", "--depth", "1", f"file://{project}", short, cwd=tmp_path)
    assert "history is cut off" in refusal(hook("update.py", "--verify", "--json", cwd=short))


def test_what_cannot_be_written_back_does_not_stop_the_rest(project: Path) -> None:
    """For example on a full disk: new files are removed first, and all possible ones restored."""
    module = update_module()
    found = module.find(project)
    done = []
    for name in ("kept.txt", "text.txt", "other.txt"):
        done.append((name, module.read(project / name)))
        (project / name).write_text("half done\n")
    (project / "added.txt").write_text("new\n")
    done.append(("added.txt", None))
    put, order = module.put, []

    def full(folder: Path, name: str, file: Any) -> None:
        order.append(name)
        if name == "kept.txt":
            raise OSError(28, "No space left on device")
        put(folder, name, file)

    module.put = full
    try:
        left = module.take_back(found, done)
    finally:
        module.put = put
    assert (left, order[0]) == (["kept.txt"], "added.txt")
    assert (project / "text.txt").read_text() == "".join(LETTERS)
    assert not (project / "added.txt").exists()


@pytest.mark.parametrize("turned", ["into a folder", "into a file"])
def test_a_file_that_becomes_a_folder(
    turned: str, hook: Run, uvx: Path, small: Path, tmp_path: Path
) -> None:
    """Nobody has edited it, so it can be replaced."""
    template = Path(shutil.copytree(small, tmp_path / "template"))
    file, below = template / "template/thing", template / "template/thing/inner.txt"

    def write(as_folder: bool, tag: str) -> None:
        shutil.rmtree(file, ignore_errors=True)
        file.unlink(missing_ok=True)
        path = below if as_folder else file
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{tag}\n")
        commit(template, tag, tag)

    write(turned == "into a file", "v999.2.0")
    target = tmp_path / "project"
    projects.run(uvx, "copier", "copy", "-q", "--defaults", template, target, cwd=tmp_path)
    projects.run("git", "init", "-qb", "main", target, cwd=tmp_path)
    commit(target, "Start")
    write(turned == "into a folder", "v999.3.0")
    done = hook("update.py", "--json", cwd=target)
    assert done.code == 0, done.printed
    name = "thing/inner.txt" if turned == "into a folder" else "thing"
    assert (target / name).read_text() == "v999.3.0\n"
