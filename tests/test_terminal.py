"""The questions and messages in a real terminal."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path

import hostile_answers
import jinja2
import projects
import pytest
import terminal
import yaml
from projects import Answers
from terminal import CLEAR, CONTROL_C, DOWN, ENTER, SPACE, UP

ASKED = [
    name
    for name, details in projects.QUESTIONS.items()
    if name[0] != "_" and details.get("when") is not False and details.get("ask") is not False
]
LOOKS = {
    "colour": {},
    "no colour": {"NO_COLOR": "1"},
    "dumb": {"TERM": "dumb"},
}


def flags(question: str, kind: str) -> list[str]:
    """Return the `-d` option in a question's help."""
    help_ = jinja2.Template(projects.QUESTIONS[question]["help"]).render(project_kind=kind)
    taught = re.fullmatch(r"[A-Z][^\n]*\? \((-d [^\n]+)\)", help_)
    assert taught, f"the help of {question} is not one question and its flag: {help_}"
    assert len(help_) <= 76, f"the help of {question} does not fit a line of 80 columns: {help_}"
    return shlex.split(taught[1])


@pytest.mark.parametrize("kind", projects.KINDS)
def test_the_flags_that_the_help_teaches_are_taken(
    kind: str, template: Path, tmp_path: Path
) -> None:
    taught: Answers = {}
    for question, details in projects.QUESTIONS.items():
        if question[0] == "_" or details.get("when") is False:
            continue
        flag, assignment = flags(question, kind)
        name, _, value = assignment.partition("=")
        assert (flag, name) == ("-d", question)
        if not (question == "extras" and not hostile_answers.values("extras", kind)):
            taught[name] = value
    project = projects.render(template, tmp_path / "project", {**taught, "project_kind": kind})
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers["features"] == ["container", "docs"]


def test_at_most_eight_questions_are_asked_each_in_a_line_or_two() -> None:
    assert len(ASKED) <= 8
    for question in ASKED:
        choices = str(projects.QUESTIONS[question].get("choices", ""))
        for label in re.findall(r"[\"']([^\"'\n]{20,})[\"']:", choices):
            assert len(label) <= 74, f"the choice does not fit a line of 80 columns: {label}"


@pytest.mark.parametrize(
    ("kind", "width", "look"),
    [("pipeline", 80, "colour"), ("library", 120, "no colour"), ("plugin", 80, "dumb")],
)
def test_answering_in_a_terminal(
    kind: str, width: int, look: str, template: Path, tmp_path: Path
) -> None:
    at = projects.KINDS.index(kind)
    shown = terminal.copier("copy", str(template), "here", cwd=tmp_path, width=width, **LOOKS[look])
    shown.wait_for("-d project_kind=")
    shown.type(DOWN * at + ENTER)
    shown.wait_for("-d project_name=")
    # For a bad name, an error is shown below the prompt, and it is asked again.
    shown.type(CLEAR + "json" + ENTER)
    refused = shown.wait_for("'project_name': type another, like my-js")
    assert "What is the project for" not in refused
    shown.type(CLEAR + "my-json" + ENTER)
    shown.wait_for("-d project_description=")
    shown.type(CLEAR + "two  words {{ 7*7 }}" + ENTER)
    shown.wait_for("-d user_name=")
    shown.type(CLEAR + ENTER)
    shown.wait_for("Validation error for question 'user_name': type one line; it is empt")
    shown.type("Ann 'Q'" + ENTER)
    shown.wait_for("-d user_email=")
    shown.type(ENTER)  # the default
    shown.wait_for("-d ci=")
    shown.type(DOWN + DOWN + UP + ENTER)
    if hostile_answers.values("extras", kind):
        shown.wait_for("-d 'extras=")
        shown.type(SPACE + ENTER)  # toggle the first one
    shown.wait_for("-d 'features=")
    shown.type(DOWN + SPACE + ENTER)
    assert shown.end() == 0

    screen = shown.text()
    lines = [line.strip() for line in screen.splitlines()]
    for question in ASKED:
        help_ = jinja2.Template(projects.QUESTIONS[question]["help"]).render(project_kind=kind)
        whole = sum(line.endswith(help_) for line in lines)
        assert whole == (question != "extras" or bool(hostile_answers.values("extras", kind))), (
            help_
        )
    answers = yaml.safe_load((tmp_path / "here" / ".copier-answers.yml").read_text())
    extras = hostile_answers.values("extras", kind)
    chosen = extras[1:] if kind == "library" else extras[:1]  # a library has all extras by default
    assert {name: answers.get(name) for name in ASKED} == {
        "project_kind": kind,
        "project_name": "my-json",
        "project_description": "two  words {{ 7*7 }}",
        "user_name": "Ann 'Q'",
        "user_email": "data-team@example.com",
        "ci": "gitlab",
        "extras": chosen if extras else None,
        "features": ["container", "docs", "agents"] if kind == "pipeline" else ["docs", "agents"],
    }
    message = screen[screen.index("my-json is ready in here") :]
    assert_unbroken(message, width)
    # Copier always colours its own lines; the message is plain text.
    assert "\x1b" not in shown.written.rpartition("is ready in")[2]


def assert_unbroken(message: str, width: int) -> None:
    """Assert that no line is as wide as the terminal: it would be broken inside a word."""
    for line in message.splitlines():
        assert len(line) < width or "uv run /" in line, f"broken: {line}"
    sentences = textwrap.dedent(message)
    assert "Next:\n\n  cd here\n" in sentences


def test_control_c_leaves_nothing(template: Path, tmp_path: Path) -> None:
    shown = terminal.copier("copy", str(template), "here", cwd=tmp_path)
    shown.wait_for("-d project_kind=")
    shown.type(ENTER)
    shown.wait_for("-d project_name=")
    shown.type("x" + CONTROL_C)
    assert shown.end() != 0
    assert "Traceback" not in shown.text()
    assert list(tmp_path.iterdir()) == []


def test_a_refused_flag_ends_with_the_sentence(template: Path, tmp_path: Path) -> None:
    shown = terminal.copier(
        "copy", "--defaults", "-d", "project_name=json", str(template), "here", cwd=tmp_path
    )
    assert shown.end() == 1
    last = shown.text()[shown.text().rindex("ValueError: ") :]
    assert last.replace("\n", "") == (
        "ValueError: Validation error for question 'project_name': "
        "type another, like my-json; no package can be called json."
    )
    assert list(tmp_path.iterdir()) == []
