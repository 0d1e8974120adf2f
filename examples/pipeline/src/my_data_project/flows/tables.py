"""The tables of this project: add an entry to load a table. Its flow is created from it."""

from datetime import timedelta

from ..common import rules
from ..common.table import AllTables, Table

TABLES: tuple[Table | AllTables, ...] = (
    Table(
        name="airlines",
        key=("carrier",),
        rules=(rules.RowCount(minimum=1), rules.NotNull(column="name")),
    ),
    Table(
        name="airports",
        key=("faa",),
        rules=(rules.RowCount(minimum=1), rules.NotNull(column="name")),
    ),
    Table(
        name="planes",
        key=("tailnum",),
        rules=(rules.RowCount(minimum=1), rules.NotNull(column="manufacturer")),
    ),
    Table(
        name="flights",
        key=("time_hour", "carrier", "flight"),
        mode="incremental",
        cursor="time_hour",
        rules=(
            rules.RowCount(minimum=1),
            rules.NotNull(column="origin"),
            rules.ForeignKey(column="carrier", references="airlines", referenced_column="carrier"),
            # Known faults of the data: planes that left the register, Caribbean airports.
            rules.ForeignKey(
                column="tailnum",
                references="planes",
                referenced_column="tailnum",
                severity="warn",
            ),
            rules.ForeignKey(
                column="dest", references="airports", referenced_column="faa", severity="warn"
            ),
        ),
    ),
    Table(
        name="weather",
        key=("origin", "time_hour"),
        mode="incremental",
        cursor="time_hour",
        rules=(
            rules.RowCount(minimum=1),
            rules.Unique(columns=("origin", "time_hour")),
            # Local time is doubled in the hour in which daylight saving ends.
            rules.Unique(columns=("origin", "year", "month", "day", "hour"), severity="warn"),
            rules.Freshness(
                column="time_hour",
                max_age=timedelta(hours=36),
                behind=("flights", "time_hour"),
                severity="warn",
            ),
        ),
    ),
)
