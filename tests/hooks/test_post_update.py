"""`hooks/post_update.py` after a real update, as a user runs it."""

from __future__ import annotations

import re
from pathlib import Path

import projects
import pytest

from hooks.conftest import OLD, Run, append, command, commit

TABLES = "src/my_data_project/flows/tables.py"
RULES = "src/my_data_project/common/rules.py"


def fetch_commands(printed: str) -> dict[str, str]:
    """Return the printed commands that fetch a seed, by its path."""
    found = re.findall(r"^  (git rm .* -- (\S+) && uvx copier recopy .*)$", printed, re.MULTILINE)
    return {path: command for command, path in found}


def test_a_clean_update_leaves_nothing(hook: Run, updated: Path) -> None:
    before = projects.run("git", "status", "--porcelain", cwd=updated)
    done = hook("post_update.py", cwd=updated)
    assert done.code == 0, done.printed
    assert done.printed.endswith("\nNothing else is left to do.\n")
    assert projects.run("git", "status", "--porcelain", cwd=updated) == before


def test_seeds_that_changed_are_named_and_the_command_fetches_one(
    hook: Run, run: Run, updated: Path
) -> None:
    append(updated / "README.md", "mine\n")
    commit(updated, "Update")  # so HEAD no longer knows the version before
    done = hook("post_update.py", "--from", OLD, cwd=updated)
    commands = fetch_commands(done.printed)
    assert set(commands) == {TABLES, "src/my_data_project/flows/more_flow.py"}
    fetched = run("bash", "-c", commands[TABLES], cwd=updated)
    assert fetched.code == 0, fetched.printed
    assert (updated / TABLES).read_text().endswith("# better in the template\n")
    changed = projects.run("git", "diff", "--name-only", "HEAD", cwd=updated)
    assert changed == f"{TABLES}\n"
    added = projects.run("git", "diff", "--numstat", "HEAD", cwd=updated)
    assert added == f"1\t0\t{TABLES}\n", "the difference, not a new file"
    others = projects.run("git", "ls-files", "--others", "--exclude-standard", cwd=updated)
    assert others in {"", f"{TABLES}\n"}
    # And back, as it says.
    projects.run("git", "checkout", "HEAD", "--", TABLES, cwd=updated)
    assert projects.run("git", "status", "--porcelain", cwd=updated) == ""
    # A seed that is new arrives in the same way.
    run("bash", "-c", commands["src/my_data_project/flows/more_flow.py"], cwd=updated)
    status = projects.run("git", "status", "--porcelain", cwd=updated)
    assert status == "A  src/my_data_project/flows/more_flow.py\n"


def test_the_version_before_is_read_from_git(hook: Run, updated: Path) -> None:
    assert TABLES in fetch_commands(hook("post_update.py", cwd=updated).printed)
    commit(updated, "Update")
    done = hook("post_update.py", cwd=updated)
    assert fetch_commands(done.printed) == {}
    assert done.printed.endswith("\nNothing is left to do.\n")


@pytest.mark.large("updates")
def test_a_seed_with_changes_that_are_not_committed_is_not_fetched(
    hook: Run, run: Run, updated: Path
) -> None:
    append(updated / TABLES, "# not committed\n")
    command = fetch_commands(hook("post_update.py", cwd=updated).printed)[TABLES]
    assert run("bash", "-c", command, cwd=updated).code != 0
    assert (updated / TABLES).read_text().endswith("# not committed\n")


def test_seeds_that_new_answers_change_are_named(hook: Run, run: Run, old: Path) -> None:
    answers = ("-d", "license=Apache-2.0", "-d", "work_pool_type=docker")
    run("uvx", "copier", "update", "-q", "--defaults", "-r", ":current:", *answers, cwd=old)
    commands = fetch_commands(hook("post_update.py", cwd=old).printed)
    assert {"LICENSE", "prefect.yaml", "environments/dev.env"} <= set(commands)
    assert TABLES not in commands
    assert run("bash", "-c", commands["LICENSE"], cwd=old).code == 0
    assert "Apache License" in (old / "LICENSE").read_text()
    # What is fetched needs no command; and the answers before are found in the history.
    commit(old, "Answers")
    assert fetch_commands(hook("post_update.py", cwd=old).printed) == {}
    later = fetch_commands(hook("post_update.py", "--from", OLD, cwd=old).printed)
    assert set(later) == set(commands) - {"LICENSE"}


@pytest.mark.large("updates")
def test_a_renamed_package_makes_no_file_new(hook: Run, run: Run, old: Path) -> None:
    assert run("bash", "-c", command("update.md", "rename"), cwd=old).code == 0
    done = hook("post_update.py", cwd=old)
    assert done.code == 0, done.printed
    # README and others name settings too, as MY_DATA_PROJECT_…: that is not the package's name.
    assert not [name for name in fetch_commands(done.printed) if name.startswith("src/")]


def test_the_templates_files_that_are_not_there_are_named(hook: Run, run: Run, old: Path) -> None:
    projects.run("git", "mv", RULES, "src/my_data_project/moved.py", cwd=old)
    projects.run("git", "rm", "-q", "compose.yaml", cwd=old)
    commit(old, "Move and delete")
    run("uvx", "copier", "update", "-q", "--defaults", cwd=old)
    done = hook("post_update.py", cwd=old)
    assert done.code == 0, done.printed
    found = re.findall(r"^  (uvx copier recopy .*)$", done.printed, re.MULTILINE)
    assert [words.split()[-1] for words in found] == [f"'!/{RULES}'"]
    assert run("bash", "-c", found[0], cwd=old).code == 0
    assert (old / RULES).read_text().endswith("# merged from the template\n")


def test_a_module_beside_a_package_of_the_template_is_named(hook: Run, updated: Path) -> None:
    module = "src/my_data_project/commands.py"
    (updated / module).write_text("MINE = True\n")
    done = hook("post_update.py", cwd=updated)
    assert done.code == 1
    assert f"{module}: hidden by the template's package of that name" in done.printed


@pytest.mark.parametrize(
    ("pattern", "text", "said"),
    [
        (r"_src_path: (.*)", r"_src_path: '\1' # ours", ""),
        (r"_commit: (.*)", r'_commit: "\1"   # pinned', ""),
        (r"_src_path: .*\n", "", "has no _src_path; bring it back from: git log"),
        (r"_commit: .*\n", "", "has no _commit; bring it back from: git log"),
        (r"_commit: .*", "_commit: # none", "has no _commit"),
    ],
)
def test_answers_that_were_edited_by_hand(
    pattern: str, text: str, said: str, hook: Run, updated: Path
) -> None:
    answers = updated / ".copier-answers.yml"
    answers.write_text(re.sub(pattern, text, answers.read_text()))
    done = hook("post_update.py", cwd=updated)
    assert done.code == bool(said), done.printed
    assert said in done.printed
    assert (TABLES in fetch_commands(done.printed)) == (not said)


@pytest.mark.large("updates")
def test_a_version_before_that_is_not_recorded(hook: Run, updated: Path) -> None:
    answers = updated / ".copier-answers.yml"
    text = answers.read_text()
    answers.write_text(re.sub("_commit: .*\n", "", text))
    commit(updated, "By hand")
    answers.write_text(text)
    done = hook("post_update.py", cwd=updated)
    assert (done.code, "give that version with --from" in done.printed) == (1, True)
    assert hook("post_update.py", "--from", OLD, cwd=updated).code == 0


def test_no_copier_to_compare_with(hook: Run, updated: Path) -> None:
    done = hook("post_update.py", "--copier", "no-such-copier", cwd=updated)
    assert (done.code, "no-such-copier: fails" in done.printed) == (1, True)


def test_a_deleted_seed_is_not_offered(hook: Run, updated: Path) -> None:
    (updated / TABLES).unlink()
    assert TABLES not in fetch_commands(hook("post_update.py", cwd=updated).printed)


def test_conflicts_are_found_until_they_are_resolved(hook: Run, run: Run, old: Path) -> None:
    append(old / RULES, "# mine, at the same place\n")
    commit(old, "Mine")
    assert run("uvx", "copier", "update", "-q", "--defaults", cwd=old).code == 0
    done = hook("post_update.py", cwd=old)
    assert done.code == 1
    assert f"{RULES}: has conflict markers" in done.printed
    text = (old / RULES).read_text()
    assert "# mine, at the same place" in text
    assert "# merged from the template" in text
    kept = [line for line in text.splitlines() if not re.match(r"<{7}|={7}|>{7}", line)]
    (old / RULES).write_text("\n".join(kept) + "\n")
    done = hook("post_update.py", cwd=old)
    assert (done.code, f"{RULES}: is marked as a conflict" in done.printed) == (1, True)
    projects.run("git", "add", RULES, cwd=old)
    assert hook("post_update.py", cwd=old).code == 0


def test_markers_that_were_committed_are_found(hook: Run, updated: Path) -> None:
    append(updated / RULES, "<<<<<<< before updating\n")
    commit(updated, "Oops")
    assert f"{RULES}: has conflict markers" in hook("post_update.py", cwd=updated).printed


@pytest.mark.large("updates")
def test_rej_files_are_found_even_when_ignored(hook: Run, run: Run, old: Path) -> None:
    append(old / ".gitignore", "*.rej\n")
    append(old / RULES, "# mine, at the same place\n")
    commit(old, "Mine")
    run("uvx", "copier", "update", "-q", "--defaults", "--conflict", "rej", cwd=old)
    done = hook("post_update.py", cwd=old)
    assert done.code == 1
    assert f"{RULES}.rej: what could not be merged" in done.printed


@pytest.mark.parametrize(("stale", "code"), [("0", 0), ("1", 1)])
def test_a_stale_lock(stale: str, code: int, hook: Run, updated: Path) -> None:
    (updated / "uv.lock").write_text("")
    done = hook("post_update.py", cwd=updated, STALE=stale)
    assert done.code == code
    assert ("run: uv lock" in done.printed) == bool(code)


def test_a_migration_is_offered_run_and_then_no_longer_needed(hook: Run, updated: Path) -> None:
    (updated / "old-layout").write_text("mine")
    done = hook("post_update.py", cwd=updated)
    assert done.code == 1
    assert "v999_1_0_layout.py: is needed; run this again with --migrate" in done.printed
    assert hook("post_update.py", "--migrate", "--dry-run", cwd=updated).code == 1
    assert (updated / "old-layout").exists()
    assert hook("post_update.py", "--migrate", cwd=updated).code == 0
    assert (updated / "new-layout").read_text() == "mine"
    assert not (updated / "old-layout").exists()


def test_a_template_that_is_gone_is_something_left(hook: Run, updated: Path) -> None:
    answers = updated / ".copier-answers.yml"
    answers.write_text(re.sub(r"_src_path: .*", "_src_path: '/no/where'", answers.read_text()))
    done = hook("post_update.py", cwd=updated)
    assert done.code == 1
    assert "/no/where: cannot be read" in done.printed
    assert "Traceback" not in done.printed


def test_a_project_in_a_subfolder_with_another_package(
    hook: Run, run: Run, source: Path, tmp_path: Path
) -> None:
    """Paths are those of the project, and names its own."""
    project = tmp_path / "mono" / "one project"
    run(
        "uvx", "copier", "copy", "-q", "--defaults", "-r", OLD, "-d", "package_name=acme",
        source, project, cwd=tmp_path,
    )  # fmt: skip
    projects.run("git", "init", "-qb", "main", cwd=project.parent)
    commit(project.parent, "Start")
    run("uvx", "copier", "update", "-q", "--defaults", cwd=project)
    done = hook("post_update.py", project, cwd=tmp_path)
    assert done.code == 0, done.printed
    command = fetch_commands(done.printed)["src/acme/flows/tables.py"]
    assert run("bash", "-c", command, cwd=project).code == 0
    assert "better in the template" in (project / "src/acme/flows/tables.py").read_text()
