"""Answers files: hostile, old, newer than the template, and broken by hand."""

from __future__ import annotations

import posixpath
import re
import tomllib
import types
from typing import TYPE_CHECKING, Any

import edits
import hostile_answers
import jinja2
import pytest
import update_in_process
import updating
import yaml
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from updating import ANSWERS, CURRENT, HOSTILE, KINDS, git

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from updating import TemplateRepository

NASTY = [
    'Ann "Q" O\'Neil 🚀',
    'C:\\new "x" {{ 7*7 }}',
    "{% raw %} # not a comment: {# nor this #}",
    "'''\"\"\" \\N{DASH} \\u0041 %s $HOME `id`",
    "yes",
    "1.10",
    "null",
    "- [a, b]: {c: d} & *e !f | > @g",
    "Zoë Łukasz 数据 ‮"[:-1].strip(),
    "x" * 400 + " " + "y" * 90,
]
"""Lines that a careless template breaks on."""


# Kinds take turns: what an update does to text is the same for all. The gate takes one each.
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param(
            text,
            KINDS[number % len(KINDS)],
            marks=[] if number < len(KINDS) else [pytest.mark.large("updates")],
        )
        for number, text in enumerate(NASTY)
    ],
)
def test_hostile_text_survives_updates(
    text: str, kind: str, template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """It is recorded, written to pyproject.toml, and both again after an update."""
    data = {"project_kind": kind, "user_name": text, "project_description": text}
    project = template_repository.project(data, tmp_path / "project")
    newest = template_repository.variant()
    for _ in range(2):
        recorded = updating.answers(project)
        assert (recorded["user_name"], recorded["project_description"]) == (text, text)
        metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
        assert metadata["project"]["description"] == text
        assert metadata["project"]["authors"][0]["name"] == text
        updating.update(project, ref=newest)
        updating.commit_all(project)
    fresh = updating.snapshot(template_repository.render(data, newest))
    assert updating.snapshot(project) == fresh


def rewrite(project: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Edit the answers file by hand, against its own advice, and commit."""
    answers: dict[str, object] = updating.answers(project)
    change(answers)
    (project / ANSWERS).write_text(yaml.safe_dump(answers, allow_unicode=True), encoding="utf-8")
    updating.commit_all(project, "Edit the answers")


@pytest.mark.parametrize("kind", KINDS)
def test_question_that_is_gone(
    kind: str, template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """An answer to a question unknown today is dropped; nothing else changes."""
    data = {"project_kind": kind, **HOSTILE}
    project = template_repository.project(data, tmp_path / "project")
    rewrite(project, lambda answers: answers.update(favourite_colour="blue"))
    newest = template_repository.variant()
    updating.update(project, ref=newest)
    assert "favourite_colour" not in updating.answers(project)
    fresh = updating.snapshot(template_repository.render(data, newest))
    assert updating.snapshot(project) == fresh


# Questions that ask, offer or suggest something else for each kind; the others are the same
# for all, and take turns over them.
OF_A_KIND = (
    *("project_name", "project_description", "work_pool_type", "extras", "example", "features"),
)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        (name, kind)
        for number, name in enumerate(updating.questions())
        for kind in (KINDS if name in OF_A_KIND else [KINDS[number % len(KINDS)]])
        if name != "project_kind"
    ],
)
def test_question_that_is_new(
    question: str, kind: str, template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """An answers file without one of the questions gets the default, and it is recorded."""
    project = template_repository.project({"project_kind": kind}, tmp_path / "project")
    recorded = updating.answers(project)
    rewrite(project, lambda answers: answers.pop(question, None))
    newest = template_repository.variant()
    updating.update(project, ref=newest)
    assert updating.answers(project).get(question) == recorded.get(question)
    fresh = updating.snapshot(template_repository.render({"project_kind": kind}, newest))
    assert updating.snapshot(project) == fresh


BROKEN = [
    ("project_name", "-- nothing --"),
    ("package_name", "class"),
    ("package_name", None),
    ("project_description", "two\nlines"),
    ("user_name", ""),
    ("user_email", "nobody"),
    ("license", "GPL-9"),
    ("minimum_python", "2.7"),
    ("ci", "jenkins"),
    ("features", ["teleporter"]),
    ("project_kind", "spaceship"),
]
"""Answers that no prompt would have accepted."""


@pytest.mark.parametrize(("question", "value"), BROKEN)
def test_broken_answer_is_named(
    question: str, value: object, template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """The update stops before it changes anything, and says which answer to correct."""
    project = template_repository.project({}, tmp_path / "project")
    rewrite(project, lambda answers: answers.update({question: value}))
    before = updating.snapshot(project)
    with pytest.raises((ValueError, TypeError)) as error:
        updating.update(project, ref=template_repository.variant())
    assert question in str(error.value)
    assert updating.snapshot(project) == before
    assert git(project, "status", "--porcelain") == ""

    # `-d` is no way out, because Copier replays the old answers first. Taking the edit back is.
    git(project, "revert", "--no-edit", "HEAD")
    updating.update(project, ref=template_repository.variant())
    fresh = updating.snapshot(template_repository.render({}, CURRENT))
    assert updating.snapshot(project) == fresh


def test_renamed_question_keeps_its_answer(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """The way of docs/maintain.md to rename a question, without a migration."""
    new = template_repository.variant(
        edits.copier_yml(
            lambda text: (
                text.replace("\nuser_email:\n", "\ncontact:\n")
                .replace(
                    "  default: data-team@example.com\n",
                    "  default: \"{{ user_email | default('data-team@example.com') }}\"\n",
                )
                .replace("email_address(user_email)", "email_address(contact)")
            )
        ),
        edits.template("pyproject.toml", lambda text: text.replace("user_email", "contact")),
    )
    project = template_repository.project({"user_email": "us@acme.example"}, tmp_path / "project")
    before = (project / "pyproject.toml").read_text(encoding="utf-8")
    assert "us@acme.example" in before
    updating.update(project, ref=new)
    assert updating.answers(project)["contact"] == "us@acme.example"
    assert "user_email" not in updating.answers(project)
    assert (project / "pyproject.toml").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("name", "kind", "release", "update"),
    [
        ("materialx", "pipeline", "v0.1.0", update_in_process.update),
        ("requests", "pipeline", "v0.2.0", updating.update),
        ("skops", "pipeline", "v0.6.0", updating.update),
        ("pybabel", "library", "v0.6.0", updating.update),
        ("running", "library", "v0.2.0", update_in_process.update),
        ("typeguard", "plugin", "v0.5.0", update_in_process.update),
        ("test_add", "plugin", "v0.6.0", updating.update),
    ],
)
def test_a_name_that_new_projects_cannot_have_stays_with_an_old_one(
    name: str,
    kind: str,
    release: str,
    update: Callable[[Path], object],
    template_repository: TemplateRepository,
    tmp_path: Path,
) -> None:
    """Packages, a command, modules of the tests; and no old one can be renamed so."""
    data = {"project_kind": kind, "project_name": name}
    with pytest.raises(ValueError, match=f"type another, like my[-_]{name}"):
        template_repository.project(data, tmp_path / "new")
    project = template_repository.project(data, tmp_path / "project", release)
    recorded = updating.answers(project)
    with pytest.raises(ValueError, match=r"type another, like my[-_]click"):
        updating.update(project, {"project_name": "click"})
    update(project)
    answers = updating.answers(project)
    assert answers["_commit"] == CURRENT
    for question in ("project_name", "package_name"):
        assert answers[question] == recorded[question] == name


def test_update_py_changes_no_name_that_the_template_has_come_to_refuse(
    template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """Copier takes the default in place of a recorded answer that a validator refuses."""
    newest = template_repository.variant(
        edits.copier_yml(
            lambda text: text.replace(
                "{{ distribution_name(project_name) }}",
                "{{ 'type another.' if project_name == 'sales' }}",
            )
        )
    )
    project = template_repository.project({"project_name": "sales"}, tmp_path / "project")
    report = update_in_process.update(project, ref=newest)
    assert report["status"] == "refused", report
    assert report["word"] == (
        "project_name would be my-data-project, no longer sales: give it with -d project_name=…"
    )


def validators(text: str, names: str, conf: dict[str, str], **answers: str) -> Any:
    """Return the macros of a release's validators, with these answers."""
    environment = jinja2.Environment(
        extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
        loader=jinja2.DictLoader(
            {
                "includes/validators.jinja": text,
                "includes/names.jinja": names,
                "includes/recorded.jinja": (updating.ROOT / "includes/recorded.jinja").read_text(),
            }
        ),
    )
    environment.globals |= {"pathjoin": posixpath.join, **answers}
    environment.globals["_copier_conf"] = types.SimpleNamespace(data=conf)
    return environment.get_template("includes/validators.jinja").module


@pytest.mark.parametrize("release", updating.release_tags())
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_release_accepted_as_a_name_holds_for_its_projects(
    kind: str, release: str, template_repository: TemplateRepository
) -> None:
    """Of all names that are listed today, in the spellings that people use."""
    current = updating.ROOT / "includes"
    names = (current / "names.jinja").read_text(encoding="utf-8")
    text = (current / "validators.jinja").read_text(encoding="utf-8")
    words = {word for line in re.findall(r"'(.*)'", names) for word in line.split()}
    words |= {word.replace("_", mark) for word in words for mark in ("-", ".", "--")}
    words |= {word.capitalize() for word in words}
    answers = {"project_kind": kind, "engine": "dlt", "parts": "chosen", "package_name": "_"}
    old = validators(
        template_repository.file(release, "includes/validators.jinja"), names, {}, **answers
    )
    now = validators(text, names, {"_commit": release}, **answers)
    accepted = 0
    for word in sorted(words):
        for macro in ("distribution_name", "import_name"):
            if not getattr(old, macro)(word).strip():
                accepted += 1
                assert getattr(now, macro)(word).strip() == "", (macro, word)
    assert accepted > 100


@pytest.mark.parametrize("kind", KINDS)
def test_any_new_text_in_an_update_is_refused_or_arrives_exactly(
    kind: str,
    template_repository: TemplateRepository,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    """Refused, the project is as it was; taken, it is as if it had been made so."""
    project = template_repository.project({"project_kind": kind}, tmp_path / "project")
    start = git(project, "rev-parse", "HEAD").strip()
    large = "answers" in pytestconfig.getoption("--large")

    @settings(
        max_examples=60 if large else 1,
        derandomize=not large,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(st.one_of(hostile_answers.good_texts(), hostile_answers.texts()))
    @example(text="{{ 7*7 }} \\ \"'''")
    @example(text="two\nlines")
    def arrives(text: str) -> None:
        git(project, "reset", "--hard", "--quiet", start)
        git(project, "clean", "-fdq")
        data = {"project_description": text}
        refused = ""
        try:
            updating.update(project, data)
        except ValueError as error:
            refused = str(error)
        if refused:
            assert "for question 'project_description': type" in refused
            assert git(project, "status", "--porcelain") == ""
            return
        assert updating.unmerged(project) == set()
        assert list(project.rglob("*.rej")) == []
        assert updating.answers(project)["project_description"] == text
        hostile_answers.check_syntax(project)
        written = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
        assert written["project"]["description"] == text
        assert hostile_answers.core_metadata(project)["Summary"] == text

    arrives()
