"""Quality rules, as SQL: on rows before they are published, and on tables in the warehouse.

The SQL is written in DuckDB's dialect, which sqlglot translates into the warehouse's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp

from . import errors, extraction, failures, rules

if TYPE_CHECKING:
    from .extraction import Extraction
    from .loading import Receipt
    from .table import Table
    from .warehouse import Warehouse

Query = Callable[[str], list[tuple[Any, ...]]]
"""Runs a query in DuckDB's SQL, in which tables stand by their name in the warehouse."""

ABOUT_ROWS = (rules.NotNull, rules.Unique, rules.AcceptedValues, rules.Range, rules.Sql)


class QualityError(errors.PermanentError):
    """At least one rule of severity `fail` is violated."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one rule found.

    Attributes:
        table: Name of the table in the warehouse.
        rule: The rule in words.
        severity: `warn` or `fail`.
        violations: How many rows violate it; 0 or 1 for a rule about the whole table.
        detail: More about a violation, or an empty text.
    """

    table: str
    rule: str
    severity: str
    violations: int
    detail: str = ""

    @property
    def status(self) -> str:
        """`ok`, or what the violation means: `warn` or `fail`."""
        return "ok" if self.violations == 0 else self.severity


def before(found: Extraction) -> list[Finding]:
    """Check the rules of severity `fail` that are about the rows themselves.

    Raises:
        QualityError: One is violated: the rows must not be published.
        PermanentError: A rule names a column that is not there.
    """
    table = found.table
    chosen = [rule for rule in table.rules if rule.severity == "fail" and _is_early(table, rule)]
    if not found.schema.names:  # a function without a row, of which only numbers are known
        chosen = [rule for rule in chosen if isinstance(rule, rules.RowCount | rules.Dropped)]
    if not chosen:
        return []
    target = table.target_name
    _require(chosen, target, {target: set(found.schema.names)})
    with failures.explained(f"Rules of {target!r}"), extraction.query(found) as connection:

        def query(sql: str) -> list[tuple[Any, ...]]:
            tree = sqlglot.parse_one(sql, read="duckdb")
            for node in tree.find_all(exp.Table):
                if node.name == target:
                    node.replace(exp.to_table("rows"))
            return connection.execute(tree.sql("duckdb")).fetchall()

        findings = _evaluate(query, target, chosen, found.rows_read - found.rows)
    refuse(target, findings, "its new rows violate its rules, and were kept out")
    return findings


def _is_early(table: Table, rule: rules.Rule) -> bool:
    """Tell whether a rule can be checked on new rows alone."""
    # Of other modes, the rows that are there count as well.
    of_all = isinstance(rule, rules.RowCount) and table.mode == "full"
    return of_all or isinstance(rule, (*ABOUT_ROWS, rules.Dropped))


def after(opened: Warehouse, table: Table, receipt: Receipt | None) -> list[Finding]:
    """Check all rules of a table in the warehouse.

    Returns:
        One finding for each rule, violated or not.

    Raises:
        PermanentError: A table, or a column that a rule names, is missing.
        TransientError: The warehouse is away for the moment.
    """
    target = table.target_name
    wanted = {target}
    wanted |= {r.references for r in table.rules if isinstance(r, rules.ForeignKey)}
    wanted |= {r.behind[0] for r in table.rules if isinstance(r, rules.Freshness) and r.behind}
    there = opened.columns(opened.raw, *sorted(wanted))
    _require(table.rules, target, {name: set(columns) for name, columns in there.items()})

    def query(sql: str) -> list[tuple[Any, ...]]:
        tree = sqlglot.parse_one(sql, read="duckdb")
        for node in tree.find_all(exp.Table):
            named = exp.to_table(opened.name(opened.raw, node.name), dialect=opened.dialect)
            named.set("alias", node.args.get("alias"))
            node.replace(named)
        return opened.query(tree.sql(opened.dialect))

    with failures.explained(f"Rules of {target!r}"):
        return _evaluate(query, target, table.rules, receipt.rows_dropped if receipt else 0)


def refuse(target: str, findings: list[Finding], what: str = "it violates its rules") -> None:
    """Raise an error that lists the broken rules of severity `fail`, if there are any.

    Raises:
        QualityError: There are.
    """
    failed = [finding for finding in findings if finding.status == "fail"]
    if failed:
        broken = "; ".join(
            f"{finding.rule}: {finding.violations:,}"
            + (f" ({finding.detail})" if finding.detail else "")
            for finding in failed
        )
        raise QualityError(f"Table {target!r}: {what}: {broken}.")


def _require(chosen: Any, target: str, known: dict[str, set[str]]) -> None:
    """Refuse a rule that names a table or column that is not there."""
    for rule in chosen:
        needed: dict[str, set[str]] = {target: set()}
        match rule:
            case rules.Unique(columns=columns):
                needed[target].update(columns)
            case rules.ForeignKey(column=column, references=other, referenced_column=referenced):
                needed[target].add(column)
                needed.setdefault(other, set()).add(referenced)
            case rules.Freshness(column=column, behind=behind):
                needed[target].add(column)
                if behind is not None:
                    needed.setdefault(behind[0], set()).add(behind[1])
            case rules.NotNull() | rules.AcceptedValues() | rules.Range():
                needed[target].add(rule.column)
            case _:
                pass
        for name, columns in needed.items():
            if name not in known:
                message = f"There is no table {name!r} in the warehouse."
                raise errors.PermanentError(f"{message} A rule of {target!r} needs it.")
            if missing := sorted(columns - known[name]):
                message = f"Table {name!r} has no column {', '.join(missing)}."
                raise errors.PermanentError(f"{message} A rule of {target!r} names it.")


def _evaluate(query: Query, target: str, chosen: Any, dropped: int) -> list[Finding]:
    # What is about single rows is counted in one pass.
    conditions = {rule: condition for rule in chosen if (condition := _broken(rule))}
    counts = [f"sum(CASE WHEN {condition} THEN 1 ELSE 0 END)" for condition in conditions.values()]
    total, *sums = query(f"SELECT {', '.join(['count(*)', *counts])} FROM {_name(target)}")[0]
    counted = {rule: int(number or 0) for rule, number in zip(conditions, sums, strict=True)}
    return [_finding(query, target, rule, int(total), counted, dropped) for rule in chosen]


def _broken(rule: rules.Rule) -> str:
    """Return the condition of rows that violate a rule; empty for rules about more than a row."""
    match rule:
        case rules.NotNull(column=column):
            return f"{_name(column)} IS NULL"
        case rules.AcceptedValues(column=column, values=values):
            return f"NOT ({_name(column)} IN ({', '.join(map(_value, values))}))"
        case rules.Range(column=column, minimum=minimum, maximum=maximum):
            low = f"{_name(column)} < {_value(minimum)}" if minimum is not None else "FALSE"
            high = f"{_name(column)} > {_value(maximum)}" if maximum is not None else "FALSE"
            return f"{low} OR {high}"
        case rules.Sql(condition=condition):
            return f"NOT ({condition})"
        case _:
            return ""


def _finding(
    query: Query,
    target: str,
    rule: rules.Rule,
    total: int,
    counted: dict[rules.Rule, int],
    dropped: int,
) -> Finding:
    violations, detail = counted.get(rule, 0), ""
    match rule:
        case rules.NotNull(column=column):
            text = f"{column} is never null"
        case rules.AcceptedValues(column=column, values=values):
            text = f"{column} is one of {', '.join(map(str, values))}"
        case rules.Range(column=column, minimum=minimum, maximum=maximum):
            bounds = [f"at least {minimum}"] if minimum is not None else []
            bounds += [f"at most {maximum}"] if maximum is not None else []
            text = f"{column} is {' and '.join(bounds)}"
        case rules.Sql(name=name):
            text = name
        case rules.Unique(columns=columns):
            text = f"({', '.join(columns)}) is unique"
            listed = ", ".join(map(_name, columns))
            where = " AND ".join(f"{_name(name)} IS NOT NULL" for name in columns)
            groups = (
                f"SELECT count(*) - 1 AS extra FROM {_name(target)} WHERE {where} GROUP BY {listed}"
            )
            violations = int(query(f"SELECT sum(extra) FROM ({groups}) AS found")[0][0] or 0)
        case rules.RowCount(minimum=minimum, maximum=maximum):
            text = f"at least {minimum:,} rows"
            text += f", at most {maximum:,}" if maximum is not None else ""
            violations = int(total < minimum or (maximum is not None and total > maximum))
            detail = f"{total:,} rows"
        case rules.Dropped(maximum=maximum):
            text = f"at most {maximum:,} rows dropped in a load"
            violations = int(dropped > maximum)
            detail = f"{dropped:,} dropped"
        case rules.ForeignKey(column=column, references=other, referenced_column=referenced):
            text = f"{column} is in {other}.{referenced}"
            partner = f"SELECT 1 FROM {_name(other)} AS r WHERE r.{_name(referenced)}"
            orphans = f"NOT EXISTS ({partner} = t.{_name(column)})"
            null = f"sum(CASE WHEN t.{_name(column)} IS NULL THEN 1 ELSE 0 END)"
            sql = f"SELECT count(*), {null} FROM {_name(target)} AS t WHERE {orphans}"
            violations, nulls = (int(number or 0) for number in query(sql)[0])
            detail = f"{nulls:,} of them null" if nulls else ""
        case rules.Freshness(column=column, max_age=max_age, behind=behind):
            text = f"newest {column} at most {max_age} before "
            text += "now" if behind is None else ".".join(behind)
            newest = _newest(query, target, column)
            reference = datetime.now(tz=UTC) if behind is None else _newest(query, *behind)
            age = None if newest is None or reference is None else reference - newest
            violations = int(age is None or age > max_age)
            detail = "no value" if age is None else f"{max(age, timedelta(0))} before"
        case _:
            raise errors.PermanentError(f"There is no such rule: {rule!r}.")
    return Finding(
        table=target, rule=text, severity=rule.severity, violations=violations, detail=detail
    )


def _newest(query: Query, table: str, column: str) -> datetime | None:
    newest = query(f"SELECT max({_name(column)}) FROM {_name(table)}")[0][0]
    if newest is None:
        return None
    if not isinstance(newest, date):
        message = f"Freshness needs a date or time, and {table}.{column} holds {newest!r}"
        raise errors.PermanentError(f"{message}: give the table types={{{column!r}: 'timestamp'}}.")
    when = newest if isinstance(newest, datetime) else datetime.combine(newest, time.min)
    # A column without time zones is taken to keep UTC.
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _name(identifier: str) -> str:
    return exp.to_identifier(identifier, quoted=True).sql("duckdb")


def _value(value: Any) -> str:
    return exp.convert(value).sql("duckdb")
