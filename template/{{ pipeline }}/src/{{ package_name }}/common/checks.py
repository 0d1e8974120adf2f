"""Quality rules, as SQL: on rows before they are published, and on tables in the warehouse.

The SQL is written in DuckDB's dialect; sqlglot translates it into the warehouse's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp

from . import errors, extraction, failures, rules

if TYPE_CHECKING:
    from .extraction import Extraction
    from .receipts import Receipt
    from .table import Table
    from .warehouse import Warehouse

Query = Callable[[str], list[tuple[Any, ...]]]
"""Runs a query in DuckDB's SQL, in which tables stand by their name in the warehouse."""


class QualityError(errors.PermanentError):
    """At least one rule of severity `fail` is violated."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one rule.

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
    """Check the rules of severity `fail` about the rows themselves.

    Raises:
        QualityError: A rule is violated, so the rows must not be published.
        PermanentError: A rule names an unknown column.
    """
    table, target = found.table, found.table.target_name
    early: tuple[type[rules.Rule], ...] = (rules.Dropped,)
    if found.schema.names:  # if a function yielded no row, there are no columns
        early += (rules.NotNull, rules.Unique, rules.AcceptedValues, rules.Range, rules.Sql)
    if table.mode == "full":  # in other modes, rows in the warehouse count too
        early += (rules.RowCount,)
    chosen = [rule for rule in table.rules if rule.severity == "fail" and isinstance(rule, early)]
    if not chosen:
        return []
    with extraction.query(found) as connection:

        def query(sql: str) -> list[tuple[Any, ...]]:
            named = _with_tables(sql, lambda name: exp.to_table("rows" if name == target else name))
            return connection.execute(named.sql("duckdb")).fetchall()

        findings = _evaluate(query, target, chosen, found.rows_read - found.rows)
    refuse(target, findings, "its new rows violate its rules, and were kept out")
    return findings


def after(opened: Warehouse, table: Table, receipt: Receipt | None) -> list[Finding]:
    """Check all rules of a table in the warehouse.

    Returns:
        One finding for each rule, violated or not.

    Raises:
        PermanentError: A table, or a column that a rule names, is missing.
        TransientError: The warehouse is unavailable.
    """

    def place(name: str) -> exp.Table:
        return exp.to_table(opened.name(opened.raw, name), dialect=opened.dialect)

    def query(sql: str) -> list[tuple[Any, ...]]:
        return opened.query(_with_tables(sql, place).sql(opened.dialect))

    dropped = receipt.rows_dropped if receipt else 0
    return _evaluate(query, table.target_name, table.rules, dropped)


def _with_tables(sql: str, place: Callable[[str], exp.Table]) -> exp.Expr:
    tree = sqlglot.parse_one(sql, read="duckdb")
    for node in list(tree.find_all(exp.Table)):
        named = place(node.name)
        named.set("alias", node.args.get("alias"))
        node.replace(named)
    return tree


def refuse(target: str, findings: list[Finding], what: str = "it violates its rules") -> None:
    """Raise an error that lists the violated rules of severity `fail`.

    Raises:
        QualityError: There is at least one.
    """
    broken = "; ".join(
        f"{finding.rule}: {finding.violations:,}"
        + (f" ({finding.detail})" if finding.detail else "")
        for finding in findings
        if finding.status == "fail"
    )
    if broken:
        raise QualityError(f"Table {target!r}: {what}: {broken}. The numbers are violations.")


def _evaluate(
    query: Query, target: str, chosen: Iterable[rules.Rule], dropped: int
) -> list[Finding]:
    try:
        with failures.explained("SQL"):
            return _find(query, target, chosen, dropped)
    except errors.PermanentError as error:  # such as a missing table or column
        message = f"The rules of {target!r} cannot be checked: {error}"
        raise errors.PermanentError(message) from error


def _find(query: Query, target: str, chosen: Iterable[rules.Rule], dropped: int) -> list[Finding]:
    # One query counts the violations of all rules about single rows.
    about_rows = {rule: found for rule in chosen if (found := _about_rows(rule))}
    counts = [f"sum(CASE WHEN {broken} THEN 1 ELSE 0 END)" for _, broken in about_rows.values()]
    total, *sums = query(f"SELECT {', '.join(['count(*)', *counts])} FROM {_name(target)}")[0]
    findings = {
        rule: (text, int(number or 0), "")
        for (rule, (text, _)), number in zip(about_rows.items(), sums, strict=True)
    }
    for rule in chosen:
        if rule not in findings:
            findings[rule] = _about_table(query, target, rule, int(total), dropped)
    return [
        Finding(table=target, rule=text, severity=rule.severity, violations=number, detail=detail)
        for rule, (text, number, detail) in ((rule, findings[rule]) for rule in chosen)
    ]


def _about_rows(rule: rules.Rule) -> tuple[str, str] | None:
    """Return a rule in words, and the condition of the rows that violate it."""
    match rule:
        case rules.NotNull(column=column):
            return f"{column} is never null", f"{_name(column)} IS NULL"
        case rules.AcceptedValues(column=column, values=values):
            # With a null in the list, SQL would accept every value.
            listed = ", ".join(_value(value) for value in values if value is not None)
            text = f"{column} is one of {', '.join(map(str, values))}"
            return text, f"NOT ({_name(column)} IN ({listed}))"
        case rules.Range(column=column, minimum=minimum, maximum=maximum):
            ends = (("at least", "<", minimum), ("at most", ">", maximum))
            given = [end for end in ends if end[2] is not None]
            text = f"{column} is {' and '.join(f'{words} {end}' for words, _, end in given)}"
            broken = (f"{_name(column)} {sign} {_value(end)}" for _, sign, end in given)
            return text, " OR ".join(broken) or "FALSE"
        case rules.Sql(name=name, condition=condition):
            return name, f"NOT ({condition}\n)"  # the line break ends a comment
        case _:
            return None


def _about_table(
    query: Query, target: str, rule: rules.Rule, total: int, dropped: int
) -> tuple[str, int, str]:
    """Return a rule about the whole table in words, its violations, and details."""
    match rule:
        case rules.Unique(columns=columns):
            listed = ", ".join(map(_name, columns))
            where = " AND ".join(f"{_name(name)} IS NOT NULL" for name in columns)
            groups = f"SELECT count(*) - 1 AS n FROM {_name(target)} WHERE {where} GROUP BY"
            ((doubled,),) = query(f"SELECT sum(n) FROM ({groups} {listed}) AS found")
            return f"({', '.join(columns)}) is unique", int(doubled or 0), ""
        case rules.RowCount(minimum=minimum, maximum=maximum):
            text = f"at least {minimum:,} rows"
            text += f", at most {maximum:,}" if maximum is not None else ""
            wrong = total < minimum or (maximum is not None and total > maximum)
            return text, int(wrong), f"{total:,} rows"
        case rules.Dropped(maximum=maximum):
            text = f"at most {maximum:,} rows dropped in a load"
            return text, int(dropped > maximum), f"{dropped:,} dropped"
        case rules.ForeignKey(column=column, references=other, referenced_column=referenced):
            partner = f"SELECT 1 FROM {_name(other)} AS r WHERE r.{_name(referenced)}"
            orphans = f"NOT EXISTS ({partner} = t.{_name(column)})"
            null = f"sum(CASE WHEN t.{_name(column)} IS NULL THEN 1 ELSE 0 END)"
            sql = f"SELECT count(*), {null} FROM {_name(target)} AS t WHERE {orphans}"
            violations, nulls = (int(number or 0) for number in query(sql)[0])
            detail = f"{nulls:,} of them null" if nulls else ""
            return f"{column} is in {other}.{referenced}", violations, detail
        case rules.Freshness(column=column, max_age=max_age, behind=behind):
            reference = ".".join(behind) if behind else "now"
            text = f"newest {column} at most {max_age} before {reference}"
            newest = _newest(query, target, column)
            limit = _newest(query, *behind) if behind else datetime.now(tz=UTC)
            if newest is None or limit is None:
                return text, 1, "no value"
            age = limit - newest
            return text, int(age > max_age), f"{max(age, timedelta(0))} before"
        case _:
            raise errors.PermanentError(f"There is no such rule: {rule!r}.")


def _newest(query: Query, table: str, column: str) -> datetime | None:
    newest = query(f"SELECT max({_name(column)}) FROM {_name(table)}")[0][0]
    if newest is None:
        return None
    if not isinstance(newest, date):
        message = f"Freshness needs a date or time, and {table}.{column} holds {newest!r}"
        raise errors.PermanentError(f"{message}: give the table types={{{column!r}: 'timestamp'}}.")
    when = newest if isinstance(newest, datetime) else datetime.combine(newest, time.min)
    # A time without a zone is taken as UTC.
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _name(identifier: str) -> str:
    return exp.to_identifier(identifier, quoted=True).sql("duckdb")


def _value(value: Any) -> str:
    return exp.convert(value).sql("duckdb")
