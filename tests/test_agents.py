"""poe tasks, AGENTS.md and skills: all names in them exist, and all commands run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sqlite3
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import projects
import pytest
import yaml

if TYPE_CHECKING:
    from environments import Environments
    from projects import Render

OLD_KINDS = [
    {"project_kind": "pipeline", "engine": "own"},
    {"project_kind": "library", "parts": "all"},
    {"project_kind": "plugin", "parts": "all"},
]
"""Kinds of older releases, whose code is not the template's."""
WORDS = {"check": ("--help",), "test": ("--version",), "update": ("--help",)}
"""How a task is called to see that it starts, and does nothing; others by `--help`."""


def skills(project: Path) -> list[Path]:
    """Return the skills of a project, or of this repository."""
    return sorted(project.glob(".agents/skills/*/SKILL.md"))


def blocks(page: Path) -> str:
    """Return the commands of a page in their order."""
    found = re.findall(r"^```bash\n(.+?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    assert found, page
    return "".join(found)


def tasks(project: Path) -> dict[str, dict[str, str]]:
    """Return the poe tasks."""
    return tomllib.loads((project / "pyproject.toml").read_text())["tool"]["poe"]["tasks"]


def run(project: Path, commands: str, **env: str) -> str:
    """Run commands in a shell; each has to succeed."""
    # The environment exists; `uv run` must not create another one.
    words = ("bash", "-euo", "pipefail", "-c", commands)
    return projects.run(*words, cwd=project, UV_NO_SYNC="1", **env)


@pytest.mark.parametrize("kind", projects.KINDS)
def test_guidance_comes_by_default(kind: str, render: Render) -> None:
    project = render(project_kind=kind)
    assert len((project / "AGENTS.md").read_text().splitlines()) <= 60
    assert (project / "CLAUDE.md").read_text() == "@AGENTS.md\n"
    assert skills(project)
    bare = render(project_kind=kind, features=[])
    left = {path.relative_to(project) for path in projects.files(project)}
    left -= {path.relative_to(bare) for path in projects.files(bare)}
    pages = {path.relative_to(project) for path in skills(project)}
    container = {Path("Dockerfile"), Path("compose.yaml"), Path(".dockerignore")}
    assert left - container == {Path("AGENTS.md"), Path("CLAUDE.md"), *pages}


@pytest.mark.parametrize("kind", projects.KINDS)
def test_skills_are_found_and_short(kind: str, render: Render) -> None:
    """By their front matter, as in the standard for skills, and by AGENTS.md."""
    project = render(project_kind=kind)
    guidance = (project / "AGENTS.md").read_text()
    for page in skills(project):
        text = page.read_text()
        assert len(text.splitlines()) <= 40, page
        head = yaml.safe_load(text.split("---\n")[1])
        assert head.keys() == {"name", "description"}
        assert head["name"] == page.parent.name
        assert len(head["description"]) <= 1024
        assert f"`{head['name']}`" in guidance or f"skills/{head['name']}/SKILL.md" in guidance


@pytest.mark.parametrize("example", [True, False])
@pytest.mark.parametrize("kind", projects.KINDS)
def test_what_the_guidance_names_is_there(kind: str, example: bool, render: Render) -> None:
    project = render(project_kind=kind, example=example)
    pages = [project / "AGENTS.md", *skills(project)]
    for page in pages:
        text = page.read_text()
        assert set(re.findall(r"\bpoe (\w+)", text)) <= tasks(project).keys(), page
        for path in re.findall(r"`((?:src|docs|tests|examples|scripts)/[\w/.*]*)`", text):
            real = path.replace("NAMESPACE", "*").replace("NAME", "*")
            # The first derived table creates the folder.
            begun = example or not path.endswith("/sql/")
            assert list(project.glob(real)) or not begun, f"{page}: {path}"
    listed = re.findall(r"^\| `(.+?)`", pages[0].read_text(), re.MULTILINE)
    assert len(listed) > 7


@pytest.mark.parametrize("answers", OLD_KINDS, ids=projects.label)
def test_an_older_kind_has_tasks_for_what_it_surely_has(
    answers: projects.Answers, render: Render
) -> None:
    project = render(**answers)
    assert tasks(project).keys() == {"check", "test", "update"}
    assert skills(project) == []
    text = (project / "AGENTS.md").read_text()
    assert set(re.findall(r"\bpoe (\w+)", text)) == {"check", "test", "update"}
    assert "SKILL.md" not in text


@pytest.fixture(scope="module")
def own(
    request: pytest.FixtureRequest,
    render: Render,
    environments: Environments,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A committed project with its environment; each test continues where the last one ended."""
    answers = {
        "project_kind": request.param,
        "project_name": "shop",
        "features": ["agents", "docs"],
    }
    project = tmp_path_factory.mktemp("agents") / "shop"
    shutil.copytree(render(**answers), project)
    projects.run("git", "init", "-qb", "main", cwd=project)
    environments.sync(project)
    commit(project)
    return project


def commit(project: Path) -> None:
    """Commit everything."""
    projects.run("git", "add", "--all", cwd=project)
    projects.run("git", "commit", "-qm", "Go on", cwd=project)


# Of the others the gate runs what their checks and their skills call.
@pytest.mark.parametrize(
    "own",
    [
        "pipeline",
        *(pytest.param(k, marks=pytest.mark.large("combinations")) for k in projects.KINDS[1:]),
    ],
    indirect=True,
)
def test_each_task_starts(own: Path) -> None:
    """On any system, because no command needs a shell."""
    listed = projects.tool(own, "poe", "--help")
    for name, task in tasks(own).items():
        assert not set(task["cmd"]) & set("|&;<>`"), name
        assert re.search(rf"^ +{name} +{re.escape(task['help'])}$", listed, re.MULTILINE)
        words = shlex.join(WORDS.get(name, ("--help",)))
        run(own, f"uv run poe {name} {words}", TEMPLATE=str(projects.ROOT))
    told = run(own, "! uv run poe update 2>&1", TEMPLATE="")
    assert "Set TEMPLATE to a clone of the template, which has /hooks/update.py" in told
    assert {"check", "test", "demo", "add", "docs", "update"} <= tasks(own).keys()
    assert ("deploy" in tasks(own)) == (own / "prefect.yaml").exists()


@pytest.fixture
def shop(prefect_api: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a pipeline whose source has a table that is not loaded yet."""
    with sqlite3.connect(tmp_path / "source.db") as source:
        source.execute(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL,"
            " updated_at TIMESTAMP NOT NULL)"
        )
        rows = [(day, day, f"2026-01-{day:02} 12:00:00") for day in range(1, 29)]
        source.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    source.close()
    return {
        "SHOP_SOURCE_URL": f"sqlite:///{tmp_path / 'source.db'}",
        "SHOP_WAREHOUSE_URL": f"duckdb:///{tmp_path / 'warehouse.duckdb'}",
        "PREFECT_API_URL": prefect_api,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "UV_ENV_FILE": "environments/dev.env",
        "COLUMNS": "200",
    }


@pytest.mark.parametrize("own", projects.KINDS[:1], indirect=True)
def test_the_skills_of_a_pipeline(own: Path, shop: dict[str, str], tmp_path: Path) -> None:
    """In a realistic order: a table is added, fails, and is loaded again."""
    pages = {page.parent.name: page for page in skills(own)}
    assert pages.keys() == {"add", "debug", "backfill", "update"}
    run(own, blocks(pages["add"]), **shop)
    tables = next(own.glob("src/*/flows/tables.py")).read_text()
    assert '"orders"' in tables
    assert (own / "src/shop/sql/orders_by_day.sql").is_file()
    commit(own)

    run(own, "uv run poe deploy", **shop)
    broken = {**shop, "SHOP_SOURCE_URL": f"sqlite:///{tmp_path / 'empty.db'}"}
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(AssertionError, match="orders"):
        run(own, "uv run shop ingest orders", **broken)
    failed = run(own, "uv run prefect flow-run ls --state-type FAILED --output json", **shop)
    ours = [one for one in json.loads(failed) if "orders" in json.dumps(one)]
    printed = run(own, blocks(pages["debug"]), RUN=ours[0]["id"], **shop)
    assert "orders" in printed

    printed = run(own, blocks(pages["backfill"]), **shop)
    assert re.search(r"orders +│ +7 │", printed), printed


@pytest.mark.parametrize("own", projects.KINDS[1:], indirect=True)
def test_the_skill_of_a_library_and_of_a_plugin(own: Path, render: Render) -> None:
    (page,) = skills(own)
    # tests/hooks/test_skills.py runs those of an update, which begins with a release.
    commands, update = blocks(page).split("uv run poe update", 1)
    file = own / "pyproject.toml"
    file.write_text(file.read_text().replace("# Repository = ", "Repository = "))
    added, released = commands.split("uv run scripts/release.py", 1)
    run(own, added)
    # A release waits until the code of `add` has become the user's own.
    refused = projects.run("uv", "run", "scripts/release.py", "--check", cwd=own, check=False)
    assert ": TODO: put " in refused
    for path in own.glob("src/**/*.py"):
        path.write_text(path.read_text().replace("# TODO: put ", "# Here: "))
    printed = run(own, f"uv run scripts/release.py{released}")
    assert "Next: v0.1.0." in printed or "Nothing has been released" in printed
    assert update in blocks(next(render().glob(".agents/skills/update/SKILL.md")))
    added = projects.run("git", "status", "--porcelain", cwd=own)
    assert added.count("\nA ") >= 3
    commit(own)
