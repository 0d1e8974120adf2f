"""`hooks/adopt.py` and docs/adopt.md: an existing repository adopts the template."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import projects
import pytest

from hooks.conftest import NEW, OLD, Done, Run, append, command, commit

if TYPE_CHECKING:
    from environments import Environments

# Two packages, flat flows, settings of pytest, a warning, and findings of linter and type checker.
OWN = {
    "pyproject.toml": """\
[project]
name = "sales"
version = "1.0"
dependencies = ["zarr>=2", "prefect[redis]>=3.0,<3.5", "httpx>=0.20"]
[project.optional-dependencies]
plots = ["altair"]
[dependency-groups]
dev = ["pytest<8", "faker"]
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[tool.ruff]
line-length = 79
target-version = "py39"
[tool.ruff.lint]
select = ["ALL"]
ignore = ["N802"]
[tool.pytest.ini_options]
addopts = "--durations=1"
pythonpath = ["."]
markers = ["slow: takes long"]
[tool.commitizen]
name = "cz"
""",
    "README.md": "# Sales\n",
    ".gitignore": "secret.env\n",
    "prefect.yaml": """\
pull:
- prefect.deployments.steps.git_clone: {repository: https://example.com/sales.git}
deployments:
- {name: orders, entrypoint: "flows/orders.py:orders", parameters: {limit: 2}}
""",
    "core/__init__.py": "",
    "core/money.py": (
        'import warnings, os\nwarnings.warn("old", UserWarning)\n'
        "def twice(amount, *, times = 2): return amount*times\n"
    ),
    "src/stock/__init__.py": "",
    "flows/orders.py": (
        "from prefect import flow\nfrom core.money import twice\n\n"
        "@flow\ndef orders(limit: int):\n    print(twice(limit))\n"
    ),
    "tests/conftest.py": (
        "import pytest\n\n@pytest.fixture(autouse=True)\ndef here(): yield\n"
        "@pytest.fixture\ndef one(): return 1\n"
    ),
    "tests/test_money.py": (
        "import pytest\nfrom core.money import twice\n\n"
        "@pytest.mark.slow\ndef test_twice(one): assert twice(one)==2\n"
    ),
}


@pytest.fixture
def existing(tmp_path: Path) -> Path:
    """A team's existing repository, with an ignored secret."""
    return make(tmp_path / "sales", OWN)


def make(project: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    projects.run("git", "init", "-qb", "main", cwd=project)
    commit(project, "Own")
    (project / "secret.env").write_text("TOKEN=1\n")
    return project


def status(project: Path) -> str:
    return projects.run("git", "status", "--porcelain", cwd=project)


def settings(project: Path) -> dict[str, Any]:
    return tomllib.loads((project / "pyproject.toml").read_text())


@pytest.fixture
def doc(run: Run, source: Path) -> Run:
    """Run the commands of the page with the release before the newest."""

    def ran(name: str, cwd: Path, **env: str) -> Done:
        words = command("adopt.md", name).replace("copy --defaults", f"copy -r {OLD} --defaults")
        return run("bash", "-c", words, cwd=cwd, TEMPLATE=str(source), **env)

    return ran


@pytest.fixture
def adopted(doc: Run, tmp_path: Path) -> Run:
    """Adopt a repository with some files, up to the commit."""

    def ran(files: dict[str, str]) -> tuple[Path, str]:
        project = make(tmp_path / "sales", files)
        assert doc("adopt", project).code == 0
        done = doc("merge", project)
        assert done.code == 0, done.printed
        return project, done.printed

    return ran


def test_a_secret_stays_ignored_from_the_first_moment(
    doc: Run, run: Run, source: Path, existing: Path
) -> None:
    done = doc("adopt", existing)
    assert done.code == 0, done.printed
    assert "secret.env" not in status(existing)
    # The message fits a screen, names the script, and does not add all files.
    assert "git add" not in done.printed
    line = next(line for line in done.printed.splitlines() if "adopt.py" in line)
    assert line.strip() == f"uv run {source}/hooks/adopt.py ."
    assert run("bash", "-c", line, cwd=existing).code == 0
    assert "secret.env" not in status(existing)
    ignored = (existing / ".gitignore").read_text()
    assert ignored.endswith("# Yours, below this line\nsecret.env\n")
    assert "/.venv/\n" in ignored
    again = doc("merge", existing)
    assert (again.code, (existing / ".gitignore").read_text()) == (0, ignored)


def test_what_is_merged(adopted: Run) -> None:
    project, printed = adopted(OWN)
    for name in set(OWN) - {"pyproject.toml", ".gitignore", "tests/conftest.py"}:
        assert (project / name).read_text() == OWN[name], name
    new = settings(project)
    needed = new["project"]["dependencies"]
    assert needed[-2:] == ["zarr>=2", "prefect[redis]"]
    assert "'prefect<4,>=3.9.1' is in pyproject.toml; you had 'prefect[redis]>=3.0,<3.5'" in printed
    assert "httpx" not in printed
    assert new["project"]["optional-dependencies"]["plots"] == ["altair"]
    assert new["project"]["optional-dependencies"]["dev"][-1] == "faker"
    assert "git tag v1.0`" in printed
    ruff = new["tool"]["ruff"]
    assert (ruff["line-length"], "target-version" in ruff) == (100, False)
    assert "ALL" not in ruff["lint"]["select"]
    assert ruff["lint"]["ignore"][-1] == "N802"
    assert new["tool"]["commitizen"] == {"name": "cz"}
    packages = new["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == ["src/sales_pipeline", "core", "src/stock"]
    tests = new["tool"]["pytest"]["ini_options"]
    assert tests["addopts"][-1] == "--durations=1"
    assert tests["pythonpath"] == ["tests", "."]
    assert tests["markers"] == ["slow: takes long"]
    assert tests["filterwarnings"][-1] == "default"
    assert "LICENSE is new" in printed


@pytest.mark.large("updates")
def test_the_ratchet_with_the_real_tools(
    adopted: Run, environments: Environments, uvx: Path, source: Path
) -> None:
    """From the copy to the first update; the suppressions can only decrease."""
    # Without packages that would have to be installed.
    lines = [line for line in OWN["pyproject.toml"].splitlines() if "altair" not in line]
    text = "\n".join(lines).replace('"zarr>=2", ', "").replace('"pytest<8", "faker"', "")
    text = text.replace("prefect[redis]", "prefect")
    project, _ = adopted({**OWN, "pyproject.toml": text})
    environments.sync(project)

    def really(*words: str, check: bool = True) -> str:
        path = f"{uvx.parent}{os.pathsep}{os.environ['PATH']}"
        return projects.run(*words, cwd=project, check=check, PATH=path, TEMPLATE=str(source))

    def green() -> None:
        really("uv", "run", "ruff", "check")
        really("uv", "run", "ruff", "format", "--check")
        really("uv", "run", "pyrefly", "check")

    really("bash", "-c", command("adopt.md", "commit"))
    assert status(project) == ""
    assert "secret.env" not in projects.run("git", "ls-files", cwd=project)

    printed = really("bash", "-c", command("adopt.md", "baseline"))
    found = {name: int(count) for name, count in re.findall(r"(\w+): (\d+) errors", printed)}
    assert (found["ruff"] > 0, found["pyrefly"] > 0) == (True, True), printed
    green()
    # Only new suppressions; existing ones keep their reasons.
    changed = projects.run("git", "diff", "--name-only", "HEAD~1", cwd=project).split()
    assert set(changed) <= set(OWN), changed
    money = project / "core/money.py"
    assert "# pyrefly: ignore" in money.read_text()

    marks = money.read_text().count("I001")
    really("bash", "-c", command("adopt.md", "shrink"))
    green()
    assert money.read_text().count("I001") < marks
    commit(project, "Fewer")

    append(money, "import sys\n")
    assert "F401" in really("uv", "run", "ruff", "check", check=False)
    projects.run("git", "checkout", "-q", ".", cwd=project)
    append(money, "\n\nX: int = 1  # pyrefly: ignore[bad-assignment]\nY = 1  # noqa: F401\n")
    assert "RUF100" in really("uv", "run", "ruff", "check", check=False)
    assert "unused-ignore" in really("uv", "run", "pyrefly", "check", check=False)
    projects.run("git", "checkout", "-q", ".", cwd=project)

    own = ("tests/test_money.py", "tests/test_deployments.py", "tests/test_tables.py")
    assert " passed" in really("uv", "run", "pytest", "-q", "--no-cov", *own)
    # A wrong entry point is found, as in a new project.
    deployments = (project / "prefect.yaml").read_text()
    (project / "prefect.yaml").write_text(deployments.replace("limit:", "limits:"))
    failed = really("uv", "run", "pytest", "-q", "--no-cov", *own, check=False)
    assert "1 failed" in failed
    projects.run("git", "checkout", "-q", ".", cwd=project)

    really("uvx", "copier", "update", "-q", "--defaults")
    changed = {line[3:] for line in status(project).splitlines()}
    assert changed == {".copier-answers.yml", "src/sales_pipeline/common/rules.py"}
    assert f"_commit: {NEW}" in (project / ".copier-answers.yml").read_text()


def test_poetry_and_pytest_ini(adopted: Run) -> None:
    poetry = """\
[tool.poetry]
name = "sales"
version = "1.0"
description = ""
authors = ["Ann <ann@example.com>"]
[tool.poetry.dependencies]
python = "^3.11"
zarr = "^2.1"
[tool.poetry.group.dev.dependencies]
faker = "^27.0.0"
"""
    ini = "[pytest]\naddopts = -q\nfilterwarnings =\n    error\n    ignore::UserWarning\n"
    files = {"pyproject.toml": poetry, "pytest.ini": ini, "sales/a/__init__.py": ""}
    project, _ = adopted({**files, "core/test/test_a.py": "", "poetry.lock": ""})
    new = settings(project)
    assert new["project"]["dependencies"][-1] == "zarr>=2.1,<3"
    assert new["project"]["optional-dependencies"]["dev"][-1] == "faker>=27.0.0,<28"
    assert "poetry" not in new["tool"]
    packages = new["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == ["src/sales_pipeline", "sales"]
    tests = new["tool"]["pytest"]["ini_options"]
    assert tests["testpaths"] == ["tests", "core/test"]
    assert tests["addopts"][-1] == "-q"
    # In this case, warnings were errors before.
    assert "default" not in tests["filterwarnings"]
    assert tests["filterwarnings"][-1] == "ignore::UserWarning"
    assert not (project / "pytest.ini").exists()


def test_setup_cfg_is_read_by_hatch(doc: Run, tmp_path: Path, shims: Path) -> None:
    """With a stand-in for Hatch, whose conversion is not tested here."""
    project = make(tmp_path / "sales", {"setup.cfg": "[metadata]\nname = sales\n"})
    assert doc("adopt", project).code == 0
    (tmp_path / "tools").mkdir()
    made = '[project]\nname = "sales"\ndependencies = ["zarr"]\n'
    (tmp_path / "tools/uvx").write_text(
        f'#!/bin/bash\n[ $1 = copier ] && exec {shims}/uvx "$@"\n'
        f"[ \"$*\" = 'hatch new --init' ] && [ -f setup.cfg ] && echo '{made}' > pyproject.toml\n"
    )
    (tmp_path / "tools/uvx").chmod(0o755)
    done = doc("merge", project, PATH=f"{tmp_path}/tools:{shims}:{os.environ['PATH']}")
    assert done.code == 0, done.printed
    assert settings(project)["project"]["dependencies"][-1] == "zarr"


def test_what_only_a_person_can_decide_is_named(adopted: Run) -> None:
    mine = 'pytest_plugins = ("mine",)\n'
    files = {
        "tests/conftest.py": mine,
        "ruff.toml": "line-length = 79\n",
        ".pre-commit-config.yaml": "repos: []\n",
        "data/a.csv": "a\n",
    }
    project, printed = adopted(files)
    assert (project / "tests/conftest.py").read_text() == mine
    assert "tests/conftest.py: add ['prefect_server', 'databases'] to its" in printed
    assert "ruff.toml overrides pyproject.toml" in printed
    assert "`git diff .pre-commit-config.yaml`" in printed
    assert ".gitignore hides new files of data: end it with `!/data`" in printed


def test_it_refuses_what_it_cannot_do(hook: Run, adopted: Run, fresh: Path) -> None:
    project, _ = adopted(OWN)
    done = hook("adopt.py", "--baseline", cwd=project)
    assert (done.code, "Commit the merged files first" in done.printed) == (1, True)
    commit(project, "Adopted")
    done = hook("adopt.py", cwd=project)
    assert (done.code, "It is adopted already" in done.printed) == (1, True)
    projects.run("git", "init", "-qb", "main", cwd=fresh)
    done = hook("adopt.py", cwd=fresh)
    assert (done.code, "There is no commit yet" in done.printed) == (1, True)
    done = hook("adopt.py", cwd=fresh.parent)
    assert (done.code, "holds no .copier-answers.yml" in done.printed) == (2, True)


def test_adopting_without_overwrite_stops_and_changes_no_file(
    run: Run, existing: Path, source: Path
) -> None:
    done = run("uvx", "copier", "copy", "--defaults", source, ".", cwd=existing)
    assert done.code == 1
    assert "--overwrite" in done.printed
    assert all(line.startswith("??") for line in status(existing).splitlines())
