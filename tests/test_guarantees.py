"""For each sentence of a pipeline's docs/guarantees.md there is a test."""

from __future__ import annotations

import re

import projects
from projects import Render

HERE = projects.ROOT / "tests"
LISTED = re.findall(
    r"^\| (?!Words)([^|-].+) \| (\w+) \|$", (HERE / "guarantees.md").read_text(), re.MULTILINE
)
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")


def sentences(page: str) -> list[str]:
    """Return the sentences and table rows of a page, without headings."""
    found: list[str] = []
    for part in re.split(r"\n\n|\n(?=\|)|\n(?=[-\d])", page):
        text = " ".join(part.split())
        if text.startswith("|"):
            found += [] if text.startswith("|---") else [text]
        elif not text.startswith("#"):
            found += SENTENCE.split(re.sub(r"^\d\. |^- ", "", text))
    return found


def test_each_sentence_is_held_by_a_test(render: Render) -> None:
    page = (render(extras=["dask"]) / "docs" / "guarantees.md").read_text()
    plain = " ".join(page.split())
    assert [words for words, _ in LISTED if words not in plain] == []
    held = {words for words, _ in LISTED}
    # Table headers, and sentences that only explain the previous one.
    explained = (
        *("| In the source", "| Fault", "| Source", "A test of the template", "New rows are read"),
        *("So the watermark", "The error names", "They may be on other", "Across machines"),
        *(
            "The rules about rows",
            "It is",
            "The schema also has",
            "dlt stages",
            "The table `_derived`",
        ),
        "The workers read the settings",
    )
    loose = [
        sentence
        for sentence in sentences(page)
        if not any(words in sentence for words in held)
        and not sentence.lstrip("*").startswith(explained)
    ]
    assert loose == []


def test_each_test_exists(render: Render) -> None:
    files = [*HERE.rglob("test_*.py"), *(render(extras=["dask"]) / "tests").glob("test_*.py")]
    there = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert [name for _, name in LISTED if name not in there] == []
