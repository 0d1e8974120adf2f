"""Generated task libraries in use: their checks, a local package index, users of the wheel."""

from __future__ import annotations

import contextlib
import email
import os
import re
import shutil
import socket
import sys
import time
import tomllib
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import child_processes
import projects
import pytest
from environments import Environments, require_python
from packaging.requirements import Requirement
from projects import Render

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY = {"project_kind": "library"}

TRACES = {
    "pandas": r"pandas|pandera|pyarrow|transform_data|transform\.py|tidy_penguins",
    "ml": r"sklearn|scikit|train_model|evaluate_model|train_on_penguins|`ml`|\.ml\b",
}
"""What a project that leaves an extra out must not mention."""


tool = projects.tool


@pytest.fixture(scope="session")
def library(
    render: Render, environments: Environments, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The default library; tests may run it but not change it."""
    folder = tmp_path_factory.mktemp("library") / "my-task-library"
    return prepared(render(**LIBRARY, features=["docs"]), folder, environments, "3.11")


def prepared(source: Path, project: Path, environments: Environments, python: str) -> Path:
    """Copy a render, commit and tag it as version 0.2.0, and synchronise it."""
    shutil.copytree(source, project)
    projects.run("git", "init", "-q", cwd=project)
    projects.run("git", "add", "--all", cwd=project)
    projects.run("git", "commit", "-qm", "Start", cwd=project)
    projects.run("git", "tag", "v0.2.0", cwd=project)
    environments.sync(project, python)
    return project


def test_its_demo_runs(library: Path, prefect_api: str, tmp_path: Path) -> None:
    command = (library / ".venv" / "bin" / "python", library / "scripts" / "demo.py")
    printed = projects.run(*command, cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert "data/penguins.csv: 53,098 bytes" in printed
    assert "333 of 344 rows kept" in printed
    assert re.search(r"mean absolute error: \d+ g, baseline", printed)


def test_its_documentation_builds_strictly(library: Path, tmp_path: Path) -> None:
    tool(library, "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path))
    reference = (tmp_path / "reference" / "index.html").read_text()
    for name in ("download_data", "transform_data", "train_model", "evaluate_model"):
        assert name in reference
    modules = set(re.findall(r'id="my_task_library\.(\w+(?:\.errors)?)"', reference))
    assert modules == {"data", "ml", "common.errors"}


@pytest.mark.parametrize("ci", ["github", "gitlab", "none"])
@pytest.mark.parametrize("extras", [[], ["pandas"], ["ml"], ["pandas", "ml"]], ids=str)
def test_what_is_not_chosen_leaves_no_trace(extras: list[str], ci: str, render: Render) -> None:
    project = render(**LIBRARY, extras=extras, ci=ci)
    shown = {
        path.relative_to(project): f"{path.relative_to(project)}\n{path.read_text()}"
        for path in projects.files(project)
    }
    unwanted = [TRACES[name] for name in TRACES if name not in extras]
    if "ml" in extras:
        # Models are trained on tables, so this extra includes pandas.
        unwanted = [pattern.removeprefix("pandas|pandera|") for pattern in unwanted]
    for path, text in shown.items():
        for pattern in unwanted:
            assert not re.search(pattern, text), path
    for name in extras:
        assert any(re.search(TRACES[name], text) for text in shown.values())


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        (LIBRARY | {"extras": ["postgres"]}, "'postgres' is not in ['pandas', 'ml']"),
        ({"extras": ["ml"]}, "'ml' is not in ['postgres', 'dask', "),
        ({"project_kind": "plugin", "extras": ["dask"]}, "'dask' is not in ['worker', "),
    ],
)
def test_an_extra_of_another_kind_is_refused(
    answers: dict[str, object], sentence: str, template: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        projects.render(template, tmp_path / "project", answers)


def distributions(project: Path) -> list[Path]:
    """Build a wheel and an sdist from a clean tree."""
    if not (project / "dist").exists():
        # Commit the lock file as users do: untracked files would change the version.
        projects.run("git", "add", "--all", cwd=project)
        projects.run("git", "commit", "-qm", "Lock", "--allow-empty", cwd=project)
        projects.run("git", "tag", "-f", "v0.2.0", cwd=project)
        projects.run("uv", "build", "-q", cwd=project)
    return sorted(path for path in (project / "dist").iterdir() if path.suffix in {".whl", ".gz"})


def needs(required: list[str], extra: str | None) -> set[str]:
    """Return the names of an extra's requirements, or of those without an extra."""
    found: dict[str | None, set[str]] = {}
    for entry in required:
        marker = re.search(r"extra == ['\"](\w+)['\"]", entry)
        name = re.split(r"[<>=!~; \[]", entry)[0]
        found.setdefault(marker[1] if marker else None, set()).add(name)
    return found.get(extra, set())


@pytest.mark.parametrize(
    "answers", [{}, {"extras": ["ml"]}, {"extras": [], "license": "Proprietary"}], ids=str
)
def test_nothing_but_its_own_needs_is_imposed_on_users(
    answers: dict[str, object], project: Render
) -> None:
    folder = project(**LIBRARY, **answers)
    projects.run("uv", "build", "-q", "--wheel", cwd=folder)
    wheel = next((folder / "dist").glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    required = metadata.get_all("Requires-Dist") or []
    always = {"prefect", "pydantic", "pydantic-settings", "httpx", "fsspec"}
    assert needs(required, None) == always
    # Users could not remove an unnecessary bound.
    bounded = [Requirement(entry) for entry in required if "<" in entry]
    assert {need.name for need in bounded if need.marker is None} == {"prefect"}
    assert not {"fastapi", "sqlalchemy"} & {Requirement(entry).name for entry in required}
    extras = set(metadata.get_all("Provides-Extra") or [])
    chosen = {name for name in ("pandas", "ml") if name in extras}
    assert extras == chosen | {"dev", "all"}
    assert needs(required, "all") == set().union(*(needs(required, name) for name in chosen))
    learning = {"pandas", "numpy", "scikit-learn", "skops"}
    tables = {"pandas", "numpy", "pandera", "pyarrow"}
    assert needs(required, "ml") == (learning if "ml" in chosen else set())
    assert needs(required, "pandas") == (tables if "pandas" in chosen else set())
    private = "Private :: Do Not Upload" in (metadata.get_all("Classifier") or [])
    assert private == (metadata["License-Expression"] == "LicenseRef-Proprietary")


BROKEN = {
    "importing_costs": ("import trustme\n", "'trustme']: import it where it is used"),
    "imported_is_declared": (
        'def f():\n    with extras.required("geo"):\n        import yaml\n',
        "use_geo_task.py imports yaml: declare it in the extra geo",
    ),
    "is_declared": (
        "import importlib\n\n\ndef g():\n    importlib.import_module('yaml.nodes')\n",
        "use_geo_task.py imports yaml: declare it in dependencies",
    ),
    "what_is_imported": (
        'def f():\n    with extras.required("goe"):\n        import yaml\n',
        "use_geo_task.py names extras that are not there: {'goe'}",
    ),
    "nothing_deprecated": (
        'OLD = "`places` is deprecated since 0.0, removed in 0.1: use `find`."\n',
        "removed in 0.1: its time has come",
    ),
    "plain_text": (
        "def log_in(api_token: str) -> None: ...\n\n\n__all__ = ['log_in']\n",
        "geo.log_in: make api_token a SecretStr",
    ),
    "not_plain_text": (
        "def log_in(passwd: str) -> None: ...\n\n\n__all__ = ['log_in']\n",
        "geo.log_in: make passwd a SecretStr",
    ),
    "the_readme": ("", "README.md does not name my_task_library.geo"),
}
"""What may be wrong in a namespace of one's own: the test that says so, the code, its words."""

TOGETHER = (
    ("importing_costs", "nothing_deprecated", "plain_text", "the_readme"),
    ("imported_is_declared", "not_plain_text"),
    ("is_declared",),
    ("what_is_imported",),
)
"""Mistakes to make at the same time, each found by another test."""


def test_the_guards_see_a_namespace_of_one_s_own(
    project: Render, environments: Environments
) -> None:
    folder = project(**LIBRARY, example=False)
    environments.sync(folder)
    add = ("python", "scripts/add.py", "namespace", "geo", "--extra", "geo")
    tool(folder, *add)
    check = ("pytest", "-q", "--no-cov", "tests/test_namespaces.py", "tests/test_deprecations.py")
    assert " passed" in tool(folder, *check)
    space = folder / "src" / "my_task_library" / "geo"
    changelog = folder / "CHANGELOG.md"
    changelog.write_text(changelog.read_text() + "\n## 0.1.0\n")
    files = [space / "use_geo_task.py", space / "__init__.py", folder / "README.md"]
    task, exports, readme = files
    right = [file.read_text() for file in files]
    assert sorted(sum(TOGETHER, ())) == sorted(BROKEN)
    for tests in TOGETHER:
        for code, sentence in map(BROKEN.__getitem__, tests):
            (task if "use_geo" in sentence else exports).open("a").write(code)
        if "the_readme" in tests:
            readme.write_text(readme.read_text().replace("my_task_library.geo", "places"))
        printed = tool(folder, *check, "-k", " or ".join(tests), check=False)
        assert [test for test in tests if BROKEN[test][1] not in printed] == [], printed
        for file, text in zip(files, right, strict=True):
            file.write_text(text)
    assert " passed" in tool(folder, *check)


def test_the_reference_has_a_namespace_of_one_s_own(
    library: Path, tmp_path: Path, environments: Environments
) -> None:
    folder = tmp_path / "project"
    ignored = shutil.ignore_patterns(".venv", "dist", "site")
    shutil.copytree(library, folder, ignore=ignored)
    environments.sync(folder, "3.11")
    tool(folder, "python", "scripts/add.py", "namespace", "geo")
    tool(folder, "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site"))
    reference = (tmp_path / "site" / "reference" / "index.html").read_text()
    assert 'id="my_task_library.geo.use_geo"' in reference


@pytest.mark.large("combinations")
def test_without_the_first_namespaces_all_stays_green(
    project: Render, environments: Environments
) -> None:
    """Deleted by hand: no shared test needs one of them."""
    folder = project(**LIBRARY)
    tests = ("download", "transform", "ml", "examples")
    for name in ("src/my_task_library/data", "src/my_task_library/ml", "examples"):
        shutil.rmtree(folder / name)
    for name in tests:
        (folder / "tests" / f"test_{name}.py").unlink()
    environments.sync(folder)
    tool(folder, "python", "scripts/add.py", "namespace", "geo")
    readme, rows = folder / "README.md", r"(?m)^\| `my_task_library\.(data|ml)` \|.*\n"
    readme.write_text(re.sub(rows, "", readme.read_text()))
    tool(folder, "ruff", "check", ".")
    tool(folder, "pyrefly", "check")
    # Without the tests of the changelog, which has to name removals.
    printed = tool(folder, "pytest", "-q", "--no-cov", "-k", "not add and not changelog")
    assert " passed" in printed


VERSION = "from importlib import metadata; print(metadata.version('my-task-library'))"


def test_a_new_tag_is_a_new_version(project: Render, environments: Environments) -> None:
    folder = project(**LIBRARY)
    environments.sync(folder)
    projects.run("git", "init", "-q", cwd=folder)
    for version in ("1.2.0", "1.3.0"):
        projects.run("git", "commit", "-qm", "Change", "--allow-empty", cwd=folder)
        projects.run("git", "tag", f"v{version}", cwd=folder)
        shown = projects.run("uv", "run", "-q", "python", "-c", VERSION, cwd=folder)
        assert shown.startswith(version)


@pytest.fixture(scope="session")
def index(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A local package index with the published library; yields the URL of its simple API."""
    folder = tmp_path_factory.mktemp("index")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [Path(sys.executable).with_name("pypi-server"), "run", "-p", str(port)]
    options = ["-i", "127.0.0.1", "-P", ".", "-a", ".", "--disable-fallback", folder]
    log = (folder.parent / "index.log").open("wb")
    with log, child_processes.running([*command, *options], stdout=log, stderr=log):
        wait_for(f"{url}/simple/")
        publish = ["uv", "publish", "--publish-url", f"{url}/", "--username", "a"]
        publish += ["--password", "b", "--check-url", f"{url}/simple/"]
        for _ in range(2):  # the second time, nothing is left to publish
            projects.run(*publish, *distributions(library), cwd=library)
        assert len(list(folder.iterdir())) == 2
        yield f"{url}/simple/"


def wait_for(url: str) -> None:
    """Wait until a server answers."""
    for _ in range(600):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=1).close()
            return
        time.sleep(0.1)
    raise TimeoutError(url)


@pytest.fixture(scope="session")
def plain(index: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the published library and no extra; do not change it.

    It uses a Prefect server elsewhere, so it needs no bounds for the server.
    """
    folder = tmp_path_factory.mktemp("consumer")
    made = ("uv", "venv", "-q", "--relocatable", "-p", require_python("3.11"), "env")
    projects.run(*made, cwd=folder)
    install = ("uv", "pip", "install", "-q", "--python", "env", "--index", index)
    projects.run(*install, "my-task-library==0.2.0", cwd=folder)
    # Compile modules that all consumers import.
    projects.run("env/bin/python", "-c", "import prefect.main, my_task_library.data", cwd=folder)
    return folder / "env"


def consumer(folder: Path, plain: Path, index: str, *requirements: str) -> Path:
    """Create an environment with the published library; return its Python.

    Args:
        folder: Folder for the environment.
        plain: The environment to copy.
        index: URL of the package index.
        *requirements: Requirements to install.
    """
    folder.mkdir(exist_ok=True)
    shutil.copytree(plain, folder / "env", symlinks=True, copy_function=os.link)
    python = folder / "env" / "bin" / "python"
    if requirements:
        install = ("uv", "pip", "install", "-q", "--python", python, "--index", index)
        projects.run(*install, *requirements, cwd=folder)
    return python


FLOW = """
import sys
from pathlib import Path

from prefect import flow

from my_task_library.common.errors import PermanentError
from my_task_library.data import download_data, transform_data
from my_task_library.ml import evaluate_model, train_model


@flow
def fetch(source: str) -> int:
    return download_data(source, "data/table.csv").size


if __name__ == "__main__":
    print("bytes:", fetch(Path(__file__).as_uri()))
    for task in (lambda: transform_data.fn(None, None), lambda: evaluate_model.fn(None)):
        try:
            task()
        except PermanentError as error:
            print(error)
"""


def test_a_fresh_project_that_follows_the_readme(index: str, library: Path, tmp_path: Path) -> None:
    """With Prefect's own server, which runs in the project: no `PREFECT_API_URL`."""
    requirement, more = projects.to_install(library)
    assert (requirement, more) == ("my-task-library[all]", [])
    init = ("uv", "init", "-q", "--bare", "-p", require_python("3.11"), "fresh")
    projects.run(*init, cwd=tmp_path)
    fresh = tmp_path / "fresh"
    published = f"{requirement}>=0.2,<1"
    projects.run("uv", "add", "-q", "--index", index, published, cwd=fresh)
    snippet = re.search(r"```python\n(.+?)```", (library / "README.md").read_text(), re.DOTALL)
    assert snippet
    (fresh / "use.py").write_text(f"{snippet[1]}\n\nprint('bytes:', fetch('pyproject.toml'))\n")
    projects.check_types(fresh / "use.py", python=fresh / ".venv" / "bin" / "python")
    settings = projects.to_export(library)
    assert list(settings) == ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"]
    settings["PREFECT_HOME"] = str(tmp_path / "home")
    printed = projects.tool(fresh, "python", "use.py", **settings)
    assert f"bytes: {(fresh / 'pyproject.toml').stat().st_size}" in printed


RUN = """
import runpy
import sys

for name in ("download_penguins.py", sys.argv[1]):
    runpy.run_path(name, run_name="__main__")
"""


def test_a_consumer_without_extras(
    plain: Path, index: str, prefect_api: str, tmp_path: Path
) -> None:
    python = consumer(tmp_path, plain, index)
    for module in ("pandas", "sklearn", "numpy"):
        printed = projects.run(python, "-c", f"import {module}", cwd=tmp_path, check=False)
        assert "ModuleNotFoundError" in printed
    (tmp_path / "use.py").write_text(FLOW)
    printed = projects.run(python, "use.py", cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert f"bytes: {len(FLOW)}" in printed
    for extra, module in (("pandas", "numpy"), ("ml", "numpy")):
        assert (
            f"This needs {module}, which comes with the extra {extra!r}:"
            f" pip install 'my-task-library[{extra}]'\n"
        ) in printed
    # No commands for the library's developers.
    assert not [path for path in (tmp_path / "env" / "bin").iterdir() if "task" in path.name]
    (package,) = (tmp_path / "env").glob("lib/*/site-packages/my_task_library")
    assert {path.name for path in package.iterdir()} - {"__pycache__"} == {
        *("__init__.py", "common", "data", "ml", "py.typed"),
    }


@pytest.mark.parametrize(
    ("extra", "example", "result"),
    [
        pytest.param(
            *("pandas", "tidy_penguins.py", "333 of 344 rows kept"),
            marks=pytest.mark.large("combinations"),
        ),
        ("ml", "train_on_penguins.py", "body-mass, measured on 85 rows"),
    ],
)
def test_a_consumer_with_extras(
    extra: str,
    example: str,
    result: str,
    plain: Path,
    index: str,
    prefect_api: str,
    library: Path,
    tmp_path: Path,
) -> None:
    requirement = f"my-task-library[{extra}]>=0.2,<1"
    python = consumer(tmp_path, plain, index, requirement, "palmerpenguins")
    for name in ("download_penguins.py", example):
        shutil.copy(library / "examples" / name, tmp_path)
    (tmp_path / "run.py").write_text(RUN)
    printed = projects.run(
        python,
        "run.py",
        example,
        cwd=tmp_path,
        PREFECT_API_URL=prefect_api,
        PREFECT_HOME=str(tmp_path),
    )
    assert "data/penguins.csv: 53,098 bytes" in printed
    assert result in printed
    assert os.fspath(library) not in printed


EXACTLY = """
import csv, decimal, io, pathlib, sys, tempfile

import pandera.pandas as pa
from hypothesis import given, settings, strategies as st
from my_task_library.common.errors import PermanentError
from my_task_library.data import transform_data

path = pathlib.Path(tempfile.mkdtemp()) / "t.csv"
text = st.text(st.characters(codec="utf-8", exclude_characters="\\0\\r"))
digits = st.text("0123456789", min_size=1, max_size=20)
number = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-", "+", " "]),
    digits,
    st.one_of(st.just(""), digits.map(".{}".format)),
    st.one_of(st.just(""), st.integers(-330, 330).map("e{}".format)),
)
number = st.one_of(number, st.floats().map(repr), st.integers(-2**70, 2**70).map(str), text)


def read(texts, kind, **options):
    schema = pa.DataFrameSchema({"x": pa.Column(kind)}, drop_invalid_rows=True)
    return transform_data.fn(path, schema, **options)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(text, text), max_size=5))
def test_fields_are_those_of_the_csv_module(rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\\n").writerows([("x", "y"), *rows])
    cleaned = read(rows, str, null_values=())
    assert list(zip(cleaned.table["x"], cleaned.table["y"])) == rows


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40).map(lambda tail: b"x,y\\n" + tail))
def test_what_the_csv_module_takes_otherwise_is_refused(content):
    path.write_bytes(content)
    try:
        cleaned = read(content, str, null_values=())
    except PermanentError:
        return
    plain = content.decode("utf-8").replace("\\r\\n", "\\n").replace("\\r", "\\n")
    rows = [row for row in csv.reader(io.StringIO(plain, newline=""), strict=True) if row]
    found = [[one.replace("\\r\\n", "\\n").replace("\\r", "\\n") for one in row]
             for row in cleaned.table[["x", "y"]].values.tolist()]
    assert found == rows[1:]


def exact(text, kind):
    stripped = text.strip()
    try:
        found = decimal.Decimal(stripped)
    except decimal.InvalidOperation:
        return None
    if not stripped.isascii() or "_" in stripped or found.is_nan():
        return None
    if kind is int:
        whole = found.is_finite() and abs(found) < 2**63 and found == found.to_integral_value()
        return int(found) if whole else None
    if found.is_infinite():
        return float(stripped) if stripped in {"inf", "-inf"} else None
    size = len(found.as_tuple().digits) - 1
    return float(stripped) if decimal.Decimal(f"{float(stripped):.{size}e}") == found else None


@settings(max_examples=300, deadline=None)
@given(st.lists(number, min_size=1, max_size=8), st.sampled_from([int, float]))
def test_numbers_are_those_of_decimal(texts, kind):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\\n", quoting=csv.QUOTE_ALL).writerows(
            [("x",), *((text,) for text in texts)]
        )
    wanted = [exact(text, kind) for text in texts]
    cleaned = read(texts, kind)
    assert cleaned.table["x"].tolist() == [value for value in wanted if value is not None]
"""


def test_tables_are_read_exactly(library: Path, tmp_path: Path) -> None:
    """Compared with Python's csv and decimal, on generated input."""
    (tmp_path / "test_exactly.py").write_text(EXACTLY)
    python = library / ".venv" / "bin" / "python"
    command = ("uv", "run", "-q", "--no-project", "--python", python, "--with", "hypothesis")
    installed = next((library / ".venv" / "lib").glob("python*/site-packages"))
    path = os.pathsep.join([str(installed), str(library / "src")])
    tests = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_exactly.py")
    printed = projects.run(*command, *tests, cwd=tmp_path, PYTHONPATH=path)
    assert "3 passed" in printed


TEAM_FLOW = '''\
"""Fetches a table by a task of the team's library, and loads it."""

import csv
from collections.abc import Iterator
from pathlib import Path

from my_task_library.data import download_data
from prefect import flow

from ..common.table import Table
from .factory import create_ingestion_flow

FILE = "data/members.csv"


def read_members() -> Iterator[dict[str, object]]:
    """Yield the rows of the file."""
    with Path(FILE).open(newline="", encoding="utf-8") as lines:
        yield from csv.DictReader(lines)


MEMBERS = Table(name="members", key=("id",))
ingest_members = create_ingestion_flow(MEMBERS, module=__name__, rows=read_members)


@flow
def fetch_members(source: str) -> int:
    """Fetch the file, load it, and return its size in bytes."""
    size = download_data(source, FILE).size
    ingest_members()
    return size
'''


def test_a_pipeline_that_pins_it(
    render: Render, environments: Environments, index: str, prefect_api: str, tmp_path: Path
) -> None:
    pipeline = tmp_path / "my-data-project"
    shutil.copytree(render(), pipeline)
    environments.sync(pipeline)
    # With a pipeline's dependencies; pinned, from the team's index.
    add = ("uv", "add", "-q", "--index", f"team={index}", "my-task-library==0.2.0")
    projects.run(*add, cwd=pipeline, UV_PYTHON=require_python("3.11"))
    locked = tomllib.loads((pipeline / "uv.lock").read_text())["package"]
    (found,) = [each for each in locked if each["name"] == "my-task-library"]
    assert (found["version"], found["source"]) == ("0.2.0", {"registry": index})
    module = pipeline / "src" / "my_data_project" / "flows" / "team_flow.py"
    module.write_text(TEAM_FLOW)
    for words in (("ruff", "check"), ("ruff", "format", "--diff"), ("pyrefly", "check")):
        tool(pipeline, *words, module)
    (tmp_path / "members.csv").write_text("id,name\n1,Ada\n2,Grace\n")
    source = (tmp_path / "members.csv").as_uri()
    warehouse = tmp_path / "warehouse.duckdb"
    code = (
        "from my_data_project.flows.team_flow import fetch_members; import duckdb;"
        f"print('bytes:', fetch_members({source!r}));"
        f"print('rows:', duckdb.connect({str(warehouse)!r}).sql("
        "'SELECT id, name FROM raw.members ORDER BY 1').fetchall())"
    )
    env = {
        "PREFECT_API_URL": prefect_api,
        "MY_DATA_PROJECT_SOURCE_URL": f"sqlite:///{tmp_path / 'source.db'}",
        "MY_DATA_PROJECT_WAREHOUSE_URL": f"duckdb:///{warehouse}",
    }
    printed = tool(pipeline, "python", "-c", code, **env)
    assert "bytes: 22" in printed
    assert "rows: [('1', 'Ada'), ('2', 'Grace')]" in printed


TYPED = """
from typing import assert_type

from prefect import flow, unmapped
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, PrefectFutureList

from my_task_library.data import Download, download_data


@flow
def fetch(sources: list[str]) -> list[int]:
    one = download_data(sources[0], "data/one.csv")
    assert_type(one, Download)
    assert_type(download_data.submit(sources[0], "data/two.csv"), PrefectFuture[Download])
    future = download_data.submit(sources[0], "data/two.csv")
    assert_type(future.result(), Download)
    all_of_them = download_data.map(sources, unmapped("data/three.csv"))
    assert_type(all_of_them, PrefectFutureList[Download])
    changed = download_data.with_options(retries=0, name="fetch")
    assert_type(changed(sources[0], "data/four.csv"), Download)
    state = download_data(sources[0], "data/five.csv", return_state=True)
    assert_type(state, State[Download])
    plain = download_data.fn(sources[0], "data/six.csv")
    assert_type(plain, Download)
    found = [one, future.result(), *all_of_them.result(), changed(sources[0], "data/four.csv")]
    return [each.size for each in [*found, state.result(), plain]]


if __name__ == "__main__":
    from pathlib import Path

    print("sizes:", fetch([Path(__file__).as_uri()]))
"""
WRONG = """
from my_task_library.data import download_data

download_data(1, "data/one.csv")
download_data.submit("https://example.com/one.csv", "data/one.csv", retries=3)
download_data.with_options(retries=0)("https://example.com/one.csv", 2)
"""


def test_its_types_reach_its_users(
    plain: Path, index: str, prefect_api: str, tmp_path: Path
) -> None:
    """For each type checker and each way to call a task; the types are right at run time."""
    python = consumer(tmp_path, plain, index)
    (tmp_path / "typed.py").write_text(TYPED)
    (tmp_path / "wrong.py").write_text(WRONG)
    for words in projects.type_checkers(python):
        said = projects.run(*words, "typed.py", "wrong.py", cwd=tmp_path, check=False)
        wrong = {("wrong", line) for line in ("4", "5", "6")}
        assert set(re.findall(r"(wrong|typed)\.py:(\d+)", said)) == wrong, said
    printed = projects.run(python, "typed.py", cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert f"sizes: {[len(TYPED)] * 6}" in printed


def test_pip_installs_it(plain: Path, index: str, tmp_path: Path) -> None:
    """From the index only: all requirements are available and compatible."""
    python = consumer(tmp_path, plain, index)
    projects.run(
        "uv", "pip", "uninstall", "-q", "--python", python, "my-task-library", cwd=tmp_path
    )
    pip = (sys.executable, "-m", "pip", "--python", python)
    host = re.sub(r"^https?://|:.*", "", index)
    install = (*pip, "install", "--index-url", index, "--trusted-host", host)
    projects.run(*install, "my-task-library==0.2.0", cwd=tmp_path)
    projects.run(*pip, "check", cwd=tmp_path)
    shown = projects.run(python, "-c", "import my_task_library.data as d; print(d)", cwd=tmp_path)
    assert str(tmp_path) in shown


BOTH = """
from pathlib import Path

from prefect import flow

from geo_tasks.data import download_data as download_place
from my_task_library.data import download_data


@flow
def fetch(source: str) -> list[int]:
    return [download_data(source, "data/1").size, download_place(source, "data/2").size]


print("sizes:", fetch(Path(__file__).as_uri()))
"""


@pytest.mark.large("combinations")
def test_two_libraries_of_one_team(
    plain: Path, index: str, project: Render, prefect_api: str, tmp_path: Path
) -> None:
    other = project(**LIBRARY, project_name="geo-tasks", extras=[])
    projects.run("uv", "build", "-q", "--wheel", cwd=other)
    (wheel,) = (other / "dist").glob("*.whl")
    python = consumer(tmp_path / "user", plain, index, str(wheel))
    installed = [
        set(projects.run(python, "-c", FILES, name, cwd=tmp_path).split())
        for name in ("geo-tasks", "my-task-library")
    ]
    assert installed[0]
    assert installed[1]
    assert not installed[0] & installed[1]
    (tmp_path / "user" / "both.py").write_text(BOTH)
    printed = projects.run(python, "both.py", cwd=tmp_path / "user", PREFECT_API_URL=prefect_api)
    assert f"sizes: {[len(BOTH)] * 2}" in printed


FILES = """
import sys
from importlib import metadata

print(*metadata.files(sys.argv[1]), sep="\\n")
"""


@pytest.mark.large("dependencies")
@pytest.mark.parametrize("resolution", ["lowest", "newest"])
def test_both_ends_of_what_it_asks_for(
    resolution: str, index: str, prefect_api: str, tmp_path: Path
) -> None:
    """In a user's environment, with the lowest version of each requirement."""
    made = ("uv", "venv", "-q", "-p", require_python("3.12"), "env")
    projects.run(*made, cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    install = ("uv", "pip", "install", "-q", "--python", python, "--index", index)
    projects.run(*install, "my-task-library==0.2.0", cwd=tmp_path)
    if resolution == "lowest":
        code = "import importlib.metadata as m; print(*m.requires('my-task-library'), sep='\\n')"
        needed = map(Requirement, projects.run(python, "-c", code, cwd=tmp_path).splitlines())
        lowest = [
            f"{need.name}=={bound.version}"
            for need in needed
            for bound in need.specifier
            if bound.operator == ">=" and need.marker is None
        ]
        assert any(pin.startswith("prefect==") for pin in lowest)
        projects.run(*install, *lowest, cwd=tmp_path)
    (tmp_path / "typed.py").write_text(TYPED)
    printed = projects.run(python, "typed.py", cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert f"sizes: {[len(TYPED)] * 6}" in printed
    projects.check_types(tmp_path / "typed.py", python=python)
