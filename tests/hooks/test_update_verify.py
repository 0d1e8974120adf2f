"""`hooks/update.py --verify` after a plain `copier update`, and the steps after an update."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import projects
import pytest

from hooks.conftest import OLD, Done, Run, append, command, commit

TABLES = "src/my_data_project/flows/tables.py"
MORE = "src/my_data_project/flows/more_flow.py"
RULES = "src/my_data_project/common/rules.py"


def report(done: Done) -> dict[str, Any]:
    """Return the report of the only project, from `--json`."""
    (found,) = json.loads(done.printed[done.printed.index("[\n") :])
    return found


def named(done: Done) -> dict[str, str]:
    """Return the files in a report and their outcomes."""
    return {name: kind for name, (kind, _) in report(done)["files"].items()}


def test_a_clean_update_leaves_nothing(hook: Run, updated: Path) -> None:
    before = projects.run("git", "status", "--porcelain", cwd=updated)
    done = hook("update.py", "--verify", "--json", cwd=updated)
    assert done.code == 0, done.printed
    assert (report(done)["old"], report(done)["left"]) == (OLD, [])
    offered = {TABLES: "can be refreshed", MORE: "can be refreshed"}
    assert named(done) == offered
    assert projects.run("git", "status", "--porcelain", cwd=updated) == before
    commit(updated, "Update")
    assert named(hook("update.py", "--verify", "--json", cwd=updated)) == offered
    assert hook("update.py", "--refresh", cwd=updated).code == 0
    assert (updated / TABLES).read_text().endswith("# better in the template\n")
    assert (updated / MORE).is_file()


def test_files_of_the_user_that_new_answers_change(hook: Run, run: Run, old: Path) -> None:
    (old / "environments/dev.env").write_text("mine\n")
    commit(old, "Mine")
    answers = ("-d", "license=Apache-2.0", "-d", "work_pool_type=docker")
    run("uvx", "copier", "update", "-q", "--defaults", "-r", ":current:", *answers, cwd=old)
    told = named(hook("update.py", "--verify", "--json", cwd=old))
    assert (told["LICENSE"], told["environments/dev.env"]) == ("can be refreshed", "yours")
    assert TABLES not in told


@pytest.mark.large("updates")
def test_a_renamed_package_makes_no_file_new(hook: Run, run: Run, old: Path, source: Path) -> None:
    words = command("update.md", "rename")
    renamed = run("bash", "-c", words, cwd=old, TEMPLATE=str(source))
    assert renamed.code == 0, renamed.printed
    commit(old, "Update")
    done = hook("update.py", "--verify", "--json", cwd=old)
    assert done.code == 0, done.printed
    assert not [name for name in named(done) if name.startswith("src/")]


def test_the_templates_files_that_are_not_there(hook: Run, run: Run, old: Path) -> None:
    projects.run("git", "mv", RULES, "src/my_data_project/moved.py", cwd=old)
    projects.run("git", "rm", "-q", "compose.yaml", TABLES, cwd=old)
    commit(old, "Move and delete")
    run("uvx", "copier", "update", "-q", "--defaults", cwd=old)
    done = hook("update.py", "--verify", "--json", cwd=old)
    assert done.code == 0, done.printed
    assert named(done) == {RULES: "yours", MORE: "can be refreshed"}


def test_a_module_beside_a_package_of_the_template_is_named(hook: Run, updated: Path) -> None:
    module = "src/my_data_project/commands.py"
    (updated / module).write_text("MINE = True\n")
    done = hook("update.py", "--verify", cwd=updated)
    assert done.code == 1
    assert f"{module}: hidden by the template's package of that name" in done.printed


def test_a_template_that_is_gone(hook: Run, updated: Path) -> None:
    answers = updated / ".copier-answers.yml"
    answers.write_text(re.sub(r"_src_path: .*", "_src_path: '/no/where'", answers.read_text()))
    done = hook("update.py", "--verify", cwd=updated)
    assert (done.code, "/no/where cannot be read" in done.printed) == (1, True)
    assert "Traceback" not in done.printed


def test_a_conflict_until_it_is_resolved(hook: Run, run: Run, old: Path) -> None:
    append(old / RULES, "# mine, at the same place\n")
    commit(old, "Mine")
    assert run("uvx", "copier", "update", "-q", "--defaults", cwd=old).code == 0
    done = hook("update.py", "--verify", cwd=old)
    assert (done.code, f"{RULES}: has conflict markers" in done.printed) == (1, True)
    text = (old / RULES).read_text()
    kept = [line for line in text.splitlines() if not re.match(r"<{7}|={7}|>{7}", line)]
    (old / RULES).write_text("\n".join(kept) + "\n")
    done = hook("update.py", "--verify", cwd=old)
    assert (done.code, f"{RULES}: is marked as a conflict" in done.printed) == (1, True)
    projects.run("git", "add", RULES, cwd=old)
    assert hook("update.py", "--verify", cwd=old).code == 0


def test_markers_that_were_committed_are_found(hook: Run, updated: Path) -> None:
    append(updated / "README.md", "<<<<<<< before updating\n")
    commit(updated, "Oops")
    done = hook("update.py", "--verify", cwd=updated)
    assert "README.md: has conflict markers" in done.printed


@pytest.mark.large("updates")
def test_rej_files_are_found_even_when_ignored(hook: Run, run: Run, old: Path) -> None:
    append(old / ".gitignore", "*.rej\n")
    append(old / RULES, "# mine, at the same place\n")
    commit(old, "Mine")
    run("uvx", "copier", "update", "-q", "--defaults", "--conflict", "rej", cwd=old)
    done = hook("update.py", "--verify", cwd=old)
    assert done.code == 1
    assert f"{RULES}.rej: what could not be merged" in done.printed


@pytest.mark.parametrize(("stale", "code"), [("0", 0), ("1", 1)])
def test_a_stale_lock(stale: str, code: int, hook: Run, updated: Path) -> None:
    (updated / "uv.lock").write_text("")
    done = hook("update.py", "--verify", cwd=updated, STALE=stale)
    assert done.code == code
    assert ("run: uv lock" in done.printed) == bool(code)


def test_a_project_in_a_subfolder_with_another_package(
    hook: Run, run: Run, source: Path, tmp_path: Path
) -> None:
    """Paths are relative to the project, and names are its own."""
    project = tmp_path / "mono" / "one project"
    run(
        "uvx", "copier", "copy", "-q", "--defaults", "-r", OLD, "-d", "package_name=acme",
        source, project, cwd=tmp_path,
    )  # fmt: skip
    projects.run("git", "init", "-qb", "main", cwd=project.parent)
    commit(project.parent, "Start")
    copy = Path(shutil.copytree(tmp_path / "mono", tmp_path / "copy")) / "one project"
    run("uvx", "copier", "update", "-q", "--defaults", cwd=project)
    done = hook("update.py", project, "--verify", "--json", cwd=tmp_path)
    assert done.code == 0, done.printed
    assert named(done) == {
        name.replace("my_data_project", "acme"): "can be refreshed" for name in (TABLES, MORE)
    }
    assert hook("update.py", copy, "--refresh", cwd=tmp_path).code == 0
    assert (copy / TABLES.replace("my_data_project", "acme")).read_text().endswith("template\n")


# -- The steps after an update -------------------------------------------------------------------


def test_the_lock_follows(hook: Run, old: Path) -> None:
    (old / "uv.lock").write_text("")
    commit(old, "Lock")
    assert hook("update.py", cwd=old).code == 0
    assert (old / "uv.lock").read_text() == "", "pyproject.toml is as it was"
    assert hook("update.py", "-d", "user_name=Ann", "--commit", cwd=old).code == 1, "dirty"
    commit(old, "Update")
    assert hook("update.py", "-d", "user_name=Ann", "--commit", cwd=old).code == 0
    assert projects.run("git", "show", "HEAD:uv.lock", cwd=old) == "locked"


def test_a_migration_is_offered_run_and_then_no_longer_needed(hook: Run, old: Path) -> None:
    (old / "old-layout").write_text("mine")
    commit(old, "Old")
    said = "v999_1_0_layout.py: is needed; run this again with --migrate"
    assert hook("update.py", "--migrate", "--dry-run", cwd=old).code == 0
    assert (old / "old-layout").exists()
    done = hook("update.py", cwd=old)
    assert (done.code, said in done.printed) == (1, True)
    done = hook("update.py", "--verify", cwd=old)
    assert (done.code, said in done.printed) == (1, True)
    commit(old, "Update")
    assert hook("update.py", "--migrate", cwd=old).code == 0
    assert (old / "new-layout").read_text() == "mine"
    assert not (old / "old-layout").exists()


@pytest.mark.parametrize(("check", "code"), [("grep -q merged rules", 0), ("false", 1)])
def test_checks_run_on_the_result_first(check: str, code: int, hook: Run, old: Path) -> None:
    """In a worktree with everything committed, which is always removed."""
    clean = f'test -z "$(git status --porcelain)" && {check.replace("rules", RULES)}\n'
    (old / "pytest").write_text(clean)
    commit(old, "Check")
    done = hook("update.py", "--run-tests", "--json", cwd=old)
    assert done.code == code, done.printed
    assert ("the result fails its check: pytest -q" in done.printed) == bool(code)
    changed = projects.run("git", "status", "--porcelain", cwd=old)
    assert changed == ("" if code else f" M .copier-answers.yml\n M {RULES}\n")
    assert len(projects.run("git", "worktree", "list", cwd=old).splitlines()) == 1
