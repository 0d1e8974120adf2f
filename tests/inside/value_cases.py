"""For each type of each source, a value and its expected Arrow type and value."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import inf, nan
from typing import Any, NamedTuple


class Case(NamedTuple):
    """A column of a source with one value.

    Attributes:
        declared: Its type in the source.
        written: The value, in the source's SQL.
        arrives: Its Arrow type as a text; with " json" if it is marked as JSON.
        value: The Arrow value, as a Python object.
    """

    declared: str
    written: str
    arrives: str
    value: Any


class Refused(NamedTuple):
    """A value that is refused by the name of its column, and the setting that reads it.

    Attributes:
        declared: Type of the column in the source.
        written: The value, in the source's SQL.
        reason: A part of the message.
        remedy: The kind that the message advises for `types`; empty if there is none.
        value: The value with that kind.
    """

    declared: str
    written: str
    reason: str
    remedy: str = ""
    value: Any = None


MICROS = "timestamp[us]"
ZONED = "timestamp[us, tz=UTC]"
NINE = "decimal128(38, 9)"

ARRIVES: dict[str, list[Case]] = {
    "sqlite": [
        Case("INTEGER", "9223372036854775807", "int64", 2**63 - 1),
        Case("INTEGER", "-9223372036854775808", "int64", -(2**63)),
        Case("TINYINT", "-1", "int64", -1),
        Case("UNSIGNED BIG INT", "7", "int64", 7),
        Case("REAL", "0.1 + 0.2", "double", 0.30000000000000004),
        Case("DOUBLE PRECISION", "1e999", "double", inf),
        Case("FLOAT", "7", "double", 7.0),
        Case("NUMERIC", "0.1", "double", 0.1),
        Case("DECIMAL(10,2)", "12345678.9", "decimal128(10, 2)", Decimal("12345678.90")),
        Case("DECIMAL(15)", "123456789012", "decimal128(15, 0)", Decimal(123456789012)),
        Case("NUMERIC(10,7)", "1e-7", "decimal128(10, 7)", Decimal("0.0000001")),
        Case("TEXT", "'🚀 ä ' || char(9, 10) || ' NULL'", "string", "🚀 ä \t\n NULL"),
        Case("VARCHAR(3)", "'longer'", "string", "longer"),
        Case("TEXT", "''", "string", ""),
        Case("TEXT", "replace(hex(zeroblob(200000)), '0', 'é')", "string", "é" * 400_000),
        Case(
            "UUID",
            "'12345678-1234-5678-1234-567812345678'",
            "string",
            "12345678-1234-5678-1234-567812345678",
        ),
        Case("BLOB", "x'00ff5c'", "binary", b"\x00\xff\\"),
        Case("VARBINARY(9)", "x''", "binary", b""),
        Case("BOOLEAN", "1", "bool", True),
        Case("DATE", "'0001-01-01'", "date32[day]", date(1, 1, 1)),
        Case("DATE", "'9999-12-31'", "date32[day]", date(9999, 12, 31)),
        Case("TIME", "'23:59:59.999999'", "time64[us]", time(23, 59, 59, 999999)),
        Case("TIME", "'10:30'", "time64[us]", time(10, 30)),
        Case(
            "DATETIME",
            "'1969-12-31 23:59:59.999999'",
            MICROS,
            datetime(1969, 12, 31, 23, 59, 59, 999999),
        ),
        Case("TIMESTAMP", "'2013-01-01T10:00'", MICROS, datetime(2013, 1, 1, 10)),
        Case("DATETIME", "'2013-01-01'", MICROS, datetime(2013, 1, 1)),
        Case(
            "TIMESTAMPTZ",
            "'2013-01-01 10:00:00+05:30'",
            ZONED,
            datetime(2013, 1, 1, 4, 30, tzinfo=UTC),
        ),
        Case(
            "TIMESTAMP WITH TIME ZONE",
            "'2013-01-01T10:00:00Z'",
            ZONED,
            datetime(2013, 1, 1, 10, tzinfo=UTC),
        ),
        Case("JSON", "'{\"a\": [1, 2.50]}'", "string json", '{"a": [1, 2.50]}'),
        Case("JSON", "5", "string json", "5"),
    ],
    "postgresql": [
        Case("smallint", "-1", "int64", -1),
        Case("bigint", "9223372036854775807", "int64", 2**63 - 1),
        Case("oid", "4294967295", "int64", 2**32 - 1),
        Case("positive", "7", "int64", 7),
        Case("real", "0.1", "double", 0.10000000149011612),
        Case("double precision", "0.1::float8 + 0.2", "double", 0.30000000000000004),
        Case("double precision", "'NaN'", "double", nan),
        Case("double precision", "'-Infinity'", "double", -inf),
        Case(
            "numeric(38,10)",
            "1234567890123456789012345678.0123456789",
            "decimal128(38, 10)",
            Decimal("1234567890123456789012345678.0123456789"),
        ),
        Case("numeric(3,5)", "0.00123", "decimal128(5, 5)", Decimal("0.00123")),
        Case("numeric(3,-2)", "12300", "decimal128(5, 0)", Decimal(12300)),
        Case(
            "numeric",
            "12345678901234567890.123456789",
            NINE,
            Decimal("12345678901234567890.123456789"),
        ),
        Case("numeric", "1.50000000000", NINE, Decimal("1.5")),
        Case("text", "E'🚀 ä \\\\N \\t\\n NULL'", "string", "🚀 ä \\N \t\n NULL"),
        Case("text", "repeat('é', 400000)", "string", "é" * 400_000),
        Case("varchar(3)", "'abc'", "string", "abc"),
        Case("char(5)", "'ab'", "string", "ab   "),
        Case("bpchar", "'ab '", "string", "ab "),
        Case("name", "'ab'", "string", "ab"),
        Case('"char"', "'x'", "string", "x"),
        Case("mood", "'happy'", "string", "happy"),
        Case("bytea", r"'\x00ff5c'", "binary", b"\x00\xff\\"),
        Case("boolean", "false", "bool", False),
        Case("date", "'0001-01-01'", "date32[day]", date(1, 1, 1)),
        Case("time", "'23:59:59.999999'", "time64[us]", time(23, 59, 59, 999999)),
        Case("time(0)", "'10:30'", "time64[us]", time(10, 30)),
        Case(
            "timestamp",
            "'1969-12-31 23:59:59.999999'",
            MICROS,
            datetime(1969, 12, 31, 23, 59, 59, 999999),
        ),
        Case(
            "timestamp(3)",
            "'9999-12-31 23:59:59.999'",
            MICROS,
            datetime(9999, 12, 31, 23, 59, 59, 999000),
        ),
        Case(
            "timestamptz",
            "'2013-07-01 00:00:00+05:30'",
            ZONED,
            datetime(2013, 6, 30, 18, 30, tzinfo=UTC),
        ),
        Case(
            "uuid",
            "'12345678-1234-5678-1234-567812345678'",
            "string",
            "12345678-1234-5678-1234-567812345678",
        ),
        Case("json", "'{\"a\": [1, 2.50]}'", "string json", '{"a": [1, 2.50]}'),
        Case("jsonb", '\'{"b": 1, "a": [2]}\'', "string json", '{"a": [2], "b": 1}'),
        Case("int[]", "'{1,NULL,3}'", "string json", "[1,null,3]"),
        Case("text[]", "'{a,\"b,c\"}'", "string json", '["a","b,c"]'),
        Case("float8[]", "'{0.1,1e300}'", "string json", "[0.1,1e+300]"),
        Case(
            "numeric(50,20)[]",
            "'{12345678901234567890.12345678901234567890}'",
            "string json",
            "[12345678901234567890.12345678901234567890]",
        ),
        Case(
            "timestamptz[]",
            "'{2013-07-01 00:00:00+05:30}'",
            "string json",
            '["2013-06-30T18:30:00+00:00"]',
        ),
        Case("place", "ROW(1, 'x')", "string json", '{"a":1,"b":"x"}'),
        Case("interval", "'1 year 2 days 03:04:05.6'", "string", "1 year 2 days 03:04:05.6"),
        Case("timetz", "'10:00:00+05:30'", "string", "10:00:00+05:30"),
        Case("inet", "'10.0.0.0/8'", "string", "10.0.0.0/8"),
        Case("macaddr", "'08:00:2b:01:02:03'", "string", "08:00:2b:01:02:03"),
        Case("point", "'(0.1,2)'", "string", "(0.1,2)"),
        Case("int4range", "'[1,5)'", "string", "[1,5)"),
        Case(
            "tstzrange", "'[2013-07-01 00:00:00+05:30,)'", "string", '["2013-06-30 18:30:00+00",)'
        ),
        Case("bit(3)", "B'101'", "string", "101"),
        Case("varbit", "B'10101'", "string", "10101"),
        Case("xml", "'<a/>'", "string", "<a/>"),
        Case("tsvector", "'a b'", "string", "'a' 'b'"),
        Case("money", "'12.34'", "string", "$12.34"),
        Case("pg_lsn", "'16/B374D848'", "string", "16/B374D848"),
    ],
    "mysql": [
        Case("TINYINT(1)", "-128", "int64", -128),
        Case("BIGINT", "9223372036854775807", "int64", 2**63 - 1),
        Case("INT UNSIGNED", "4294967295", "int64", 2**32 - 1),
        Case("INT(5) ZEROFILL", "42", "int64", 42),
        Case("BIGINT UNSIGNED", "18446744073709551615", "decimal128(20, 0)", Decimal(2**64 - 1)),
        Case("BIT(8)", "b'10000001'", "int64", 129),
        Case("BIT(64)", "18446744073709551615", "decimal128(20, 0)", Decimal(2**64 - 1)),
        Case("YEAR", "2013", "int64", 2013),
        Case("FLOAT", "16777217.5", "double", 16777218.0),
        Case("FLOAT", "0.1", "double", 0.10000000149011612),
        Case("DOUBLE", "0.1e0 + 0.2e0", "double", 0.30000000000000004),
        Case("DOUBLE", "1.7976931348623157e308", "double", 1.7976931348623157e308),
        Case("DOUBLE", "2.2250738585072014e-308", "double", 2.2250738585072014e-308),
        Case(
            "DECIMAL(38,10)",
            "1234567890123456789012345678.0123456789",
            "decimal128(38, 10)",
            Decimal("1234567890123456789012345678.0123456789"),
        ),
        Case("DECIMAL(10,2)", "-0.5", "decimal128(10, 2)", Decimal("-0.50")),
        Case("VARCHAR(30)", "'🚀 ä \\\\N \\t\\n NULL'", "string", "🚀 ä \\N \t\n NULL"),
        Case("VARCHAR(9) CHARACTER SET latin1", "'ä'", "string", "ä"),
        Case("CHAR(5)", "'ab'", "string", "ab"),
        Case("LONGTEXT", "repeat('é', 400000)", "string", "é" * 400_000),
        Case("ENUM('sad', 'happy')", "'happy'", "string", "happy"),
        Case("SET('a', 'b')", "'a,b'", "string", "a,b"),
        Case("BLOB", "x'00ff5c'", "binary", b"\x00\xff\\"),
        Case("BINARY(3)", "x'00ff5c'", "binary", b"\x00\xff\\"),
        Case("VARBINARY(3)", "x''", "binary", b""),
        Case("DATE", "'9999-12-31'", "date32[day]", date(9999, 12, 31)),
        Case(
            "DATETIME(6)",
            "'1969-12-31 23:59:59.999999'",
            MICROS,
            datetime(1969, 12, 31, 23, 59, 59, 999999),
        ),
        Case("DATETIME", "'1000-01-01'", MICROS, datetime(1000, 1, 1)),
        # Written in a session at +05:30.
        Case(
            "TIMESTAMP(6) NULL",
            "'2013-07-01 00:00:00.000001'",
            ZONED,
            datetime(2013, 6, 30, 18, 30, 0, 1, tzinfo=UTC),
        ),
        Case("TIME(6)", "'-838:59:59'", "string", "-838:59:59.000000"),
        Case("INET6", "'::1'", "string", "::1"),
        Case(
            "UUID",
            "'12345678-1234-5678-1234-567812345678'",
            "string",
            "12345678-1234-5678-1234-567812345678",
        ),
        Case(
            "POINT",
            "ST_GeomFromText('POINT(1 2)', 4326)",
            "binary",
            bytes.fromhex("e61000000101000000000000000000f03f0000000000000040"),
        ),
        # MariaDB stores JSON as text without a mark; MySQL marks it as JSON.
        Case("JSON", "'{\"a\": 2.50}'", "string", '{"a": 2.50}'),
    ],
    "duckdb": [
        Case("TINYINT", "-128", "int64", -128),
        Case("UINTEGER", "4294967295", "int64", 2**32 - 1),
        Case("BIGINT", "9223372036854775807", "int64", 2**63 - 1),
        Case("UBIGINT", "18446744073709551615", "decimal128(20, 0)", Decimal(2**64 - 1)),
        Case(
            "HUGEINT",
            "-12345678901234567890123456789012345678",
            "decimal128(38, 0)",
            Decimal(-12345678901234567890123456789012345678),
        ),
        Case(
            "UHUGEINT",
            "12345678901234567890123456789012345678",
            "decimal128(38, 0)",
            Decimal(12345678901234567890123456789012345678),
        ),
        Case(
            "BIGNUM",
            "340282366920938463463374607431768211456123",
            "string",
            "340282366920938463463374607431768211456123",
        ),
        Case("FLOAT", "0.1", "double", 0.10000000149011612),
        Case("DOUBLE", "0.1::DOUBLE + 0.2::DOUBLE", "double", 0.30000000000000004),
        Case("DOUBLE", "'nan'", "double", nan),
        Case("DOUBLE", "'-inf'", "double", -inf),
        Case(
            "DECIMAL(38,10)",
            "1234567890123456789012345678.0123456789",
            "decimal128(38, 10)",
            Decimal("1234567890123456789012345678.0123456789"),
        ),
        Case("DECIMAL", "1.5", "decimal128(18, 3)", Decimal("1.500")),
        Case("VARCHAR", "'🚀 ä ' || chr(10) || ' NULL'", "string", "🚀 ä \n NULL"),
        Case("BLOB", r"'\x00\xFF\x5C'", "binary", b"\x00\xff\\"),
        Case("BOOLEAN", "true", "bool", True),
        Case("DATE", "'0001-01-01'", "date32[day]", date(1, 1, 1)),
        Case("TIME", "'23:59:59.999999'", "time64[us]", time(23, 59, 59, 999999)),
        Case("TIME_NS", "'10:00:00.123456'", "time64[us]", time(10, 0, 0, 123456)),
        Case(
            "TIMESTAMP",
            "'1969-12-31 23:59:59.999999'",
            MICROS,
            datetime(1969, 12, 31, 23, 59, 59, 999999),
        ),
        Case("TIMESTAMP_S", "'2013-01-01 10:00:00'", MICROS, datetime(2013, 1, 1, 10)),
        Case(
            "TIMESTAMP_MS",
            "'2013-01-01 10:00:00.123'",
            MICROS,
            datetime(2013, 1, 1, 10, 0, 0, 123000),
        ),
        Case(
            "TIMESTAMP_NS",
            "'2013-01-01 10:00:00.123456'",
            MICROS,
            datetime(2013, 1, 1, 10, 0, 0, 123456),
        ),
        Case(
            "TIMESTAMPTZ",
            "'2013-07-01 00:00:00+05:30'",
            ZONED,
            datetime(2013, 6, 30, 18, 30, tzinfo=UTC),
        ),
        Case("TIMETZ", "'10:00:00+05:30'", "string", "10:00:00+05:30"),
        Case("INTERVAL", "INTERVAL 3 DAY", "string", "3 days"),
        Case("BIT", "'10101'", "string", "10101"),
        Case(
            "UUID",
            "'12345678-1234-5678-1234-567812345678'",
            "string",
            "12345678-1234-5678-1234-567812345678",
        ),
        Case("ENUM('sad', 'happy')", "'happy'", "string", "happy"),
        Case("JSON", "'{\"a\": [1, 2.50]}'", "string json", '{"a": [1, 2.50]}'),
        Case("INTEGER[]", "[1, NULL, 3]", "string json", "[1,null,3]"),
        Case("INTEGER[2]", "[1, 2]", "string json", "[1,2]"),
        Case(
            "STRUCT(a INTEGER, b VARCHAR)", "{'a': 1, 'b': 'x'}", "string json", '{"a":1,"b":"x"}'
        ),
        Case("MAP(VARCHAR, INTEGER)", "MAP {'k': 1}", "string json", '{"k":1}'),
        Case(
            "TIMESTAMPTZ[]",
            "['2013-07-01 00:00:00+05:30']",
            "string json",
            '["2013-06-30 18:30:00+00"]',
        ),
        Case(
            "UHUGEINT[]",
            "[340282366920938463463374607431768211455]",
            "string",
            "[340282366920938463463374607431768211455]",
        ),
        Case("STRUCT(t TIMETZ)", "{'t': '10:00:00+05:30'}", "string", "{'t': '10:00:00+05:30'}"),
        Case("BIT[]", "['101'::BIT]", "string", "[101]"),
        Case("DECIMAL(20,2)[]", "[1.10]", "string", "[1.10]"),
    ],
}

REFUSED: dict[str, list[Refused]] = {
    "sqlite": [
        Refused("INTEGER", "'seven'", "values of type str", "text", "seven"),
        Refused("INTEGER", "1.5", "values of type float", "text", "1.5"),
        Refused("INTEGER", "x'01'", "values of type bytes"),
        Refused("REAL", "'much'", "values of type str", "text", "much"),
        Refused("NUMERIC", "9007199254740993", "9007199254740993", "text", "9007199254740993"),
        Refused("DECIMAL(5,2)", "1.234", "cause data loss", "text", "1.234"),
        Refused("DECIMAL(5,2)", "12345.6", "does not fit in precision", "text", "12345.6"),
        Refused("TEXT", "x'00'", "values of type bytes", "binary", b"\x00"),
        Refused("TEXT", "CAST(x'ff41' AS TEXT)", "UTF-8", "binary", b"\xffA"),
        Refused("TEXT", "CAST(x'eda080' AS TEXT)", "UTF-8", "binary", b"\xed\xa0\x80"),
        Refused("BLOB", "'text'", "values of type str", "text", "text"),
        Refused("BOOLEAN", "2", "2", "text", "2"),
        Refused("BOOLEAN", "'yes'", "values of type str", "text", "yes"),
        Refused(
            "DATE", "'2013-01-01 10:00:00'", "2013-01-01 10:00:00", "text", "2013-01-01 10:00:00"
        ),
        Refused("DATE", "'0000-01-01'", "a year outside", "text", "0000-01-01"),
        Refused("TIME", "'24:00:00'", "24:00:00", "text", "24:00:00"),
        Refused("DATETIME", "'yesterday'", "yesterday", "text", "yesterday"),
        Refused("DATETIME", "1372636800", "values of type int", "text", "1372636800"),
        Refused(
            "DATETIME",
            "'2013-01-01 10:00:00.1234567'",
            "1234567",
            "text",
            "2013-01-01 10:00:00.1234567",
        ),
        Refused(
            "DATETIME",
            "'2013-01-01 10:00:00-0500'",
            "zone offset",
            "timestamptz",
            datetime(2013, 1, 1, 15, tzinfo=UTC),
        ),
        Refused(
            "TIMESTAMPTZ",
            "'2013-01-01 10:00:00'",
            "zone offset",
            "timestamp",
            datetime(2013, 1, 1, 10),
        ),
        Refused("", "5", "no declared type", "text", "5"),
        Refused("GEOMETRY", "'x'", "does not know", "text", "x"),
        Refused("DECIMAL(40,2)", "5", "does not know", "text", "5"),
    ],
    "postgresql": [
        Refused("timestamp", "'infinity'", "infinity", "text", "infinity"),
        Refused("timestamptz", "'-infinity'", "infinity", "text", "-infinity"),
        Refused("date", "'infinity'", "infinity", "text", "infinity"),
        Refused("date", "'0044-03-15 BC'", "year outside", "text", "0044-03-15 BC"),
        Refused(
            "timestamp",
            "'294276-12-31 23:59:59.999999'",
            "year outside",
            "text",
            "294276-12-31 23:59:59.999999",
        ),
        Refused("timestamp", "'10000-01-01'", "year outside", "text", "10000-01-01 00:00:00"),
        Refused("time", "'24:00:00'", "24:00", "text", "24:00:00"),
        Refused("numeric(10,2)", "'NaN'", "nan", "text", "NaN"),
        Refused("numeric", "'Infinity'", "inf", "text", "Infinity"),
        Refused("numeric", "1.1234567891", "data loss", "decimal(38,18)", Decimal("1.1234567891")),
        Refused("numeric(40,2)", "5", "does not know", "text", "5.00"),
    ],
    "mysql": [
        Refused("DATE", "'0000-00-00'", "0000-00-00", "text", "0000-00-00"),
        Refused("DATETIME", "'2013-00-00'", "2013-00-00", "text", "2013-00-00 00:00:00"),
        Refused("TIMESTAMP NULL", "0", "0000-00-00", "text", "0000-00-00 00:00:00"),
        Refused("DECIMAL(65,2)", "5", "does not know", "text", "5.00"),
    ],
    "duckdb": [
        Refused("TIMESTAMP", "'infinity'", "infinity", "text", "infinity"),
        Refused("DATE", "'-infinity'", "infinity", "text", "-infinity"),
        Refused("DATE", "'12345-01-01'", "year outside", "text", "12345-01-01"),
        Refused("DATE", "'0044-03-15 (BC)'", "year outside", "text", "0044-03-15 (BC)"),
        Refused("TIME", "'24:00:00'", "24:00", "text", "24:00:00"),
        Refused("TIME_NS", "'10:00:00.123456789'", "123456789", "text", "10:00:00.123456789"),
        Refused(
            "TIMESTAMP_NS",
            "'2013-01-01 00:00:00.123456789'",
            "lose data",
            "text",
            "2013-01-01 00:00:00.123456789",
        ),
        Refused(
            "UHUGEINT",
            "340282366920938463463374607431768211455",
            "decimal128",
            "text",
            "340282366920938463463374607431768211455",
        ),
    ],
}
