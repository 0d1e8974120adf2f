"""Pages: converts the rows, DataFrames or Arrow tables that a function yields to Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import ipc

from . import columns as types
from . import errors, readers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .table import Table


class Pages:
    """The pages of a function, kept in a file until the types that fit all of them are known.

    The file is a sequence of Arrow streams, because the types of pages differ.

    Attributes:
        kinds: Kind of each column; empty for a column without any value.
        schema: The columns that have a value, after `close`.
    """

    def __init__(self, table: Table, hints: Any, file: Path) -> None:
        """Keep the pages of a table; `columns` are the column hints of a dlt resource."""
        from dlt.common.normalizers.naming.direct import NamingConvention

        self.kinds: dict[str, str] = {}
        self.schema = pa.schema([])
        self._table, self._file, self._naming = table, file, NamingConvention()
        self._wanted: dict[str, str] = {}
        for name, hint in hints.items() if isinstance(hints, dict) else ():
            if (kind := hint.get("data_type")) in types.TYPES:
                zoned = kind == "timestamp" and hint.get("timezone", True)
                self._wanted[name] = "timestamptz" if zoned else kind
        self._wanted |= table.types
        self._rows: list[dict[Any, Any]] = []
        self._sink = pa.OSFile(str(file), "wb")
        self._stream: Any = None
        self._written: pa.Schema | None = None

    def add(self, page: Any) -> bool:
        """Keep a row, a DataFrame or an Arrow table; return False, so that dlt drops it."""
        if isinstance(page, Mapping):
            self._rows.append(dict(page))
            if len(self._rows) >= readers.ROWS:
                self._write_rows()
            return False
        self._write_rows()
        if hasattr(page, "reset_index"):  # a DataFrame; a named index is data
            names = [name for name in page.index.names if name is not None]
            page = page.reset_index(names) if names else page
            if page.index.dtype.kind not in "iu":
                message = f"A DataFrame for {self._table.name!r} has an index without a name: name"
                raise errors.PermanentError(f"{message} it, or drop it by reset_index(drop=True).")
            self._write([*page.items()], len(page))
        elif hasattr(page, "__arrow_c_stream__") or hasattr(page, "__arrow_c_array__"):
            found = pa.table(page)
            self._write([*zip(found.column_names, found.columns, strict=True)], len(found))
        else:
            message = f"The function of {self._table.name!r} yields {type(page).__name__}: a row is"
            raise errors.PermanentError(f"{message} a dict, a page a list of them or a DataFrame.")
        return False

    def close(self) -> None:
        """Write the remaining rows."""
        self._write_rows()
        if self._stream is not None:
            self._stream.close()
        self._sink.close()
        kinds = {name: kind for name, kind in self.kinds.items() if kind}
        self.schema = pa.schema([(name, self._type(name, kind)) for name, kind in kinds.items()])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the kept rows, with types that fit all values."""
        with pa.OSFile(str(self._file)) as kept:
            while kept.tell() < kept.size():
                with ipc.open_stream(kept) as reader:
                    for batch in reader:
                        arrays = [self._fit(batch, field) for field in self.schema]
                        yield pa.record_batch(arrays, schema=self.schema)

    def _fit(self, batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
        if field.name not in batch.schema.names:
            return pa.nulls(len(batch), field.type)
        column = types.Column(field.name, field.type, "", declared=self.kinds[field.name])
        with types.refusing(self._table, column):
            return types.fit(batch[field.name], field.type)

    def _write_rows(self) -> None:
        names = dict.fromkeys(name for row in self._rows for name in row)
        columns = [(name, [row.get(name) for row in self._rows]) for name in names]
        self._write(columns, len(self._rows))
        self._rows.clear()

    def _write(self, columns: list[tuple[Any, Any]], rows: int) -> None:
        arrays: dict[str, Any] = {}
        for name, values in columns:
            usual = self._naming.normalize_identifier
            is_text = isinstance(name, str) and name.strip() and usual(name) == name
            if not is_text or name in arrays:
                message = f"Column {name!r} of {self._table.name!r} occurs twice, has no name, or"
                message = f"{message} one with a quote, a line break or an outer space: rename it."
                raise errors.PermanentError(message)
            if name in (self._table.columns or {name}) and name not in self._table.exclude:
                arrays[name] = self._array(name, values)
        if not arrays and not rows:
            return
        # Keep rows without any value as well: later pages may have their columns.
        page = pa.table(arrays or {"": pa.nulls(rows)})
        if page.schema != self._written:
            if self._stream is not None:
                self._stream.close()
            self._stream = ipc.new_stream(self._sink, page.schema)
            self._written = page.schema
        self._stream.write_table(page, max_chunksize=20_000)

    def _array(self, name: str, values: Any) -> Any:
        """Return the values of a column, as text if they are parsed later."""
        if hasattr(values, "dtype") and values.dtype.kind in "biufM":
            values = pa.Array.from_pandas(values)  # reads NaN as a missing value
        elif hasattr(values, "dtype"):
            values = values.astype(object).where(values.notna(), None).tolist()
        elif not isinstance(values, list) and types.kind(values.type) == "json":
            values = values.to_pylist(maps_as_pydicts="strict")
        found = types.kinds(values) if isinstance(values, list) else {types.kind(values.type)}
        natural, wanted = types.join(*found), self._wanted.get(name)
        known = wanted or types.join(self.kinds.get(name, ""), *found)
        if known is None:
            both = sorted({*found, self.kinds.get(name, "")} - {""})
            can = all(types.parse(kind) and kind != "binary" for kind in both)
            numbers = [types.parse(one) for one in both if one[:7] in {"bigint", "decimal"}]
            scale = max((getattr(one, "scale", 0) for one in numbers), default=0)
            other = f"decimal(38,{scale})" if len(numbers) == len(both) else "text"
            advice = f", or set types={{{name!r}: {other!r}}}" if can else ""
            message = f"Column {name!r} of {self._table.name!r} holds {' and '.join(both)}, which"
            message = f"{message} no type holds as they are: convert them in the function{advice}."
            raise errors.PermanentError(message)
        self.kinds[name] = known
        # If `timestamptz` is wanted, a time without a zone is taken as UTC.
        fits = {natural, wanted} == {"timestamp", "timestamptz"}
        as_text = natural is None or not (fits or types.join(natural, known) == known)
        column = types.Column(
            *(name, self._type(name, known if as_text else natural or ""), ""),
            is_json="json" in {natural, wanted},
            declared=known,
            as_text=as_text,
        )
        with types.refusing(self._table, column):
            if isinstance(values, list):
                return types.from_python(values, column)
            return values.cast(pa.string()) if as_text else values

    def _type(self, column: str, kind: str) -> pa.DataType:
        return parse(self._table, column, kind) if kind else pa.null()


def parse(table: Table, column: str, kind: str) -> pa.DataType:
    """Return the Arrow type of a kind in `Table.types`."""
    type_ = types.parse(kind)
    if type_ is None:
        message = f"Table {table.name!r}: types has {kind!r} for column {column!r};"
        raise errors.PermanentError(f"{message} there are {', '.join(types.TYPES)}.")
    return type_
