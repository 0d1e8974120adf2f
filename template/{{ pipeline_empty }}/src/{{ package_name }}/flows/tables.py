"""The tables of this project: add an entry to load a table. Its flow is created from it."""

from ..common.table import AllTables, Table

TABLES: tuple[Table | AllTables, ...] = ()
