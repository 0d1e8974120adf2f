"""The recipes for libraries of docs/recipes, written into a generated library and run there."""

from __future__ import annotations

import base64
import collections
import functools
import json
import shlex
import shutil
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import projects
import pytest
import recipes
import yaml
from buckets import s3_server
from environments import Environments, require_python
from projects import Render, tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = ("async.md", "secrets.md", "blocks.md", "caching.md", "mapping.md")
EXPORTED = {
    "archive": "archive_file",
    "geocoding": "locate",
    "heights": "read_height",
    "places": "count_places",
    "stations": "read_stations",
}
"""The task of each module, as the namespace exports it."""

MODULES = [
    module for page in PAGES for module in recipes.modules(page, "src/my_task_library", "examples")
]


@pytest.fixture(scope="module")
def project(
    render: Render, environments: Environments, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A library with the modules of all recipes in a namespace, and the extra for one of them."""
    folder = tmp_path_factory.mktemp("recipes") / "my-task-library"
    shutil.copytree(render(project_kind="library", extras=[]), folder)
    environments.sync(folder)
    commands = recipes.block(recipes.read("blocks.md"), "bash", "--extra aws").splitlines()
    for command in commands:
        projects.run(*shlex.split(command), cwd=folder, UV_PYTHON=require_python("3.11"))
    space = folder / "src" / "my_task_library" / "geo"
    lines = [f"from .{module} import {name}\n" for module, name in EXPORTED.items()]
    names = "".join(f'    "{name}",\n' for name in sorted(EXPORTED.values()))
    exports = f'"""Tasks about places."""\n\n{"".join(lines)}\n__all__ = [\n{names}]\n'
    (space / "__init__.py").write_text(exports)
    (folder / "examples").mkdir(exist_ok=True)
    for path, code in MODULES:
        (folder / path).write_text(code)
    return folder


def test_the_recipes_pass_the_checks_of_a_project(project: Path) -> None:
    files = [path for path, _ in MODULES]
    assert len(files) == 9
    recipes.check(project, ["src/my_task_library/geo", *files])


def test_the_recipes_are_typed_for_every_checker(project: Path) -> None:
    space = sorted((project / "src" / "my_task_library" / "geo").glob("*.py"))
    examples = [project / path for path, _ in MODULES if path.startswith("examples/")]
    python = project / ".venv" / "bin" / "python"
    projects.check_types(*space, *examples, python=python, folder=project)


def test_the_recipes_pass_the_guards_of_namespaces(project: Path) -> None:
    printed = tool(project, "pytest", "-q", "--no-cov", "tests/test_namespaces.py")
    assert "passed" in printed
    code = "import sys, my_task_library.geo; print('FOUND', 'boto3' in sys.modules)"
    assert "FOUND False" in tool(project, "python", "-c", code)


class Service:
    """A web service for the recipes; it records requests.

    Args:
        address: Its address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: collections.Counter[str] = collections.Counter()
        self.logins: list[str] = []
        self.now = self.most = 0
        self.seconds = 0.0
        self.lock = threading.Lock()

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, object]:
        """Return status and body of a response."""
        kind, _, name = path.strip("/").partition("/")
        match kind:
            case "stations":
                return (404, None) if name == "nowhere" else (200, {"celsius": len(name)})
            case "places":
                return (200, ["a", "b"]) if self.logins[-1] == "our-team:s3cret" else (401, None)
            case "heights":
                return 200, {"metres": 100.5 + self.asked[path]}
            case _:
                number = int(query["q"][0])
                return (404, None) if number % 10 == 7 else (200, {"lat": number, "lon": 0.5})


@pytest.fixture
def service() -> Iterator[Service]:
    """A new service."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            split = urlsplit(self.path)
            with found.lock:
                found.now += 1
                found.most = max(found.most, found.now)
                found.asked[split.path] += 1
                login = self.headers.get("Authorization", "").removeprefix("Basic ")
                found.logins.append(base64.b64decode(login).decode())
            # Slow enough to see one call too many on a busy machine; later ones are fast.
            if found.asked.total() <= 32:
                time.sleep(found.seconds)
            status, body = found.answer(split.path, parse_qs(split.query))
            with found.lock:
                found.now -= 1
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found = Service(f"http://127.0.0.1:{server.server_port}")
        serve = functools.partial(server.serve_forever, poll_interval=0.05)
        threading.Thread(target=serve, daemon=True).start()
        yield found
        server.shutdown()


def run(project: Path, code: str, *words: str, **env: str) -> tuple[Any, str]:
    """Run code that can import the examples; return its arguments of `tell`, and its output."""
    head = "import json, sys\ntell = lambda it: print('TOLD' + json.dumps(it))\n"
    path = str(project / "examples")
    printed = tool(project, "python", "-c", head + code, *words, PYTHONPATH=path, **env)
    return json.loads(printed.rpartition("TOLD")[2].splitlines()[0]), printed


ASYNC = """
import asyncio
from my_task_library.common.errors import PermanentError
from my_task_library.geo import read_stations
from read_stations import find_coldest, find_warmest
names = [n * "b" for n in range(3, 23)]
found = [asyncio.run(find_warmest(sys.argv[1], names)), find_coldest(sys.argv[1], names)]
found.append(asyncio.run(read_stations.fn(sys.argv[1], ["abc"])))
try:
    asyncio.run(find_warmest(sys.argv[1], ["nowhere", *names]))
except PermanentError as error:
    found.append(str(error))
tell(found)
"""


def test_async(project: Path, service: Service, prefect_api: str) -> None:
    service.seconds = 0.3
    told, _ = run(project, ASYNC, service.address, PREFECT_API_URL=prefect_api)
    assert told == [22 * "b", 3 * "b", {"abc": 3.0}, "The service has no station 'nowhere'."]
    assert 1 < service.most <= 8
    assert service.asked["/stations/nowhere"] == 1


SECRETS = """
import logging
from prefect import flow
from prefect.blocks.system import Secret
from pydantic import SecretStr
from my_task_library.common.errors import PermanentError
from my_task_library.geo import count_places
from my_task_library.geo.places import Access
Secret(value="s3cret").save("geo-secret", overwrite=True)
@flow(persist_result=True)
def count(url: str, other: bool) -> int:
    access = Access(geo_key=SecretStr("our-team"), geo_secret=SecretStr("n0thing"))
    return count_places.with_options(retries=0)(url, access if other else None)
found = [count(sys.argv[1], False)]
try:
    count(sys.argv[1], True)
except PermanentError as error:
    found.append(str(error))
tell(found)
"""


def test_secrets(project: Path, service: Service, prefect_api: str, tmp_path: Path) -> None:
    env = {
        "PREFECT_API_URL": prefect_api,
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "MY_TASK_LIBRARY_GEO_KEY": "our-team",
        "MY_TASK_LIBRARY_GEO_SECRET": "block:geo-secret",
    }
    told, printed = run(project, SECRETS, service.address, **env)
    refused = "The service refuses the key and secret: look at MY_TASK_LIBRARY_GEO_KEY and"
    assert told == [2, f"{refused} MY_TASK_LIBRARY_GEO_SECRET."]
    assert service.logins == ["our-team:s3cret", "our-team:n0thing"]
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    for text in (printed.encode(), *kept):
        assert b"s3cret" not in text
        assert b"n0thing" not in text
    del env["MY_TASK_LIBRARY_GEO_KEY"]
    code = "from my_task_library.geo import count_places; count_places.fn('http://127.0.0.1')"
    printed = tool(project, "python", "-c", code, check=False, **env)
    assert "PermanentError: Wrong settings: MY_TASK_LIBRARY_GEO_KEY: Field required" in printed
    printed = tool(
        project,
        *("python", "-c", code),
        check=False,
        **env,
        MY_TASK_LIBRARY_GEO_KEY="block:not-there",
    )
    assert "There is no Secret block called 'not-there'" in printed


@pytest.fixture(scope="module")
def bucket(project: Path, prefect_api: str) -> Iterator[Any]:
    """An empty bucket of a local S3 for the block `archive`, created as in the recipe."""
    import boto3

    with s3_server() as url:
        login = {"aws_access_key_id": "key", "aws_secret_access_key": "s3cret"}
        resource = boto3.resource("s3", endpoint_url=url, region_name="eu-central-1", **login)
        place = {"LocationConstraint": "eu-central-1"}
        made = resource.create_bucket(Bucket="my-bucket", CreateBucketConfiguration=place)
        code = recipes.block(recipes.read("blocks.md"), "python", "S3Bucket(bucket_name")
        code = code.replace('_id="..."', '_id="key"').replace('_key="..."', '_key="s3cret"')
        code = code.replace("https://s3.example.com", url)
        assert code.count("s3cret") == code.count(url) == 1
        tool(project, "python", "-c", code, PREFECT_API_URL=prefect_api)
        yield made


BLOCKS = """
from pathlib import Path
from prefect.client.orchestration import get_client
from prefect_aws import S3Bucket
from archive_report import archive_report
state = archive_report(Path(sys.argv[1]), S3Bucket.load("archive"), return_state=True)
named = archive_report(Path(sys.argv[1]), **json.loads(sys.argv[2]))
with get_client(sync_client=True) as client:
    stored = client.read_flow_run(state.state_details.flow_run_id).parameters
tell([state.result(), named, str(stored)])
"""


def test_blocks(project: Path, bucket: Any, prefect_api: str, tmp_path: Path) -> None:
    report = tmp_path / "sales.csv"
    report.write_text("id,total\n1,9.5\n")
    deployed = yaml.safe_load(recipes.block(recipes.read("blocks.md"), "yaml", "$ref"))
    words = (str(report), json.dumps(deployed["parameters"]))
    told, printed = run(project, BLOCKS, *words, PREFECT_API_URL=prefect_api)
    assert told[:2] == ["reports/sales.csv"] * 2
    assert bucket.Object("reports/sales.csv").get()["Body"].read() == report.read_bytes()
    assert "s3cret" not in printed
    assert "s3cret" not in told[2]


HEIGHTS = """
from datetime import timedelta
from prefect import flow, task
import read_heights
if len(sys.argv) > 3:
    from my_task_library.geo import read_height
    soon = timedelta(seconds=float(sys.argv[3]))
    read_heights.read_height = read_height.with_options(cache_expiration=soon)
tell(read_heights.read_heights(sys.argv[1], sys.argv[2].split()))
"""


def test_caching(project: Path, service: Service, prefect_api: str, tmp_path: Path) -> None:
    """A run in another process uses the cached result of an earlier one."""
    env = {"PREFECT_API_URL": prefect_api, "PREFECT_HOME": str(tmp_path / "one")}
    ask = functools.partial(run, project, HEIGHTS)
    assert ask(service.address, "roof cellar roof", **env)[0] == [101.5, 101.5, 101.5]
    assert service.asked == {"/heights/roof": 1, "/heights/cellar": 1}
    # The host is not part of the key, but the place is.
    localhost = service.address.replace("127.0.0.1", "localhost")
    assert ask(localhost, "roof attic", **env)[0] == [101.5, 101.5]
    assert service.asked == {"/heights/roof": 1, "/heights/cellar": 1, "/heights/attic": 1}
    # A result that was cached for a second is requested again.
    assert ask(service.address, "tower", "0.01", **env)[0] == [101.5]
    assert ask(service.address, "tower", **env)[0] == [102.5]
    code = HEIGHTS.replace("sys.argv[2].split()", "sys.argv[2].split(), renew=True")
    assert run(project, code, service.address, "roof", **env)[0] == [102.5]
    code = HEIGHTS.replace(
        "tell(read_heights.read_heights", "tell(read_heights.read_heights_uncached"
    )
    assert run(project, code, service.address, "roof", **env)[0] == [103.5]


@pytest.mark.large("combinations")
def test_workers_share_a_cache_by_a_bucket(
    project: Path, service: Service, bucket: Any, prefect_api: str, tmp_path: Path
) -> None:
    page = recipes.read("caching.md")
    name, value = "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK", "s3-bucket/archive"
    assert f"`{name}={value}`" in page
    for worker in ("one", "two"):
        env = {"PREFECT_API_URL": prefect_api, "PREFECT_HOME": str(tmp_path / worker), name: value}
        assert run(project, HEIGHTS, service.address, "roof", **env)[0] == [101.5]
    assert service.asked == {"/heights/roof": 1}
    del env[name]
    assert run(project, HEIGHTS, service.address, "roof", **env)[0] == [102.5]


TRAP = """
from prefect import flow, task
from prefect.cache_policies import INPUTS
@task(cache_policy=INPUTS, persist_result=True)
def double(n): return 2 * n
@task(cache_policy=INPUTS, persist_result=True)
def square(n): return n * n
@flow
def both(): return [double(3), square(3)]
tell(both())
"""


def test_the_trap_that_the_page_names_is_there(
    project: Path, prefect_api: str, tmp_path: Path
) -> None:
    """If this fails, Prefect has fixed it: remove the sentence."""
    env = {"PREFECT_API_URL": prefect_api, "PREFECT_HOME": str(tmp_path)}
    assert run(project, TRAP, **env)[0] == [6, 6]


MAPPING = """
from locate_all import locate_all
addresses = [str(n) for n in range(int(sys.argv[2]))]
tell(locate_all(sys.argv[1], addresses))
"""


@pytest.mark.parametrize(
    "count", [100, pytest.param(1000, marks=pytest.mark.large("combinations"))]
)
def test_mapping(count: int, project: Path, service: Service, prefect_api: str) -> None:
    """Eight at a time, as the service sees; failures do not affect other tasks."""
    service.seconds = 1
    env = {"PREFECT_API_URL": prefect_api, "PREFECT_LOGGING_LEVEL": "WARNING"}
    told, printed = run(project, MAPPING, service.address, str(count), **env)
    assert told == {str(n): [n, 0.5] for n in range(count) if n % 10 != 7}
    assert f"{count // 10} of {count} addresses failed" in printed
    assert service.asked["/locate"] == count
    assert 1 < service.most <= 8


LIMITED = """
from prefect import flow, unmapped
from prefect.task_runners import ThreadPoolTaskRunner
from my_task_library.geo import locate
@flow(task_runner=ThreadPoolTaskRunner(max_workers=4))
def locate_some(url, limit, count):
    addresses = [str(100 * n) for n in range(count)]
    return locate.map(unmapped(url), addresses, unmapped(limit)).result()
tell(len(locate_some(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
"""


@pytest.mark.parametrize("count", [4, pytest.param(100, marks=pytest.mark.large("combinations"))])
def test_a_limit_holds_for_all_runs(
    count: int, project: Path, service: Service, prefect_api: str
) -> None:
    service.seconds = 0.5
    env = {"PREFECT_API_URL": prefect_api}
    command = "gcl create geocoder --limit 3"
    assert f"`prefect {command}`" in recipes.read("mapping.md")
    tool(project, "prefect", *command.split(), check=False, **env)  # it exists in the second test
    words = (service.address, "geocoder", str(count))
    with futures.ThreadPoolExecutor() as pool:
        runs = [pool.submit(run, project, LIMITED, *words, **env) for _ in range(2)]
    assert [each.result()[0] for each in runs] == [count, count]
    assert service.asked["/locate"] == 2 * count
    assert 1 < service.most <= 3


def test_a_limit_that_does_not_exist_is_an_error(
    project: Path, service: Service, prefect_api: str
) -> None:
    code = LIMITED.replace("tell(", "print(").replace(
        "locate.map", "locate.with_options(retries=0).map"
    )
    words = (service.address, "no-such-limit", "1")
    printed = tool(
        project,
        *("python", "-c", f"import sys\n{code}", *words),
        check=False,
        PREFECT_API_URL=prefect_api,
    )
    assert "Concurrency limits ['no-such-limit'] must be created before acquiring" in printed
    assert service.most == 0
