"""Who has which code: a new pipeline has dlt, a new plugin or library the parts that were chosen.

A pipeline of before 0.5 keeps its own engine, a plugin of before 0.6 or a library of before 0.7 all
of its parts.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tomllib
from typing import TYPE_CHECKING

import copier
import projects
import pytest
import update_in_process
import updating
import yaml
from updating import ANSWERS, CURRENT, git

if TYPE_CHECKING:
    from pathlib import Path

    from updating import TemplateRepository

OWN = [
    ref
    for ref, content in updating.release_copier_yml().items()
    if ref != CURRENT and updating.older(content, "pipeline")
]
"""Releases whose pipelines have an engine of their own."""
ENDS = sorted({OWN[0], OWN[-1]}, key=updating.version)
PIPELINE = {"project_kind": "pipeline"}
EVERYTHING = {
    **PIPELINE,
    "project_name": "sales",
    "package_name": "sales",
    "project_description": "Load sales.",
    "user_name": "Ann",
    "user_email": "ann@example.com",
    "license": "Apache-2.0",
    "minimum_python": "3.12",
    "ci": "gitlab",
    "work_pool_type": "docker",
    "extras": ["postgres"],
    "features": ["docs"],
}
"""Every answer that a release of before 0.5 asks for."""


def check_kept(project: Path, before: updating.Snapshot) -> None:
    """Compare a project after an update with what it was: nothing came, went or changed in it."""
    after = updating.snapshot(project)
    assert before.keys() == after.keys()
    mine = (*updating.kept_patterns(), *updating.seed_patterns())
    assert not [
        path for path in before if before[path] != after[path] and updating.is_seed(path, mine)
    ]
    assert updating.unmerged(project) == set()


def engine(project: Path) -> object:
    """Return the engine that a project has recorded."""
    return updating.answers(project).get("engine")


@pytest.mark.parametrize("data", [PIPELINE, EVERYTHING], ids=["defaults", "everything"])
def test_a_new_pipeline_has_dlt(
    data: dict[str, object], template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """However much is answered, and after every update."""
    project = template_repository.project(data, tmp_path / "project")
    assert engine(project) == "dlt"
    assert next(project.glob("src/*/common/loading.py")).is_file()
    updating.update(project, {"license": "MIT"}, ref=template_repository.variant())
    assert engine(project) == "dlt"


def test_answers_by_the_user_s_settings_do_not_make_a_project_old(
    template_repository: TemplateRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text(yaml.safe_dump({"defaults": EVERYTHING}), encoding="utf-8")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(settings))
    copier.run_copy(
        str(template_repository.path),
        tmp_path / "project",
        vcs_ref=CURRENT,
        defaults=True,
        quiet=True,
    )
    assert updating.answers(tmp_path / "project")["license"] == "Apache-2.0"
    assert engine(tmp_path / "project") == "dlt"


@pytest.mark.parametrize("kind", ["library", "plugin"])
def test_other_kinds_have_none(kind: str, template_repository: TemplateRepository) -> None:
    assert engine(template_repository.render({"project_kind": kind})) is None


def old(kind: str) -> list[str]:
    """Return the releases whose plugins or libraries have all parts, oldest first."""
    return [
        ref
        for ref, content in updating.release_copier_yml().items()
        if ref != CURRENT
        and kind in updating.choices(updating.questions(content)["project_kind"])
        and updating.older(content, kind)
    ]


OLD_PLUGINS, OLD_LIBRARIES = old("plugin"), old("library")
PLUGIN = {"project_kind": "plugin"}
PARTS = ["worker", "process_worker", "startup_hook", "conventions"]


@pytest.mark.parametrize("ref", sorted({OLD_PLUGINS[0], OLD_PLUGINS[-1]}, key=updating.version))
def test_an_old_plugin_keeps_its_parts_and_what_was_made_of_them(
    ref: str, template_repository: TemplateRepository, tmp_path: Path
) -> None:
    project = template_repository.project(PLUGIN, tmp_path / "project", ref)
    package = project / "src" / "prefect_my_system"
    (package / "common" / "errors.py").unlink()
    edited = package / "workers" / "limited.py"
    edited.write_text(edited.read_text(encoding="utf-8") + "\nMINE = 1\n", encoding="utf-8")
    updating.commit_all(project)
    before = updating.snapshot(project)
    updating.update(project, {"license": "Apache-2.0"})
    assert updating.answers(project)["parts"] == "all"
    assert "extras" not in updating.answers(project)
    check_kept(project, before)
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(metadata["entry-points"]) == {"prefect.collections", "prefect.plugins"}
    assert any(line.startswith("psutil") for line in metadata["dependencies"])


LIBRARY = {"project_kind": "library"}
NAMESPACE = {
    "src/my_task_library/geo/__init__.py": (
        '"""Geo."""\n\nfrom .area import area\n\n__all__ = ["area"]\n'
    ),
    "src/my_task_library/geo/area.py": (
        '"""The task area."""\n\nfrom prefect import task\n\n\n@task\n'
        'def area(side: float) -> float:\n    """Return the area of a square."""\n'
        "    return side * side\n"
    ),
}
"""A namespace of a team's own."""


def write(project: Path, files: dict[str, str]) -> None:
    """Write files of a project."""
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("ref", sorted({OLD_LIBRARIES[0], OLD_LIBRARIES[-1]}, key=updating.version))
def test_an_old_library_keeps_its_parts_and_what_was_made_of_them(
    ref: str, template_repository: TemplateRepository, tmp_path: Path
) -> None:
    project = template_repository.project(LIBRARY, tmp_path / "project", ref)
    package = project / "src" / "my_task_library"
    (package / "common" / "deprecation.py").unlink()
    edited = package / "data" / "download.py"
    edited.write_text(edited.read_text(encoding="utf-8") + "\nMINE = 1\n", encoding="utf-8")
    write(project, NAMESPACE)
    updating.commit_all(project)
    before = updating.snapshot(project)
    updating.update(project, {"license": "Apache-2.0"})
    answers = updating.answers(project)
    assert (answers["parts"], answers["extras"]) == ("all", ["pandas", "ml"])
    assert "example" not in answers
    check_kept(project, before)
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["scripts"] == {"my-task-library": "my_task_library.cli:main"}
    assert {*metadata["optional-dependencies"]} == {"pandas", "ml", "all", "dev"}
    assert any(line.startswith("fastapi") for line in metadata["optional-dependencies"]["dev"])


def test_a_library_without_its_example_has_one_small_namespace(
    template_repository: TemplateRepository,
) -> None:
    given = template_repository.render(LIBRARY)
    bare = template_repository.render({**LIBRARY, "example": False})
    assert updating.answers(bare)["extras"] == []
    new = updating.snapshot(bare).keys() - updating.snapshot(given).keys()
    assert new == {
        "src/my_task_library/files/__init__.py",
        "src/my_task_library/files/hash_file_task.py",
        "tests/test_hash_file_task.py",
    }
    assert not [
        path for path in updating.snapshot(bare) if "/data/" in f"/{path}" and "src" in path
    ]


def test_the_namespaces_of_a_library_go_by_the_command_of_the_readme_and_come_back(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """Own ones stay; then the library is as one that never had an example, and as one with it."""
    project = template_repository.project(LIBRARY, tmp_path / "project")
    write(project, NAMESPACE)
    updating.commit_all(project)
    section = (
        (project / "README.md").read_text(encoding="utf-8").partition("## Remove the example")[2]
    )
    command = section.split("```")[1].removeprefix("bash").strip()
    words = shlex.split(command.replace("$TEMPLATE", str(updating.ROOT)))
    assert words[:2] == ["uv", "run"]
    updating.run(sys.executable, *words[2:], "-r", ":current:", cwd=project)
    fresh = updating.snapshot(template_repository.render({**LIBRARY, "example": False}))
    own = {path: held for path, held in updating.snapshot(project).items() if path in NAMESPACE}
    assert own.keys() == NAMESPACE.keys()
    assert updating.snapshot(project) == {**fresh, **own}
    updating.commit_all(project)
    back = {"example": True, "extras": ["pandas", "ml"]}
    report = update_in_process.update(project, back, ":current:")
    assert report["is_good"], report
    fresh = updating.snapshot(template_repository.render(LIBRARY))
    assert updating.snapshot(project) == {**fresh, **own}


def test_extras_of_one_s_own_are_merged_when_the_shipped_ones_go_and_come_back(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """Each time pyproject.toml is as if they had been added to a fresh library."""
    project = template_repository.project(LIBRARY, tmp_path / "project")
    add_extras(project)
    updating.commit_all(project)
    changes: list[dict[str, object]] = [
        {"example": False, "extras": []},
        {"example": True, "extras": ["ml"]},
        {"example": True, "extras": ["pandas", "ml"]},
    ]
    for number, answers in enumerate(changes):
        report = update_in_process.update(project, answers, ":current:")
        assert report["is_good"], report
        updating.commit_all(project)
        fresh = tmp_path / f"fresh{number}"
        shutil.copytree(template_repository.render({**LIBRARY, **answers}), fresh)
        add_extras(fresh)
        wanted = (fresh / "pyproject.toml").read_text(encoding="utf-8")
        assert (project / "pyproject.toml").read_text(encoding="utf-8") == wanted


def add_extras(project: Path) -> None:
    for name in ("geo", "maps"):
        words = ("scripts/add.py", "namespace", name, "--extra", name)
        projects.run(sys.executable, *words, cwd=project, PYTHONPATH=str(project / "src"))


def test_a_namespace_of_a_library_that_is_edited_stays_and_is_named(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    project = template_repository.project(LIBRARY, tmp_path / "project")
    name = "src/my_task_library/data/__init__.py"
    path = project / name
    path.write_text(path.read_text(encoding="utf-8") + "\nMINE = 1\n", encoding="utf-8")
    updating.commit_all(project)
    report = update_in_process.update(project, {"example": False, "extras": []}, ":current:")
    assert report["is_good"], report
    assert report["files"][name][0] == "yours"
    fresh = template_repository.render({**LIBRARY, "example": False})
    assert {*updating.snapshot(project)} == {*updating.snapshot(fresh), name}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_comes_and_goes(
    part: str, template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """By one command each, and the plugin is as if it had been chosen, or never been."""
    project = template_repository.project(PLUGIN, tmp_path / "project")
    # The step from one part to all is the same for each part.
    for extras in ([part], *([PARTS] if part == PARTS[0] else []), []):
        report = update_in_process.update(project, {"extras": extras}, ":current:")
        assert report["is_good"], report
        fresh = template_repository.render({**PLUGIN, "extras": extras})
        assert updating.snapshot(project) == updating.snapshot(fresh)
        updating.commit_all(project, "Changed")


def at_ends(*changes: dict[str, object]) -> list[object]:
    """Pair changes with the oldest and newest release; the gate runs each with one of them."""
    large = pytest.mark.large("updates")
    return [
        pytest.param(ref, change, marks=[] if at == number % len(ENDS) else large)
        for number, change in enumerate(changes)
        for at, ref in enumerate(ENDS)
    ]


@pytest.mark.parametrize(
    ("ref", "change"), at_ends({}, {"license": "Apache-2.0", "extras": ["postgres"]})
)
def test_an_old_pipeline_keeps_its_engine_and_what_was_made_of_it(
    ref: str, change: dict[str, object], template_repository: TemplateRepository, tmp_path: Path
) -> None:
    project = template_repository.project(PIPELINE, tmp_path / "project", ref)
    package = project / "src" / "my_data_project"
    deleted = package / "common" / "errors.py"
    deleted.unlink()
    edited = package / "common" / "settings.py"
    edited.write_text(edited.read_text(encoding="utf-8") + "\nMINE = 1\n", encoding="utf-8")
    (package / "common" / "warehouse.py").write_text("MINE = 2\n", encoding="utf-8")
    updating.commit_all(project)
    before = updating.snapshot(project)
    updating.update(project, change)
    assert engine(project) == "own"
    check_kept(project, before)
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not [line for line in metadata["dependencies"] if line.startswith("dlt")]
    extras = set(metadata["optional-dependencies"])
    assert extras == {"dev", *change.get("extras", [])}


@pytest.mark.parametrize(
    ("ref", "data"), at_ends({}, {"license": "Apache-2.0"}, {"example": False})
)
def test_an_old_pipeline_is_refreshed_without_a_word_about_its_engine(
    ref: str, data: dict[str, object], template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """Also when it is on the newest template already."""
    project = template_repository.project(PIPELINE, tmp_path / "project", ref)
    for _ in range(2):
        before = updating.snapshot(project)
        report = update_in_process.update(project, data, CURRENT, "--refresh")
        assert report["is_good"], report
        assert engine(project) == "own"
        after = updating.snapshot(project)
        kept = updating.kept_patterns()
        mine = {path for path in before if updating.is_seed(path, kept)}
        assert mine
        assert {path: after.get(path) for path in mine} == {path: before[path] for path in mine}
        assert not mine & report["files"].keys()
        updating.commit_all(project, "Updated")


def test_an_old_pipeline_gets_no_feature_that_its_engine_lacks(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    project = template_repository.project(
        {**PIPELINE, "features": []}, tmp_path / "project", OWN[-1]
    )
    report = update_in_process.update(project, {"features": ["docs"]})
    assert "no longer has docs for what this project keeps" in report["word"]
    assert git(project, "status", "--porcelain") == ""


def test_an_old_pipeline_gets_no_extra_that_only_dlt_has(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    project = template_repository.project(PIPELINE, tmp_path / "project", OWN[-1])
    with pytest.raises(ValueError, match="Invalid choice"):
        updating.update(project, {"extras": ["mysql"]})


def test_answers_of_an_old_pipeline_render_it_as_an_update_does(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """As the hooks do it, to compare: nothing of an engine that the project does not have."""
    old = template_repository.render(EVERYTHING, OWN[-1])
    data = yaml.safe_load((old / ANSWERS).read_text(encoding="utf-8"))
    rendered = tmp_path / "rendered"
    copier.run_copy(
        str(template_repository.path),
        rendered,
        data=data,
        vcs_ref=CURRENT,
        defaults=True,
        quiet=True,
    )
    assert engine(rendered) == "own"
    kept = updating.kept_patterns()
    assert not [path for path in updating.snapshot(rendered) if updating.is_seed(path, kept)]


def test_without_its_example_a_pipeline_has_nothing_to_delete(
    template_repository: TemplateRepository,
) -> None:
    given = set(updating.snapshot(template_repository.render(PIPELINE)))
    bare = set(updating.snapshot(template_repository.render({**PIPELINE, "example": False})))
    assert bare < given
    assert {path.rpartition("/")[2] for path in given - bare} >= {"demo.py", "test_demo.py"}
    assert all("demo" in path or "/sql/" in path or "tests/data/" in path for path in given - bare)


def test_the_example_is_left_behind_by_the_command_of_the_readme(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """Then the project is as one that never had an example."""
    project = template_repository.project(PIPELINE, tmp_path / "project")
    fresh = updating.snapshot(template_repository.render({**PIPELINE, "example": False}))
    section = (project / "README.md").read_text(encoding="utf-8").partition("remove the example")[2]
    command = section.split("```")[1].removeprefix("bash").strip()
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    task = settings["tool"]["poe"]["tasks"]["update"]["cmd"]
    command = command.replace("uv run poe update", task)
    words = shlex.split(re.sub(r"\$\{?TEMPLATE(:-[^}]*)?\}?", str(updating.ROOT), command))
    printed = updating.run(sys.executable, *words[-3:], "-r", ":current:", cwd=project).stdout
    assert "can be refreshed" not in printed
    assert updating.snapshot(project) == fresh
