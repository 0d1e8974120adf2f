from __future__ import annotations

import datetime
import decimal
import importlib.util
import json
import logging
import math
import stat
import sys
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
import pytest
from prefect import flow
from server_side import artifacts_of

from my_task_library import data
from my_task_library.common import errors, extras

Finding = data.Finding
clean = data.transform_data.fn


def schema(column: Any, **options: Any) -> pa.DataFrameSchema:
    made = column if isinstance(column, pa.Column) else pa.Column(column)
    given: dict[str, Any] = {"strict": "filter", "drop_invalid_rows": True} | options
    return pa.DataFrameSchema({"x": made}, **given)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def read(path: Path, lines: list[str], rules: pa.DataFrameSchema, **options: Any) -> data.Cleaned:
    path.write_text("\n".join(["x", *lines, ""]), encoding="utf-8")
    return clean(path, rules, **options)


ONE = datetime.date(2007, 11, 11)

TYPES: list[tuple[Any, dict[str, Any], list[str]]] = [
    # The type, texts that it can hold with their values, and texts that it cannot hold.
    (
        "int64",
        {
            "1790000000000000001": 1790000000000000001,
            "9007199254740993": 2**53 + 1,
            "12.0": 12,
            "1e3": 1000,
            " 7": 7,
            "+5": 5,
            "-0": 0,
        },
        ["1.5", "x", "0x1F", "1_000", "9223372036854775808", "1e999999", "inf", "1 2", "१"],
    ),
    ("Int64", {"9007199254740993": 2**53 + 1}, ["1.5"]),
    ("uint8", {"255": 255}, ["256", "-1", "256.0"]),
    (pd.CategoricalDtype([1, 2]), {"1": 1, "2.0": 2}, ["3", "x"]),
    (
        "float64",
        {
            "0.30000000000000004": 0.1 + 0.2,
            "0.10000000000000001": 0.1,
            "1.000000000000000056e-01": 0.1,
            "9007199254740992": 2.0**53,
            ".5": 0.5,
            "5.": 5.0,
            "0e9": 0.0,
            "5e-324": 5e-324,
            "-inf": -math.inf,
        },
        ["9007199254740993", "3.141592653589793238", "1e400", "1e-400", "nan", "1,5", "x"],
    ),
    ("float32", {"0.5": 0.5, "16777216": 2.0**24}, ["16777217", "0.123456789", "1e39"]),
    ("bool", {"true": True, "FALSE": False, "1": True, "0": False}, ["yes", "2", "t"]),
    (
        "datetime64[ns]",
        {
            "2007-11-11": pd.Timestamp(ONE),
            "2007-11-11 01:02:03.123456789": pd.Timestamp("2007-11-11 01:02:03.123456789"),
        },
        ["2007-11-11T12:00:00Z", "11.11.2007", "2007-02-30", "1600-01-01", "20071111"],
    ),
    (
        pd.DatetimeTZDtype("us", "UTC"),
        {"2007-11-11T12:00:00+02:00": pd.Timestamp("2007-11-11T10:00Z")},
        ["2007-11-11", "2007-11-11T12:00:00.1234567Z"],
    ),
    (pa.Date, {"2007-11-11": ONE}, ["11.11.2007", "2007-11-11T00:00"]),
    (pa.Decimal(5, 2), {"1.25": decimal.Decimal("1.25")}, ["1.256", "1234.5"]),
    (pd.CategoricalDtype(["a", "b"]), {"a": "a"}, ["c"]),
    (str, {"NA": "NA", " a ": " a ", "007": "007"}, []),
]


@pytest.mark.parametrize(("kind", "held", "lost"), TYPES, ids=lambda value: str(value)[:20])
def test_each_value_is_judged_by_itself(
    kind: Any, held: dict[str, Any], lost: list[str], path: Path
) -> None:
    texts = [f'"{text}"' for text in [*held, *lost]]
    cleaned = read(path, texts, schema(kind))
    assert cleaned.table["x"].tolist() == list(held.values())
    assert str(cleaned.table["x"].dtype) in {str(kind), "object", "str", "string", "category"}
    lines = tuple(range(len(held) + 2, len(texts) + 2))
    expected = Finding(column="x", rule="", rows=len(lost), lines=lines[:5])
    found = [(f.column, f.rows, f.lines) for f in cleaned.findings]
    assert found == ([("x", expected.rows, expected.lines)] if lost else [])
    for text in lost:  # each alone: none is lost because of its neighbours
        assert read(path, [f'"{text}"'], schema(kind)).kept == 0
    for text, value in held.items():
        assert read(path, [f'"{text}"'], schema(kind)).table["x"].tolist() == [value]


def test_what_fits_is_typed_as_the_schema_says(path: Path) -> None:
    class Birds(pa.DataFrameModel):
        id: int = pa.Field(unique=True)
        mass: float = pa.Field(ge=0, nullable=True)

    path.write_text("id,mass,note\n1,2.5,a\n2,,b\n")
    table = clean(path, Birds).table
    assert table["id"].tolist() == [1, 2]
    assert table["note"].tolist() == ["a", "b"]
    assert table[["id", "mass"]].dtypes.tolist() == ["int64", "float64"]
    assert table["mass"].isna().tolist() == [False, True]


def test_nulls(path: Path) -> None:
    assert read(path, ["1", '""', "2"], schema(int)).findings == (
        Finding(column="x", rule="not_nullable", rows=1, lines=(3,)),
    )
    table = read(path, ["1", '""'], schema(pa.Column("Int64", nullable=True))).table
    assert table["x"].isna().tolist() == [False, True]
    with pytest.raises(errors.PermanentError, match=r"column x: int64 holds no nulls\. Use Int64"):
        read(path, ["1", '""'], schema(pa.Column(int, nullable=True)))
    table = read(path, ["1", '""'], schema(pa.Column("int64", default=7))).table
    assert table["x"].tolist() == [1, 7]
    assert read(path, ["NA", "a"], schema(str), null_values=("NA",)).kept == 1
    assert read(path, ['""'], schema(str), null_values=()).table["x"].tolist() == [""]


def test_what_is_dropped_and_why(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(
        'id,mass,note\n1,3750,"two\nlines"\n2,x,a\n\n2,3800,a\n3,-1,a\n3,-2,a\n4,99,b\n',
        encoding="utf-8",
    )
    rules = pa.DataFrameSchema(
        {"id": pa.Column(int), "mass": pa.Column(int, pa.Check.ge(0)), "note": pa.Column(str)},
        unique=["id"],
        report_duplicates="exclude_first",
        drop_invalid_rows=True,
    )
    with caplog.at_level(logging.INFO):
        cleaned = clean(path, rules)
    assert set(cleaned.findings) == {
        Finding(column="mass", rule="not int64", rows=1, lines=(4,)),
        Finding(column="id", rule="multiple_fields_uniqueness", rows=1, lines=(8,)),
        Finding(column="mass", rule="greater_than_or_equal_to(0)", rows=2, lines=(7, 8)),
    }
    assert (cleaned.read, cleaned.kept) == (6, 3)
    assert cleaned.table.index.tolist() == [0, 1, 2]
    assert cleaned.table["note"].tolist() == ["two\nlines", "a", "b"]
    assert "table: 3 of 6 rows kept" in caplog.text
    assert "table, column mass: not int64, 1 row, first in line 4" in caplog.text
    rules.drop_invalid_rows = False
    with pytest.raises(errors.PermanentError, match=r"mass: not int64, .* line 4\. Fix the file"):
        clean(path, rules)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_those_of_an_editor(end: str, path: Path) -> None:
    lines = ["x", *["1"] * 20_000, "", '"a', "", 'b"', "0x1F", "12.0", "1.5"]
    path.write_bytes(end.join(lines).encode())
    cleaned = clean(path, schema(int))
    assert cleaned.findings == (
        Finding(column="x", rule="not int64", rows=3, lines=(20_003, 20_006, 20_008)),
    )
    assert cleaned.table["x"].tolist() == [1] * 20_000 + [12]
    path.write_bytes(end.join([*lines, "1,2"]).encode())
    with pytest.raises(errors.PermanentError, match="line 20009: 2 fields, where the header has 1"):
        clean(path, schema(int))
    path.write_bytes(end.join([*lines, '1"']).encode())
    with pytest.raises(errors.PermanentError, match="line 20009: a quote inside of a field"):
        clean(path, schema(int))


def test_checks_of_the_whole_table_hold_for_what_is_left(path: Path) -> None:
    def enough(table: pd.DataFrame) -> bool:
        return len(table) >= 2

    rules = schema(pa.Column(int, pa.Check.ge(0)), checks=pa.Check(enough, error="too few"))
    assert read(path, ["1", "2", "-1"], rules).kept == 2
    with pytest.raises(errors.PermanentError, match=r"table\.csv: .*too few; column x: greater"):
        read(path, ["1", "-2", "-1"], rules)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"There is no file .*table\.csv\."),
        (b"", "is empty"),
        (b"x,b\nu,v,\nw,y,\n", r"table\.csv, line 2: 3 fields, where the header has 2"),
        (b'x,b\n"1\n2",y\n3\n', "line 4: 1 field, where the header has 2"),
        (b"x,x\n1,2\n", "2 columns are called 'x'"),
        (b"x,\n1,2\n", "a column has no name"),
        (b'x,b\n"1,2",3\n4\n', "line 3: 1 field, where the header has 2"),
        (b'x,b\n1,in "quotes"\n', "line 2: a quote inside of a field"),
        (b'x,b\n"1" 2,3\n', "line 2: a quote inside of a field"),
        (b'x,b\n1,2\n"3,4\n5,6\n', "line 3: a quote inside of a field, or one that is not closed"),
        (b"x\n1\n\xff\n", "line 3: this is not utf-8. Give its encoding"),
        ("x\n1\n".encode("utf-16"), "line 1: this is not utf-8"),
        (b"x" * 140_000 + b"\n1\n", "header: field larger than field limit .* short names"),
        (b"y\n1\n", "there is no column x"),
    ],
)
def test_bad_file(content: bytes | None, message: str, path: Path) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.PermanentError, match=message):
        clean(path, schema(int))


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b'\xef\xbb\xbf"x",b\n1,2', {}),
        (b"\xef\xbb\xbf" * 2 + b"x,b\n1,2", {}),
        ("\ufeffx,b\n1,2".encode("utf-16"), {"encoding": "utf-16"}),
        (b"x,b\r\n1,2\r\n\r\n", {}),
        (b"\nx,b\n1,2\n", {}),
        ("x;b\n1;\u00fc\n".encode("latin-1"), {"encoding": "latin-1", "delimiter": ";"}),
        ("x,b\n1,\u00fc\n".encode("utf-16"), {"encoding": "utf-16"}),
        (b'x,b\n1,"' + b"long" * 500_000 + b'"\n', {}),
    ],
)
def test_good_file(content: bytes, options: dict[str, Any], path: Path) -> None:
    path.write_bytes(content)
    assert clean(path, schema(int), **options).table["x"].tolist() == [1]
    path.write_bytes(content.split(b"\n1")[0] if b"\n1" in content else b"x,b")
    if not options:
        assert clean(path, schema(int)).read == 0


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (pd.DataFrame(), {}, r"source is no path\. A DataFrame is checked by schema\.validate"),
        ("http://host/t.csv", {}, "is a URL: get the file by download_data"),
        ("t.csv", {"target": "t.xlsx"}, r"t\.xlsx is neither \.csv nor \.parquet"),
        ("t.csv", {"delimiter": "ä"}, "cannot be read: UnicodeEncodeError. Check the file"),
        ("t.csv", {"null_values": "NA"}, r"null_values is a text: give a list, \('NA',\)"),
        (".", {}, "cannot be read"),
    ],
)
def test_wrong_arguments(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.PermanentError, match=message):
        clean(source, schema(int), **options)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-be"])
def test_lines_are_counted_in_the_encoding(encoding: str, path: Path) -> None:
    # Its letters contain a line-end byte, and the last one is cut off.
    path.write_bytes("x\n\u010a\u0a0a\n1\n2".encode(encoding)[:-1])
    with pytest.raises(errors.PermanentError, match=f"line 4: this is not {encoding}"):
        clean(path, schema(str), encoding=encoding)


def test_a_byte_order_mark_changes_no_value(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" * 3 + b"x\n007\n")
    assert clean(path, schema(str)).table["x"].tolist() == ["007"]


def test_arrow_reads_the_same_header(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_csv(*_: Any) -> arrow.Table:
        return arrow.table({"y": [7]})

    monkeypatch.setattr("pyarrow.csv.read_csv", read_csv)
    with pytest.raises(errors.PermanentError, match="header can be read in two ways"):
        read(path, ["007"], schema(str))


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"encoding": "uft-8"}, "LookupError"), ({"delimiter": "||"}, "TypeError")],
)
def test_unknown_format(options: dict[str, Any], kind: str, path: Path) -> None:
    with pytest.raises(errors.PermanentError, match=f"cannot be read: {kind}"):
        read(path, ["1"], schema(int), **options)


def test_a_column_of_which_nothing_fits_is_refused(path: Path) -> None:
    lines = [f"11.11.{year}" for year in range(11_000)]
    assert read(path, lines, schema("datetime64[ns]")).kept == 0
    lines = [f"2007-11-11T00:00:00.{fraction:07}" for fraction in range(11_000)]
    lines[0] = "2007-11-11T00:00:00Z"
    with pytest.raises(errors.PermanentError, match=r"more than 10,000 .*, first in line 3\."):
        read(path, lines, schema(pd.DatetimeTZDtype("us", "UTC")))


def test_mixed_objects_are_no_parquet(path: Path, tmp_path: Path) -> None:
    def mixed(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(x=["a", 2])

    rules = schema(pa.Column(object), parsers=pa.Parser(mixed))
    target = tmp_path / "mixed.parquet"
    with pytest.raises(errors.PermanentError, match=r"mixed\.parquet: .* column x .* Give it one"):
        read(path, ["1", "2"], rules, target=target)
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_result_is_written_as_a_whole(suffix: str, path: Path, tmp_path: Path) -> None:
    real, link = tmp_path / f"real{suffix}", tmp_path / f"link{suffix}"
    real.touch(0o640)
    link.symlink_to(real)
    rules = schema(float)
    cleaned = read(path, ["0.30000000000000004", "x"], rules, target=link)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    again = clean(link, rules)
    assert again.table["x"].tolist() == cleaned.table["x"].tolist() == [0.1 + 0.2]
    before = real.read_bytes()
    with pytest.raises(errors.PermanentError, match="not float64"):
        read(path, ["y"], schema(float, drop_invalid_rows=False), target=link)
    assert real.read_bytes() == before
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, real.name, link.name}


def test_parquet_is_read_as_exactly(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": pd.array([2**53, 2**53 + 1, None], dtype="Int64")})
    table.to_parquet(tmp_path / "t.parquet")
    cleaned = clean(tmp_path / "t.parquet", schema(pa.Column(float, nullable=True)))
    assert cleaned.findings == (Finding(column="x", rule="not float64", rows=1, lines=(2,)),)
    assert cleaned.table["x"].isna().tolist() == [False, True]


def test_a_parquet_file_has_types_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "t.parquet"
    struct = {"note": [{"k": 1}, {"k": 2}], "when": [datetime.time(1), None]}
    ids = pd.array([2**53 + 1, None], dtype="Int64")
    pd.DataFrame({"x": [None, None], "id": ids, **struct}).to_parquet(source)
    rules = schema(pa.Column("Int64", nullable=True), strict=False)
    table = clean(source, rules).table
    assert table["x"].isna().tolist() == [True, True]
    assert table["id"].tolist() == [2**53 + 1, None]
    assert {name: table[name].tolist() for name in struct} == struct


@pytest.mark.parametrize(
    ("values", "kind", "held"),
    [
        ([decimal.Decimal("7.00"), decimal.Decimal("7.50")], "int64", [7]),
        (pd.arrays.ArrowExtensionArray(arrow.array([math.nan, 0.1])), "float32", [math.nan]),
        ([datetime.timedelta(days=1)], "timedelta64[ns]", [pd.Timedelta(days=1)]),
        ([1, 2], pd.CategoricalDtype([1]), [1]),
    ],
    ids=lambda value: str(value)[:20],
)
def test_columns_of_parquet(values: Any, kind: Any, held: list[Any], tmp_path: Path) -> None:
    pd.DataFrame({"x": values}).to_parquet(tmp_path / "t.parquet")
    cleaned = clean(tmp_path / "t.parquet", schema(pa.Column(kind, nullable=True)))
    assert list(map(str, cleaned.table["x"])) == list(map(str, held))  # NaN is not equal to itself


@pytest.mark.parametrize("zone", [None, datetime.UTC])
def test_a_zone_is_neither_made_up_nor_lost(zone: datetime.tzinfo | None, tmp_path: Path) -> None:
    other = "datetime64[us]" if zone else pd.DatetimeTZDtype("us", "UTC")
    noon = datetime.datetime(2007, 11, 11, 12, tzinfo=zone)
    pd.DataFrame({"x": [noon]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(errors.PermanentError, match=r"column x: either timestamp.* has a zone"):
        clean(tmp_path / "t.parquet", schema(other))


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("timedelta64[ns]", "x", "not all values are timedelta64"),
        (pd.PeriodDtype("D"), "x", r"not all values are period\[D\]"),
        (pd.ArrowDtype(arrow.list_(arrow.int64())), "1", "no way from large_string to list"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_types_without_a_way(kind: Any, text: str, message: str, path: Path) -> None:
    with pytest.raises(errors.PermanentError, match=message):
        read(path, [text], schema(kind))


def test_periods(path: Path) -> None:
    table = read(path, ["2007-11"], schema(pd.PeriodDtype("M"))).table
    assert table["x"].tolist() == [pd.Period("2007-11", "M")]


def penguins() -> Path:
    spec = importlib.util.find_spec("palmerpenguins")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "penguins-raw.csv"


def test_penguins() -> None:
    rules = pa.DataFrameSchema(
        {"Sex": pa.Column("category", pa.Check.isin(["FEMALE", "MALE"]))},
        strict="filter",
        drop_invalid_rows=True,
    )
    cleaned = clean(penguins(), rules, null_values=("", "NA"))
    assert (cleaned.read, cleaned.kept) == (344, 333)
    assert [(f.column, f.rule, f.rows) for f in cleaned.findings] == [("Sex", "not_nullable", 11)]


def test_missing_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandera", None)
    for name in ("cleaning", "reading"):
        monkeypatch.delitem(sys.modules, f"{data.__name__}.{name}", raising=False)
        monkeypatch.delattr(data, name, raising=False)
    with pytest.raises(extras.MissingExtraError, match="This needs pandera, which comes with") as e:
        clean(path, schema(int))
    assert str(e.value).endswith(f"pip install '{extras.DISTRIBUTION}[pandas]'")


@pytest.mark.usefixtures("prefect_server")
class TestRuns:
    def test_artifacts_of_a_flow_have_keys_of_their_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = f"{data.__name__.partition('.')[0]}.common.artifact_keys"
        calls: OrderedDict[object, object] = OrderedDict()
        monkeypatch.setattr(f"{keys}._calls", calls)
        monkeypatch.setattr(f"{keys}.KEPT", 1)
        own = uuid.uuid4().hex[:8]  # the server may be shared
        paths = []
        for number in (1, 2):
            paths.append(tmp_path / str(number) / "t.csv")
            paths[-1].parent.mkdir()
            paths[-1].write_text("x\n1\nbad\n" + "worse\n" * number)

        @flow
        def use(name: str) -> int:
            futures = data.transform_data.map(paths, schema(int), name=name)
            return sum(future.result().kept for future in futures)

        names = (f"My table {own}", f"my-table-{own}", f"my-table-{own}")
        assert [use(name) for name in names] == [2, 2, 2]
        assert len(calls) == 1  # earlier runs are forgotten
        found = artifacts_of(f"transform-my-table-{own}-")
        assert sorted(len(versions) for versions in found.values()) == [1, 1, 2, 2]
        written = [entry for versions in found.values() for entry in versions]
        rows = sorted(json.loads(entry.data)[0]["rows"] for entry in written)
        assert rows == [2, 2, 2, 3, 3, 3]
        newest = written[0]
        assert newest.type == "table"
        assert "1 of" in newest.description

    @pytest.mark.filterwarnings("ignore:.*without a flow run id:UserWarning")
    def test_task_without_flow(self, path: Path) -> None:
        path.write_text("x\n1\n")
        assert data.transform_data(path, schema(int)).kept == 1

    def test_failure_fails_the_flow(self, path: Path) -> None:
        path.write_text("y\n1\n")

        @flow
        def use() -> int:
            return data.transform_data(path, schema(int)).kept

        with pytest.raises(errors.PermanentError, match="no column x"):
            use()
