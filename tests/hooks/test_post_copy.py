"""`hooks/post_copy.py`, as a user runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import projects
import pytest

from hooks.conftest import OLD, Run, commit


def log(project: Path) -> list[str]:
    """Return the subjects of all commits."""
    return projects.run("git", "log", "--format=%s", cwd=project).splitlines()


def test_a_new_project_gets_all_and_a_second_run_does_nothing(hook: Run, fresh: Path) -> None:
    first = hook("post_copy.py", fresh, cwd=fresh.parent)
    assert first.code == 0, first.printed
    commands = [line for line in first.printed.splitlines() if line.startswith("$ ")]
    assert commands == [
        "$ git init --quiet --initial-branch main",
        "$ uv sync",
        "$ git add --all .",
        f"$ git commit --quiet --message 'Start from copier-prefect {OLD}'",
        "$ uv run pre-commit install",
    ]
    assert log(fresh) == [f"Start from copier-prefect {OLD}"]
    assert projects.run("git", "branch", "--show-current", cwd=fresh) == "main\n"
    assert projects.run("git", "status", "--porcelain", cwd=fresh) == ""
    assert projects.run("git", "ls-files", "uv.lock", cwd=fresh) == "uv.lock\n"

    second = hook("post_copy.py", cwd=fresh)
    assert (second.code, second.printed) == (0, "Nothing to do: everything is set up.\n")
    assert len(log(fresh)) == 1


def test_the_environment_it_runs_in_is_not_the_projects(hook: Run, fresh: Path) -> None:
    """`uv run python hooks/post_copy.py` sets its own, and uv would warn about it."""
    done = hook("post_copy.py", fresh, cwd=fresh.parent, VIRTUAL_ENV=str(fresh.parent))
    assert (done.code, "$ uv sync" in done.printed) == (0, True)
    assert "warning" not in done.printed


def test_dry_run_changes_nothing(hook: Run, fresh: Path) -> None:
    before = sorted(fresh.rglob("*"))
    done = hook("post_copy.py", fresh, "--dry-run", cwd=fresh)
    assert done.code == 0
    assert "$ git init" in done.printed
    assert "$ git commit" in done.printed
    assert sorted(fresh.rglob("*")) == before


def test_without_an_identity_one_sentence_says_what_to_do(hook: Run, fresh: Path) -> None:
    (fresh.parent / "gitconfig").write_text("[user]\nuseConfigOnly = true\n")
    nobody = {
        "GIT_CONFIG_GLOBAL": str(fresh.parent / "gitconfig"),
        "GIT_AUTHOR_NAME": "",
        "GIT_AUTHOR_EMAIL": "",
        "GIT_COMMITTER_NAME": "",
        "GIT_COMMITTER_EMAIL": "",
    }
    done = hook("post_copy.py", fresh, cwd=fresh, **nobody)
    assert done.code == 1
    assert "git config --global user.name" in done.printed
    assert "Traceback" not in done.printed
    # With an identity, it continues where it stopped.
    again = hook("post_copy.py", fresh, cwd=fresh)
    assert again.code == 0, again.printed
    assert "$ uv sync" not in again.printed
    assert len(log(fresh)) == 1


def test_commits_of_the_user_are_left_alone(hook: Run, old: Path) -> None:
    (old / "mine.txt").write_text("mine")
    done = hook("post_copy.py", old, cwd=old)
    assert done.code == 0, done.printed
    assert log(old) == ["Start"]
    assert "?? mine.txt" in projects.run("git", "status", "--porcelain", cwd=old)


def test_a_project_in_another_repository(hook: Run, fresh: Path) -> None:
    """It creates no second repository, no commit and no pre-commit hook."""
    top = fresh.parent / "mono"
    top.mkdir()
    (top / "README.md").write_text("# Mono\n")
    projects.run("git", "init", "-qb", "main", cwd=top)
    commit(top, "Mono")
    project = Path(shutil.copytree(fresh, top / "one"))
    done = hook("post_copy.py", project, cwd=top)
    assert done.code == 0, done.printed
    assert not (project / ".git").exists()
    assert log(top) == ["Mono"]
    assert not (top / ".git/hooks/pre-commit").exists()
    assert "commit the project yourself" in done.printed


def test_files_that_were_there_are_merged_before_anything_is_added(hook: Run, fresh: Path) -> None:
    projects.run("git", "init", "-qb", "main", cwd=fresh)
    projects.run("git", "add", "README.md", cwd=fresh)
    projects.run("git", "commit", "-qm", "Own", cwd=fresh)
    done = hook("post_copy.py", cwd=fresh)
    assert "merge them with hooks/adopt.py" in done.printed
    assert "git add" not in done.printed
    assert log(fresh) == ["Own"]


def test_without_uv_the_rest_is_done(hook: Run, fresh: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("git", "bash"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = hook("post_copy.py", fresh, cwd=fresh, PATH=str(tools))
    assert done.code == 1
    assert "pip install uv" in done.printed
    assert len(log(fresh)) == 1


@pytest.mark.parametrize("name", ["post_copy.py", "update.py"])
def test_a_folder_of_something_else_is_refused(name: str, hook: Run, tmp_path: Path) -> None:
    done = hook(name, tmp_path, cwd=tmp_path)
    assert done.code == 2
    assert "holds no .copier-answers.yml" in done.printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["post_copy.py", "update.py"])
def test_help_says_what_the_exit_code_means(name: str, hook: Run, tmp_path: Path) -> None:
    done = hook(name, "--help", cwd=tmp_path)
    assert done.code == 0
    assert "Exit code: 0" in done.printed
    assert "--dry-run" in done.printed


def test_hooks_are_scripts_that_need_nothing_but_copier() -> None:
    """Except adopt.py, which edits TOML and reads other tools' files."""
    scripts = set((projects.ROOT / "hooks").glob("**/*.py")) - {projects.ROOT / "hooks/adopt.py"}
    assert len(scripts) >= 3
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        start = '# /// script\n# requires-python = ">=3.11"\n# dependencies = ['
        assert text.startswith(start), script
        needs = text.removeprefix(start).partition("]\n# ///\n")[0]
        assert needs in {"", '"copier==9.19.1", "packaging", "pyyaml"'}, script
