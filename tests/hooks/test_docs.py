"""The commands in docs/, run as they stand there against generated projects."""

from __future__ import annotations

import re
from pathlib import Path

import projects
import pytest

from hooks.conftest import NEW, OLD, Done, Run, append, command, commit

DOCS = projects.ROOT / "docs"
RULES = "src/my_data_project/common/rules.py"


def status(project: Path) -> str:
    return projects.run("git", "status", "--porcelain", cwd=project)


@pytest.fixture
def doc(run: Run, source: Path) -> Run:
    """Run the commands of a page."""

    def ran(page: str, name: str, cwd: Path) -> Done:
        done = run("bash", "-c", command(page, name), cwd=cwd, TEMPLATE=str(source))
        # `git diff --check` reports conflicts by its exit code.
        assert "Traceback" not in done.printed
        return done

    return ran


def test_generate(doc: Run, tmp_path: Path) -> None:
    assert doc("generate.md", "copy", tmp_path).code == 0
    assert doc("generate.md", "start", tmp_path).code == 0
    project = tmp_path / "my-data-project"
    assert (project / ".gitlab-ci.yml").is_file()
    assert (project / "mkdocs.yml").is_file()
    assert status(project) == ""


def test_look_before_an_update(doc: Run, old: Path) -> None:
    assert doc("update.md", "before", old).code == 0
    projects.run("git", "rm", "-q", "--cached", RULES, cwd=old)
    append(old / ".gitignore", "rules.py\n")
    append(old / RULES, "# mine\n")
    commit(old, "Ignore it")
    done = doc("update.md", "before", old)
    assert (done.code, f"first {RULES}:" in done.printed) == (1, True)
    # What it says to do.
    projects.run("git", "add", "--force", RULES, cwd=old)
    commit(old, "Keep it")
    done = doc("update.md", "before", old)
    assert ("refused" in done.printed, f"conflict          {RULES}" in done.printed) == (
        False,
        True,
    )


def test_update(doc: Run, old: Path) -> None:
    assert doc("update.md", "update", old).code == 0
    assert status(old) == f" M .copier-answers.yml\n M {RULES}\n"


def test_one_option(doc: Run, old: Path) -> None:
    assert doc("update.md", "option", old).code == 0
    assert (old / "mkdocs.yml").is_file()
    answers = (old / ".copier-answers.yml").read_text()
    assert f"_commit: {OLD}" in answers
    assert "- container\n- docs" in answers


def test_the_code_of_an_extra(doc: Run, run: Run, source: Path, tmp_path: Path) -> None:
    library = tmp_path / "my-task-library"
    copy = ("uvx", "copier", "copy", "-q", "--defaults", "-r", OLD, "-d", "project_kind=library")
    assert run(*copy, "-d", "extras=[]", source, library, cwd=tmp_path).code == 0
    run(*copy, source, tmp_path / "whole", cwd=tmp_path)
    projects.run("git", "init", "-qb", "main", cwd=library)
    commit(library, "Start")
    update = ("uvx", "copier", "update", "-q", "--defaults", "-r", ":current:")
    run(*update, "-d", "extras=[pandas, ml]", cwd=library)
    for name in ("ml", "pandas"):
        done = doc("update.md", name, library)
        assert (done.code, done.printed.strip()) == (0, ""), "no message of a copy"
    found = run("diff", "-rq", "-x", ".git", library, tmp_path / "whole", cwd=tmp_path).printed
    differ = {line.split()[1].removeprefix(f"{library}/") for line in found.splitlines() if line}
    # Files that were there, and are the user's.
    own = {"README.md", "src/my_task_library/data/__init__.py", "tests/data/public_api.txt"}
    assert differ == own


@pytest.mark.parametrize(("side", "text"), [("ours", "mine"), ("theirs", "merged")])
def test_conflict_resolve_and_abort(
    side: str, text: str, doc: Run, hook: Run, run: Run, old: Path
) -> None:
    append(old / RULES, "# mine, at the same place\n")
    commit(old, "Mine")
    (old / ".env").write_text("SECRET=1\n")
    done = doc("update.md", "update", old)
    assert done.code != 0
    assert f"{RULES}:" in done.printed, "git diff --check names the file"
    words = command("update.md", "resolve").replace("--ours", f"--{side}")
    assert run("bash", "-c", words, cwd=old).code == 0
    assert (old / RULES).read_text().splitlines()[-1].startswith(f"# {text}")
    assert hook("update.py", "--verify", cwd=old).code == 0
    (old / "new-file").write_text("")
    assert doc("update.md", "abort", old).code == 0
    assert status(old) == ""
    assert (old / RULES).read_text().endswith("# mine, at the same place\n")
    assert (old / ".env").read_text() == "SECRET=1\n"


def test_fetch_a_seed(doc: Run, old: Path) -> None:
    original = (old / "prefect.yaml").read_text()
    (old / "prefect.yaml").write_text("mine\n")
    commit(old, "Mine")
    assert doc("update.md", "fetch", old).code == 0
    assert (old / "prefect.yaml").read_text() == original
    assert projects.run("git", "diff", "--name-only", "HEAD", cwd=old) == "prefect.yaml\n"


def test_rename(doc: Run, old: Path) -> None:
    (old / "src/my_data_project/mine.py").write_text("MINE = True\n")
    append(old / "src/my_data_project/flows/tables.py", "# mine\n")
    commit(old, "Mine")
    done = doc("update.md", "rename", old)
    assert done.code == 0, done.printed
    assert not (old / "src/my_data_project").exists()
    assert (old / "src/better_name/mine.py").read_text() == "MINE = True\n"
    assert (old / "src/better_name/flows/tables.py").read_text().endswith("# mine\n")
    assert "better_name.cli:main" in (old / "pyproject.toml").read_text()
    # Nothing conflicts: the rename was in all files but the answers.
    expected = [
        *(".copier-answers.yml", ".env.example", "Dockerfile", "compose.yaml"),
        *("docs/guarantees.md", "docs/operations.md"),
    ]
    assert status(old) == "".join(f" M {name}\n" for name in expected)
    # Files import each other relatively; tests name the package.
    assert "from better_name.common" in (old / "tests/databases.py").read_text()


def test_fleet(run: Run, old: Path, source: Path) -> None:
    (old.parent / "fleet.txt").write_text(f"{old.name}\n")
    words = command("maintain.md", "fleet")
    done = run("bash", "-c", words, cwd=old.parent, TEMPLATE=str(source))
    assert done.code == 0, done.printed
    assert f"{OLD} -> {NEW}" in done.printed
    assert status(old) == ""


def test_links_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert target.startswith("https:") or (page.parent / target).exists(), target
        if page.name != "index.md":
            readme = (projects.ROOT / "README.md").read_text(encoding="utf-8")
            assert f"docs/{page.name}" in readme
