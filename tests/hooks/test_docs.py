"""The commands in docs/, run unchanged in generated projects."""

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
        # `git diff --check` reports conflicts with its exit code.
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


def test_look_before_an_update(run: Run, source: Path, old: Path) -> None:
    def look() -> Done:
        words = f"{command('update.md', 'update')} --dry-run"
        return run("bash", "-c", words, cwd=old, TEMPLATE=str(source))

    assert look().code == 0
    projects.run("git", "rm", "-q", "--cached", RULES, cwd=old)
    append(old / ".gitignore", "rules.py\n")
    append(old / RULES, "# mine\n")
    commit(old, "Ignore it")
    done = look()
    assert (done.code, f"first {RULES}:" in done.printed) == (1, True)
    # As the message says.
    projects.run("git", "add", "--force", RULES, cwd=old)
    commit(old, "Keep it")
    done = look()
    assert "refused" not in done.printed
    assert f"conflict          {RULES}" in done.printed


@pytest.mark.parametrize("way", ["update", "copier"])
def test_update(way: str, doc: Run, old: Path) -> None:
    done = doc("update.md", way, old)
    # The new release has a migration that this project does not need.
    assert done.code == 0, done.printed
    assert status(old) == f" M .copier-answers.yml\n M {RULES}\n"


def test_every_verdict_is_explained() -> None:
    verdicts = re.findall(r"^\| ([a-z ]+) \| [a-z]", (DOCS / "update.md").read_text(), re.MULTILINE)
    script = (projects.ROOT / "hooks/update.py").read_text(encoding="utf-8")
    kinds = script.partition("# What becomes of a file.\n")[2].partition("\n\n")[0]
    assert sorted(verdicts) == sorted(re.findall(r'"(.+)"', kinds))


def test_the_release_that_is_named_is_the_newest() -> None:
    named = re.findall(r"/raw/v([\d.]+)`", (DOCS / "update.md").read_text(encoding="utf-8"))
    changes = (projects.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert named == re.findall(r"^## ([\d.]+)", changes, re.MULTILINE)[:1]


def test_refresh_and_take(doc: Run, old: Path) -> None:
    tables, deployments = "src/my_data_project/flows/tables.py", old / "prefect.yaml"
    original = deployments.read_text()
    deployments.write_text("mine\n")
    commit(old, "Mine")
    assert doc("update.md", "refresh", old).code == 0
    assert "# better in the template\n" in (old / tables).read_text()
    assert (old / "src/my_data_project/flows/more_flow.py").is_file()
    assert deployments.read_text() == "mine\n"
    commit(old, "Update")
    assert doc("update.md", "take", old).code == 0
    assert deployments.read_text() == original
    assert status(old) == " M prefect.yaml\n"


def test_one_option(doc: Run, old: Path) -> None:
    assert doc("update.md", "option", old).code == 0
    assert (old / "mkdocs.yml").is_file()
    answers = (old / ".copier-answers.yml").read_text()
    assert f"_commit: {OLD}" in answers
    assert "- container\n- docs" in answers


def test_a_template_that_has_moved(doc: Run, old: Path, source: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.symlink_to(source)
    answers = old / ".copier-answers.yml"
    answers.write_text(re.sub("(?m)^_src_path: .*", f"_src_path: {moved}", answers.read_text()))
    commit(old, "Move")
    for way in ("update", "copier"):
        assert doc("update.md", way, old).code == 0
        assert f"_src_path: {moved}\n" in answers.read_text()
        assert status(old) == f" M .copier-answers.yml\n M {RULES}\n"
        projects.run("git", "reset", "-q", "--hard", cwd=old)


@pytest.mark.parametrize(("side", "text"), [("ours", "mine"), ("theirs", "merged")])
def test_conflict_resolve_and_abort(
    side: str, text: str, doc: Run, hook: Run, run: Run, old: Path
) -> None:
    append(old / RULES, "# mine, at the same place\n")
    commit(old, "Mine")
    (old / ".env").write_text("SECRET=1\n")
    done = doc("update.md", "copier", old)
    assert done.code == 1
    assert f"{RULES}: has conflict markers" in done.printed
    words = command("update.md", "resolve").replace("--ours", f"--{side}")
    assert run("bash", "-c", words, cwd=old).code == 0
    assert (old / RULES).read_text().splitlines()[-1].startswith(f"# {text}")
    assert hook("update.py", "--verify", cwd=old).code == 0
    (old / "new-file").write_text("")
    assert doc("update.md", "abort", old).code == 0
    assert status(old) == ""
    assert (old / RULES).read_text().endswith("# mine, at the same place\n")
    assert (old / ".env").read_text() == "SECRET=1\n"


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
    # No conflicts: the rename was in all files except the answers. Names of variables change too.
    expected = [
        *(".copier-answers.yml", ".env.example", "Dockerfile", "README.md", "compose.yaml"),
        *("docs/guarantees.md", "docs/operations.md"),
        *(f"environments/{name}.env" for name in ("dev", "prod", "staging")),
        "prefect.yaml",
    ]
    assert status(old) == "".join(f" M {name}\n" for name in expected)
    # Modules use relative imports; tests import the package by name.
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
