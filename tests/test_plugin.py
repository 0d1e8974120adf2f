"""A plugin's wheel in a new environment: what Prefect finds, and code that uses it."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import projects
import pytest
from environments import require_python, serve
from projects import Render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from environments import Environments

PLUGIN = {"project_kind": "plugin"}

TRACES = {
    "worker": r"JobWorker|\bjobs\.py|docs/worker\.md",
    "process_worker": r"LimitedProcessWorker|psutil|docs/process-worker\.md",
    "startup_hook": r"prefect\.plugins\"|hooks\.py|start-up hook",
    "conventions": r"house_flow|conventions/",
}
"""What a project that leaves a part out must not mention."""


@pytest.fixture(scope="module")
def wheel(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a new plugin."""
    project = tmp_path_factory.mktemp("plugin") / "prefect-my-system"
    shutil.copytree(render(**PLUGIN), project)
    projects.run("git", "init", "-q", cwd=project)
    projects.run("git", "add", "--all", cwd=project)
    projects.run("git", "commit", "-qm", "Start", cwd=project)
    projects.run("uv", "build", "-q", "--wheel", cwd=project)
    return next((project / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the plugin's wheel without development dependencies; return the Python."""
    folder = tmp_path_factory.mktemp("clean")
    projects.run("uv", "venv", "-q", "-p", require_python("3.11"), "env", cwd=folder)
    found = folder / "env" / "bin" / "python"
    projects.run("uv", "pip", "install", "-q", "--python", found, wheel, cwd=folder)
    return found


@pytest.fixture(scope="module")
def api(python: Path, migrated: Path) -> Iterator[str]:
    """A Prefect server in the wheel's environment; yields the URL of its API."""
    with serve(python, migrated) as url:
        yield url


def prefect(python: Path, *words: str, **env: str) -> str:
    """Run a command of Prefect; return its output without line breaks in tables."""
    command = (python.with_name("prefect"), "--no-prompt", *words)
    return projects.run(*command, cwd=python.parents[2], COLUMNS="300", **env)


def snippets(readme: str) -> list[str]:
    """Return the README's Python code blocks."""
    return re.findall(r"```python\n(.+?)```", readme, re.DOTALL)


def test_a_plugin_speaks_only_of_the_parts_that_it_has(render: Render) -> None:
    """And with all parts, of all."""
    parts = projects.choices(projects.questions()["extras"], "plugin")
    assert parts == list(TRACES)
    for extras in ([], parts):
        project = render(**PLUGIN, extras=extras, features=["docs", "agents", "container"])
        text = "\n".join(
            f"{path.relative_to(project)}\n{path.read_text(encoding='utf-8')}"
            for path in projects.files(project)
            if path.name not in {".copier-answers.yml", "uv.lock"}
        )
        assert [part for part in parts if re.search(TRACES[part], text)] == extras


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("prefect-gitea", "Gitea"),
        ("prefect-my-system", "MySystem"),
        ("Prefect.X2.y_z", "X2YZ"),
        ("prefect-3scale", "System3scale"),
        ("x", "X"),
        ("prefect-google-cloud-platform", "GoogleCloudPlatform"),
        ("quarterly-forecast-and-actuals-warehouse-of-the-sales-region", "Quarterly"),
        ("prefect-" + "a" * 52, "A" + "a" * 15),
    ],
)
def test_classes_are_called_after_the_project(name: str, prefix: str, render: Render) -> None:
    project = render(**PLUGIN, project_name=name)
    blocks = next(project.glob("src/*/blocks/__init__.py")).read_text()
    assert re.findall(r'^    "(\w+)",$', blocks, re.MULTILINE) == [
        f"{prefix}Client",
        f"{prefix}Credentials",
    ]


def test_without_its_example_a_plugin_has_one_block_and_nothing_to_delete(render: Render) -> None:
    project, full = render(**PLUGIN, example=False), render(**PLUGIN)
    paths = {path.relative_to(project).as_posix() for path in projects.files(project)}
    given = {path.relative_to(full).as_posix() for path in projects.files(full)}
    assert paths < given
    more = re.compile("client|reading|writing|example|demo")
    assert [path for path in given - paths if not more.search(path)] == []


def test_the_wheel_holds_what_users_need(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "prefect_my_system/blocks/client.py" in names
    assert not [name for name in names if re.search(r"commands/(add|demo)|/demo|example", name)]


def test_the_server_finds_the_blocks_by_itself(python: Path, api: str) -> None:
    listed = prefect(python, "block", "type", "ls", PREFECT_API_URL=api)
    assert "my-system-credentials" in listed
    assert "my-system-client" in listed


def test_the_readme_leads_to_a_flow_that_uses_saved_blocks(
    python: Path, render: Render, prefect_api: str, tmp_path: Path
) -> None:
    """On a server without the plugin, where its blocks are then registered."""
    project = render(**PLUGIN)
    readme = (project / "README.md").read_text()
    commands = re.findall(r"^uv run prefect (block .+)$", readme, re.MULTILINE)
    assert commands == ["block register -m prefect_my_system", "block type ls"]
    printed = [prefect(python, *line.split(), PREFECT_API_URL=prefect_api) for line in commands]
    assert "Successfully registered 2 blocks" in printed[0]
    assert "my-system-credentials" in printed[1]

    save, use = snippets(readme)[:2]
    assert "https://system.example.com/api" in save
    shutil.copy(project / "examples" / "_system.py", tmp_path)
    lines = [
        "import _system",
        "things = [{'id': number} for number in range(250)]",
        "manager = _system.running(things=things)",
        "server = manager.__enter__()",
        save.replace(
            '"https://system.example.com/api"', "str(server.credentials.base_url)"
        ).replace('"..."', "_system.TOKEN"),
        use,
        "count_things()",
        "print('counted:', server.collections['counts'], server.told)",
        "manager.__exit__(None, None, None)",
    ]
    (tmp_path / "use.py").write_text("\n".join(lines))
    ran = projects.run(python, "use.py", cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert "counted: [{'things': 250}] [200, 200, 429, 200, 201]" in ran
    listed = prefect(python, "block", "ls", PREFECT_API_URL=prefect_api)
    assert "my-system-credentials/prod" in listed
    assert "my-system-client/prod" in listed


CONSUMER = """
from pathlib import Path

from prefect import flow
from prefect_my_system import MySystemClient, MySystemCredentials
from prefect_my_system.tasks import create_record, fetch_record, upload_file


@flow
def use(client: MySystemClient, credentials: MySystemCredentials) -> str:
    created = create_record(client, "things", {"name": "a"}, key="k")
    with credentials.get_client() as http:
        http.delete(f"things/{created['id']}")
    size: int = upload_file(client, "files/f", Path("f"))
    pages = [len(page) for page in client.pages("things", state="open")]
    return str(fetch_record(client, "things/7")["name"]) + str(sum(pages) + size)


async def ause(client: MySystemClient) -> None:
    async with client.credentials.get_async_client() as http:
        print((await http.get("things")).status_code)
    async for page in client.apages("things"):
        print(page)
"""


def test_a_consumer_passes_strict_type_checkers(
    python: Path, render: Render, tmp_path: Path
) -> None:
    readme = (render(**PLUGIN) / "README.md").read_text()
    (tmp_path / "readme.py").write_text("\n".join(snippets(readme)[:2]))
    (tmp_path / "use.py").write_text(CONSUMER)
    wrong = CONSUMER.replace('"things", {"name"', '7, {"name"')
    (tmp_path / "wrong.py").write_text(wrong)
    line = 1 + wrong[: wrong.index("7, {")].count("\n")
    for check in projects.type_checkers(python):
        said = projects.run(*check, "readme.py", "use.py", "wrong.py", cwd=tmp_path, check=False)
        found = re.findall(r"(readme|use|wrong)\.py:(\d+)", said)
        assert set(found) == {("wrong", str(line))}, said


def test_a_release_needs_a_picture_and_addresses(
    render: Render, environments: Environments, tmp_path: Path
) -> None:
    """Their test fails in a run for a tag, and is skipped with a reason before."""
    project = tmp_path / "project"
    shutil.copytree(render(**PLUGIN), project)
    projects.run("git", "init", "-q", cwd=project)
    pytest_ = ("pytest", "-q", "--no-cov", "tests/test_blocks.py", "-k", "release")

    def tested(tag: str, *, check: bool) -> str:
        projects.run("git", "add", "--all", cwd=project)
        projects.run("git", "commit", "-qm", "Change", "--allow-empty", cwd=project)
        projects.run("git", "tag", tag, cwd=project)
        # As in CI: with the tag, the project is installed again.
        return projects.run("uv", "run", *pytest_, cwd=project, check=check)

    environments.sync(project)
    printed = tested("other", check=True)
    assert "1 skipped" in printed
    assert "Before the first release, set LOGO_URL in blocks/names.py, DOCU" in printed
    assert "1 failed" in tested("v0.1.0", check=False)
    names = next(project.glob("src/*/blocks/names.py"))
    address = "https://docs.my-system.test/prefect"
    text = names.read_text().replace("LOGO_URL: str | None = None", f'LOGO_URL = "{address}.png"')
    names.write_text(text.replace("https://example.com/", address))
    metadata = project / "pyproject.toml"
    text = metadata.read_text().replace('# Repository = "https://..."', f'Repository = "{address}"')
    metadata.write_text(text)
    assert "1 passed" in tested("v0.2.0", check=True)


def test_nothing_remains_when_it_is_uninstalled(python: Path) -> None:
    uninstall = ("uv", "pip", "uninstall", "-q", "--python", python, "prefect-my-system")
    projects.run(*uninstall, cwd=Path("/"))
    lines = [
        "from importlib.metadata import entry_points",
        "print([one.name for one in entry_points(group='prefect.collections')])",
    ]
    assert projects.run(python, "-c", "\n".join(lines), cwd=Path("/")) == "[]\n"
    packages = next(python.parents[1].glob("lib/python*/site-packages"))
    assert not [*packages.glob("*my_system*")]
    assert not python.with_name("prefect-my-system").exists()
