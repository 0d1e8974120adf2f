"""Changed answers and engines, by `update.py -d`: unedited files follow, edited ones are named.

Each ends with a project whose checks are green. That it equals a new one where nobody has edited
it, the other tests of updates tell to the last byte.
"""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import projects
import pytest
import update_in_process
import updating
from updating import CURRENT, git

if TYPE_CHECKING:
    from pathlib import Path

    from environments import Environments
    from updating import TemplateRepository

OWN = [
    ref
    for ref, content in updating.release_copier_yml().items()
    if ref != CURRENT and updating.older(content, "pipeline")
]
"""Releases whose pipelines have an engine of their own."""
IN_GATE = OWN[-1:]
LARGE = pytest.mark.large("updates")
PIPELINE = {"project_kind": "pipeline"}
PACKAGE = "src/my_data_project"
QUICK = ("tests/test_tables.py", "tests/test_sql.py", "tests/test_deployments.py")
"""Tests of a pipeline that need no server."""


def append(project: Path, name: str, text: str) -> None:
    """Edit a file of the project, or begin one."""
    path = project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + text, "utf-8")


def lint(project: Path) -> None:
    """Run what CI runs before the tests."""
    projects.tool(project, "ruff", "check", ".")
    projects.tool(project, "ruff", "format", "--diff", ".")
    projects.tool(project, "pyrefly", "check")


def recorded(project: Path) -> dict[str, Any]:
    """Return the features that a project has, which an update leaves as they are."""
    return {"features": updating.answers(project)["features"]}


def differing(project: Path, fresh: Path) -> set[str]:
    """Return the files that are not those of a new project."""
    mine, new = updating.snapshot(project), updating.snapshot(fresh)
    ours = {path for path in {*mine, *new} if mine.get(path) != new.get(path)}
    return {path for path in ours if not path.startswith((".venv/", "uv.lock"))}


def kinds(report: update_in_process.Report) -> dict[str, str]:
    """Return what became of each file."""
    return {name: kind for name, (kind, _) in report["files"].items()}


def test_an_example_goes_where_nobody_has_edited_it(
    template_repository: TemplateRepository, environments: Environments, tmp_path: Path
) -> None:
    project = template_repository.project(PIPELINE, tmp_path / "project")
    sql = f"{PACKAGE}/sql/delays_by_carrier.sql"
    append(project, sql, "-- ours\n")
    updating.commit_all(project, "Ours")
    words = (str(project), "-r", ":current:", "-d", "example=false", "--dry-run")
    printed = update_in_process.run(*words)[1]
    assert f"{sql}  (edited; the template no longer has it)" in printed
    assert "--take" not in printed
    for name, problem in ((sql, "any more to take"), ("none", "to take")):
        code, printed = update_in_process.run(*words, "--take", name)
        assert code
        assert f"the template has no file {name} {problem}.\n" in printed
    append(project, "README.md", "\nOurs.\n")
    append(project, f"{PACKAGE}/tasks/mine.py", '"""Ours."""\n')
    updating.commit_all(project, "Ours")
    report = update_in_process.update(project, {"example": False}, ":current:")
    assert report["is_good"], report
    assert (kinds(report)[sql], kinds(report)["README.md"]) == ("yours", "yours")
    assert f"# {sql} (yours), not written" in report["diff"], "what it misses"
    fresh = template_repository.render({**PIPELINE, "example": False})
    assert differing(project, fresh) == {sql, "README.md", f"{PACKAGE}/tasks/mine.py"}
    # As it says: what you have edited of the example is yours to delete.
    (project / sql).unlink()
    environments.sync(project)
    lint(project)
    assert " passed" in projects.tool(project, "pytest", "-q", "--no-cov", *QUICK)


def test_an_extra_brings_its_files_along(
    template_repository: TemplateRepository,
    environments: Environments,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    data = {"project_kind": "library", "extras": []}
    project = template_repository.project(data, tmp_path / "project")
    exports = "src/my_task_library/data/__init__.py"
    append(project, exports, "\n# Ours.\n")
    updating.commit_all(project, "Ours")
    report = update_in_process.update(project, {"extras": ["pandas", "ml"]}, ":current:")
    assert report["is_good"], report
    assert kinds(report)[exports] == "yours"
    fresh = template_repository.render({**data, "extras": ["pandas", "ml"]})
    assert differing(project, fresh) == {exports}
    (project / exports).write_bytes((fresh / exports).read_bytes())
    environments.sync(project)
    lint(project)
    large = "updates" in pytestconfig.getoption("--large")
    tests = [] if large else ["tests/test_namespaces.py"]
    assert " passed" in projects.tool(project, "pytest", "-q", "--no-cov", *tests)


@pytest.mark.parametrize(
    "ref", [pytest.param(ref, marks=[] if ref in IN_GATE else LARGE) for ref in OWN]
)
def test_a_pipeline_gets_the_new_engine_whole(
    ref: str,
    template_repository: TemplateRepository,
    environments: Environments,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """And is green after the commands that `update.py` says."""
    project = template_repository.project(PIPELINE, tmp_path / "project", ref)
    append(project, "pyproject.toml", "\n[tool.ours]\nlevel = 3\n")
    updating.commit_all(project, "Ours")
    # As made from the .env.example of 0.1.
    append(project, ".env", "MY_DATA_PROJECT_WAREHOUSE_URL=sqlite:///data/warehouse.db\n")
    append(project, ".env", "MY_DATA_PROJECT_BATCH_SIZE=5\nMY_DATA_PROJECT_MAX_WORKERS=2\n")
    report = update_in_process.update(project, {"engine": "dlt"})
    assert report["is_good"], report
    fresh = template_repository.render({**PIPELINE, **recorded(project)})
    assert differing(project, fresh) == {"pyproject.toml", ".env"}
    said = capsys.readouterr().err
    for part in ("Loaded again: every table", "Kept: the old warehouse", "Names in .env:"):
        assert part in said
    commands = [line[2:] for line in said.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in commands] == ["test", "uv", "uv", "uv"]
    environments.sync(project)  # in the place of uv sync
    commands.remove("uv sync")
    large = "updates" in request.config.getoption("--large")
    env = {"UV_NO_SYNC": "1"}
    if large:
        env["PREFECT_TEST_API_URL"] = env["PREFECT_API_URL"] = request.getfixturevalue(
            "prefect_api"
        )
    for line in commands:
        words = line if large else line.replace("pytest", f"pytest -q --no-cov {' '.join(QUICK)}")
        printed = projects.run("bash", "-c", words, cwd=project, **env)
    assert " passed" in printed
    text = (project / ".env").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if not line.startswith("# ")] == [
        "MY_DATA_PROJECT_MAX_WORKERS=2"
    ]
    if large:
        printed = projects.tool(project, "my-data-project", "demo", **env)
        assert "336,776" in printed


LIBRARY = {"project_kind": "library", "project_description": "Tasks."}
OLD_LIBRARIES = [
    ref
    for ref, content in updating.release_copier_yml().items()
    if ref != CURRENT
    and "library" in updating.choices(updating.questions(content)["project_kind"])
    and updating.older(content, "library")
]
SPACE = "src/my_task_library/geo"
GEO = {
    f"{SPACE}/__init__.py": '''"""Tasks about places."""

from my_task_library.common import deprecation

from .find_places_task import find_places

__all__ = ["find_places"]

DEPRECATED = {"places": deprecation.Alias(new="find_places", since="0.1", removal="9.0")}
__getattr__ = deprecation.aliases(__name__, DEPRECATED)
''',
    f"{SPACE}/find_places_task.py": '''"""The task find_places."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from my_task_library.common import errors
from my_task_library.common import extras
from my_task_library.common import http_errors
from my_task_library.common import reporting
from my_task_library.common import retries
from my_task_library.common import settings


# Not cached: places move.
@task(
    task_run_name="find-places-{name}",
    tags={"geo"},
    retries=retries.ATTEMPTS,
    retry_delay_seconds=retries.DELAYS_SECONDS,
    retry_jitter_factor=0.5,
    retry_condition_fn=retries.only_transient,
    cache_policy=NO_CACHE,
)
def find_places(name: str) -> str:
    """Find a place, and say who asks for it."""
    with extras.required("geo"):
        import tabulate
    token = settings.load().geo_token
    if token is None or not name:
        raise errors.PermanentError("A place has a name, and a token.")
    reporting.logger(__name__).info("Found %s", name)
    return tabulate.tabulate([[name, http_errors.bearer(token)]], tablefmt="plain")
''',
    "tests/test_find_places_task.py": """from __future__ import annotations

import pytest
from prefect import flow

from my_task_library import geo as module
from my_task_library.common import errors


@pytest.mark.usefixtures("prefect_server")
def test_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TASK_LIBRARY_GEO_TOKEN", "t")

    @flow
    def use(name: str) -> str:
        return module.find_places(name)

    assert use("Bern") == "Bern  Bearer t"
    with pytest.raises(errors.PermanentError, match="has a name"):
        use("")
""",
}
"""A namespace of a team's own, written as the old command `add` wrote tasks."""
USED = {f"src/my_task_library/common/{name}.py" for name in ("deprecation", "http_errors")}
"""What it imports of `common/`, and stays with it."""
BEARER = {
    "from my_task_library.common import http_errors\n": "",
    "http_errors.bearer(token)": 'f"Bearer {token.get_secret_value()}"',
}
"""What a namespace of before 0.4 does itself."""
MARKER = "  # Yours, below this line:\n"
OWN_EXTRA = 'geo = [\n  "tabulate>=0.9", # places, aligned\n]\n'
EDITS = {
    "pyproject.toml": [
        ('all = ["', f'{OWN_EXTRA}all = ["'),
        ("my-task-library[ml,pandas]", "my-task-library[geo,ml,pandas]"),
        (
            "  # Yours, below this line:\n]\n\n[dependency",
            '  # Yours, below this line:\n  "types-tabulate>=0.9", # its types\n]\n\n[dependency',
        ),
    ],
    "src/my_task_library/common/settings.py": [
        (
            "\n\n\ndef load()",
            "\n    geo_token: SecretStr | None = None\n\n\ndef load()",
        ),
    ],
    "tests/data/public_api.txt": [
        ("settings.download_d", "geo.find_places(name: 'str') -> 'str'\nsettings.download_d"),
        ("settings.download_token\n", "settings.download_token\nsettings.geo_token\n"),
    ],
    "README.md": [
        (
            "\n\n## Quick start",
            "\n| `my_task_library.geo` | `find_places` | `geo` |\n\n## Quick start",
        ),
    ],
}


@pytest.mark.parametrize(
    "ref", [pytest.param(r, marks=[] if r == OLD_LIBRARIES[-1] else LARGE) for r in OLD_LIBRARIES]
)
def test_a_library_gets_the_new_parts_and_keeps_its_own(
    ref: str,
    template_repository: TemplateRepository,
    environments: Environments,
    prefect_api: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A namespace of its own, with an extra and a setting, works with the new plumbing."""
    project = template_repository.project(LIBRARY, tmp_path / "project", ref)
    used = set(USED)
    for name, text in GEO.items():
        written = text
        if updating.version(ref) < (0, 4):
            used -= {"src/my_task_library/common/http_errors.py"}
            for before, after in BEARER.items():
                written = written.replace(before, after)
        append(project, name, written)
    for name, changes in EDITS.items():
        path = project / name
        for old, new in changes:
            text = path.read_text(encoding="utf-8")
            assert old in text, (name, old)
            path.write_text(text.replace(old, new), encoding="utf-8")
    updating.commit_all(project, "Ours")
    report = update_in_process.update(project, {"parts": "chosen"})
    # Its own extra stands in the line of `all`, which is a list with a place for it now.
    assert (report["status"], updating.unmerged(project)) == ("conflicts", {"pyproject.toml"})
    fresh = template_repository.render({**LIBRARY, **recorded(project)})
    merged = (project / "pyproject.toml").read_text(encoding="utf-8")
    assert '"my-task-library[geo,ml,pandas]"' in merged
    assert '"my-task-library[all]"' in merged
    resolved = (fresh / "pyproject.toml").read_text(encoding="utf-8")
    for before, after in (
        (MARKER + "]\ndev", MARKER + '  "my-task-library[geo]",\n]\n' + OWN_EXTRA + "dev"),
        (MARKER + "]\n\n[dep", MARKER + '  "types-tabulate>=0.9", # its types\n]\n\n[dep'),
    ):
        assert resolved.count(before) == 1
        resolved = resolved.replace(before, after)
    (project / "pyproject.toml").write_text(resolved, encoding="utf-8")
    git(project, "add", "pyproject.toml")
    assert differing(project, fresh) - used == {*GEO, *EDITS}
    assert all((project / name).is_file() for name in used)
    commands = [line[2:] for line in capsys.readouterr().err.splitlines() if line[:2] == "  "]
    assert commands[0] == "uv sync"
    environments.sync(project)
    for line in commands[1:]:
        words = line.replace(
            "pytest", "pytest -q --no-cov tests/test_namespaces.py tests/test_f*.py"
        )
        env = {"UV_NO_SYNC": "1", "PREFECT_TEST_API_URL": prefect_api}
        printed = projects.run("bash", "-c", words, cwd=project, **env)
    assert " passed" in printed


def test_a_library_with_edits_keeps_its_parts(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """It says which stand in the way; `--take` replaces them."""
    project = template_repository.project(LIBRARY, tmp_path / "project", OLD_LIBRARIES[-1])
    exports, deleted = "src/my_task_library/data/__init__.py", "src/my_task_library/ml/train.py"
    append(project, exports, "\n# Ours.\n")
    (project / deleted).unlink()
    updating.commit_all(project, "Ours")
    before = updating.snapshot(project)
    report = update_in_process.update(project, {"parts": "chosen"})
    assert (report["is_good"], report["status"]) == (False, "refused")
    assert f"of them are yours, edited or deleted: {exports}, {deleted}." in report["word"]
    assert updating.snapshot(project) == before
    takes = [f"--take={name}" for name in (exports, deleted)]
    report = update_in_process.update(project, {"parts": "chosen"}, CURRENT, *takes)
    assert report["is_good"], report
    # What an edited file had imported stays, though it is taken.
    assert (
        differing(project, template_repository.render({**LIBRARY, **recorded(project)})) - USED
        == set()
    )


def test_a_library_that_left_the_first_namespaces_gets_the_new_parts(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """What it has deleted does not come back: its answer says so."""
    project = template_repository.project(LIBRARY, tmp_path / "project", OLD_LIBRARIES[-1])
    for name, text in GEO.items():
        append(project, name, text)
    listed = git(project, "ls-files", "--", "src/my_task_library/ml", "tests/test_ml.py").split()
    assert len(listed) > 4
    for name in listed:
        (project / name).unlink()
    updating.commit_all(project, "Ours")
    report = update_in_process.update(project, {"parts": "chosen", "example": False, "extras": []})
    assert report["is_good"], report
    fresh = template_repository.render({**LIBRARY, **recorded(project), "example": False})
    assert differing(project, fresh) - USED == {*GEO}


WORK = {
    f"{PACKAGE}/sql/planes_by_maker.sql": """SELECT manufacturer, COUNT(*) AS planes
FROM planes
GROUP BY manufacturer
""",
    f"{PACKAGE}/tasks/exporting.py": '''"""Export tables."""

from __future__ import annotations

from prefect import task

from my_data_project.common import reporting


@task
def count_letters(text: str) -> int:
    """Count the letters of a text."""
    reporting.logger(__name__).info("Counting")
    return len(text)
''',
    "tests/test_exporting.py": '''"""The team's own task."""

from my_data_project.tasks.exporting import count_letters


def test_letters() -> None:
    assert count_letters.fn("abc") == 3
''',
}
"""What a team adds to a pipeline."""
CASE = """one maker:
  given:
    planes:
      - {tailnum: N1, manufacturer: BOEING}
  expect:
    - {manufacturer: BOEING, planes: 1}
"""
"""What `tests/test_sql.py` asks for, beside the SQL."""


@pytest.mark.parametrize(
    "ref", [pytest.param(ref, marks=[] if ref in IN_GATE else LARGE) for ref in OWN]
)
def test_a_pipeline_with_a_team_s_work_gets_the_new_engine(
    ref: str, template_repository: TemplateRepository, environments: Environments, tmp_path: Path
) -> None:
    """Tables, SQL and modules that use what is still there stay, and work on."""
    project = template_repository.project(PIPELINE, tmp_path / "project", ref)
    for name, text in WORK.items():
        append(project, name, text)
    tables = project / PACKAGE / "flows" / "tables.py"
    text = tables.read_text(encoding="utf-8")
    tables.write_text(text.replace("RowCount(minimum=1)", "RowCount(minimum=2)"), "utf-8")
    flow = project / PACKAGE / "flows" / "transform_flow.py"
    text = flow.read_text(encoding="utf-8")
    listed = '"delays_by_origin_hour"'
    flow.write_text(text.replace(listed, f'{listed}, "planes_by_maker"'), encoding="utf-8")
    taken = f"{PACKAGE}/tasks/quality.py"
    append(project, taken, "# ours\n")
    updating.commit_all(project, "Ours")
    edited = updating.snapshot(project)

    report = update_in_process.update(project, {"engine": "dlt"})
    assert f"of them are yours, edited or deleted: {taken}. Keep" in report["word"]
    assert updating.snapshot(project) == edited

    report = update_in_process.update(project, {"engine": "dlt"}, CURRENT, "--take", taken)
    assert report["is_good"], report
    fresh = template_repository.render({**PIPELINE, **recorded(project)})
    own = {*WORK, f"{PACKAGE}/flows/tables.py"}
    assert differing(project, fresh) == own
    after = updating.snapshot(project)
    assert all(after[name] == edited[name] for name in own)
    append(project, f"{PACKAGE}/sql/planes_by_maker.yml", CASE)
    environments.sync(project)
    lint(project)
    tests = (*QUICK, "tests/test_exporting.py")
    assert " passed" in projects.tool(project, "pytest", "-q", "--no-cov", *tests)


@pytest.mark.parametrize("how", ["edited", "deleted", "added"])
@pytest.mark.parametrize(
    "ref", [pytest.param(ref, marks=[] if ref in IN_GATE else LARGE) for ref in OWN]
)
def test_a_pipeline_with_edits_keeps_its_engine(
    how: str,
    ref: str,
    template_repository: TemplateRepository,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says what is edited, and what the team would get."""
    project = template_repository.project(PIPELINE, tmp_path / "project", ref)
    names = {"edited": "common/db_utils.py", "deleted": "common/rules.py", "added": "mine.py"}
    name = f"{PACKAGE}/{names[how]}"
    fresh = template_repository.render(PIPELINE)
    modules = sorted((project / PACKAGE / "common").glob("*.py"))
    gone = next(one for one in modules if not (fresh / one.relative_to(project)).exists())
    if how == "deleted":
        (project / name).unlink()
    elif how == "edited":
        append(project, name, "# ours\n")
    else:
        append(project, name, f"from my_data_project.common import {gone.stem}\n")
    updating.commit_all(project, "Ours")
    before = updating.snapshot(project)
    report = update_in_process.update(project, {"engine": "dlt"}, CURRENT, "--refresh")
    assert (report["is_good"], report["status"]) == (False, "refused")
    assert f"of them are yours, edited or deleted: {name}." in report["word"]
    assert "You get: sources of any database" in capsys.readouterr().err
    assert updating.snapshot(project) == before


@pytest.mark.large("updates")
@pytest.mark.parametrize("ref", OWN)
def test_a_pipeline_with_edits_stays_green_with_its_engine(
    ref: str,
    template_repository: TemplateRepository,
    environments: Environments,
    prefect_api: str,
    tmp_path: Path,
) -> None:
    project = template_repository.project(PIPELINE, tmp_path / "project", ref)
    append(
        project, f"{PACKAGE}/common/errors.py", "\n\nclass OursError(PermanentError):\n    pass\n"
    )
    text = (project / f"{PACKAGE}/common/errors.py").read_text(encoding="utf-8")
    text = text.replace("    pass\n", '    """Ours."""\n')
    (project / f"{PACKAGE}/common/errors.py").write_text(text, encoding="utf-8")
    updating.commit_all(project, "Ours")
    before = updating.snapshot(project)
    report = update_in_process.update(project)
    assert report["is_good"], json.dumps(report)
    after = updating.snapshot(project)
    code = {path for path in before if path.startswith(("src/", "tests/"))}
    assert all(after[path] == before[path] for path in code)
    environments.sync(project)
    lint(project)
    printed = projects.tool(project, "pytest", "-q", "--no-cov", PREFECT_TEST_API_URL=prefect_api)
    assert " passed" in printed


def test_tasks_of_one_s_own_and_those_of_the_template_are_one_table(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """The first release with tasks of poe meets a team that had some, at the end of the file."""
    project = template_repository.project(PIPELINE, tmp_path / "project", "v0.6.0")
    append(project, "pyproject.toml", '\n[tool.poe.tasks]\nlint = "ruff check"\n')
    updating.commit_all(project)
    report = update_in_process.update(project)
    assert (report["is_good"], report["status"]) == (False, "conflicts")
    assert updating.unmerged(project) == {"pyproject.toml"}
    (left,) = (line for line in report["left"] if line.startswith("pyproject.toml"))
    assert "cannot be read: Cannot declare ('tool', 'poe', 'tasks') twice (at line" in left
    assert left.endswith("edit it, then: git add pyproject.toml")

    # What is committed as it is, is not forgotten.
    updating.commit_all(project, "Updated")
    code, printed = update_in_process.run(str(project), "--verify")
    assert (code, "pyproject.toml: cannot be read: Cannot declare" in printed) == (1, True)

    path = project / "pyproject.toml"
    text, lint = path.read_text(encoding="utf-8"), 'lint = "ruff check"\n'
    assert text.count(f"\n[tool.poe.tasks]\n{lint}") == 1
    text = text.replace(f"\n[tool.poe.tasks]\n{lint}", "")
    path.write_text(text.replace('test.cmd = "pytest"', f'{lint}test.cmd = "pytest"'), "utf-8")
    assert {"lint", "check"} <= set(tomllib.loads(path.read_text("utf-8"))["tool"]["poe"]["tasks"])
    updating.commit_all(project, "One table")
    assert (
        "pyproject.toml: cannot be read" not in update_in_process.run(str(project), "--verify")[1]
    )
