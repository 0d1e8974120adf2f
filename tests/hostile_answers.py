"""Answers that break templates, and the checks that a project with any of them must pass."""

from __future__ import annotations

import ast
import email
import email.utils
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import markdown
import projects
import yaml
from hatchling.metadata.core import ProjectMetadata
from hatchling.metadata.spec import construct_metadata_file_2_4
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from projects import Answers

TEXT_QUESTIONS = ("project_name", "project_description", "user_name", "user_email")
"""Questions whose answer is typed; `package_name` reaches every path and is not among them."""

SURPRISES = (
    # quotes and backslashes
    '"', "'", '"""', "'''", "`", "```", "\\", "\\\\", '\\"', r"\n", r"\u0041", r"\N{DASH}", '"}',
    "\u2019",
    # Jinja
    "{{ 7*7 }}", "{{", "}}", "{% raw %}", "{% endraw %}", "{#", "#}", "{{ _copier_conf }}",
    "${{ github.token }}",
    # YAML
    ": ", " #", "- ", "? ", "&a", "*a", "!!python/object:os.system", "%YAML", "@", "|", ">",
    "---", "...", "<<",
    "null", "~", "true", "No", "on", "1e3", "0x1F", "1_000", "12:30:45", "2024-01-01", ".inf", "=",
    # TOML, INI, shell, format strings
    "]]", "[a]", "a = 1", "$HOME", "$(id)", "`id`", "; rm -rf /", "&& id", "%s", "%(prog)s",
    "%(prog)", "{0}", "%",
    # Markdown, HTML
    "# a", "+ a", "* a", "- a", "1. a", "1) a", "0. ", "> a", "===", "***", "~~~", "~~a~~", "_a_",
    "__a__", "a_b_c",
    "[a](b)", "![a](b)", "[a]: b", "[^1]", "<b>", "</p>", "<!--", "-->", "<http://a.b>",
    "http://a.b", "www.a.b",
    "&amp;", "&#42;", "&lt", "| a | b |", "!!! note", "??? a", ":::", "{: .a }", "{.a}", "$a$",
    ":smile:", "\\*", "*[a]: b",
    # paths, names
    "../x", "/x", "C:\\x", "CON", "nul.txt", "a/b", ".", "..", "-", "-x", "--help", "x" * 61,
    "x.", "x..y", "a._b_.c",
    "class", "match", "None", "json", "prefect", "Prefect", "tests", "python", "activate",
    "pytest", "sqlalchemy",
    # control characters and line breaks
    "\n", "\r", "\r\n", "\t", "\0", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u2029", "\x0b",
    "\x0c", "\x1c",
    # invisible, right to left, wide, joined, broken
    "\u200b", "\u200d", "\u200e", "\u200f", "\u202e", "\u2066", "\u2060", "\xad", "\ufeff",
    "\xa0", "\u3000",
    "שלום", "مرحبا", "李雷", "🚀", "👩‍🔬", "e\u0301", "\U0001fffe", "\ufffe", "\ud800", "\udc80",
    "Ω", "ﬁ",
    # addresses
    "a@b", "a..b@c.d", ".a@b.c", "a.@b.c", "a@-b", "a@b-.c", "a@b..c", '"a b"@c', "a*b*c@d.e",
    "_a_@b.c", "a@b,c@d",
    # lengths and blanks
    "", " ", " a", "a ", "a  b", "x", "x" * 500, "x" * 501, "a" * 64 + "@b.c",
)  # fmt: skip

WRONG_TYPES: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 1.5, float("inf"),
    [], ["a"], [["a"]], [None], {}, {"a": "b"}, b"a",
)  # fmt: skip

CHARACTERS = st.characters(exclude_categories=())  # everything, lone surrogates too


def texts() -> st.SearchStrategy[str]:
    """Return any text, mostly from dangerous parts."""
    surprise = st.sampled_from(SURPRISES)
    some = st.one_of(surprise, st.text(CHARACTERS, max_size=20), st.sampled_from(" .-_1a"))
    return st.one_of(surprise, st.lists(some, min_size=1, max_size=5).map("".join))


def printable(text: str) -> bool:
    """Return whether the validators accept a text."""
    return text == text.strip() and all(
        c.isprintable() or c in " \u200b\u200d\u200e\u200f\xad\u2060" for c in text
    )


def good_texts() -> st.SearchStrategy[str]:
    """Return accepted texts, so that most examples reach the files."""
    return texts().filter(lambda text: printable(text) and 0 < len(text) <= 500)


def names() -> st.SearchStrategy[str]:
    """Return valid and almost valid names."""
    letters = st.text("abzABZ019._-", min_size=1, max_size=12)
    return st.one_of(letters, st.sampled_from(SURPRISES))


def emails() -> st.SearchStrategy[str]:
    """Return valid and almost valid e-mail addresses."""
    local = st.text("aZ0.!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=8)
    domain = st.text("aZ0.-", min_size=1, max_size=8)
    return st.one_of(st.builds("{}@{}".format, local, domain), st.sampled_from(SURPRISES))


def values(question: str, kind: str) -> list[str]:
    """Return the valid answers to a question with choices, for one kind of project."""
    details = projects.QUESTIONS[question]
    if question == "engine":  # a new project has only one
        return ["dlt"] if kind == "pipeline" else []
    if question == "parts":
        return ["chosen"] if kind == "plugin" else []
    if projects.rendered(str(details.get("when", True)), kind) == "False":
        return []
    choices = details["choices"]
    if isinstance(choices, str):
        choices = yaml.safe_load(projects.rendered(choices, kind))
    return list(choices.values()) if isinstance(choices, dict) else choices


def chosen(kind: str) -> st.SearchStrategy[Answers]:
    """Return valid answers to all questions with choices."""
    every: dict[str, st.SearchStrategy[object]] = {"project_kind": st.just(kind)}
    for question, details in projects.QUESTIONS.items():
        if question == "project_kind" or question[0] == "_" or "choices" not in details:
            continue
        if not (known := values(question, kind)):
            continue
        one = st.sampled_from(known)
        many = st.lists(one, unique=True)
        every[question] = many if details.get("multiselect") else one
    return st.fixed_dictionaries({"project_kind": every.pop("project_kind")}, optional=every)


def read_all(project: Path) -> Iterator[tuple[Path, str]]:
    """Read all files of a project."""
    for path in files(project):
        yield path, path.read_text(encoding="utf-8")


def files(folder: Path) -> list[Path]:
    """Return all files below a folder, except git's."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    )


def check_syntax(project: Path) -> None:
    """Assert that each file is valid in its language."""
    scripts = []
    for path, text in read_all(project):
        name = path.relative_to(project).as_posix()
        match path.suffix:
            case ".py":
                compile(text, name, "exec", ast.PyCF_ONLY_AST)
            case ".toml":
                tomllib.loads(text)
            case ".yml" | ".yaml":
                list(yaml.compose_all(text, yaml.CSafeLoader))
            case ".json":
                json.loads(text)
            case ".sh":
                scripts.append(text)
            case ".md":
                scripts += [
                    token.content
                    for token in COMMONMARK.parse(text)
                    if token.type == "fence" and token.info == "bash"
                ]
    check_shell("\n".join(scripts))


COMMONMARK = MarkdownIt("commonmark").enable(["table", "strikethrough"])
"""Markdown as GitHub and PyPI read it."""


def check_shell(script: str) -> None:
    """Assert that bash parses a script."""
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-n"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), script


def check_markdown(text: str, heading: str, paragraph: str) -> None:
    """Assert that a page begins with exactly this heading and paragraph, in both dialects."""
    tokens = COMMONMARK.parse(text)
    kinds = [token.type for token in tokens[:6]]
    assert kinds == [
        "heading_open", "inline", "heading_close", "paragraph_open", "inline", "paragraph_close",
    ], text[:400]  # fmt: skip
    for token, expected in ((tokens[1], heading), (tokens[4], paragraph)):
        inside = [(child.type, child.content) for child in token.children or []]
        assert inside == [("text", expected)], text[:400]
    rendered = markdown.markdown(text, extensions=["admonition", "fenced_code"])
    first, second = rendered.split("\n")[:2]
    assert html.unescape(first) == f"<h1>{heading}</h1>", text[:400]
    assert html.unescape(second) == f"<p>{paragraph}</p>", text[:400]
    for tag in ("<h1", "<script", "<b>"):
        assert rendered.count(tag) == (tag == "<h1"), text[:400]


def core_metadata(project: Path) -> email.message.Message:
    """Return the metadata that a build writes into the wheel."""
    config = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    config["project"]["version"] = "1.0"  # the build takes the version from git
    config["project"]["dynamic"] = []
    metadata = ProjectMetadata(str(project), None, config)
    return email.message_from_string(construct_metadata_file_2_4(metadata))


def check_texts(project: Path, answers: Answers) -> None:
    """Assert that the texts are unchanged in all places."""
    answered: dict[str, Any] = yaml.safe_load(
        (project / ".copier-answers.yml").read_text(encoding="utf-8")
    )
    name, description = answered["project_name"], answered["project_description"]
    author, address = answered["user_name"], answered["user_email"]
    for question, answer in answers.items():
        if question in TEXT_QUESTIONS:
            assert answered[question] == answer

    declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert declared["name"] == name
    assert declared["description"] == description
    assert declared["authors"] == [{"name": author, "email": address}]
    has_users = answered["project_kind"] == "pipeline" or "conventions" in answered["extras"]
    command = {name: f"{answered['package_name']}.cli:main"} if has_users else None
    assert declared.get("scripts") == command

    metadata = core_metadata(project)
    assert metadata.defects == []
    assert metadata["Name"] == name
    assert metadata["Summary"] == description
    # In a name without quotes, several spaces may be read back as one.
    shown = re.sub(" +", " ", author)
    ((read, address_read),) = email.utils.getaddresses([metadata["Author-email"]])
    assert (re.sub(" +", " ", read), address_read) == (shown, address)

    licence = (project / "LICENSE").read_text(encoding="utf-8")
    if answered["license"] != "Apache-2.0":
        assert f"Copyright (c) {author}" in licence.split("\n")
    check_markdown((project / "README.md").read_text(encoding="utf-8"), name, description)
    if (site := project / "mkdocs.yml").is_file():
        read = yaml.safe_load(site.read_text(encoding="utf-8"))
        assert (read["site_name"], read["site_description"]) == (name, description)
        index = (project / "docs" / "index.md").read_text(encoding="utf-8")
        check_markdown(index, name, description)
    if (security := project / "SECURITY.md").is_file():
        shown = COMMONMARK.parse(security.read_text(encoding="utf-8"))[7]
        assert [child.type for child in shown.children or []].count("text") == len(
            [child for child in shown.children or [] if child.type != "softbreak"]
        )
        assert f"Write to {address} with" in "".join(
            child.content for child in shown.children or []
        )
    if (deployments := project / "prefect.yaml").is_file():
        assert yaml.safe_load(deployments.read_text(encoding="utf-8"))["name"] == name


REACHES = (
    *TEXT_QUESTIONS,
    "work_pool",
    "image_name",
    "system_",
    "class_prefix",
    "{% include",
    "_copier_answers",
)
"""A file that holds none of these words holds no text that anyone typed."""


def reduce_template(template: Path, target: Path) -> Path:
    """Copy the template without files that contain no text answer, because it renders faster."""
    shutil.copytree(template, target)
    for path in files(target / "template"):
        text = path.read_text(encoding="utf-8")
        if not any(word in text for word in REACHES):
            path.unlink()
    return target


def decoded(answer: object) -> object:
    """Decode bytes as Copier does; return anything else unchanged."""
    return answer.decode() if isinstance(answer, bytes) else answer


def run_command(project: Path, *words: str) -> str:
    """Run the project's command as if it were installed without dependencies."""
    metadata = core_metadata(project)
    site = project.parent / f"{project.name}.site"
    installed = site / f"{metadata['Name'].replace('-', '_')}-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(metadata.as_string(), encoding="utf-8")
    (package,) = (project / "src").iterdir()
    return projects.run(
        *(
            sys.executable,
            "-c",
            f"import sys; from {package.name} import cli; sys.exit(cli.main())",
        ),
        *words,
        cwd=project.parent,
        PYTHONPATH=f"{project / 'src'}{os.pathsep}{site}",
        COLUMNS="200",
    )
