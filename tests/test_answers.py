"""For any answer: an error of one complete sentence, or a correct project.

`hostile_answers.py` has the answers and the checks. The gate takes the same examples each time;
`--large answers` takes many more, and new ones each time.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import hostile_answers
import projects
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from projects import Answers, Render

if TYPE_CHECKING:
    from environments import Environments

SENTENCE = re.compile(r"Validation error for question '(\w+)': ((?:type|leave) [^\n]+; [^\n]+\.)")


@pytest.fixture(scope="session")
def reduced(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template without files that contain no text answer: renders in a quarter of the time."""
    return hostile_answers.reduce_template(
        template, tmp_path_factory.mktemp("reduced") / "template"
    )


@pytest.fixture
def examples(pytestconfig: pytest.Config) -> Callable[[int], settings]:
    """Settings for the number of examples: thirty times as many in the large run."""
    large = "answers" in pytestconfig.getoption("--large")

    def count(gate: int) -> settings:
        return settings(
            max_examples=gate * 30 if large else gate,
            derandomize=not large,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, *([Phase.shrink] if large else [])],
        )

    return count


def outcome(template: Path, answers: Answers) -> Path | Exception:
    """Render in a new folder; nothing may be written outside of the project."""
    folder = Path(tempfile.mkdtemp(prefix="answers-"))
    try:
        project = projects.render(template, folder / "project", answers)
    except Exception as error:
        assert list(folder.iterdir()) == [], "a refused answer left something behind"
        folder.rmdir()
        return error
    assert list(folder.iterdir()) == [project]
    return project


def check(template: Path, answers: Answers) -> None:
    """Assert that answers are refused with a sentence, or give a correct project."""
    match outcome(template, answers):
        case Path() as project:
            hostile_answers.check_syntax(project)
            hostile_answers.check_texts(project, answers)
            shutil.rmtree(project.parent)
        case ValueError() as error:
            assert SENTENCE.fullmatch(str(error)), error
        case error:
            raise error


@pytest.mark.parametrize("kind", projects.KINDS)
def test_every_surprise_is_refused_or_arrives_exactly(kind: str, reduced: Path) -> None:
    at = projects.KINDS.index(kind)
    for text in hostile_answers.SURPRISES[at :: len(projects.KINDS)]:
        check(reduced, {"project_kind": kind, "project_description": text, "user_name": text})


@pytest.mark.parametrize("question", ["project_name", "package_name", "user_email"])
def test_every_surprise_as_a_name_or_address(question: str, reduced: Path) -> None:
    for text in hostile_answers.SURPRISES:
        check(reduced, {question: text})


@pytest.mark.parametrize("kind", projects.KINDS)
def test_any_text_is_refused_or_arrives_exactly(
    kind: str, reduced: Path, examples: Callable[[int], settings]
) -> None:
    texts = st.fixed_dictionaries(
        {},
        optional={
            "project_description": hostile_answers.good_texts(),
            "user_name": hostile_answers.good_texts(),
            "user_email": hostile_answers.emails().filter(lambda text: "@" in text),
        },
    )

    @examples(10)
    @given(hostile_answers.chosen(kind), texts)
    def arrives(answers: Answers, text: Answers) -> None:
        check(reduced, {**answers, **text})

    arrives()


@pytest.mark.parametrize("question", [*hostile_answers.TEXT_QUESTIONS, "package_name"])
def test_any_text_to_one_question(
    question: str, reduced: Path, examples: Callable[[int], settings]
) -> None:
    of_names = hostile_answers.names() if question.endswith("_name") else hostile_answers.emails()

    @examples(10)
    @given(st.one_of(hostile_answers.texts(), of_names))
    def is_safe(text: str) -> None:
        check(reduced, {question: text})

    is_safe()


KNOWN = [name for name in projects.QUESTIONS if name[0] != "_"]

COPIER_SAYS = re.compile(
    r"Invalid choice for '\w+': .* is not in \[.*\]"
    r"|Invalid answer .* to question .*"
    r"|Could not convert .* to string"
    r"|Not a YAML list: .*"
    r"|'\w+' object is not iterable",
    re.DOTALL,
)
"""What Copier says of a wrong type or choice, which no validator sees (docs/generate.md)."""


def test_any_type_of_answer_to_any_question(
    reduced: Path, examples: Callable[[int], settings]
) -> None:
    surprise = st.one_of(st.sampled_from(hostile_answers.WRONG_TYPES), hostile_answers.texts())

    @examples(30)
    @given(st.sampled_from(KNOWN), surprise)
    def is_safe(question: str, answer: object) -> None:
        match outcome(reduced, {question: answer}):
            case Path() as project:
                read = yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8"))
                if projects.QUESTIONS[question].get("multiselect"):
                    # Copier reads a text as a YAML list, and an empty text as no answer.
                    asked = yaml.safe_load(answer) if isinstance(answer, str) else answer
                    assert set(read[question]) == set(asked)
                elif projects.QUESTIONS[question]["type"] == "bool":
                    assert read[question] in {True, False}
                else:
                    assert read[question] == str(hostile_answers.decoded(answer))
                hostile_answers.check_syntax(project)
                hostile_answers.check_texts(project, {})
                shutil.rmtree(project.parent)
            case yaml.YAMLError() | UnicodeEncodeError():  # while Copier parses a list
                assert projects.QUESTIONS[question].get("multiselect")
            case error:
                said = str(error)
                if projects.QUESTIONS[question]["type"] == "yaml" and not SENTENCE.fullmatch(said):
                    with pytest.raises(yaml.YAMLError):  # Copier's words for it vary
                        yaml.safe_load(answer)
                    return
                assert SENTENCE.fullmatch(said) or COPIER_SAYS.fullmatch(said), repr(error)

    is_safe()


def test_any_unknown_question_is_refused(
    reduced: Path, examples: Callable[[int], settings]
) -> None:
    typos = st.sampled_from(["projct_name", "Project_name", "extra", "pipelines", "range", ""])
    unknown = st.one_of(typos, hostile_answers.texts()).filter(lambda text: text not in KNOWN)

    @examples(12)
    @given(unknown.filter(lambda name: not name.startswith("_") and name.isprintable()))
    def is_refused(name: str) -> None:
        error = outcome(reduced, {name: "x"})
        assert isinstance(error, ValueError)
        assert f"leave out {json.dumps(name)}; it is not a question of this template" in str(error)

    is_refused()


def test_the_template_knows_its_own_questions() -> None:
    text = (projects.ROOT / "includes" / "validators.jinja").read_text(encoding="utf-8")
    listed = {
        name: set(
            re.findall(r"\w+", re.search(rf"set {name} = \((.*?)\)\.split", text, re.DOTALL)[1])
        )
        for name in ("questions", "computed")
    }
    computed = {name for name in KNOWN if projects.QUESTIONS[name].get("when") is False}
    assert listed == {"questions": set(KNOWN) - computed, "computed": computed}
    for name in computed:
        told = projects.QUESTIONS[name]["validator"]
        assert re.fullmatch(rf"leave it out; {name} follows from \w+\.", told)


@pytest.mark.parametrize("kind", projects.KINDS)
def test_text_reaches_no_file_that_the_fast_renders_leave_out(
    kind: str, template: Path, reduced: Path, tmp_path: Path
) -> None:
    """So checking reduced renders is enough."""
    common = {"project_kind": kind, "features": ["docs", "container", "agents"], "ci": "gitlab"}
    common["package_name"] = "my_package"
    texts = [
        {name: f"{letter}{name.replace('_', '')}" for name in hostile_answers.TEXT_QUESTIONS}
        for letter in "ab"
    ]
    for text in texts:
        text["user_email"] += "@example.com"
    one, other = (
        projects.render(template, tmp_path / name, {**common, **text})
        for name, text in zip("ab", texts, strict=True)
    )
    part = projects.render(reduced, tmp_path / "part", {**common, **texts[0]})
    rendered = {path.relative_to(part): path.read_bytes() for path in hostile_answers.files(part)}
    for path in hostile_answers.files(one):
        name = path.relative_to(one)
        if name in rendered and name.name != ".copier-answers.yml":  # it has the template's path
            assert rendered[name] == path.read_bytes(), name
        elif name not in rendered:
            assert path.read_bytes() == (other / name).read_bytes(), name


NAMES: list[Answers] = [
    {"project_name": "a._b_.c-0"},
    {"project_name": "1e3", "package_name": "a"},
    {"project_name": "null", "package_name": "_x9"},
    {"project_name": "Prefect-Sales"},
    {"project_name": "x" * 60},
    *({"project_name": name} for name in ("tasks", "commands", "cli", "common", "demo", "errors")),
]
"""Names that are something else to YAML, Markdown, Docker, Prefect, or the project itself."""


@pytest.mark.parametrize(
    ("names", "kind"),
    list(zip(NAMES, itertools.cycle(projects.KINDS), strict=False)),
    ids=lambda value: value if isinstance(value, str) else projects.label(value),
)
def test_a_project_of_any_good_name_imports(
    names: Answers, kind: str, render: Render, environments: Environments, tmp_path: Path
) -> None:
    answers = {
        **names,
        "project_kind": kind,
        "project_description": "%(prog)s %d {0} <b> 100% \\",
        "features": ["docs", "container"],
        "work_pool_type": "docker",
    }
    project = render(**answers)
    hostile_answers.check_syntax(project)
    hostile_answers.check_texts(project, answers)
    projects.run("ruff", "check", "--no-cache", ".", cwd=project)
    projects.run("ruff", "format", "--no-cache", "--diff", ".", cwd=project)
    if kind == "plugin":  # a plugin does nothing without Prefect
        shutil.copytree(project, tmp_path / "project")
        environments.sync(tmp_path / "project")
        package = next((project / "src").iterdir()).name
        command = (tmp_path / "project", "python", "-m", package, "--help")
        help_ = projects.tool(*command, COLUMNS="200")
    elif kind == "library":  # a library has no command
        return
    else:
        help_ = hostile_answers.run_command(project, "--help")
    assert f"{names['project_name']}: %(prog)s %d {{0}} <b> 100% \\" in " ".join(help_.split())


def test_names_of_images_and_work_pools_are_taken_by_docker_and_prefect(render: Render) -> None:
    project = render(project_name="Prefect__A.-b", work_pool_type="docker", features=["container"])
    pool = yaml.safe_load((project / "prefect.yaml").read_text())["definitions"]["work_pool"]
    assert pool["job_variables"]["image"] == "{{ $PREFECT__A__B_IMAGE }}"
    image = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*:latest"  # grammar of Docker's references
    for file in project.glob("environments/*.env"):
        assert re.search(rf"(?m)^PREFECT__A__B_IMAGE={image}$", file.read_text())
    pools = re.findall(
        r"(?m)(?:_WORK_POOL=|_WORK_POOL:-|--pool )(?!\$|\")([\w.-]+)",
        "".join(text for _, text in hostile_answers.read_all(project)),
    )
    assert {re.sub("-(dev|staging|prod)$", "", pool) for pool in pools} == {"my-Prefect__A.-b"}


@pytest.mark.large("dependencies")
@pytest.mark.parametrize("kind", projects.KINDS)
def test_no_project_can_be_called_like_what_it_installs(kind: str, render: Render) -> None:
    """Not in the gate, because indirect dependencies change with each release."""
    project = render(
        project_kind=kind,
        extras=hostile_answers.values("extras", kind),
        features=["docs", "container"],
    )
    resolved = projects.run(
        *("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--all-extras"),
        *("--universal", "pyproject.toml"),
        cwd=project,
    )
    own = tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"]
    names = {re.sub(r"[-_.]+", "_", name) for name in re.findall(r"(?m)^[\w.-]+", resolved)}
    text = (projects.ROOT / "includes" / "names.jinja").read_text(encoding="utf-8")
    known = set(re.findall(r"\w+", text))
    assert names - known - {own.replace("-", "_")} == set()
