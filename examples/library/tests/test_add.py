"""The command `add`: new files pass the project's checks, and errors say what is in the way."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import add
import pytest
from edits import PACKAGE

ROOT = Path(__file__).parents[1]
NAMED = ["README.md", "CHANGELOG.md"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this project, to work in."""
    ignored = shutil.ignore_patterns("__pycache__", ".prefect-test-db")
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("pyproject.toml", *NAMED):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(project: Path) -> dict[str, str]:
    paths = [path for path in project.rglob("*.*") if path.suffix in {".py", ".toml", ".md"}]
    return {path.relative_to(project).as_posix(): path.read_text("utf-8") for path in paths}


def test_elsewhere_nothing_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert add.main(["namespace", "zebras"]) == 1
    assert "go to its folder first" in capsys.readouterr().err


ADDED: list[tuple[list[str], str, str, list[str]]] = [
    (["namespace", "zebras", "--extra", "stripes"], "zebras", "use_zebras", ["pyproject.toml"]),
    (["namespace", "zoos", "--task", "open_zoo"], "zoos", "open_zoo", []),
    (["task", "count_zebras", "--namespace", "zebras"], "zebras", "count_zebras", []),
]


def test_what_is_added_is_whole(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written: set[str] = set()
    for words, space, task, more in ADDED:
        before = contents(project)
        assert add.main([*words, "--dry-run"]) == 0
        assert contents(project) == before
        assert "--- /dev/null\n+++ b/src/" in capsys.readouterr().out
        assert add.main([*words]) == 0
        after = contents(project)
        exporting = f"src/{PACKAGE}/{space}/__init__.py"
        new = {f"src/{PACKAGE}/{space}/{task}_task.py", f"tests/test_{task}_task.py"}
        named = {path for path in NAMED if task in after[path]}
        is_new = words[0] == "namespace"
        assert after.keys() - before.keys() == new | ({exporting} if is_new else set())
        changed = {path for path in before if before[path] != after[path]}
        written |= new | changed
        assert changed == named | {*more} | (set() if is_new else {exporting})
        assert f"from .{task}_task import {task}\n" in after[exporting]
        assert f'"{task}"' in after[exporting]
    code = [path for path in written if path.endswith(".py")]
    for tool in (["ruff", "check", "--no-cache"], ["ruff", "format", "--check"]):
        done = subprocess.run([sys.executable, "-m", *tool, *code], check=False, timeout=120)
        assert done.returncode == 0


EXTRAS = """\
[project]
name = "x-y"

[project.optional-dependencies]
ml = ["m"]
all = [
{}  # Yours, below this line:
]
dev = ["a", "x-y[all]"]
"""


@pytest.mark.parametrize("before", ["", '  "x-y[ml]",\n'])
def test_an_extra_is_part_of_the_others(before: str, project: Path) -> None:
    (project / "pyproject.toml").write_text(EXTRAS.format(before))
    for space, extra in (("zebras", "stripes"), ("zoos", "keys")):
        assert add.main(["namespace", space, "--extra", extra]) == 0
    written = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert written["optional-dependencies"] == {
        "ml": ["m"],
        "stripes": [],
        "keys": [],
        "dev": ["a", "x-y[all]"],
        "all": [*(["x-y[ml]"] if before else []), "x-y[stripes]", "x-y[keys]"],
    }


def test_files_that_are_edited_are_added_to(project: Path) -> None:
    """A changelog without a last line break; a table without rows, and one with CRLF."""
    (project / "CHANGELOG.md").write_text("## Unreleased")
    (project / "README.md").write_bytes(b"| import from | tasks |\r\n| - | - |\r\n\r\nMore.\r\n")
    assert add.main(["namespace", "zebras"]) == 0
    assert add.main(["task", "count_zebras", "--namespace", "zebras"]) == 0
    row = f"| `{PACKAGE}.zebras` | `use_zebras`, `count_zebras` | none |"
    readme = f"| import from | tasks |\r\n| - | - |\r\n{row}\r\n\r\nMore.\r\n"
    assert (project / "README.md").read_bytes() == readme.encode()
    end = f"_zebras` in `{PACKAGE}.zebras`: a new task.\n"
    told = f"## Unreleased\n\n- `count{end}- `use{end}"
    assert (project / "CHANGELOG.md").read_text() == told


@pytest.mark.parametrize("text", [None, "# Changes\n\n## 1.0.0\n\n- First.\n"])
def test_a_changelog_need_not_have_a_place(text: str | None, project: Path) -> None:
    path = project / "CHANGELOG.md"
    path.unlink() if text is None else path.write_text(text)
    assert add.main(["namespace", "zebras"]) == 0
    if text is None:
        assert not path.exists()
    else:
        line = f"- `use_zebras` in `{PACKAGE}.zebras`: a new task."
        wanted = text.replace("## 1.0.0", f"## Unreleased\n\n{line}\n\n## 1.0.0")
        assert path.read_text() == wanted


REFUSED = [
    (["namespace", "common"], "needs the name common: choose another"),
    (["namespace", "commands"], "needs the name commands: choose another"),
    (["namespace", "zebras"], "already exists"),
    (["namespace", "class"], "is not a valid name"),
    (["namespace", "../x"], "is not a valid name"),
    (["namespace", "Zoo"], "is not a valid name"),
    (["namespace", "zoo\n"], "is not a valid name"),
    (["namespace", "z" * 41], "is not a valid name"),
    (["namespace", "zoo", "--extra", "dev"], "'dev' is not a valid extra"),
    (["namespace", "zoo", "--extra", 'a"]'], "is not a valid extra"),
    (["namespace", "zoo", "--task", "print"], "'print' is not a valid name"),
    (["namespace", "zoo", "--task", "use_zebras"], "tests/test_use_zebras_task.py already exists"),
    (["task", "match", "--namespace", "zebras"], "is not a valid name"),
    (["task", "test_x", "--namespace", "zebras"], "is not a valid name"),
    (["task", "retries", "--namespace", "zebras"], "needs the name retries for something else"),
    (["task", "use_zebras", "--namespace", "zebras"], "already exists"),
    (["task", "old_name", "--namespace", "zebras"], "already exports old_name"),
    (["task", "count_zebras", "--namespace", "zoo"], "There is no namespace zoo. Namespaces: "),
    (["task", "count_zebras", "--namespace", "common"], "There is no namespace common."),
    (["task", "count_zebras"], "Say which, by --namespace. Namespaces: "),
]


def test_what_is_in_the_way_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add.main(["namespace", "zebras"]) == 0
    package = project / "src" / PACKAGE / "zebras" / "__init__.py"
    package.write_text(package.read_text().replace("__all__ = [", '__all__ = ["old_name", '))
    before = contents(project)
    for words, sentence in REFUSED:
        assert add.main([*words]) == 1
        assert sentence in capsys.readouterr().err
    assert contents(project) == before


@pytest.mark.parametrize("dev", ['dev = ["a"]', "dev = ("])
def test_an_unknown_layout_is_left_alone(
    dev: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = '[project]\nname = "x-y"\n\n[project.optional-dependencies]\n'
    (project / "pyproject.toml").write_text(f"{start}{dev}\n")
    before = contents(project)
    assert add.main(["namespace", "zebras", "--extra", "stripes"]) == 1
    assert "pyproject.toml" in capsys.readouterr().err
    assert contents(project) == before


@pytest.mark.parametrize("text", ["", "(", "__all__ = [*x]", '__all__ = ["a"  # kept\n]'])
def test_what_is_no_plain_list_is_left_alone(
    text: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add.main(["namespace", "zebras"]) == 0
    (project / "src" / PACKAGE / "zebras" / "__init__.py").write_text(text)
    before = contents(project)
    assert add.main(["task", "count_zebras", "--namespace", "zebras"]) == 1
    assert "export count_zebras there by hand" in capsys.readouterr().err
    assert contents(project) == before
