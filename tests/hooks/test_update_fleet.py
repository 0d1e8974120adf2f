"""`hooks/update_fleet.py` over projects in every state, as a user runs it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import projects
import pytest

from hooks.conftest import NEW, OLD, Run, append, commit

RULES = "src/my_data_project/common/rules.py"


def results(printed: str) -> dict[str, str]:
    """Return the result of each project in the report, by the name of its folder."""
    words = (
        "updated|nothing to do|would be updated|conflicts|refused because dirty"
        "|refused to overwrite|failed"
    )
    return {
        Path(found[1].strip()).name: found[2]
        for found in re.finditer(rf"^(/.+?)  +({words})  ", printed, re.MULTILINE)
    }


def status(project: Path) -> str:
    return projects.run("git", "status", "--porcelain", cwd=project)


def test_a_mixed_fleet(hook: Run, started: Path, moved: Path, tmp_path: Path) -> None:
    """Nothing stops it, nothing is lost, and each gets its line in the report."""

    def project(name: str, source: Path = started) -> Path:
        return Path(shutil.copytree(source, tmp_path / name))

    dirty, clash, late, gone = map(project, ("dirty", "clash", "late", "gone"))
    current = project("current", moved)
    commit(current, "Update")
    (dirty / "untracked.txt").write_text("mine")
    append(clash / RULES, "# mine, at the same place\n")
    commit(clash, "Mine")
    answers = gone / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(f"_commit: {OLD}", "_commit: v0.0.7"))
    commit(gone, "Break")
    (tmp_path / "empty").mkdir()
    (late / "uv.lock").write_text("")
    commit(late, "Lock")
    names = "# ours\n\ndirty\nclash # twice\nclash\ngone\nempty\nmissing\ncurrent\nlate\n"
    (tmp_path / "fleet.txt").write_text(names)

    done = hook("update_fleet.py", "fleet.txt", "--commit", cwd=tmp_path)
    assert done.code == 1
    assert results(done.printed) == {
        "dirty": "refused because dirty",
        "clash": "conflicts",
        "gone": "failed",
        "empty": "failed",
        "missing": "failed",
        "current": "nothing to do",
        "late": "updated",
    }
    assert "v0.0.7" in next(line for line in done.printed.splitlines() if "gone  " in line)
    assert done.printed.splitlines()[-1].startswith("refused because dirty: 1, conflicts: 1")

    assert status(dirty) == "?? untracked.txt\n"
    assert "# mine, at the same place" in (clash / RULES).read_text()
    assert f"UU {RULES}" in status(clash)
    assert status(gone) == ""
    assert status(late) == ""
    subject = projects.run("git", "log", "-1", "--format=%s", cwd=late).strip()
    assert subject == f"Update the project template to {NEW}"
    assert "# merged from the template" in (late / RULES).read_text()

    # Again: what was done stays done, and what needs a person still does.
    again = results(hook("update_fleet.py", "fleet.txt", "--commit", cwd=tmp_path).printed)
    assert again["late"] == "nothing to do"
    assert again["clash"] == "refused because dirty"
    assert "# mine, at the same place" in (clash / RULES).read_text()


def test_without_commit_the_change_waits_for_review(hook: Run, old: Path) -> None:
    done = hook("update_fleet.py", old, cwd=old.parent)
    assert done.code == 0, done.printed
    assert f"{OLD} -> {NEW}" in done.printed
    assert status(old) == f" M .copier-answers.yml\n M {RULES}\n"


@pytest.mark.parametrize("name", ["old", "updated"])
def test_dry_run(name: str, hook: Run, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    if name == "updated":
        commit(folder, "Update")
    done = hook("update_fleet.py", folder, "--dry-run", "--commit", cwd=folder)
    assert done.code == 0, done.printed
    expected = "would be updated" if name == "old" else "nothing to do"
    assert results(done.printed) == {folder.name: expected}
    assert status(folder) == ""


def test_projects_of_one_repository(hook: Run, started: Path, tmp_path: Path) -> None:
    """An update of one does not make its neighbour dirty, and is committed alone."""
    for name in ("one", "two"):
        shutil.copytree(started, tmp_path / name, ignore=shutil.ignore_patterns(".git"))
    projects.run("git", "init", "-qb", "main", cwd=tmp_path)
    commit(tmp_path, "Start")
    done = hook("update_fleet.py", "one", "two", cwd=tmp_path)
    assert results(done.printed) == {"one": "updated", "two": "updated"}
    projects.run("git", "reset", "-q", "--hard", cwd=tmp_path)
    append(tmp_path / "two" / RULES, "# not committed\n")
    done = hook("update_fleet.py", "one", "two", "--commit", cwd=tmp_path)
    assert results(done.printed) == {"one": "updated", "two": "refused because dirty"}
    assert status(tmp_path) == f" M two/{RULES}\n"


PRE_COMMIT = """\
uv lock..................................................................Passed
check json...........................................(no files to check)Skipped
ruff check...............................................................Failed
- hook id: ruff-check
- exit code: 1
"""
"""What pre-commit prints."""


@pytest.mark.parametrize(
    ("printed", "word"),
    [
        (PRE_COMMIT, "its own checks refuse the commit: ruff check Failed"),
        ("no ticket is named\n", "not committed: no ticket is named"),
    ],
)
def test_a_commit_that_is_refused_is_reported(
    printed: str, word: str, hook: Run, old: Path
) -> None:
    refuse = old / ".git/hooks/pre-commit"
    refuse.write_text(f"#!/bin/sh\ncat <<'END'\n{printed}END\nexit 1\n")
    refuse.chmod(0o755)
    done = hook("update_fleet.py", old, "--commit", cwd=old.parent)
    assert done.code == 1
    assert results(done.printed) == {old.name: "failed"}
    assert f"updated, but {word}; the changes are staged\n" in done.printed
    assert "# merged from the template" in (old / RULES).read_text()
    assert f"M  {RULES}" in status(old)


def test_a_copier_that_is_not_there(hook: Run, old: Path) -> None:
    done = hook("update_fleet.py", old, "--copier", "no-such-copier", cwd=old.parent)
    assert done.code == 1
    assert "no-such-copier" in done.printed
    assert "Traceback" not in done.printed
    assert status(old) == ""


def test_a_list_may_begin_with_a_byte_order_mark(hook: Run, old: Path) -> None:
    (old.parent / "fleet.txt").write_text(f"{old.name}\n", encoding="utf-8-sig")
    done = hook("update_fleet.py", "fleet.txt", "--dry-run", cwd=old.parent)
    assert done.code == 0, done.printed


def test_what_git_ignores_is_not_written_over(hook: Run, old: Path) -> None:
    projects.run("git", "rm", "-q", "--cached", RULES, cwd=old)
    append(old / ".gitignore", "rules.py\n")
    append(old / RULES, "# mine\n")
    commit(old, "Ignore it")
    for option in ("--dry-run", "--commit"):
        done = hook("update_fleet.py", old, option, cwd=old.parent)
        assert done.code == 1
        assert results(done.printed) == {old.name: "refused to overwrite"}
        assert f"1 that git does not have, first {RULES}\n" in done.printed
    assert (old / RULES).read_text().endswith("# mine\n")
    assert status(old) == ""


def test_an_empty_list_is_wrong_usage(hook: Run, tmp_path: Path) -> None:
    (tmp_path / "fleet.txt").write_text("# nobody\n")
    assert hook("update_fleet.py", "fleet.txt", cwd=tmp_path).code == 2
