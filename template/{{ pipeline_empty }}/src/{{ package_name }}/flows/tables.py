"""The tables of this project. Adding one is adding an entry; its flow follows."""

from ..common.table import AllTables, Table

TABLES: tuple[Table | AllTables, ...] = ()
