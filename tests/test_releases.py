"""Releases of generated projects: breaking changes, versions, indexes, and documentation."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import runpy
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import child_processes
import projects
import pytest
import yaml
from environments import Environments
from hooks.conftest import commit
from projects import Render

sys.path.insert(0, str(projects.ROOT / "template" / "{{ published }}" / "{{ scripts }}"))
import public_api

URLS = '[project.urls]\nRepository = "https://example.com/acme/places"\n'
POINTS = """\
[project.scripts]
places = "my_task_library.geo.places:main"

[project.entry-points."acme.plugins"]
maps = "my_task_library.geo.places"

"""

FILES = {
    "src/my_task_library/geo/__init__.py": """
from .places import Kind, Place, Places, Unit, draw_map, find_place
from .places import Finder, Open, Point, Row, SecretStr, Sight, Walk, choose

__all__ = [
    "Place", "Places", "Unit", "draw_map", "find_place",
    "Finder", "Kind", "Open", "Point", "Row", "SecretStr", "Sight", "Walk", "choose",
]
""",
    "src/my_task_library/geo/places.py": """
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, NamedTuple, NotRequired, Protocol, TypedDict, overload

from prefect import task
from prefect.blocks.core import Block
from pydantic import BaseModel, Field, SecretStr

Unit = Literal["km", "mile"]
DETAIL = 3
SYSTEM = "acme"


@dataclass(frozen=True, kw_only=True)
class Place:
    name: str
    unit: Unit = "km"

    def far(self, metres: int) -> bool:
        return metres > 100


class Places(BaseModel):
    found: list[str]
    complete: bool = Field(default=True, alias="all")


@dataclass(order=True)
class Open:
    name: str

    @property
    def unit(self) -> str: ...
    @unit.setter
    def unit(self, unit: str) -> None: ...


class Point(NamedTuple):
    east: float
    north: float


class Finder(Protocol):
    def find(self, name: str) -> bool: ...


class Sight(Block):
    _block_type_name = "Sight"
    _block_type_slug = f"{SYSTEM}-sight"


class Walk(ABC):
    def __init__(self, metres: int) -> None:
        self.metres = metres

    def turn(self, angle): ...


class Kind(Enum):
    HILL = auto()
    LAKE = auto()


class Row(TypedDict):
    name: str


@overload
def choose(kind: int) -> int: ...
@overload
def choose(kind: str) -> str: ...
def choose(kind: int | str) -> int | str:
    return kind


@task
def find_place(name: str, unit: Unit = "km", *, limit: int = 10) -> Place:
    return Place(name=name, unit=unit)


@task(retries=2)
def draw_map(place: Place, kind: Literal["plain", "relief"] = "plain") -> bytes:
    return helper(place)


def helper(place: Place) -> bytes:
    return place.name.encode()
""",
    "src/my_task_library/common/errors.py": '''

class NowhereError(PermanentError):
    """There is no such place."""
''',
    "src/my_task_library/common/settings.py": '''

class GeoSettings(environment.EnvironmentSettings):
    """Settings of the namespace."""

    radius: int = Field(default=5, description="How far to look, in km.", le=50)
''',
}
PLACES, ERRORS, SETTINGS = list(FILES)[1:]

BREAKS = {
    "a name": (
        "src/my_task_library/geo/__init__.py",
        *('    "Place", ', "    ", "`geo.Place`: removed"),
    ),
    "a name of another package": (
        "src/my_task_library/geo/__init__.py",
        *(', "SecretStr"', "", "`geo.SecretStr`: removed"),
    ),
    "no task any more": (
        *(PLACES, "@task\ndef find_place", "def find_place"),
        "`geo.find_place`: is no task any more",
    ),
    "an overload": (
        PLACES,
        "@overload\ndef choose(kind: str) -> str: ...\n",
        "",
        "`geo.choose`: has",
    ),
    "a frozen class": (
        *(PLACES, "(order=True)\nclass", "(order=True, frozen=True)\nclass"),
        "`geo.Open`: is frozen now",
    ),
    "one more to unpack": (
        *(PLACES, "    north: float\n", "    north: float\n    up: float = 0\n"),
        "`geo.Point.up`: new",
    ),
    "an order": (
        *(PLACES, "    east: float\n    north: float\n", "    north: float\n    east: float\n"),
        "`geo.Point`: its fields have another order",
    ),
    "a key that may be missing": (
        *(PLACES, "Row(TypedDict)", "Row(TypedDict, total=False)"),
        "`geo.Row`: total is False now",
    ),
    "a setter": (
        *(PLACES, "    @unit.setter\n    def unit(self, unit: str) -> None: ...\n", ""),
        "`geo.Open.unit`: cannot be set any more",
    ),
    "an alias": (
        *(PLACES, 'alias="all"', 'alias="whole"'),
        "`geo.Places.complete`: its alias was alias='all' and is alias='whole'",
    ),
    "a method of a protocol": (
        *(
            PLACES,
            "class Finder(Protocol):\n",
            "class Finder(Protocol):\n    def ask(self) -> int: ...\n",
        ),
        "`geo.Finder.ask`: new",
    ),
    "a parameter": (PLACES, ", *, limit: int = 10", "", "`geo.find_place(limit)`: parameter was"),
    "a parameter's name": (
        *(PLACES, "limit: int = 10", "bound: int = 10"),
        "`geo.find_place(limit)`: renamed to `bound`",
    ),
    "a required parameter": (
        *(PLACES, "*, limit: int = 10", "*, limit: int = 10, area: str"),
        "`geo.find_place(area)`: parameter was added as required",
    ),
    "no default any more": (
        *(PLACES, "limit: int = 10", "limit: int"),
        "`geo.find_place(limit)`: parameter is now required",
    ),
    "a parameter's kind": (
        *(PLACES, 'unit: Unit = "km", *', '*, unit: Unit = "km"'),
        "`geo.find_place(unit)`: parameter kind was changed: `positional or keyword` -> `key",
    ),
    "order": (
        *(PLACES, 'place: Place, kind: Literal["plain", "relief"] = "plain"'),
        'kind: Literal["plain", "relief"] = "plain", place: Place = None',
        "`geo.draw_map(place)`: positional parameter was moved",
    ),
    "a default": (
        *(PLACES, "limit: int = 10", "limit: int = 20"),
        "`geo.find_place(limit)`: parameter default was changed: `10` -> `20`",
    ),
    "a parameter's type": (
        *(PLACES, "limit: int", "limit: str"),
        "`geo.find_place(limit)`: does not take `int` any more",
    ),
    "a return type": (
        *(PLACES, "-> Place:", "-> Place | None:"),
        "`geo.find_place`: can return `None`",
    ),
    "async": (PLACES, "def find_place", "async def find_place", "`geo.find_place`: is async now"),
    "a Literal's value": (
        *(PLACES, '["plain", "relief"]', '["plain"]'),
        "`geo.draw_map(kind)`: does not take `Literal['relief']` any more",
    ),
    "an alias's value": (
        *(PLACES, '["km", "mile"]', '["km"]'),
        "`geo.find_place(unit)`: does not take `Literal['mile']` any more",
    ),
    "a field": (PLACES, '    unit: Unit = "km"\n', "", "`geo.Place.unit`: removed"),
    "a field's type": (
        *(PLACES, "    name: str\n", "    name: str | None\n"),
        "`geo.Place.name`: can be `None`",
    ),
    "a required field": (
        *(PLACES, "    found: list[str]\n", "    found: list[str]\n    count: int\n"),
        "`geo.Places.count`: new",
    ),
    "a method": (PLACES, "def far", "def _far", "`geo.Place.far`: removed"),
    "a method's parameter": (
        *(PLACES, "metres: int", "meters: int"),
        "`geo.Place.far(metres)`: renamed to `meters`",
    ),
    "a setting": (
        *(SETTINGS, "radius: int", "reach: int"),
        "`common.settings.GeoSettings.radius`: removed",
    ),
    "a setting's default": (
        *(SETTINGS, "default=5", "default=6"),
        "`common.settings.GeoSettings.radius`: its default was 5 and is 6",
    ),
    "an error's base": (
        *(ERRORS, "NowhereError(PermanentError)", "NowhereError(TransientError)"),
        "`common.errors.NowhereError`: is no `PermanentError` any more",
    ),
    "an extra": ("pyproject.toml", "ml = [\n", "models = [\n", "`ml`: the extra removed"),
    "a version of Python": (
        *("pyproject.toml", 'requires-python = ">=3.', 'requires-python = ">=3.9'),
        "`requires-python`: was `>=3.",
    ),
    "an upper version of Python": (
        *("pyproject.toml", 'requires-python = ">=3.', 'requires-python = "<4,>=3.'),
        "`requires-python`: was `>=3.",
    ),
    "a script": (
        *("pyproject.toml", 'places = "', 'place = "'),
        "`places`: the script removed",
    ),
    "an entry point": (
        *("pyproject.toml", 'maps = "', 'map = "'),
        "`acme.plugins.maps`: the entry point removed",
    ),
    "an __init__": (
        *(PLACES, "    def __init__(self, metres: int)", "    def _start(self, metres: int)"),
        "`geo.Walk`: its `__init__` is removed",
    ),
    "a constraint": (
        *(SETTINGS, "default=5,", "default=5, ge=1,"),
        "`common.settings.GeoSettings.radius`: `ge=1` holds now",
    ),
    "a number of an enum": (
        *(PLACES, "    HILL = auto()\n", "    CITY = auto()\n    HILL = auto()\n"),
        "`geo.Kind.HILL`: has another number",
    ),
    "an order of an enum": (
        *(PLACES, "    HILL = auto()\n    LAKE = auto()\n"),
        *("    LAKE = auto()\n    HILL = auto()\n", "`geo.Kind.LAKE`: has another number"),
    ),
    "an abstract method": (
        *(PLACES, "    def turn", "    @abstractmethod\n    def turn"),
        "`geo.Walk.turn`: is abstract now",
    ),
    "a new abstract property": (
        *(
            PLACES,
            "    def turn",
            "    @property\n    @abstractmethod\n    def n(self): ...\n    def turn",
        ),
        "`geo.Walk.n`: new",
    ),
    "a type where there was none": (
        *(PLACES, "angle)", "angle: int)"),
        "`geo.Walk.turn(angle)`: takes only `int` now",
    ),
    "a keyword of a class": (
        *(PLACES, "Places(BaseModel)", 'Places(BaseModel, extra="forbid")'),
        "`geo.Places`: its `extra` was missing and is 'forbid'",
    ),
    "a block type's slug": (
        *(PLACES, 'SYSTEM = "acme"', 'SYSTEM = "maps"'),
        "`geo.Sight`: its block type's slug was acme-sight and is maps-sight",
    ),
    "a block type's name": (
        *(PLACES, '    _block_type_name = "Sight"\n', ""),
        "`geo.Sight`: its block type's name was Sight and is missing",
    ),
    "an order of objects": (
        *(PLACES, "@dataclass(order=True)", "@dataclass"),
        "`geo.Open`: cannot be ordered any more",
    ),
    "a final class": (PLACES, "class Walk", "@final\nclass Walk", "`geo.Walk`: is final now"),
    "a final method": (
        *(PLACES, "    def far", "    @typing.final\n    def far"),
        "`geo.Place.far`: is final now",
    ),
}

ADDITIONS = {
    "a name": (
        "src/my_task_library/geo/__init__.py",
        *("choose\n\n__all__ = [", 'choose, helper\n\n__all__ = ["helper", '),
        "`geo.helper`: new",
    ),
    "a parameter": (
        *(PLACES, "*, limit: int = 10", "*, limit: int = 10, area: str = ''"),
        "`geo.find_place(area)`: new parameter",
    ),
    "a deprecation": (
        *(PLACES, "@task(retries=2)\n", '@task(retries=2)\n@deprecated("removed in 2.0")\n'),
        "`geo.draw_map`: deprecated",
    ),
    "a type": (
        *(PLACES, "limit: int = 10", "limit: int | None = 10"),
        "`geo.find_place(limit)`: takes `None` too",
    ),
    "any type": (
        *(PLACES, "limit: int = 10", "limit: object = 10"),
        "`geo.find_place(limit)`: takes `object` too",
    ),
    "a last member of an enum": (
        *(PLACES, "    LAKE = auto()\n", "    LAKE = auto()\n    CITY = auto()\n"),
        "`geo.Kind.CITY`: new",
    ),
    "a key": (
        *(PLACES, "Row(TypedDict):\n", "Row(TypedDict):\n    unit: NotRequired[Unit]\n"),
        "`geo.Row.unit`: new",
    ),
    "a value": (
        *(PLACES, '"relief"]', '"relief", "night"]'),
        "`geo.draw_map(kind)`: takes `Literal['night']` too",
    ),
    "a lower version of Python": (
        *("pyproject.toml", '">=3.11"', '">=3.10"'),
        "`requires-python`: was `>=3.11` and is `>=3.10`",
    ),
    "no constraint any more": (
        *(SETTINGS, ", le=50", ""),
        "`common.settings.GeoSettings.radius`: `le=50` does not hold any more",
    ),
    "a setting": (
        *(SETTINGS, "    radius: int", "    area: str = ''\n    radius: int"),
        "`common.settings.GeoSettings.area`: new",
    ),
}

PRIVATE = {
    "any type where there was none": (PLACES, "angle)", "angle: object)"),
    "a body": (PLACES, "metres > 100", "metres > 99"),
    "a helper": (
        PLACES,
        "def helper(place: Place) -> bytes:",
        "def helper(place: Place, x: int) -> str:",
    ),
    "a constant": (PLACES, "DETAIL = 3", "DETAIL = 4"),
    "another spelling": (PLACES, "kind: int | str) ->", "kind: typing.Union[int, str]) ->"),
    "options of a task": (PLACES, "retries=2", "retries=3"),
    "a description": (SETTINGS, "How far to look", "How far it looks"),
    "a base between": (
        *(ERRORS, "class NowhereError(PermanentError)"),
        "class _NoError(PermanentError): ...\n\n\nclass NowhereError(_NoError)",
    ),
}


def replace(file: Path, old: str, new: str) -> None:
    """Replace a text that must be in a file."""
    text = file.read_text()
    assert text.count(old) >= 1, old
    file.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def old(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with its own namespace; do not change it."""
    folder = tmp_path_factory.mktemp("old") / "my-task-library"
    shutil.copytree(render(project_kind="library"), folder)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        with (folder / name).open("a") as file:
            file.write(text)
    replace(folder / "pyproject.toml", "[project.urls]\n", f"{POINTS}{URLS}")
    return folder


@pytest.fixture
def changed(old: Path, tmp_path: Path) -> Callable[..., dict[str, bool]]:
    """Compare that library with a changed one; return the lines, and whether each breaks."""

    def compare(file: str, before: str, after: str) -> dict[str, bool]:
        new = tmp_path / "new"
        shutil.copytree(old, new)
        replace(new / file, before, after)
        return {
            str(change): change.breaks for change in public_api.changes(old, new, "my_task_library")
        }

    return compare


@pytest.mark.parametrize("what", BREAKS)
def test_a_break_is_named(what: str, changed: Callable[..., dict[str, bool]]) -> None:
    *edit, line = BREAKS[what]
    assert [
        told for told, breaks in changed(*edit).items() if breaks and told.startswith(f"- {line}")
    ]


@pytest.mark.parametrize("what", ADDITIONS)
def test_an_addition_is_named(what: str, changed: Callable[..., dict[str, bool]]) -> None:
    *edit, line = ADDITIONS[what]
    found = changed(*edit)
    assert f"- {line}" in found
    assert not any(found.values())


@pytest.mark.parametrize("what", PRIVATE)
def test_what_is_private_is_no_change(what: str, changed: Callable[..., dict[str, bool]]) -> None:
    assert changed(*PRIVATE[what]) == {}


def test_a_renamed_parameter_is_one_change(changed: Callable[..., dict[str, bool]]) -> None:
    found = changed(PLACES, "limit: int = 10", "bound: int = 10")
    assert found == {"- `geo.find_place(limit)`: renamed to `bound`": True}


def test_a_namespace_is_compared_whatever_its_name(old: Path, tmp_path: Path) -> None:
    new = Path(shutil.copytree(old, tmp_path / "new"))
    (new / "src/my_task_library/commands").mkdir(exist_ok=True)
    (new / "src/my_task_library/commands/__init__.py").write_text("__all__ = []\n")
    removed = [str(one) for one in public_api.changes(new, old, "my_task_library") if one.breaks]
    assert removed == ["- `commands`: removed"]


def test_a_computed_list_of_names_is_refused(changed: Callable[..., dict[str, bool]]) -> None:
    file = "src/my_task_library/geo/__init__.py"
    with pytest.raises(SystemExit, match=r"my_task_library\.geo: write __all__ as a plain list"):
        changed(file, '"choose",\n]', '"choose",\n]\n__all__ += places.__all__')


@pytest.fixture(scope="module")
def synced(old: Path, environments: Environments) -> Path:
    """That library with its environment at its first commit; each test restores it."""
    environments.sync(old)
    projects.run("git", "init", "-qb", "main", cwd=old)
    commit(old, "Start")
    projects.run("git", "tag", "start", cwd=old)
    return old


@pytest.fixture
def library(synced: Path) -> Iterator[Path]:
    """A library to release, with a remote."""
    origin = synced.parent / "origin.git"
    projects.run("git", "init", "-qb", "main", "--bare", str(origin), cwd=synced)
    projects.run("git", "remote", "add", "origin", str(origin), cwd=synced)
    yield synced
    shutil.rmtree(origin)
    projects.run("git", "switch", "-qfC", "main", "start", cwd=synced)
    projects.run("git", "remote", "remove", "origin", cwd=synced)
    tags = projects.run("git", "tag", "--list", "*v*", cwd=synced).split()
    projects.run("git", "tag", "--delete", *tags, cwd=synced)


def release(project: Path, *words: str, code: int = 0) -> str:
    """Run the command of CONTRIBUTING.md, and return its output."""
    told = (project / "CONTRIBUTING.md").read_text()
    command = "uv run scripts/release.py"
    assert re.search(rf"^{command} +#", told, re.MULTILINE)
    shell = ("bash", "-c", f"{command} {' '.join(words)}; echo exit $?")
    # Otherwise, each new version would be installed.
    printed = projects.run(*shell, cwd=project, UV_NO_SYNC="1")
    assert printed.endswith(f"exit {code}\n"), printed
    return printed


def save(project: Path, message: str, **texts: str) -> None:
    """Add lines to the changelog, and commit all changes."""
    for line in texts.values():
        replace(project / "CHANGELOG.md", "## Unreleased\n\n", f"## Unreleased\n\n{line}\n")
    commit(project, message)


def test_from_merged_to_released(library: Path) -> None:
    printed = release(library)
    assert "Nothing has been released yet." in printed
    (push,) = re.findall(r"git push .*", printed)
    assert push == "git push --atomic origin main v0.1.0"
    projects.run("bash", "-c", push, cwd=library)
    origin = library.parent / "origin.git"
    assert projects.run("git", "tag", cwd=origin) == "v0.1.0\n"
    assert projects.run("git", "log", "-1", "--format=%s", cwd=origin) == "Release v0.1.0\n"
    changelog = (library / "CHANGELOG.md").read_text()
    assert re.search(
        r"## Unreleased\n\n## 0\.1\.0 \(\d{4}-\d\d-\d\d\)\n\n- First version", changelog
    )
    code = "from importlib import metadata; print(metadata.version('my-task-library'))"
    shown = projects.run("uv", "run", "-q", "python", "-c", code, cwd=library)
    assert shown == "0.1.0\n"
    # Nothing can be released twice, or without a changelog.
    assert "v0.1.0 is this commit already" in release(library, code=1)
    projects.run("git", "commit", "-q", "--allow-empty", "-m", "More", cwd=library)
    assert "CHANGELOG.md: says nothing under '## Unreleased'" in release(library, code=1)

    # Below 1.0, breaking changes and additions are minor versions, others are patches.
    save(library, "Mend", line="- Mended.")
    assert "Tagged." in release(library)
    replace(library / PLACES, "limit: int = 10", "bound: int = 10")
    printed = release(library, "--check", code=1)
    assert "1 change of the public API since v0.1.1" in printed  # even if not committed
    proposed = printed.partition("such as\n\n")[2].removesuffix("\n\nexit 1\n")
    assert proposed.startswith("### Changed\n\n- `geo.find_place(limit)`: renamed to `bound`")
    save(library, "Break", proposed=proposed)
    release(library)
    replace(library / PLACES, "    return place.name", "    return b'' or place.name")
    save(library, "Mend", line="- Mended again.")
    release(library, "--level", "major")
    tags = projects.run("git", "tag", "--list", "v*", cwd=library).split()
    assert tags == ["v0.1.0", "v0.1.1", "v0.2.0", "v1.0.0"]

    # From 1.0 it is a major version; CI checks this for tags created by hand.
    replace(library / SETTINGS, "default=5", "default=6")
    (line,) = re.findall(r"(?m)^(- .+) \(breaking\)$", release(library, "--check", code=1))
    save(library, "Break", line=f"{line}\n  (not breaking): 6 is enough.\n- Another.")
    printed = release(library, "--check")
    assert "Next: v1.1.0." in printed
    assert "(breaking)" not in printed
    replace(library / "CHANGELOG.md", "\n  (not breaking): 6 is", "\n  6 is enough (not breaking)")
    commit(library, "It breaks")
    assert "Next: v2.0.0." in release(library, "--check")
    projects.run("git", "tag", "v1.1.0", cwd=library)
    assert "v1.1.0 must be v2.0.0 at least" in release(library, "--check", code=1)
    projects.run("git", "tag", "--delete", "v1.1.0", cwd=library)
    # An object due for removal blocks the release.
    (library / "src/my_task_library/geo/old.py").write_text('TEXT = "removed in 2.0: use new"\n')
    save(library, "Deprecate")
    assert "old.py:1: removed in 2.0: its time has come" in release(library, code=1)
    (library / "src/my_task_library/geo/old.py").unlink()
    save(library, "Remove")
    release(library)
    assert "v2.0.0" in projects.run("git", "tag", cwd=library).split()
    assert "The version is v2.0.0." in release(library, "--check")


FROZEN, REMOVED, DEFAULT = CHANGES = [
    public_api.Change("Changed", "geo.Open", "is frozen now", breaks=True),
    public_api.Change("Removed", "geo.find", "removed", breaks=True),
    public_api.Change("Changed", "geo.Row.size", "its default was 5 and is 6", breaks=True),
]
OVERRULED = [
    ("* `geo.Open`: is frozen\n  now (not breaking): nobody sets it.", [FROZEN]),
    ("1. `geo.Open`: is frozen now (not breaking).\n2. `geo.find`: removed.", [FROZEN]),
    ("- Tidy:\n  - `geo.Open`: is frozen now (not breaking).\n  - `geo.find`: removed.", [FROZEN]),
    ("- `geo.Open`: is frozen now (not breaking).\n\nOut: `geo.find`: removed.", [FROZEN]),
    ("- `geo.find`: removed (not breaking), `geo.Open`: is frozen now.", [REMOVED]),
    (f"{REMOVED} (not breaking)\n{DEFAULT} (not breaking)", [REMOVED, DEFAULT]),
    ("- `geo.Open`: removed (not breaking).\n- `geo.find`: is faster (not breaking).", []),
    ("- `geo.Row.size`: its default was 5 and is 60 (not breaking).", []),
    (f"- More.\n\n## 1.0.0\n\n{FROZEN} (not breaking)", []),
]


@pytest.mark.parametrize(("text", "harmless"), OVERRULED)
def test_the_changelog_overrules_what_it_names_and_nothing_else(
    text: str,
    harmless: list[public_api.Change],
    old: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = runpy.run_path(str(old / "scripts" / "release.py"))
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(f"# Changelog\n\n## Unreleased\n\n{text}\n")
    judged = script["judged"]
    monkeypatch.setitem(judged.__globals__, "CHANGELOG", changelog)
    left = judged(CHANGES, "Unreleased")
    assert [str(one) for one in left] == [str(one) for one in CHANGES]
    assert [old for old, new in zip(CHANGES, left, strict=True) if not new.breaks] == harmless


def test_what_is_not_ready_is_told(library: Path) -> None:
    replace(library / "pyproject.toml", URLS, "[project.urls]\n")
    commit(library, "Forget")
    remote = ("git", "remote", "set-url", "origin")
    for url in (
        "git@example.com:acme/places.git",
        "ssh://git@example.com:2222/acme/places.git",
        "https://me:hunter2@example.com/acme/places.git",
    ):
        projects.run(*remote, url, cwd=library)
        printed = release(library, code=1)
        assert 'set Repository = "https://example.com/acme/places" under' in printed
    told = release(library, "--check", code=1)
    assert "Next: v0.1.0.\n\nThis is no release yet:\npyproject.toml: set Repository" in told
    assert release(library, "--change").endswith("Next: v0.1.0.\nexit 0\n")  # of each change, in CI
    projects.run("git", "switch", "-qC", "main", "start", cwd=library)
    task = ("python", "scripts/add.py", "task", "look_up", "--namespace", "geo")
    projects.run(library / ".venv/bin/python", *task[1:], cwd=library)
    todo = "src/my_task_library/geo/look_up_task.py:{}: TODO: put your own step here, with what it"
    number = 1 + (library / todo.partition(":")[0]).read_text().partition("# TODO")[0].count("\n")
    assert todo.format(number) in release(library, "--check", code=1)
    assert "TODO" not in release(library, "--change")
    projects.run("git", "add", "--all", cwd=library)
    projects.run("git", "reset", "-q", "--hard", cwd=library)
    (library / "notes.txt").write_text("\n")
    assert "commit or stash your changes first" in release(library, code=1)
    (library / "notes.txt").unlink()
    projects.run("git", "switch", "-qc", "1.x", cwd=library)
    assert "made from main: git switch main" in release(library, code=1)
    assert "made from main: git switch main" in release(library, "--check", code=1)
    assert "Next: v0.1.0." in release(library, "--check", "--branch", "1.x")
    hook = library / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho no; exit 1\n")
    hook.chmod(0o755)
    assert "no\ngit commit failed." in release(library, "--branch", "1.x", code=1)
    hook.unlink()
    projects.run("git", "commit", "-q", "--allow-empty", "-m", "Elsewhere", cwd=library)
    projects.run("git", "tag", "v0.1.0", cwd=library)
    projects.run("git", "reset", "-q", "--hard", "HEAD~", cwd=library)
    assert "v0.1.0 is another commit: merge it" in release(library, "--branch", "1.x", code=1)
    assert projects.run("git", "log", "-1", "--format=%s", cwd=library) == "Start\n"
    projects.run("git", "tag", "--delete", "v0.1.0", cwd=library)
    changelog = library / "CHANGELOG.md"
    changelog.write_text(changelog.read_text(), newline="\r\n")
    projects.run("git", "add", "--all", cwd=library)  # as in a checkout on Windows
    assert "Tagged." in release(library, "--branch", "1.x")
    written = changelog.read_bytes()
    assert b"## 0.1.0 (" in written
    assert written.count(b"\r\n") == written.count(b"\n")


def test_a_shallow_clone_cannot_tell(library: Path, tmp_path: Path) -> None:
    projects.run("git", "tag", "v1.0.0", cwd=library)
    save(library, "More", line="- More.")
    projects.run(
        "git", "clone", "-q", "--depth", "1", library.as_uri(), str(tmp_path / "a"), cwd=tmp_path
    )
    for words, code in (("--change", 0), ("--check", 1), ("", 1)):
        python = library / ".venv/bin/python"
        command = f'"{python}" scripts/release.py {words}; echo exit $?'
        printed = projects.run("bash", "-c", command, cwd=tmp_path / "a")
        assert printed == (
            "This clone is shallow, so the last release is unknown:"
            f" git fetch --unshallow --tags\nexit {code}\n"
        )


USE = """
import sys

from my_task_library.geo.old import get, load

get.with_options(retries=1)
found: bytes = get.fn(sys.argv[1])
print(len(found), len(load.fn(sys.argv[1], limit=3)))
"""


def test_a_deprecated_name_is_seen_where_it_is_used(library: Path, tmp_path: Path) -> None:
    """With the code in CONTRIBUTING.md."""
    told = (library / "CONTRIBUTING.md").read_text()
    header = "from __future__ import annotations\n\nimport warnings\nfrom pathlib import Path\n\n"
    old = "".join(re.findall(r"```python\n(.+?)```", told, re.DOTALL))
    first, _, rest = old.partition("\n\n\n")
    module = library / "src/my_task_library/geo/old.py"
    header += "from prefect import task\nfrom prefect.cache_policies import NO_CACHE\n"
    own = "from ..common import retries"
    module.write_text(f'"""Old."""\n\n{header}{first}\n\n{own}\n\n\n{rest}')
    projects.run("ruff", "format", "-q", module, cwd=library)
    projects.run("ruff", "check", module, cwd=library)
    use = tmp_path / "use.py"
    use.write_text(USE)
    message = "`get` is deprecated since 1.4, removed in 2.0: use `load`."
    python = library / ".venv/bin/python"
    projects.check_types(use, python=python)  # no error, because users need not change at once
    mypy = (Path(sys.executable).with_name("mypy"), "--enable-error-code", "deprecated")
    told = projects.run(*mypy, "--python-executable", python, use, cwd=tmp_path, check=False)
    assert re.search(rf"use.py:4: error: .*{re.escape(message)}", told), told
    (tmp_path / "pyrefly.toml").write_text('preset = "strict"\n')  # as in generated projects
    pyrefly = (library / ".venv/bin/pyrefly", "check", "--python-interpreter-path", python, use)
    told = projects.run(*pyrefly, cwd=tmp_path)
    assert "WARN `get` is deprecated" in told
    assert message in told
    printed = projects.run(python, use, use, cwd=tmp_path)
    size = len(USE)
    assert f"use.py:7: FutureWarning: {message}" in printed
    assert "use.py:8: FutureWarning: `limit` of `load` is deprecated since 1.4" in printed
    assert f"{size} 3\n" in printed
    module.unlink()


def test_the_test_of_deprecations_fails_in_time(library: Path) -> None:
    check = ("pytest", "-q", "--no-cov", "tests/test_deprecations.py")
    (library / "src/my_task_library/geo/old.py").write_text('"""Old: removed in 2.0."""\n')
    changelog = library / "CHANGELOG.md"
    text = changelog.read_text()
    for heading, due in (("1.9.0", False), ("2.0.0 (2026-11-27)", True), ("[v2.1.0]", True)):
        changelog.write_text(text.replace("## Unreleased", f"## Unreleased\n\n## {heading}"))
        printed = projects.tool(library, *check, check=False)
        assert ("geo/old.py:1: removed in 2.0: its time has come" in printed) == due
        assert ("failed" in printed) == due
    (library / "src/my_task_library/geo/old.py").unlink()


PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A local package index with a password; yields its address and folder."""
    folder = tmp_path_factory.mktemp("index")
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    passwords = folder.parent / "htpasswd"
    users = ("__token__", "robot", "gitlab-ci-token")
    passwords.write_text("".join(f"{user}:{{SHA}}{digest}\n" for user in users))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("pypi-server"), "run", "-p", str(port)]
    options = ["-i", "127.0.0.1", "-P", passwords, "-a", "update", "--disable-fallback", folder]
    log = (folder.parent / "index.log").open("wb")
    with log, child_processes.running([*command, *options], stdout=log, stderr=log):
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/simple/", timeout=1).close()
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/", folder


def expanded(value: str, **known: str) -> str:
    """Evaluate a value of a workflow."""

    def found(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(" || ")
        return known.get(name.partition(".")[2]) or default.strip("'")

    return re.sub(r"\$\{\{ (.+?) \}\}", found, value)


@pytest.mark.parametrize("license_", ["MIT", "Proprietary"])
@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_a_private_index_gets_a_release(
    ci: str, license_: str, render: Render, index: tuple[str, Path], tmp_path: Path
) -> None:
    """With the steps of the workflow and the variables in CONTRIBUTING.md."""
    url, stored = index
    name = f"places-{ci}-{license_.lower()}"
    answers = {"project_kind": "library", "project_name": name, "license": license_}
    project = Path(shutil.copytree(render(**answers, ci=ci), tmp_path / "project"))
    projects.run("git", "init", "-qb", "main", cwd=project)
    commit(project, "Start", "v1.2.0")
    projects.run("uv", "build", "-q", "--out-dir", "dist", cwd=project)
    told = (project / "CONTRIBUTING.md").read_text()
    assert "PUBLISH_URL" in told
    assert "PUBLISH_TOKEN" in told

    def publish(**variables: str) -> str:
        if ci == "gitlab":
            job = yaml.safe_load((project / ".gitlab-ci.yml").read_text())["publish-private"]
            env = {"CI_COMMIT_TAG": "v1.2.0", **variables}
            script = "\n".join(job["script"])
        else:
            workflow = yaml.safe_load((project / ".github/workflows/release.yml").read_text())
            (step,) = [one for one in workflow["jobs"]["publish-private"]["steps"] if "run" in one]
            env = {key: expanded(value, **variables) for key, value in step["env"].items()}
            script = step["run"]
        words = ("bash", "-e", "-o", "pipefail", "-c", f"({script}) || echo failed")
        return projects.run(*words, cwd=project, **env)

    assert "failed" in publish(PUBLISH_URL=url, PUBLISH_TOKEN="wrong")
    assert not list(stored.glob(f"{name.replace('-', '_')}*"))
    printed = publish(PUBLISH_URL=url, PUBLISH_TOKEN=PASSWORD)
    assert "failed" not in printed
    assert PASSWORD not in printed
    assert len(list(stored.glob(f"{name.replace('-', '_')}*"))) == 2
    # Another user may not replace a file either.
    assert "failed" in publish(PUBLISH_URL=url, PUBLISH_TOKEN=PASSWORD, PUBLISH_USERNAME="robot")
    if ci == "gitlab" and license_ == "Proprietary":
        # Without the setting, it goes to the project's registry.
        for path in stored.glob(f"{name.replace('-', '_')}*"):
            path.unlink()
        api = {"CI_API_V4_URL": url + "api", "CI_PROJECT_ID": "7", "CI_JOB_TOKEN": PASSWORD}
        printed = publish(**api)
        assert f"Publishing 2 files to {url}api/projects/7/packages/pypi" in printed


@pytest.mark.large("combinations")
def test_documentation_keeps_its_versions(
    render: Render, environments: Environments, tmp_path: Path
) -> None:
    """With the steps of both forges; pushes go to a local repository."""
    for ci in ("github", "gitlab"):
        folder = Path(
            shutil.copytree(
                render(project_kind="plugin", ci=ci, features=["docs"]), tmp_path / ci / "project"
            )
        )
        environments.sync(folder)
        origin = tmp_path / ci / "origin.git"
        projects.run("git", "init", "-qb", "main", "--bare", str(origin), cwd=folder)
        projects.run("git", "init", "-qb", "main", cwd=folder)
        projects.run("git", "remote", "add", "origin", str(origin), cwd=folder)
        commit(folder, "Start", "v1.2.0")
        projects.run("git", "tag", "v1.10.0", cwd=folder)
        bin_ = tmp_path / "bin"
        bin_.mkdir(exist_ok=True)
        (bin_ / "gh").write_text('#!/bin/sh\ntest -n "$GH_TOKEN"\n')
        (bin_ / "gh").chmod(0o755)
        sites = {}
        for tag in ("v1.10.0", "v1.2.0"):
            env = {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "NO_MKDOCS_2_WARNING": "1"}
            if ci == "github":
                workflow = yaml.safe_load((folder / ".github/workflows/release.yml").read_text())
                job = workflow["jobs"]["docs"]
                assert job["permissions"] == {"contents": "write"}
                (step,) = [one for one in job["steps"] if "run" in one]
                script = step["run"]
                env |= {"GH_TOKEN": "secret", "GITHUB_REF_NAME": tag}
            else:
                job = yaml.safe_load((folder / ".gitlab-ci.yml").read_text())["pages"]
                script = "\n".join(job["script"])
                env |= {
                    "CI_COMMIT_TAG": tag,
                    "CI_PROJECT_DIR": str(folder),
                    "CI_JOB_TOKEN": "secret",
                    "CI_SERVER_HOST": "gitlab.invalid",
                    "CI_SERVER_PORT": "443",
                    "CI_PROJECT_PATH": "acme/places",
                    "GIT_CONFIG_COUNT": "1",
                    "GIT_CONFIG_KEY_0": f"url.{origin}.insteadOf",
                    "GIT_CONFIG_VALUE_0": (
                        "https://gitlab-ci-token:secret@gitlab.invalid:443/acme/places.git"
                    ),
                }
            # Each job starts with a new clone.
            projects.run("git", "branch", "-D", "gh-pages", cwd=folder, check=False)
            projects.run("git", "fetch", "-q", "origin", cwd=folder)
            projects.run("bash", "-e", "-o", "pipefail", "-c", script, cwd=folder, **env)
            sites[tag] = projects.run(
                "git", "ls-tree", "--name-only", "gh-pages", cwd=origin
            ).split()
            if ci == "gitlab":
                public = folder / job["artifacts"]["paths"][0]
                assert sorted(path.name for path in public.iterdir()) == sorted(sites[tag])
                shutil.rmtree(public)
        first = {".nojekyll", "1.10", "index.html", "latest", "versions.json"}
        assert set(sites["v1.10.0"]) == first
        assert set(sites["v1.2.0"]) == first | {"1.2"}
        listed = json.loads(projects.run("git", "show", "gh-pages:versions.json", cwd=origin))
        assert [(one["version"], one["aliases"]) for one in listed] == [
            ("1.10", ["latest"]),
            ("1.2", []),
        ]
        page = projects.run("git", "show", "gh-pages:latest/index.html", cwd=origin)
        assert '"provider": "mike"' in page
