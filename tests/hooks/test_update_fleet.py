"""`hooks/update.py` with projects in all states, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import child_processes
import projects
import pytest

from hooks.conftest import HOOKS, NEW, OLD, Done, Run, append, commit

RULES = "src/my_data_project/common/rules.py"
CHANGED = f" M .copier-answers.yml\n M {RULES}\n"
"""What git says of a project that nobody has edited after its update."""


def results(printed: str) -> dict[str, str]:
    """Return the result of each project in the report, by the name of its folder."""
    words = (
        "updated|nothing to do|would be updated|conflicts|refused because dirty"
        "|refused to overwrite|refused|failed"
    )
    return {
        Path(found[1].strip()).name: found[2]
        for found in re.finditer(rf"^(/.+?)  +({words})  ", printed, re.MULTILINE)
    }


def result(done: Done) -> tuple[str, str]:
    """Return the status of the only project and the reason, from `--json`."""
    (report,) = json.loads(done.printed[done.printed.index("[\n") :])
    return report["status"], report["word"]


def status(project: Path) -> str:
    return projects.run("git", "status", "--porcelain", cwd=project)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_mixed_fleet(jobs: str, hook: Run, started: Path, moved: Path, tmp_path: Path) -> None:
    """No project stops it, nothing is lost, and each has a line in the report."""

    def project(name: str, source: Path = started) -> Path:
        return Path(shutil.copytree(source, tmp_path / name))

    dirty, clash, late, gone = map(project, ("dirty", "clash", "late # 1", "gone"))
    detached, feature = map(project, ("detached", "feature"))
    projects.run("git", "checkout", "-q", "--detach", cwd=detached)
    projects.run("git", "switch", "-qc", "feature", cwd=feature)
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
    names = (
        "# ours\n\ndirty\nclash # twice\nclash\ngone\nempty\nmissing\ncurrent\ndetached\nfeature"
    )
    (tmp_path / "fleet.txt").write_text(names)
    words = ("update.py", "fleet.txt", "late # 1", "--commit", "--jobs", jobs)

    done = hook(*words, cwd=tmp_path)
    assert done.code == 1
    assert results(done.printed) == {
        "dirty": "refused because dirty",
        "clash": "conflicts",
        "gone": "failed",
        "empty": "failed",
        "missing": "failed",
        "current": "nothing to do",
        "detached": "refused",
        "feature": "refused",
        "late # 1": "updated",
    }
    assert "it is on branch feature, not on main" in done.printed
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

    # The second time: finished projects stay, others still need the user.
    again = results(hook(*words, cwd=tmp_path).printed)
    assert again["late # 1"] == "nothing to do"
    assert again["clash"] == "refused because dirty"
    assert "# mine, at the same place" in (clash / RULES).read_text()


def test_without_commit_the_change_waits_for_review(hook: Run, old: Path) -> None:
    done = hook("update.py", old, cwd=old.parent)
    assert done.code == 0, done.printed
    assert f"{OLD} -> {NEW}" in done.printed
    assert status(old) == CHANGED


@pytest.mark.parametrize("name", ["old", "updated"])
def test_dry_run(name: str, hook: Run, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    if name == "updated":
        commit(folder, "Update")
    done = hook("update.py", folder, "--dry-run", "--commit", "--json", cwd=folder)
    assert done.code == 0, done.printed
    expected = "would be updated" if name == "old" else "nothing to do"
    assert result(done)[0] == expected
    assert status(folder) == ""


def test_projects_of_one_repository(hook: Run, started: Path, tmp_path: Path) -> None:
    """The update of one does not affect the others, and is committed alone."""
    for name in ("one", "two"):
        shutil.copytree(started, tmp_path / name, ignore=shutil.ignore_patterns(".git"))
    projects.run("git", "init", "-qb", "main", cwd=tmp_path)
    commit(tmp_path, "Start")
    done = hook("update.py", "one", "two", cwd=tmp_path)
    assert results(done.printed) == {"one": "updated", "two": "updated"}
    projects.run("git", "reset", "-q", "--hard", cwd=tmp_path)
    append(tmp_path / "two" / RULES, "# not committed\n")
    done = hook("update.py", "one", "two", "--commit", cwd=tmp_path)
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
    done = hook("update.py", old, "--commit", "--json", cwd=old.parent)
    assert done.code == 1
    assert result(done) == ("failed", f"updated, but {word}; the changes are staged")
    assert "# merged from the template" in (old / RULES).read_text()
    assert f"M  {RULES}" in status(old)


def test_a_list_may_begin_with_a_byte_order_mark(hook: Run, old: Path) -> None:
    (old.parent / "fleet.txt").write_text(f"{old.name}\n", encoding="utf-8-sig")
    done = hook("update.py", "fleet.txt", "--dry-run", cwd=old.parent)
    assert done.code == 0, done.printed


def test_an_empty_list_is_wrong_usage(hook: Run, tmp_path: Path) -> None:
    (tmp_path / "fleet.txt").write_text("# nobody\n")
    assert hook("update.py", "fleet.txt", cwd=tmp_path).code == 2


def test_the_old_name_of_the_script(run: Run, tmp_path: Path) -> None:
    done = run(sys.executable, HOOKS / "update_fleet.py", tmp_path, tmp_path / "no", cwd=tmp_path)
    assert (done.code, results(done.printed)) == (1, {tmp_path.name: "failed", "no": "failed"})


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_after_an_interruption_every_project_is_in_the_report(
    jobs: str, started: Path, shims: Path, tmp_path: Path
) -> None:
    names = [f"p{number}" for number in range(6)]
    for name in names:
        shutil.copytree(started, tmp_path / name)
    words = [sys.executable, HOOKS / "update.py", *names, "--json", "--jobs", jobs]
    env = projects.clean_environment(PATH=f"{shims}{os.pathsep}{os.environ['PATH']}")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with child_processes.running(words, cwd=tmp_path, env=env, text=True, **pipes) as process:
        assert any(": updated" in line for line in process.stderr), "the first is done"
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=projects.RUN_SECONDS)
    reports = json.loads(printed)
    assert process.returncode == 1
    assert [Path(report["project"]).name for report in reports] == names
    assert reports[-1]["word"] == "interrupted: not reached"
    for name, report in zip(names, reports, strict=True):
        is_updated = report["status"] == "updated"
        assert status(tmp_path / name) == (CHANGED if is_updated else "")
