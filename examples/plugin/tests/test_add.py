"""The command `add`: new files pass the project's checks, and errors say what is in the way."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_my_system import blocks, cli
from prefect_my_system.commands import add

ROOT = Path(__file__).parents[1]
PREFIX = "MySystem"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this project, to work in."""
    ignored = shutil.ignore_patterns("__pycache__", ".prefect-test-db")
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(project: Path) -> dict[str, str]:
    paths = [path for path in project.rglob("*.*") if path.suffix in {".py", ".toml"}]
    return {path.relative_to(project).as_posix(): path.read_text("utf-8") for path in paths}


def test_elsewhere_nothing_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["add", "task", "count_zebras"]) == 1
    assert "go to its folder first" in capsys.readouterr().err


ADDED = [
    (["block", "ZebraHerd"], "blocks", "zebra_herd", f"{PREFIX}ZebraHerd"),
    (["task", "count_zebras"], "tasks", "count_zebras_task", "count_zebras"),
    (["task", "tag_zebra", "--writes"], "tasks", "tag_zebra_task", "tag_zebra"),
]


def test_what_is_added_is_whole(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, folder, module, name in ADDED:
        before = contents(project)
        assert cli.main(["add", *words, "--dry-run"]) == 0
        assert contents(project) == before
        assert "--- /dev/null\n+++ b/src/" in capsys.readouterr().out
        assert cli.main(["add", *words]) == 0
        after = contents(project)
        exporting = f"src/{add.PACKAGE}/{folder}/__init__.py"
        test = f"tests/test_{module.removesuffix('_task')}_{words[0]}.py"
        assert after.keys() - before.keys() == {f"src/{add.PACKAGE}/{folder}/{module}.py", test}
        assert {path for path in before if before[path] != after[path]} == {exporting}
        assert f"from .{module} import {name}\n" in after[exporting]
        assert f'"{name}"' in after[exporting]
    for tool in (["ruff", "check", "--no-cache"], ["ruff", "format", "--check"]):
        done = subprocess.run([sys.executable, "-m", *tool, "."], check=False, timeout=120)
        assert done.returncode == 0


REFUSED = [
    ("block", "zebra_herd", "is not a valid name"),
    ("block", "A" * 41, "is not a valid name"),
    ("block", "Credentials", "already exists"),
    ("block", "ValueError", "is not a valid name"),
    ("task", "class", "is not a valid name"),
    ("task", "print", "is not a valid name"),
    ("task", "../x", "is not a valid name"),
    ("task", "zebras\n", "is not a valid name"),
    ("task", "retries", "needs the name retries for something else"),
    ("task", "credentials", "needs the name credentials for something else"),
    ("task", "count_zebras", "already exists"),
]


def test_what_is_in_the_way_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["add", "task", "count_zebras"]) == 0
    before = contents(project)
    for part, name, sentence in REFUSED:
        assert cli.main(["add", part, name]) == 1
        assert sentence in capsys.readouterr().err
    assert contents(project) == before


@pytest.mark.parametrize("text", ["", "(", "__all__ = [*x]", '__all__ = ["a"  # kept\n]'])
def test_what_is_no_plain_list_is_left_alone(
    text: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "src" / add.PACKAGE / "tasks" / "__init__.py").write_text(text)
    before = contents(project)
    assert cli.main(["add", "task", "count_zebras"]) == 1
    assert "export count_zebras there by hand" in capsys.readouterr().err
    assert contents(project) == before


def test_names_may_begin_with_the_system(project: Path) -> None:
    assert f"{PREFIX}Credentials" in blocks.__all__
    assert cli.main(["add", "block", f"{PREFIX}HTTPZebra"]) == 0
    path = project / "src" / add.PACKAGE / "blocks" / "http_zebra.py"
    assert f"class {PREFIX}HTTPZebra(Block):" in path.read_text()
