"""The README's commands in a fresh clone, and its texts that are generated elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jinja2
import projects
import pytest
from environments import require_python
from projects import Render

sys.path.insert(0, str(projects.ROOT / "scripts"))
import options_table

README = (projects.ROOT / "README.md").read_text(encoding="utf-8")
PARTS = ("library_example", "pipeline", "has_commands", "published", "container", "docs_site")
OWNERSHIP = jinja2.Template(
    (projects.ROOT / "includes" / "ownership.md").read_text(encoding="utf-8")
).render(dict.fromkeys(PARTS, "."))
"""What any project may have in its table of owners."""


def command(name: str) -> str:
    """Return the command after a `<!-- test: … -->` mark."""
    found = re.search(rf"<!-- test: {name} -->\n```bash\n(.+?)\n```", README, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of the repository with the work tree's files, without tags."""
    listed = projects.run(
        "git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=projects.ROOT
    )
    folder = tmp_path / "copier-prefect"
    for name in listed.splitlines():
        source = projects.ROOT / name.strip('"')
        if source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    projects.run("git", "init", "-q", cwd=folder)
    projects.run("git", "add", "--all", cwd=folder)
    projects.run("git", "commit", "-qm", "Start", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def with_pip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PATH with a Python whose pip may install packages: Debian's may not."""
    folder = tmp_path_factory.mktemp("machine")
    made = ("uv", "venv", "-q", "--seed", "-p", require_python("3.11"), "python")
    projects.run(*made, cwd=folder)
    return f"{folder / 'python' / 'bin'}{os.pathsep}{os.environ['PATH']}"


def test_the_first_two_commands(clone: Path, with_pip: str, tmp_path: Path) -> None:
    """As in the README, with this clone instead of the address."""
    projects.run("git", "tag", "v9.0.0", cwd=clone)
    address = re.search(r"https://\S+", command("start"))
    assert address
    env = {
        "PATH": with_pip,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{clone.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address[0],
    }
    answered = command("start").replace("copier copy", "copier copy --defaults")
    projects.run("bash", "-c", answered, cwd=tmp_path, **env)
    project = tmp_path / "my-data-project"
    assert f"_src_path: {address[0]}" in (project / ".copier-answers.yml").read_text()
    projects.run("git", "init", "-q", cwd=project)
    projects.run("git", "add", "--all", cwd=project)
    projects.run("git", "commit", "-qm", "Start", cwd=project)
    (clone / "template" / ".gitattributes").open("a").write("*.parquet binary\n")
    projects.run("git", "commit", "-qam", "Know a format more", cwd=clone)
    projects.run("git", "tag", "v9.1.0", cwd=clone)
    words = command("update").replace("copier update", "copier update --defaults")
    projects.run("bash", "-c", words, cwd=project, **env)
    assert "*.parquet binary" in (project / ".gitattributes").read_text()


def test_debian_s_own_pip(tmp_path: Path) -> None:
    """It refuses to install; after the README's line it does, where the shell looks."""
    pip = ("/usr/bin/python3", "-m", "pip", "install", "--dry-run", "pip")
    found = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=60)
    if "externally-managed-environment" not in found.stderr:
        pytest.skip("there is no Python from Debian with pip on this machine")
    # As somebody who is not root, whose pip installs below HOME.
    env = {"HOME": str(tmp_path), "PIP_USER": "1", "PATH": "/usr/bin:/bin"}
    words = f"{command('debian')}\npip install -q uv && uvx --version"
    printed = projects.run("bash", "-c", words, cwd=tmp_path, **env)
    assert "\nuvx " in f"\n{printed}"
    assert (tmp_path / ".local" / "bin" / "uvx").is_file()


def test_one_command_from_clone_to_demo(clone: Path, with_pip: str, tmp_path: Path) -> None:
    """With Prefect's temporary server, as for a new user."""
    env = {"PREFECT_HOME": str(tmp_path / "prefect"), "PATH": with_pip}
    printed = projects.run("bash", "-c", command("demo"), cwd=clone, **env)
    assert "flights  │ 336,776 │ 336,776" in printed
    project = tmp_path / "my-data-project"
    assert "  cd ../my-data-project\n" in printed, "the message after copying is missing"
    # The clone is clean and the path absolute, so the project can be updated.
    answers = (project / ".copier-answers.yml").read_text()
    assert f"_src_path: {clone}" in answers
    projects.run("git", "init", "-q", cwd=project)
    projects.run("git", "add", "--all", cwd=project)
    projects.run("git", "commit", "-qm", "Start from copier-prefect", cwd=project)
    projects.run("uvx", "copier", "update", "--defaults", cwd=project)
    assert projects.run("git", "status", "--porcelain", cwd=project) == ""


def test_the_test_command_is_the_one_ci_runs(clone: Path, with_pip: str) -> None:
    """`.ci/run` reads it from the README; here it runs one test, to see that it starts."""
    words = command("tests")
    assert words.endswith("uv run pytest -n auto")
    script = (projects.ROOT / ".ci" / "run").read_text()
    assert "$(command_of tests)" in script
    printed = projects.run(
        "bash", "-c", f"{words} tests/test_style.py -k short -q", cwd=clone, PATH=with_pip
    )
    assert "1 passed" in printed
    done = subprocess.run(
        ["bash", "-n", str(projects.ROOT / ".ci" / "run")],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0


def test_the_options_have_one_source() -> None:
    """Update the table with `uv run scripts/options_table.py`."""
    assert options_table.insert(README) == README


def test_ownership_has_one_source() -> None:
    assert f"<!-- ownership -->\n{OWNERSHIP}\n<!-- /ownership -->" in README


@pytest.mark.parametrize("answers", [{}, {"features": ["docs", "container"]}, {"example": False}])
@pytest.mark.parametrize("kind", projects.KINDS)
def test_ownership_names_what_is_there(
    kind: str, answers: projects.Answers, render: Render
) -> None:
    project = render(project_kind=kind, **answers)
    there = {path for path in re.findall(r"`([\w.*/]+)`", OWNERSHIP) if any(project.glob(path))}
    for name in ("README.md", "CONTRIBUTING.md"):
        table = (project / name).read_text().partition("| Files | Owner |")[2].partition("\n\n")[0]
        assert set(re.findall(r"`([\w.*/]+)`", table)) == there


def test_at_most_eight_questions_are_asked() -> None:
    asked = [
        name
        for name, question in projects.QUESTIONS.items()
        if not name.startswith("_")
        and question.get("when") is not False
        and question.get("ask", True)
    ]
    assert len(asked) <= 8
