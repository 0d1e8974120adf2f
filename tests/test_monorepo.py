"""Two projects in one repository, set up and updated with the commands of docs/monorepo.md."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import linters
import projects
import pytest
import yaml
from hooks.conftest import append, command, commit
from projects import Render

SALES, TOOLBOX = Path("services/sales"), Path("toolbox")
RUN_HOOK = ("uv", "run", "prek", "run", "--all-files")

UVX = """#!/usr/bin/env bash
# Takes a tool from the environment of the tests, if that has it.
tool="{tools}/${{1%%[*}}"
if [ -x "$tool" ]; then shift; exec "$tool" "$@"; fi
exec "{uvx}" "$@"
"""


def document(name: str) -> str:
    """Return a file that docs/monorepo.md shows."""
    text = (projects.ROOT / "docs" / "monorepo.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- file: {re.escape(name)} -->\n```yaml\n(.+?)```", text, re.DOTALL)
    assert found, name
    return found[1]


@pytest.fixture(scope="module", autouse=True)
def _tools(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Let `uvx` use the tests' packages."""
    folder = tmp_path_factory.mktemp("tools")
    uvx = shutil.which("uvx")
    assert uvx
    (folder / "uvx").write_text(UVX.format(tools=Path(sys.executable).parent, uvx=uvx))
    (folder / "uvx").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template of the work tree as release v1.0.0."""
    repository = projects.copy_content(tmp_path_factory.mktemp("source") / "copier-prefect")
    projects.run("git", "init", "-qb", "main", cwd=repository)
    commit(repository, "One", "v1.0.0")
    return repository


@pytest.fixture(scope="module")
def repository(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that uses a library, in one workspace; tests restore the committed state."""
    top = tmp_path_factory.mktemp("monorepo") / "company"
    top.mkdir()
    projects.run("git", "init", "-qb", "main", cwd=top)
    for name in ("copy", "top"):
        words = ("bash", "-euc", command("monorepo.md", name))
        projects.run(*words, cwd=top, TEMPLATE=str(source))
    projects.run("uv", "add", "-q", "--no-sync", "toolbox", cwd=top / SALES)
    for project in (SALES, TOOLBOX):
        # Without these copies, the check fails and creates them.
        assert "workflows are at the top" in projects.run(*RUN_HOOK, cwd=top / project, check=False)
    commit(top, "Start")
    return top


def build(project: Path) -> str:
    """Build a project and return the version in the names of its files."""
    shutil.rmtree(project / "dist", ignore_errors=True)
    projects.run("uv", "build", "-q", "--out-dir", "dist", cwd=project)
    sdist = next(project.glob("dist/*.tar.gz")).name
    wheel = next(project.glob("dist/*.whl")).name
    version = sdist.removesuffix(".tar.gz").split("-")[1]
    assert wheel.split("-")[1] == version
    return version


@pytest.mark.parametrize(
    ("tags", "sales", "toolbox"),
    [
        (["sales-v1.2.3", "toolbox-v9.0", "v7.0"], r"1\.2\.3", r"9\.0"),
        (["sales-v2-v5.0", "services-v3.0"], r"0\.0\.1\.dev1\+g\w+", r"0\.0\.1\.dev1\+g\w+"),
    ],
    ids=["own", "of others"],
)
def test_a_version_comes_from_the_project_s_own_tags(
    tags: list[str], sales: str, toolbox: str, repository: Path
) -> None:
    for tag in tags:
        projects.run("git", "tag", tag, cwd=repository)
    try:
        assert re.fullmatch(sales, build(repository / SALES))
        assert re.fullmatch(toolbox, build(repository / TOOLBOX))
    finally:
        projects.run("git", "tag", "--delete", *tags, cwd=repository)
    assert projects.run("git", "status", "--porcelain", cwd=repository) == ""


@pytest.mark.large("combinations")
def test_one_lock_and_one_environment(repository: Path) -> None:
    projects.run("git", "tag", "sales-v1.2.3", cwd=repository)
    for project, test in ((TOOLBOX, "test_namespaces.py"), (SALES, "test_tables.py")):
        projects.run("uv", "lock", "--check", cwd=repository / project)
        projects.run("uv", "sync", "-q", cwd=repository / project)
        printed = projects.tool(repository / project, "pytest", "-q", "--no-cov", f"tests/{test}")
        assert " passed" in printed
    assert projects.tool(repository / SALES, "sales", "--version") == "1.2.3\n"
    projects.tool(repository / SALES, "python", "-c", "import toolbox.data")
    locks = {path.relative_to(repository) for path in repository.rglob("uv.lock")}
    assert locks == {Path("uv.lock")}
    assert not (repository / SALES / ".venv").exists()
    # A new tag is a new version, even though .git is above the project.
    projects.run("git", "tag", "--delete", "sales-v1.2.3", cwd=repository)
    projects.run("git", "tag", "sales-v1.3.0", cwd=repository)
    words = ("uv", "run", "-q", "sales", "--version")
    assert projects.run(*words, cwd=repository / SALES) == "1.3.0\n"
    projects.run("git", "tag", "--delete", "sales-v1.3.0", cwd=repository)


def steps(file: Path, job: str, top: Path, containing: str = "", **env: str) -> None:
    """Run the commands of a job that contain a word, in GitHub's working directory."""
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    folder = top / workflow["defaults"]["run"]["working-directory"]
    commands = [step["run"] for step in workflow["jobs"][job]["steps"] if "run" in step]
    ran = [words for words in commands if containing in words]
    assert ran
    for words in ran:
        projects.run("bash", "-e", "-o", "pipefail", "-c", words, cwd=folder, **env)


@pytest.mark.large("combinations")
def test_workflows_run_at_the_top(repository: Path) -> None:
    workflows = repository / ".github/workflows"
    names = {f"{name}-{file}.yml" for name in ("sales", "toolbox") for file in ("ci", "scheduled")}
    names |= {"sales-plan.yml", "sales-deploy.yml", "toolbox-release.yml"}
    assert {path.name for path in workflows.iterdir()} == names
    (repository / ".github/dependabot.yml").write_text(document(".github/dependabot.yml"))
    linters.github(repository)
    rules = yaml.safe_load(document(".github/dependabot.yml"))["updates"][1]["ignore"]
    used = re.findall(
        r"uses: ([\w/-]+)@", "".join(path.read_text() for path in workflows.iterdir())
    )
    assert {rule["dependency-name"] for rule in rules} == set(used)
    (repository / ".github/dependabot.yml").unlink()
    # GitHub treats workflows with the same name as one: a later run would cancel the other.
    read = {path.name: yaml.safe_load(path.read_text()) for path in workflows.iterdir()}
    assert len({workflow["name"] for workflow in read.values()}) == len(read)
    for name, folder in (("sales", SALES), ("toolbox", TOOLBOX)):
        events = read[f"{name}-ci.yml"][True]
        assert events["push"]["paths"] == events["pull_request"]["paths"]
        assert f"{folder}/**" in events["push"]["paths"]
    assert read["toolbox-release.yml"][True] == {"push": {"tags": ["toolbox-v[0-9]*"]}}

    projects.run("git", "tag", "toolbox-v9.0", cwd=repository)
    shutil.rmtree(repository / TOOLBOX / "dist", ignore_errors=True)
    steps(workflows / "toolbox-ci.yml", "check", repository)
    steps(workflows / "toolbox-ci.yml", "build", repository)
    release = workflows / "toolbox-release.yml"
    steps(release, "build", repository, "ls ", GITHUB_REF_NAME="toolbox-v9.0")
    uploaded = read[release.name]["jobs"]["build"]["steps"][-1]["with"]["path"]
    assert list((repository / uploaded).glob("toolbox-9.0-*.whl"))
    projects.run("git", "tag", "--delete", "toolbox-v9.0", cwd=repository)


@pytest.mark.large("combinations")
def test_a_copy_that_is_forgotten_fails_the_check(repository: Path) -> None:
    words = (*RUN_HOOK, "workflows")
    file, copy = (
        repository / TOOLBOX / ".github/workflows/ci.yml",
        ".github/workflows/toolbox-ci.yml",
    )
    projects.run(*words, cwd=repository / TOOLBOX)
    append(file, "# mine\n")
    printed = projects.run(*words, cwd=repository / TOOLBOX, check=False)
    assert copy in printed
    assert (repository / copy).read_text() == file.read_text()
    projects.run("git", "add", "--all", cwd=repository)
    projects.run(*words, cwd=repository / TOOLBOX)
    # Changes that others have not staged.
    append(repository / ".github/workflows/sales-ci.yml", "# another's\n")
    projects.run(*words, cwd=repository / TOOLBOX)
    projects.run("git", "reset", "-q", "--hard", cwd=repository)


@pytest.mark.large("combinations")
def test_an_update_of_one_leaves_the_others_alone(
    source: Path, repository: Path, tmp_path: Path
) -> None:
    newer = Path(shutil.copytree(source, tmp_path / "newer"))
    append(newer / "template/src/{{ package_name }}/common/errors.py", "# better\n")
    append(newer / "template/{{ github }}/workflows/ci.yml.jinja", "# better\n")
    commit(newer, "Two", "v1.1.0")
    top = Path(
        shutil.copytree(repository, tmp_path / "top", ignore=shutil.ignore_patterns(".venv"))
    )
    answers = top / SALES / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(str(source), str(newer)))
    commit(top, "Name another template")
    append(top / TOOLBOX / "README.md", "Not committed.\n")
    environment = {"UV_PROJECT_ENVIRONMENT": str(repository / ".venv")}

    words = ("bash", "-uc", command("monorepo.md", "update"))
    printed = projects.run(*words, cwd=top, check=False, **environment)
    assert ".github/workflows/sales-ci.yml" in printed
    changed = set(projects.run("git", "status", "--porcelain", cwd=top).splitlines())
    assert changed == {
        " M .github/workflows/sales-ci.yml",
        f" M {SALES}/.copier-answers.yml",
        f" M {SALES}/.github/workflows/ci.yml",
        f" M {SALES}/src/sales/common/errors.py",
        f" M {TOOLBOX}/README.md",
    }
    assert (top / ".github/workflows/sales-ci.yml").read_text().endswith("# better\n")
    projects.run("git", "add", SALES, ".github", cwd=top)
    projects.run(*RUN_HOOK, "workflows", cwd=top / SALES, **environment)


def test_gitlab_starts_a_pipeline_for_each(render: Render, tmp_path: Path) -> None:
    answers = {"project_kind": "library", "project_name": "sales", "folder": str(SALES)}
    shutil.copytree(render(**answers, ci="gitlab"), tmp_path / SALES)
    (tmp_path / ".gitlab-ci.yml").write_text(document(".gitlab-ci.yml"))
    linters.gitlab(tmp_path)
    linters.gitlab(tmp_path / SALES)
    parent = yaml.safe_load((tmp_path / ".gitlab-ci.yml").read_text())
    file = tmp_path / parent["sales"]["trigger"]["include"]
    assert parent["sales"]["variables"] == {"PARENT_PIPELINE_SOURCE": "$CI_PIPELINE_SOURCE"}
    child = yaml.safe_load(file.read_text())
    # For a child pipeline, the source is its parent, not the original event.
    assert "workflow" not in child
    assert (
        re.findall(r"\$\w*PIPELINE_SOURCE", file.read_text().partition("stages:")[2])
        == ["$PARENT_PIPELINE_SOURCE"] * 2
    )
    assert child["publish"]["rules"][-1] == {"if": r"$CI_COMMIT_TAG =~ /^sales-v\d/"}
    assert re.search(r"!~ /\^sales-v/", parent["sales"]["rules"][0]["if"])

    projects.run("git", "init", "-q", cwd=tmp_path)
    changelog = tmp_path / SALES / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## Unreleased", "## 1.2.3"))
    commit(tmp_path, "Start")
    projects.run("git", "tag", "sales-v1.2.3", cwd=tmp_path)
    script = [*child["default"]["before_script"], *child["build"]["script"]]
    projects.run("bash", "-e", "-o", "pipefail", "-c", "\n".join(script), cwd=tmp_path)
    (artifact,) = child["build"]["artifacts"]["paths"]
    assert list((tmp_path / artifact).glob("sales-1.2.3-*.whl"))


@pytest.mark.large("combinations")
def test_an_image_takes_the_versions_of_the_lock(repository: Path, tmp_path: Path) -> None:
    """Runs the Dockerfile's commands in the build context."""
    dockerfile = (repository / TOOLBOX / ".." / SALES / "Dockerfile").read_text()
    assert "    uv lock && \\\n    uv sync --locked" in dockerfile
    assert 'VERSION="${VERSION#sales-v}"' in dockerfile
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / TOOLBOX / name, tmp_path)
    words = ("uv", "lock", "-q", "--upgrade-package", "httpx==0.28.0")
    projects.run(*words, cwd=repository)
    shutil.copy(repository / "uv.lock", tmp_path)
    projects.run("git", "checkout", "-q", "uv.lock", cwd=repository)
    projects.run("uv", "lock", cwd=tmp_path)
    assert 'name = "httpx"\nversion = "0.28.0"' in (tmp_path / "uv.lock").read_text()


@pytest.mark.parametrize(
    "folder", ["..", "a/../b", "/a", "a/", "a b", ".a", "a'b", "{{ 1 }}", "a\nb"]
)
def test_what_is_no_folder_is_refused(folder: str, template: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="type a path from the top of the repository"):
        projects.render(template, tmp_path / "project", {"folder": folder})


def test_a_project_learns_where_it_stands(source: Path, tmp_path: Path) -> None:
    """With the command that `post_copy.py` prints."""
    top = tmp_path / "top"
    words = ("uvx", "copier", "copy", "-q", "--defaults", source, top / SALES)
    projects.run(*words, cwd=tmp_path)
    projects.run("git", "init", "-q", cwd=top)
    commit(top, "Start")
    hook = (sys.executable, source / "hooks/post_copy.py", "--dry-run", top / SALES)
    printed = projects.run(*hook, cwd=top)
    (told,) = re.findall(r"^  (uvx copier update .*)$", printed, re.MULTILINE)
    projects.run("bash", "-c", told, cwd=top / SALES)
    commit(top, "Tell it")
    assert f'working-directory: "{SALES}"' in (top / SALES / ".github/workflows/ci.yml").read_text()
    assert "uvx copier update" not in projects.run(*hook, cwd=top)
