"""Reads tables: each value exactly, or not at all. Needs pandas and pyarrow, not Prefect."""

from __future__ import annotations

import codecs
import collections
import csv
import decimal
import functools
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from ..common import errors, files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Places = np.ndarray[Any, np.dtype[np.intp]]

pc: Any = pyarrow.compute  # its functions are created on import

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
SHAPES = {
    "int": "^-?[0-9]+$",
    "float": f"^({NUMBER}|-?inf)$",
    "time": "^[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "other": "",
}
"""What is cast to these types, so that whatever else there is costs no attempt."""

PIECE = 1 << 14
"""So many values are cast together where some do not fit."""

BLOCK = 1 << 20
"""So many bytes of a file are looked at together."""

FAILURES = 10_000
"""With more unfit values in a column, the schema must be wrong."""


class UnfitError(errors.PermanentError):
    """Too many values of a column do not fit its type; the first is in `row`, from 0."""

    row: int


class Source:
    """A CSV or Parquet file as an Arrow table; all columns of a CSV file are text."""

    def __init__(
        self, path: Path, delimiter: str, encoding: str, null_values: Sequence[str]
    ) -> None:
        self.name = files.public_name(path)
        self._hold(b"")
        try:
            self.delimiter = delimiter.encode("ascii")
            if path.suffix == ".parquet":
                self.table = pyarrow.parquet.read_table(path, partitioning=None)
                self._require_names(self.table.column_names)
            else:
                self._hold(self._decoded(path.read_bytes(), encoding))
                self.table = self._parsed(null_values)
        except FileNotFoundError:
            raise errors.PermanentError(f"There is no file {self.name}.") from None
        except (OSError, LookupError, TypeError, ValueError, csv.Error) as error:
            kind = type(error).__name__
            message = f"{self.name} cannot be read: {kind}. Check the file and the arguments."
            raise errors.PermanentError(message) from error

    def lines(self, rows: set[int]) -> dict[int, int]:
        """Return the lines in which rows of a CSV file begin; for Parquet, the rows' numbers."""
        if not (self.data and rows):
            return {row: row + 1 for row in rows}
        if len(self._ends) == self.table.num_rows + 1:  # each line is a record
            return {row: row + 2 for row in rows}
        lines, _, _ = self._records
        return {row: int(lines[row + 1]) for row in rows}

    def _decoded(self, data: bytes, encoding: str) -> bytes:
        """Return the text as UTF-8, with a line break at its end."""
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            before = data[: error.start].decode(encoding, "ignore")
            text = before.encode()
            line = _line(text, len(text))
            message = f"{self.name}, line {line}: this is not {encoding}. Give its encoding."
            raise errors.PermanentError(message) from None
        utf8 = codecs.lookup(encoding).name == "utf-8"
        data = data if utf8 else text.encode()
        while data.startswith(codecs.BOM_UTF8):  # Arrow skips a second one, csv does not
            data = data.removeprefix(codecs.BOM_UTF8)
        return data if data.endswith((b"\r", b"\n")) else data + b"\n"

    def _hold(self, data: bytes) -> None:
        self.data, self.bytes = data, np.frombuffer(data, "u1")
        self.quotes = self._places(b'"')

    def _places(self, byte: bytes) -> Places:
        starts = range(0, len(self.data) if byte in self.data else 0, BLOCK)  # less memory, faster
        blocks = (np.flatnonzero(self.bytes[at : at + BLOCK] == ord(byte)) + at for at in starts)
        return np.concatenate([np.arange(0), *blocks])

    def _unquoted(self, places: Places) -> Any:
        """Return which positions are outside of quotes."""
        return np.searchsorted(self.quotes, places) % 2 == 0

    @functools.cached_property
    def _ends(self) -> Places:
        """Positions of line ends."""
        returns = self._places(b"\r")
        alone = self.bytes.take(returns + 1, mode="clip") != ord("\n")
        return np.sort(np.concatenate([self._places(b"\n"), returns[alone]]), kind="stable")

    @functools.cached_property
    def _records(self) -> tuple[Places, Places, Places]:
        """The first line, start and end of each record; blank lines are left out."""
        ends = self._ends
        last = np.flatnonzero(self._unquoted(ends))  # last lines of records
        first = np.append(0, last[:-1] + 1)
        stop = ends[last]
        start = np.append(0, stop[:-1] + 1)
        full = stop - start > (self.bytes[start] == ord("\r"))
        return first[full] + 1, start[full], stop[full]

    def _parsed(self, null_values: Sequence[str]) -> pa.Table:
        self._require_quotes()
        text = io.TextIOWrapper(io.BytesIO(self.data), "utf-8", newline="")
        try:
            names = next(filter(None, csv.reader(text, delimiter=self.delimiter.decode())), None)
        except csv.Error as error:
            message = f"{self.name}, header: {error}. Give it short names, or fix the delimiter."
            raise errors.PermanentError(message) from None
        if names is None:
            raise errors.PermanentError(f"{self.name} is empty.")
        self._require_names(names)
        source = pa.BufferReader(self.data)
        parsing = pyarrow.csv.ParseOptions(
            delimiter=self.delimiter.decode(), newlines_in_values=len(self.quotes) > 0
        )
        converting = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.large_string()),
            null_values=list(null_values),
            strings_can_be_null=True,
            check_utf8=False,
        )
        # One thread needs less memory, and tasks already run in parallel.
        reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=1 << 22)
        try:
            table = pyarrow.csv.read_csv(source, reading, parsing, converting)
        except pa.ArrowInvalid:
            self._require_fields(len(names))
            source.seek(0)  # a record may be larger than a block
            reading.block_size = min(len(self.data) + 2, 2**31 - 1)
            table = pyarrow.csv.read_csv(source, reading, parsing, converting)
        if table.column_names != names:  # Arrow has then guessed types
            message = f"{self.name}: its header can be read in two ways. Give columns plain names."
            raise errors.PermanentError(message)
        return table

    def _require_names(self, names: list[str]) -> None:
        for name, count in collections.Counter(names).items():
            if not name or count > 1:
                what = f"{count} columns are called {name!r}" if name else "a column has no name"
                message = f"{self.name}: {what}. Give each column a name of its own."
                raise errors.PermanentError(message)

    def _require_quotes(self) -> None:
        """Require that quotes enclose whole fields, or are doubled in them."""
        opening, closing = self.quotes[::2], self.quotes[1::2]
        inside = np.isin(np.arange(256), [*b'"\r\n', *self.delimiter], invert=True)
        wrong = inside[self.bytes[opening - 1]]  # index -1 is the last line's end
        wrong[: len(closing)] |= inside[self.bytes[closing + 1]]
        wrong[len(closing) :] = True
        for place in opening[wrong][:1]:
            message = f"{self.name}, line {_line(self.data, place)}: a quote inside of a field, or"
            message += " one that is not closed. Quote the whole field, and write a quote in it"
            raise errors.PermanentError(f"{message} twice.")

    def _require_fields(self, columns: int) -> None:
        edges = self._places(self.delimiter)
        edges = edges[self._unquoted(edges)]
        lines, start, stop = self._records
        fields = np.searchsorted(edges, stop) - np.searchsorted(edges, start) + 1
        for row in np.flatnonzero(fields != columns)[:1]:
            count = int(fields[row])
            found = f"{count} field{'s' * (count != 1)}, where the header has {columns}"
            message = f"{self.name}, line {lines[row]}: {found}. Fix the line or the delimiter."
            raise errors.PermanentError(message)


def _line(data: bytes, place: int) -> int:
    return data[:place].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1


def exact(values: pa.Array, to: pa.DataType) -> pa.Array:
    """Convert values one by one: a value that the type cannot hold exactly becomes null."""
    own = values.type
    if own == to:
        return values
    if values.null_count == len(values):  # Parquet has a null type
        return pa.nulls(len(values), to)
    if not pa.types.is_large_string(own):
        zoned = getattr(own, "tz", None) is not None
        if pa.types.is_temporal(own) and pa.types.is_timestamp(to) and zoned == (to.tz is None):
            # Arrow would take a time without a zone as UTC.
            raise errors.PermanentError(f"either {own} or {to} has a zone. Check the schema")
        result = _cast(values, to)
        # Compare with more digits: a decimal type often has too few for the other type's values.
        back = pa.decimal256(76, own.scale) if pa.types.is_decimal(own) else own
        same = pc.equal(_cast(result, back), _cast(values, back))
        if pa.types.is_floating(own) and pa.types.is_floating(to):
            same = pc.or_(same, pc.is_nan(values))
        return pc.if_else(same, result, None)
    kind = "float" if pa.types.is_floating(to) else "int" if pa.types.is_integer(to) else "other"
    kind = "time" if pa.types.is_timestamp(to) or pa.types.is_date(to) else kind
    try:
        result = pc.cast(values, to)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values = pc.utf8_trim_whitespace(values)
        result = _cast(values, to, SHAPES[kind])
    if kind == "int":
        # Arrow accepts 0x1F, but neither 12.0 nor 1e3.
        doubtful = pc.or_(pc.is_null(result), pc.starts_with(values, "0x", ignore_case=True))
        return _judged(values, result, doubtful, _whole)
    if kind == "float":
        limits = np.finfo(to.to_pandas_dtype())
        long = pc.greater(pc.binary_length(values), limits.precision)
        small = pc.less(pc.abs(result), float(limits.smallest_normal))
        doubtful = [
            pc.and_(long, pc.not_equal(pc.cast(result, values.type), values)),
            pc.match_substring(pc.if_else(small, values, None), "e", ignore_case=True),
            pc.invert(pc.is_finite(result)),
        ]
        return _judged(values, result, functools.reduce(pc.or_kleene, doubtful), _number)
    return result


def _cast(values: pa.Array, to: pa.DataType, shape: str = "") -> pa.Array:
    """Cast, halving parts that fail until single values are left; text of another shape is null."""
    failures: list[int] = []

    def halves(part: pa.Array, row: int, shape: str) -> list[pa.Array]:
        try:
            return [pc.cast(part, to)]
        except pa.ArrowInvalid:
            if shape and len(part) <= PIECE:
                spelled = pc.match_substring_regex(part, shape)
                return halves(pc.if_else(spelled, part, None), row, "")
            if middle := len(part) // 2:
                before = halves(part[:middle], row, shape)
                return [*before, *halves(part[middle:], row + middle, shape)]
            failures.append(row)
            if len(failures) > FAILURES:
                error = UnfitError(f"more than {FAILURES:,} values are not {to}")
                error.row = failures[0]
                raise error from None
            return [pa.nulls(1, to)]
        except (pa.ArrowNotImplementedError, pa.ArrowTypeError):
            message = f"there is no way from {values.type} to {to}. Check the schema"
            raise errors.PermanentError(message) from None

    return pa.concat_arrays(halves(values, 0, shape))


def _judged(
    values: pa.Array,
    result: pa.Array,
    doubtful: pa.Array,
    judge: Callable[[str, Any, pa.DataType], int | float | None],
) -> pa.Array:
    """Replace doubtful results by those of a function."""
    doubtful = pc.and_(pc.is_valid(values), pc.fill_null(doubtful, fill_value=False))
    texts, results = values.filter(doubtful).to_pylist(), result.filter(doubtful).to_pylist()
    held = [judge(text, found, result.type) for text, found in zip(texts, results, strict=True)]
    return pc.replace_with_mask(result, doubtful, pa.array(held, result.type))


def _whole(text: str, _: int | None, to: pa.DataType) -> int | None:
    """Read an integer that is written as 12.0, 1e3 or +5; None if it is not one."""
    if not re.fullmatch(NUMBER, text):
        return None
    number = decimal.Decimal(text)
    if (number and number.adjusted() > 20) or number != number.to_integral_value():
        return None
    limits = np.iinfo(to.to_pandas_dtype())
    return int(number) if limits.min <= number <= limits.max else None


def _number(text: str, found: float, _: pa.DataType) -> float | None:
    """Return a float if it equals its text when rounded to as many digits, or None."""
    if not re.fullmatch(NUMBER, text):
        return found if text in {"inf", "-inf"} else None
    number = decimal.Decimal(text)
    digits = len(number.as_tuple().digits) - 1
    return found if decimal.Decimal(f"{found:.{digits}e}") == number else None
