"""All combinations of answers give projects with correct files; nothing is run."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import linters
import projects
import pytest
import yaml
from projects import Answers, Render

sys.path.insert(0, str(projects.ROOT / "scripts"))
import names

TRUSTED_KEYS = {"_tasks", "_migrations", "_jinja_extensions", "_external_data"}


def test_nothing_can_ask_for_trust() -> None:
    assert TRUSTED_KEYS & projects.QUESTIONS.keys() == set()


def test_defaults_render_without_any_answer(render: Render) -> None:
    answers = yaml.safe_load((render() / ".copier-answers.yml").read_text())
    assert answers["project_name"] == "my-data-project"
    assert answers["package_name"] == "my_data_project"
    assert (render() / "src" / "my_data_project" / "flows" / "factory.py").is_file()


def test_the_smoke_test_of_pytest_copie(copie: object) -> None:
    result = copie.copy(extra_answers={"project_name": "smoke"})
    assert result.exception is None
    assert result.exit_code == 0
    assert (result.project_dir / "src" / "smoke" / "py.typed").is_file()


HOSTILE = {
    "user_name": """Ann "Q" O'Neil 🚀""",
    "project_description": r"""C:\new "x" {{ 7*7 }} {% raw %} ''' # : [a](b) <b>*""",
}


@pytest.mark.parametrize("kind", projects.KINDS)
@pytest.mark.parametrize("license_", projects.QUESTIONS["license"]["choices"])
def test_hostile_text_arrives_exactly(kind: str, license_: str, render: Render) -> None:
    project = render(project_kind=kind, license=license_, ci="gitlab", **HOSTILE)
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert metadata["description"] == HOSTILE["project_description"]
    assert metadata["authors"][0]["name"] == HOSTILE["user_name"]
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert {name: answers[name] for name in HOSTILE} == HOSTILE
    assert HOSTILE["user_name"] in (project / "LICENSE").read_text() or license_ == "Apache-2.0"
    linters.python(project)


GOOD = [
    {"project_name": "x"},
    {"project_name": "Sales.Forecast_2"},
    {"project_name": "data", "package_name": "acme_data"},
    {"package_name": "_private"},
    {"user_email": "a.b+c@xn--80ak6aa92e.com"},
    {"user_name": "李雷"},
    {"project_kind": "library", "project_name": "dlt"},  # installed by pipelines only
    {"user_name": "x" * 500},
]


@pytest.mark.parametrize("answers", GOOD, ids=projects.label)
def test_good_answers_are_taken(answers: Answers, render: Render) -> None:
    render(**answers)


BAD = [
    ({"project_name": ""}, "type letters, digits, - _ . only"),
    ({"project_name": "-x"}, "type letters, digits, - _ . only"),
    ({"project_name": "my project"}, "type letters, digits, - _ . only"),
    ({"project_name": "../evil"}, "type letters, digits, - _ . only"),
    ({"project_name": "abc\n"}, "type letters, digits, - _ . only"),
    ({"project_name": "x" * 61}, "type at most 60 characters; it has 61."),
    (
        {"project_name": "Prefect"},
        "like my-prefect; the project itself uses prefect.",
    ),
    ({"project_name": "docker"}, "type another, like my-docker; the project itself uses docker."),
    ({"project_name": "dlt"}, "type another, like my-dlt; the project itself uses dlt."),
    ({"project_name": "pytest--cov"}, "the project itself uses pytest--cov."),
    ({"project_name": "python"}, "the project's environment has a command python."),
    ({"project_name": "1a"}, "type another, like my-1a; no package can be called 1a."),
    ({"project_name": "con"}, "for a device."),
    ({"package_name": "class"}, "is a keyword of Python."),
    ({"package_name": "match"}, "is a keyword of Python."),
    ({"package_name": "none"}, "is a keyword of Python."),
    ({"package_name": "json"}, "json is a module of Python's standard library."),
    ({"package_name": "prefect"}, "the project itself uses prefect."),
    ({"package_name": "tests"}, "the project itself uses tests."),
    ({"package_name": "nul"}, "for a device."),
    ({"package_name": "1a"}, "type lowercase letters, digits and _ only"),
    ({"package_name": "a-b"}, "type lowercase letters, digits and _ only"),
    ({"package_name": "a.b"}, "type lowercase letters, digits and _ only"),
    ({"package_name": "Sales"}, "type it in lowercase"),
    ({"package_name": "ä"}, "type lowercase letters, digits and _ only"),
    ({"package_name": "abc\n"}, "type lowercase letters, digits and _ only"),
    ({"package_name": "__"}, "underscores"),
    ({"package_name": "x" * 61}, "type at most 60 characters; it has 61."),
    ({"user_name": ""}, "type one line; it is empty."),
    ({"user_name": " Ann"}, "type it without blanks at the ends"),
    ({"user_name": "Ann\nMallory"}, "a line break, a control character"),
    ({"user_name": "Ann\x7f"}, "a line break, a control character"),
    ({"user_name": "Ann\u2028Mallory"}, "a line break, a control character"),
    ({"user_name": "Ann\u202egnp.exe"}, "invisible direction mark"),
    ({"user_name": "x" * 501}, "type at most 500 characters; it has 501."),
    ({"project_description": "two\nlines"}, "a line break, a control character"),
    ({"user_email": "nobody"}, "is not an e-mail address"),
    ({"user_email": "a..b@c"}, "is not an e-mail address"),
    ({"user_email": "a@-b"}, "is not an e-mail address"),
    ({"user_email": "a@b\n"}, "a line break, a control character"),
    ({"projct_name": "x"}, 'leave out "projct_name"; it is not a question of this template'),
    ({"pipeline": "."}, "leave it out; pipeline follows from project_kind."),
    ({"extras": ["dask"], "project_kind": "plugin"}, "Invalid choice"),
    ({"project_kind": "notebook"}, "Invalid choice"),
    ({"extras": ["oracle"]}, "Invalid choice"),
    ({"ci": "jenkins"}, "Invalid choice"),
]


@pytest.mark.parametrize(("answers", "message"), BAD, ids=[repr(bad) for bad, _ in BAD])
def test_bad_answers_are_refused_in_one_sentence(
    answers: Answers, message: str, template: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"error for question|Invalid choice for") as caught:
        projects.render(template, tmp_path / "project", answers)
    assert message in str(caught.value)
    assert not (tmp_path / "project").exists()


def test_names_are_what_the_script_writes() -> None:
    """Update them with `uv run scripts/names.py`."""
    lists = names.read()
    assert names.write(lists) == names.FILE.read_text(encoding="utf-8")
    before = {*lists["python_since"]}
    names.of_python(lists, sys.executable)
    assert {*lists["python_since"]} == before


@pytest.mark.parametrize("kind", projects.KINDS)
def test_names_have_what_a_project_requires_and_imports(kind: str, render: Render) -> None:
    lists = names.read()
    known = {
        *(name for group in ("standard_library", "installed", "beside") for name in lists[group]),
        *lists["python_since"],
        *(name for group in ("installed_since", "beside_since") for name in lists[group][kind]),
        *(lists["installed_with_dlt"] if kind == "pipeline" else []),
    }
    pools = projects.choices(projects.questions()["work_pool_type"], kind)
    for pool in pools or [None]:
        project = render(
            project_kind=kind,
            extras=projects.choices(projects.questions()["extras"], kind),
            features=projects.choices(projects.questions()["features"], kind),
            **({"work_pool_type": pool} if pool else {}),
        )
        required = names.requirements(project)
        imported = {
            module.partition(".")[0]
            for path in project.rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0)
            for module in (
                [node.module]
                if isinstance(node, ast.ImportFrom)
                else [one.name for one in node.names]
            )
        }
        own = {path.name for path in (project / "src").iterdir()}
        assert (required | imported) - known - own - {"__future__"} == set()
        assert names.beside(project) <= known


@pytest.mark.parametrize("version", ["9.18.0"])
def test_the_oldest_copier_renders_the_same(
    version: str, render: Render, template: Path, tmp_path: Path
) -> None:
    assert projects.QUESTIONS["_min_copier_version"] == version
    target = tmp_path / "project"
    command = ["uvx", f"copier@{version}", "copy", "--defaults", "--quiet"]
    projects.run(*command, template, target, cwd=tmp_path)
    newest = render()
    assert [path.relative_to(target) for path in projects.files(target)] == [
        path.relative_to(newest) for path in projects.files(newest)
    ]
    for path in projects.files(target):
        assert path.read_bytes() == (newest / path.relative_to(target)).read_bytes()
