"""The recipes for plugins of docs/recipes, written into a generated plugin and run there."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import re
import shlex
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import child_processes
import projects
import pytest
import recipes
from environments import Environments
from projects import Render, tool
from recipes import block

if TYPE_CHECKING:
    from collections.abc import Iterator

WAITING = recipes.read("waiting.md")
OPENAPI = recipes.read("openapi.md")
MODULES = [
    module
    for page in ("waiting.md", "openapi.md")
    for module in recipes.modules(page, "src/prefect_gitea")
]

ANSWERS = {
    "project_kind": "plugin",
    "project_name": "prefect-gitea",
    "extras": ["conventions"],
    "example": False,
}

WAIT_SECONDS = 300

SPECIFICATION = """\
openapi: 3.0.3
info: {title: Issues, version: "1"}
paths:
  /repos/{owner}/{repo}/issues:
    get:
      parameters:
        - {name: owner, in: path, required: true, schema: {type: string}}
        - {name: repo, in: path, required: true, schema: {type: string}}
      responses:
        "200":
          description: Issues
          content:
            application/json:
              schema: {type: array, items: {$ref: "#/components/schemas/Issue"}}
components:
  schemas:
    Issue:
      type: object
      required: [number, title, state]
      properties:
        number: {type: integer}
        title: {type: string, description: What it is about.}
        state: {type: string, enum: [open, closed]}
        labels: {type: array, items: {$ref: "#/components/schemas/Label"}}
        due_date: {type: string, format: date-time, nullable: true}
    Label:
      type: object
      required: [name]
      properties: {name: {type: string}, color: {type: string}}
    Version: {type: object, properties: {version: {type: string}}}
"""


@pytest.fixture(scope="module")
def project(
    render: Render, environments: Environments, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A plugin with the modules of all recipes and the models of an OpenAPI file."""
    folder = tmp_path_factory.mktemp("recipes") / "prefect-gitea"
    shutil.copytree(render(**ANSWERS), folder)
    environments.sync(folder)
    for path, code in MODULES:
        (folder / path).write_text(code)
    (folder / "openapi.yaml").write_text(SPECIFICATION)
    generate(folder)
    return folder


def generate(folder: Path, *more: str) -> str:
    command = shlex.split(block(OPENAPI, "bash", "datamodel-codegen").replace("\\\n", " "))
    return projects.run(*command, *more, cwd=folder)


def test_the_recipes_pass_the_checks_of_a_project(project: Path) -> None:
    files = [path for path, _ in MODULES]
    assert len(files) == 3
    files += ["src/prefect_gitea/models.py"]
    recipes.check(project, files)


@pytest.fixture
def system() -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """A system: its address, and the responses of each path; the last one is repeated."""
    answers: dict[str, list[Any]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            left = answers[self.path]
            body = json.dumps(left.pop(0) if len(left) > 1 else left[0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serve = functools.partial(server.serve_forever, poll_interval=0.05)
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api", answers
        server.shutdown()


def run(project: Path, prefect_api: str, url: str, module: str, *calls: str) -> list[str]:
    """Call tasks, each in its own flow; return results or errors."""
    code = f"""
from prefect import flow
from prefect_gitea.blocks import GiteaCredentials
from prefect_gitea.tasks.{module} import *
credentials = GiteaCredentials(base_url={url!r}, token="x")
@flow
def run(call: str):
    return eval(call)
results = []
for call in {calls!r}:
    try:
        results.append(str(run(call)))
    except Exception as error:
        results.append(f"{{type(error).__name__}} {{error}}")
print("".join(f"RESULT {{one}}\\n" for one in results), end="")
"""
    return tool(project, "python", "-c", code, PREFECT_API_URL=prefect_api).split("RESULT ")[1:]


def test_a_task_that_asks(
    project: Path, prefect_api: str, system: tuple[str, dict[str, list[Any]]]
) -> None:
    url, answers = system
    call = "wait_for_migration{}(credentials, {}, pause_seconds=0.2)"
    migration = {"status": "running", "message": ""}
    answers["/api/migrations/7"] = [migration, migration, migration | {"status": "finished"}]
    answers["/api/migrations/8"] = [migration | {"status": "failed", "message": "no such source"}]
    answers["/api/migrations/9"] = [migration]
    calls = [("", 7), ("", 8), (".with_options(timeout_seconds=1)", 9)]
    printed = run(project, prefect_api, url, "waiting", *(call.format(*each) for each in calls))
    assert "'status': 'finished'" in printed[0]
    assert len(answers["/api/migrations/7"]) == 1
    assert printed[1].startswith("PermanentError Migration 8 failed: no such source")
    assert printed[2].startswith("TaskRunTimeoutError")


def test_tasks_from_an_openapi_file(
    project: Path, prefect_api: str, system: tuple[str, dict[str, list[Any]]]
) -> None:
    url, answers = system
    issue = {"number": 1, "title": "Late", "state": "open", "labels": [{"name": "bug"}]}
    answers["/api/repos/data/orders/issues"] = [[issue]]
    answers["/api/repos/data/others/issues"] = [[issue, issue | {"number": "seven"}]]
    call = "[i.labels[0].name for i in list_issues(credentials, 'data/{}')]"
    calls = [call.format(name) for name in ("orders", "others")]
    assert run(project, prefect_api, url, "issues", *calls) == [
        "['bug']\n",
        "PermanentError The issues of data/others do not fit the OpenAPI file, at 1.number:"
        " renew it.\n",
    ]


def test_models_that_are_not_those_of_the_file_are_seen(project: Path) -> None:
    models = project / "src" / "prefect_gitea" / "models.py"
    made = models.read_text()
    generate(project, "--check")
    try:
        models.write_text(made.replace("title: str", "title: int"))
        with pytest.raises(AssertionError, match=r"(?s)exit 1\b.*-    title: int"):
            generate(project, "--check")
        (words,) = re.findall("`(--openapi-scopes.*)`", OPENAPI)
        generate(project, *shlex.split(words))
        assert "class Issue(" in models.read_text()
        assert "class Version(" not in models.read_text()
    finally:
        models.write_text(made)


def test_a_specification_of_swagger_2_gives_the_same_models(project: Path) -> None:
    models = project / "src" / "prefect_gitea" / "models.py"
    made = models.read_text()
    schemas = SPECIFICATION.partition("  schemas:\n")[2].replace(
        "components/schemas", "definitions"
    )
    definitions = re.sub("^  ", "", schemas, flags=re.MULTILINE).replace(", nullable: true", "")
    (project / "openapi.yaml").write_text(f'swagger: "2.0"\ndefinitions:\n{definitions}')
    try:
        generate(project, "--input-file-type", "jsonschema")
        for name in ("State", "Label", "Version", "Issue"):
            assert f"class {name}(" in models.read_text()
    finally:
        models.write_text(made)
        (project / "openapi.yaml").write_text(SPECIFICATION)


FLOW = """
from prefect import flow


@flow
def load_commit(repository: str, commit: str) -> str:
    return f"{repository} {commit}"
"""


def test_a_webhook_starts_a_deployment(project: Path, prefect_api: str, tmp_path: Path) -> None:
    (project / "src" / "prefect_gitea" / "flows.py").write_text(FLOW)
    (tmp_path / "prefect.yaml").write_text(f"pull: []\n{block(WAITING, 'yaml', 'triggers')}")
    env = {"PREFECT_API_URL": prefect_api}
    python = project / ".venv" / "bin" / "python"

    def prefect(*words: str) -> str:
        return projects.run(python, "-m", "prefect", *words, cwd=tmp_path, **env)

    prefect("work-pool", "create", "default", "--type", "process", "--overwrite")
    prefect("--no-prompt", "deploy", "--all")
    save = "Secret(value='k').save('gitea-webhook', overwrite=True)"
    save = f"from prefect.blocks.system import Secret; {save}"
    projects.run(python, "-c", save, cwd=tmp_path, **env)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = shlex.split(block(WAITING, "bash", "uvicorn"))
    assert command[:3] == ["uv", "run", "uvicorn"]
    command[command.index("--port") + 1] = port
    whole = projects.clean_environment(**env, PREFECT_WORKER_QUERY_SECONDS="1")
    worker = [python, "-m", "prefect", "worker", "start", "--pool", "default"]
    with (
        (tmp_path / "log").open("wb") as log,
        child_processes.running(
            ["uv", "run", "--no-sync", *command[2:]], cwd=project, env=whole, stdout=log, stderr=log
        ),
        child_processes.running(worker, cwd=tmp_path, env=whole, stdout=log, stderr=log),
    ):
        url = f"http://127.0.0.1:{port}/push"
        wait_for(lambda: status(url, b"{}", "wrong") == 403)
        for number in range(2):
            sent = {"ref": "refs/heads/main", "after": f"0a1b2c{number}"}
            sent["repository"] = {"full_name": ("others", "data")[number] + "/orders"}
            body = json.dumps(sent).encode()
            assert status(url, body, hmac.new(b"k", body, hashlib.sha256).hexdigest()) == 200
        wait_for(lambda: "COMPLETED" in str(runs(prefect_api)))
    assert {str(run["parameters"]) for run in runs(prefect_api)} == {
        "{'repository': 'gitea.repository.data/orders', 'commit': '0a1b2c1'}"
    }


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def status(url: str, body: bytes, signature: str) -> int:
    """Send a webhook, and return the status of the response; 0 without a response."""
    headers = {"Content-Type": "application/json", "X-Gitea-Signature": signature}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError:
        return 0


def runs(prefect_api: str) -> list[dict[str, Any]]:
    """Return the runs of the flow of the recipe."""
    asked = json.dumps({"flows": {"name": {"any_": ["load-commit"]}}}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{prefect_api}/flow_runs/filter", asked, headers)
    with urllib.request.urlopen(request) as response:
        found: list[dict[str, Any]] = json.load(response)
    return found


HOUSE_FLOW = """
from prefect_gitea.conventions import house_flow


@house_flow(owner="finance", cost_centre="cc-1042")
def close_the_month() -> None: ...
"""


def test_the_test_of_the_readme_sees_a_deployment_without_its_owner(
    project: Path, tmp_path: Path
) -> None:
    readme = (project / "README.md").read_text()
    (tmp_path / "test_owners.py").write_text(block(readme, "python", "def test_"))
    (tmp_path / "house.py").write_text(HOUSE_FLOW)
    entry = "deployments:\n  - name: monthly\n    entrypoint: house.close_the_month\n"
    tags = block(readme, "yaml", "owner:")
    command = (project / ".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    (tmp_path / "prefect.yaml").write_text(entry + tags)
    projects.run(*command, cwd=tmp_path)
    (tmp_path / "prefect.yaml").write_text(entry + tags.replace("finance", "sales"))
    with pytest.raises(AssertionError, match=r"house\.close_the_month"):
        projects.run(*command, cwd=tmp_path)
