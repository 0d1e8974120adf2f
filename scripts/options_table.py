"""Write the README's table of options from `copier.yml`: `python scripts/options_table.py`.

Needs PyYAML and Jinja (`uv run`). A test fails if the table is out of date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import projects  # noqa: E402 -- where the tests read the questions

BEGIN, END = "<!-- options -->\n", "<!-- /options -->"
DEFAULTS = {
    "package_name": "from `project_name`",
    "project_description": "one line, by kind",
    "folder": "the top",
}
"""Defaults that are computed, or too long for a table."""


def code(values: list[str]) -> str:
    """Return values as code, separated by commas."""
    return ", ".join(f"`{value}`" for value in values)


def by_kind(kinds: dict[str, list[str]]) -> str:
    """Return values by kind, or once if they are the same for all kinds."""
    if len({tuple(values) for values in kinds.values()}) == 1:
        return code(next(iter(kinds.values())))
    groups: dict[str, list[str]] = {}
    for kind, values in kinds.items():
        groups.setdefault(code(values) or "none", []).append(kind)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in groups.items())


def default(name: str, details: dict[str, object]) -> str:
    """Return a question's default for the table."""
    if name in DEFAULTS:
        return DEFAULTS[name]
    kinds = {}
    for kind in asked_of(details):
        answer = yaml.safe_load(projects.rendered(str(details["default"]), kind))
        kinds[kind] = answer if isinstance(answer, list) else [str(answer)]
    return by_kind(kinds)


def asked_of(details: dict[str, object]) -> list[str]:
    """Return the kinds that have a question."""
    when = str(details.get("when", True))
    return [kind for kind in projects.KINDS if projects.rendered(when, kind) == "True"]


def row(name: str, details: dict[str, object]) -> str:
    """Return a question's row of the table."""
    kinds = asked_of(details)
    choices = {kind: [str(one) for one in projects.choices(details, kind)] for kind in kinds}
    text = re.sub(r" \(-d .*\)$", "", str(details["help"]))
    only = "" if kinds == projects.KINDS else f" ({', '.join(kinds)})"
    return f"| `{name}`{only} | {default(name, details)} | {by_kind(choices)} | {text} |"


def table() -> str:
    """Return the table of all questions in their order."""
    head = "| Name | Default | Choices | |\n|---|---|---|---|\n"
    rows = [row(name, details) for name, details in projects.questions().items()]
    return head + "\n".join(rows) + "\n"


def insert(text: str) -> str:
    """Return a document with the new table between its marks."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(insert(readme.read_text(encoding="utf-8")), encoding="utf-8")
