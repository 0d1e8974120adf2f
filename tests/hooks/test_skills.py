"""The template's skill and the projects' skill for updates, run unchanged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import projects
import pytest
import yaml

from hooks.conftest import NEW, Done, Run, command
from hooks.test_adopt import OWN, make

if TYPE_CHECKING:
    from pathlib import Path

SKILL = projects.ROOT / "skills" / "copier-prefect" / "SKILL.md"
RULES = "src/my_data_project/common/rules.py"


@pytest.fixture
def skill(run: Run, source: Path) -> Run:
    """Run commands that have to succeed, with the variables that the skill sets."""

    def ran(commands: str, cwd: Path) -> Done:
        env = {"TEMPLATE": str(source), "HOOKS": str(source / "hooks")}
        done = run("bash", "-ec", commands, cwd=cwd, **env)
        assert done.code == 0, done.printed
        return done

    return ran


def named(name: str) -> str:
    """Return the commands of the template's skill behind a mark."""
    return command(f"../{SKILL.relative_to(projects.ROOT)}", name)


def test_it_is_found() -> None:
    text = SKILL.read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["name"] == SKILL.parent.name
    assert len(head["description"]) <= 1024
    # Each block of commands has a mark, so that a test here runs it.
    marked = re.findall(r"^<!-- run: (\w+) -->\n```bash$", text, re.MULTILINE)
    assert marked == ["start", "adopt", "update"]
    assert text.count("```bash") == len(marked)


def test_start(skill: Run, tmp_path: Path) -> None:
    skill(named("start"), tmp_path)
    project = tmp_path / "my-data-project"
    assert (project / "AGENTS.md").is_file()
    assert projects.run("git", "log", "--format=%s", cwd=project).startswith("Start from")
    assert projects.run("git", "status", "--porcelain", cwd=project) == ""


def test_adopt(skill: Run, tmp_path: Path) -> None:
    """Existing files for agents and CI stay unchanged."""
    own = {**OWN, "AGENTS.md": "# Ours\n", "CLAUDE.md": "# Ours, too\n"}
    folder = make(tmp_path / "sales", own)
    done = skill(named("adopt"), folder)
    assert "pyproject.toml" in done.printed
    assert (folder / "AGENTS.md").read_text() == "# Ours\n"
    assert (folder / "CLAUDE.md").read_text() == "# Ours, too\n"
    assert not (folder / ".github").exists()
    assert (folder / "src/sales_pipeline/common/rules.py").is_file()


def test_update(skill: Run, old: Path) -> None:
    done = skill(named("update"), old)
    assert f"{RULES}" in done.printed
    check_updated(old)


def test_update_by_the_skill_of_the_project(skill: Run, old: Path) -> None:
    text = (old / ".agents/skills/update/SKILL.md").read_text()
    (commands,) = re.findall(r"^```bash\n(.+?)^```$", text, re.DOTALL | re.MULTILINE)
    assert commands.startswith("uv run poe update --dry-run\n")
    skill(commands, old)
    check_updated(old)


def check_updated(project: Path) -> None:
    """Assert that a project has the changes of the new release."""
    assert f"_commit: {NEW}" in (project / ".copier-answers.yml").read_text()
    assert (project / RULES).read_text().endswith("# merged from the template\n")
