"""Copying into the wrong place, from the wrong source, or onto a full disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import copier
import hostile_answers
import projects
import pytest
import terminal
import yaml
from projects import Render

MINE = {"README.md": "ours\n", "pyproject.toml": "[ours]\n", "notes.txt": "ours\n"}


def copy(template: Path | str, target: Path | str, *options: str, cwd: Path) -> tuple[int, str]:
    """Run `copier copy` without a terminal; return its exit code and output."""
    done = projects.complete(
        [sys.executable, "-m", "copier", "copy", *options, str(template), str(target)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A folder that already has files of the user."""
    folder = tmp_path / "full"
    folder.mkdir()
    for name, text in MINE.items():
        (folder / name).write_text(text)
    return folder


def held(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in MINE}


def test_without_a_terminal_a_file_of_yours_stops_the_copy(template: Path, full: Path) -> None:
    code, printed = copy(template, full, "--defaults", cwd=full)
    assert code == 1
    assert "conflict" in printed
    assert "Consider using `--overwrite`" in printed
    assert held(full) == MINE


def test_overwrite_replaces_only_what_is_the_templates(
    template: Path, full: Path, render: Render
) -> None:
    code, printed = copy(template, full, "--defaults", "--overwrite", cwd=full)
    assert (code, "Traceback" in printed) == (0, False)
    pyproject = (render() / "pyproject.toml").read_text()
    assert held(full) == {**MINE, "pyproject.toml": pyproject}


def test_a_terminal_asks_before_a_file_is_replaced(template: Path, full: Path) -> None:
    shown = terminal.copier("copy", "--defaults", str(template), ".", cwd=full)
    shown.wait_for("Overwrite pyproject.toml?")
    shown.type("n")
    assert shown.end() == 0
    assert held(full) == MINE
    assert (full / "prefect.yaml").is_file()


# -- A full disk ------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with space for less than half a project."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False, timeout=60).returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=60)


def resize(disk: Path, option: str) -> None:
    words = ["mount", "-o", f"remount,{option}", str(disk)]
    subprocess.run(words, check=True, timeout=60)


def test_a_full_disk_leaves_no_new_folder(template: Path, disk: Path) -> None:
    code, printed = copy(template, disk / "new", "--defaults", "--quiet", cwd=disk)
    assert code == 1
    assert printed.strip().endswith("No space left on device")
    assert list(disk.iterdir()) == []


def test_a_copy_that_a_full_disk_stopped_is_begun_again(
    template: Path, disk: Path, render: Render
) -> None:
    """In an existing folder, the written files stay, even a truncated one."""
    folder = disk / "old"
    folder.mkdir()
    projects.run("git", "init", "-q", "--template=", cwd=folder)
    command = ("--defaults", "--overwrite", "--quiet")
    code, printed = copy(template, folder, *command, cwd=disk)
    assert code == 1
    assert printed.strip().endswith("No space left on device")
    resize(disk, "size=20m")
    whole = {
        path.relative_to(render()): path.read_bytes() for path in hostile_answers.files(render())
    }
    begun = {path.relative_to(folder): path.read_bytes() for path in hostile_answers.files(folder)}
    assert 0 < len(begun) < len(whole)
    # A truncated seeded file counts as the user's, so copying again is not enough.
    projects.run("git", "clean", "-fdxq", cwd=folder)
    assert copy(template, folder, *command, cwd=disk)[0] == 0
    written = {
        path.relative_to(folder): path.read_bytes() for path in hostile_answers.files(folder)
    }
    assert written == whole


def test_a_read_only_folder_is_named(template: Path, disk: Path) -> None:
    resize(disk, "ro")
    code, printed = copy(template, disk / "new", "--defaults", "--quiet", cwd=disk.parent)
    assert code == 1
    assert printed.strip().endswith(f"Read-only file system: '{disk / 'new'}'")
    resize(disk, "rw")


# -- A source that updates cannot find again --------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The template in git, with a release."""
    folder = projects.copy_content(tmp_path / "source")
    projects.run("git", "init", "-q", cwd=folder)
    projects.run("git", "add", "--all", cwd=folder)
    projects.run("git", "commit", "-qm", "Release", cwd=folder)
    projects.run("git", "tag", "v1.0.0", cwd=folder)
    return folder


def message(printed: str) -> str:
    """Return the part of the message after copying that is about updates."""
    end = printed[printed.index("Or set up git") :].splitlines()[2:]
    assert [line for line in end if len(line) >= 80] == []
    return " ".join(" ".join(end).split())


def test_a_release_is_where_updates_start_from(source: Path, tmp_path: Path) -> None:
    printed = copy(source, "project", "--defaults", cwd=tmp_path)[1]
    assert message(printed) == "Updates need that first commit. See README.md for the next steps."


def test_a_template_without_git_is_told(template: Path, tmp_path: Path) -> None:
    printed = copy(template, "project", "--defaults", cwd=tmp_path)[1]
    assert message(printed).startswith("Updates will not work: this template is not in git.")


def test_a_relative_source_is_told(source: Path, tmp_path: Path) -> None:
    printed = copy("source", "project", "--defaults", cwd=tmp_path)[1]
    recorded = yaml.safe_load((tmp_path / "project" / ".copier-answers.yml").read_text())
    if Path(recorded["_src_path"]).is_absolute():  # newer Copier may record it so
        assert message(printed).startswith("Updates need")
    else:
        assert message(printed).startswith("Updates will work only in this folder: source is a")


def test_uncommitted_changes_of_the_source_are_told_and_cannot_be_updated(
    source: Path, tmp_path: Path
) -> None:
    (source / "template" / "CHANGELOG.md").write_text("# Changes\n\nUncommitted.\n")
    code, printed = copy(source, "project", "--defaults", "--vcs-ref", "HEAD", cwd=tmp_path)
    assert code == 0
    project = tmp_path / "project"
    commit = yaml.safe_load((project / ".copier-answers.yml").read_text())["_commit"]
    assert message(printed) == (
        f"{commit} is not a release. If it contains uncommitted changes, "
        "updates will not work: commit them in the template, and copy again."
    )
    projects.run("git", "init", "-q", cwd=project)
    projects.run("git", "add", "--all", cwd=project)
    projects.run("git", "commit", "-qm", "Start", cwd=project)
    projects.run("git", "commit", "-qam", "Commit what was used", cwd=source)
    projects.run("git", "tag", "v1.1.0", cwd=source)
    with pytest.raises(Exception, match=r"Unknown revision|unknown revision|did not match"):
        copier.run_update(project, defaults=True, overwrite=True, quiet=True)
