"""Releases of generated projects: what breaks users, versions, indexes, and documentation."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import projects
import pytest
from environments import Environments
from hooks.conftest import commit
from projects import Render, tool

sys.path.insert(
    0, str(projects.ROOT / "template/{{ published }}/{% if parts == 'chosen' %}scripts{% endif %}")
)
import public_api

URLS = '[project.urls]\nRepository = "https://example.com/acme/places"\n'

FILES = {
    "src/my_task_library/geo/__init__.py": """
from .places import Place, Places, Unit, draw_map, find_place

__all__ = ["Place", "Places", "Unit", "draw_map", "find_place"]
""",
    "src/my_task_library/geo/places.py": '''
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prefect import task
from pydantic import BaseModel

Unit = Literal["km", "mile"]
DETAIL = 3


@dataclass(frozen=True, kw_only=True)
class Place:
    name: str
    unit: Unit = "km"

    def far(self, metres: int) -> bool:
        return metres > 100


class Places(BaseModel):
    found: list[str]
    complete: bool = True


@task
def find_place(name: str, unit: Unit = "km", *, limit: int = 10) -> Place:
    return Place(name=name, unit=unit)


@task(retries=2)
def draw_map(place: Place, kind: Literal["plain", "relief"] = "plain") -> bytes:
    return helper(place)


def helper(place: Place) -> bytes:
    return place.name.encode()
''',
    "src/my_task_library/common/errors.py": '''

class NowhereError(PermanentError):
    """There is no such place."""
''',
    "src/my_task_library/common/settings.py": '''

class GeoSettings(environment.EnvironmentSettings):
    """Settings of the namespace."""

    radius: int = Field(default=5, description="How far to look, in km.")
''',
}
PLACES, ERRORS, SETTINGS = list(FILES)[1:]

BREAKS = {
    "a name": (
        "src/my_task_library/geo/__init__.py",
        *('__all__ = ["Place", ', "__all__ = [", "`geo.Place`: removed"),
    ),
    "a parameter": (PLACES, "limit: int = 10", "bound: int = 10", "`geo.find_place(limit)`: "),
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
        "`geo.find_place(unit)`: parameter kind was changed: `positional or keyword` -> `keyword-only`",
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
        "`geo.Place.far(metres)`: parameter was removed",
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
}

ADDITIONS = {
    "a name": (
        "src/my_task_library/geo/__init__.py",
        *('find_place\n\n__all__ = [', 'find_place, helper\n\n__all__ = ["helper", '),
        "`geo.helper`: new",
    ),
    "a parameter": (
        *(PLACES, "*, limit: int = 10", "*, limit: int = 10, area: str = ''"),
        "`geo.find_place(area)`: new parameter",
    ),
    "a type": (
        *(PLACES, "limit: int = 10", "limit: int | None = 10"),
        "`geo.find_place(limit)`: takes `None` too",
    ),
    "a value": (
        *(PLACES, '"relief"]', '"relief", "night"]'),
        "`geo.draw_map(kind)`: takes `Literal['night']` too",
    ),
    "a setting": (
        *(SETTINGS, "    radius: int", "    area: str = ''\n    radius: int"),
        "`common.settings.GeoSettings.area`: new",
    ),
}

PRIVATE = {
    "a body": (PLACES, "metres > 100", "metres > 99"),
    "a helper": (PLACES, "def helper(place: Place) -> bytes:", "def helper(place: Place, x: int) -> str:"),
    "a constant": (PLACES, "DETAIL = 3", "DETAIL = 4"),
    "options of a task": (PLACES, "retries=2", "retries=3"),
    "a description": (SETTINGS, "How far to look", "How far it looks"),
    "a base between": (
        *(ERRORS, "class NowhereError(PermanentError)"),
        "class _NoError(PermanentError): ...\n\n\nclass NowhereError(_NoError)",
    ),
}


def replace(file: Path, old: str, new: str) -> None:
    """Replace what must be in a file."""
    text = file.read_text()
    assert text.count(old) >= 1, old
    file.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def old(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with a namespace of its own; do not change it."""
    folder = tmp_path_factory.mktemp("old") / "my-task-library"
    shutil.copytree(render(project_kind="library"), folder)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        with (folder / name).open("a") as file:
            file.write(text)
    replace(folder / "pyproject.toml", "[project.urls]\n", URLS)
    return folder


@pytest.fixture
def changed(old: Path, tmp_path: Path) -> Callable[..., dict[str, bool]]:
    """Compare that library with one that has another text; the lines, and whether each breaks."""
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
    assert [told for told, breaks in changed(*edit).items() if breaks and told.startswith(f"- {line}")]


@pytest.mark.parametrize("what", ADDITIONS)
def test_an_addition_is_named(what: str, changed: Callable[..., dict[str, bool]]) -> None:
    *edit, line = ADDITIONS[what]
    found = changed(*edit)
    assert f"- {line}" in found
    assert not any(found.values())


@pytest.mark.parametrize("what", PRIVATE)
def test_what_is_private_is_no_change(what: str, changed: Callable[..., dict[str, bool]]) -> None:
    assert changed(*PRIVATE[what]) == {}
