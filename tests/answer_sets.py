"""The choices in `copier.yml`, and a few projects that cover all of them.

The rendering tests, the real runs, the README's table and CI all use this list. A choice added to
`copier.yml` is covered without a change here.
"""

from __future__ import annotations

from typing import Any

import allpairspy
import projects
from projects import Answers

PYTHONS = ("3.11", "3.12", "3.13")
RUN_ON = "python"
"""Key of a row that is no answer: the Python that its project is run on."""

NAMES = (
    "",
    "x",
    "Quarterly.Forecast-and_actuals-warehouse",
    "quarterly-forecast-and-actuals-warehouse-of-the-sales-region",
)
"""Project names of every length; the empty one leaves the question at its default."""

CODE = ("extras", "example")
"""Questions whose answer changes a project's code; others change single files."""
HEAVY = ("mssql", "snowflake", "bigquery", "redshift", "databricks", "clickhouse", "motherduck")
"""Extras that change dependencies only, and install much: large runs have them, the gate locks
them."""


def options(kind: str) -> dict[str, list[Any]]:
    """List the possible answers to each question of a kind.

    Args:
        kind: The kind of project.

    Returns:
        The values of each question with choices; one entry for each choice of a multiselect,
        named `question:choice`, with the values True and False.
    """
    found: dict[str, list[Any]] = {}
    for name, details in projects.questions().items():
        listed = projects.choices(details, kind)
        if name == "project_kind" or not listed:
            continue
        if details.get("multiselect"):
            found |= {f"{name}:{choice}": [False, True] for choice in listed}
        else:
            found[name] = listed
    return found


def answers(kind: str, row: dict[str, Any]) -> Answers:
    """Turn a row of options into answers, with lists for multiselect questions.

    Args:
        kind: The kind of project.
        row: A value for each option.

    Returns:
        The answers, including `python`.
    """
    given: Answers = {"project_kind": kind}
    for name, value in row.items():
        question, _, choice = name.partition(":")
        if choice:
            given.setdefault(question, [])
            given[question] += [choice] if value else []
        elif value != "":
            given[question] = value
    return given


def singles(kind: str) -> list[Answers]:
    """Return the defaults, and the defaults with each single choice."""
    rows: list[Answers] = [{"project_kind": kind}]
    for name, listed in options(kind).items():
        question, _, choice = name.partition(":")
        values = [[choice]] if choice else listed
        rows += [{"project_kind": kind, question: value} for value in values]
    return rows


def covering(kind: str, parameters: dict[str, list[Any]]) -> list[Answers]:
    """Return a few rows in which each value of a parameter meets each value of another."""

    def fits(values: list[Any]) -> bool:
        row = dict(zip(parameters, values, strict=False))
        return row.get(RUN_ON, "9") >= row.get("minimum_python", "0")

    pairs = allpairspy.AllPairs(list(parameters.values()), filter_func=fits)
    return [answers(kind, dict(zip(parameters, row, strict=True))) for row in pairs]


def pairs(kind: str) -> list[Answers]:
    """Return projects in which each choice meets each other one."""
    parameters = {**options(kind), "project_name": list(NAMES)}
    return covering(kind, parameters)


def live(kind: str, *, everything: bool) -> list[Answers]:
    """Return the projects that are synchronised, checked, tested and built.

    Args:
        kind: The kind of project.
        everything: Whether each choice has to meet each other one and each Python; otherwise,
            each choice that changes code is on once and off once.

    Returns:
        The answers; `python` is the Python to use.
    """
    parameters = options(kind)
    if everything:
        parameters["project_name"] = list(NAMES)
        return covering(kind, {**parameters, RUN_ON: list(PYTHONS)})
    code = {
        name: values
        for name, values in parameters.items()
        if name.split(":")[0] in CODE and name.split(":")[-1] not in HEAVY
    }
    # None and all, so that each choice is on once and off once; the large run has pairs.
    ends = [{name: values[at] for name, values in code.items()} for at in (0, -1)]
    if not code:
        del ends[1:]
    pools = parameters.get("work_pool_type", [])
    features = projects.choices(projects.questions()["features"])
    found = []
    # The other questions alternate over the kinds, so that each Python and name length occurs.
    for number, end in enumerate(ends, 2 * projects.KINDS.index(kind)):
        name = NAMES[-number % len(NAMES)]
        found.append(
            {
                **answers(kind, end),
                RUN_ON: PYTHONS[number % len(PYTHONS)],
                **({"work_pool_type": pools[number % len(pools)]} if pools else {}),
                **({"project_name": name} if name else {}),
                # All features, which change single files, or none.
                "features": [] if number % 2 else features,
            }
        )
    return found


def rows() -> list[Answers]:
    """Return the projects that each gate renders and checks without running them."""
    return [row for kind in projects.KINDS for row in ({"project_kind": kind}, *pairs(kind))]


def more_rows() -> list[Answers]:
    """Return projects with one choice more than the defaults, for large runs; pairs cover them."""
    return [row for kind in projects.KINDS for row in singles(kind)[1:]]
