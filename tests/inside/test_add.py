"""The commands `add` and `discover`: what they write is in order. Runs inside a project."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import postgres_server
import psycopg2
import pymysql
import pytest
import sqlalchemy as sa
import yaml
from my_data_project import cli
from my_data_project.commands import add, discover, edits
from my_data_project.common import errors, readers, rules, settings
from my_data_project.common.table import AllTables, Table
from my_data_project.flows import tables

SRC = f"src/{add.PACKAGE}"
LIST = "from ..common.table import Table\n\nTABLES: tuple[Table, ...] = ()\n"
YAML = """\
# of PACKAGE
x: &pool {name: "é"} # kept
deployments:
- name: &name a
  entrypoint: other.two # kept
  tags: &tags [a]
  work_pool: &work_pool # the pool
    <<: *pool
  # description: out

# after
y: *pool
"""


SCHEMA = """
CREATE TABLE "Order Items" (
    "Order ID" INTEGER NOT NULL, line INTEGER NOT NULL, note TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL, updated_at TIMESTAMP NOT NULL, PRIMARY KEY ("Order ID", line)
);
CREATE TABLE codes (code TEXT NOT NULL UNIQUE, label TEXT);
CREATE TABLE events (id INTEGER PRIMARY KEY, created_at TIMESTAMP, updated_by TEXT);
CREATE TABLE loose (a INTEGER, modified_at TIMESTAMP NOT NULL);
CREATE TABLE people (
    id INTEGER PRIMARY KEY, mail TEXT, modified DATE, UNIQUE (mail)
);
CREATE TABLE points (id INTEGER PRIMARY KEY, x INTEGER);
CREATE TABLE visits (
    id INTEGER PRIMARY KEY, person INTEGER NOT NULL, code TEXT, "order" INTEGER NOT NULL,
    line INTEGER NOT NULL, FOREIGN KEY (person) REFERENCES people (id),
    FOREIGN KEY (code) REFERENCES codes (code),
    FOREIGN KEY ("order", line) REFERENCES "Order Items" ("Order ID", line)
);
CREATE VIEW all_codes AS SELECT * FROM codes;
"""
EXPECTED = (
    Table(
        name="Order Items",
        mode="incremental",
        cursor="updated_at",
        rules=(rules.NotNull(column="note"), rules.NotNull(column="created_at")),
    ),
    Table(name="codes", key=("code",)),
    Table(name="events"),
    Table(name="loose", rules=(rules.NotNull(column="modified_at"),)),
    Table(
        name="people",
        mode="incremental",
        cursor="modified",
        cursor_nulls="keep",
        rules=(rules.Unique(columns=("mail",)),),
    ),
    Table(name="points"),
    Table(
        name="visits",
        rules=(
            *(rules.NotNull(column=name) for name in ("person", "order", "line")),
            rules.ForeignKey(
                column="person", references="people", referenced_column="id", severity="warn"
            ),
        ),
    ),
)


def make_sqlite(path: Path) -> str:
    connection = sqlite3.connect(path)
    connection.executescript(f"{SCHEMA} CREATE UNIQUE INDEX half ON points (x) WHERE x > 0;")
    connection.execute("CREATE UNIQUE INDEX lower ON points (lower(x))")
    connection.close()
    return f"sqlite:///{path}"


def make_duckdb(path: Path) -> str:
    with duckdb.connect(path) as connection:
        connection.execute(SCHEMA)
    return f"duckdb:///{path}"


def make_postgres(path: Path) -> str:
    url = postgres_server.create_database()
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        cursor.execute("CREATE UNIQUE INDEX half ON points (x) WHERE x > 0")
        cursor.execute("CREATE UNIQUE INDEX lower ON points (lower(x::text))")
        cursor.execute("CREATE TABLE whole (x INTEGER) PARTITION BY RANGE (x)")
        cursor.execute("CREATE TABLE part PARTITION OF whole FOR VALUES FROM (1) TO (2)")
    connection.close()
    return url


def make_mysql(path: Path) -> str:
    url = sa.make_url(os.environ["TEST_MYSQL_URL"])
    words = {**url.translate_connect_args(username="user"), **url.query}
    connection = pymysql.connect(**words, autocommit=True)
    name = f"discover_{os.urandom(6).hex()}"
    statements = (
        SCHEMA.replace("TIMESTAMP", "DATETIME")
        .replace("TEXT", "VARCHAR(9)")
        .strip()
        .rstrip(";")
        .split(";")
    )
    for statement in (f"CREATE DATABASE {name}", f"USE {name}", "SET sql_mode = ANSI", *statements):
        connection.cursor().execute(statement)
    connection.close()
    return url.set(database=name).render_as_string(hide_password=False)


MAKERS = {
    "sqlite": make_sqlite,
    "other": make_sqlite,
    "duckdb": make_duckdb,
    "postgres": make_postgres,
    "mysql": make_mysql,
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project with an empty list, and a source."""
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SOURCE_URL", make_sqlite(tmp_path / "shop.db"))
    monkeypatch.setattr(tables, "TABLES", ())
    project, original = tmp_path / "project", Path(cli.__file__).parents[2]
    shutil.copytree(original / "src", project / "src")
    for name in ("pyproject.toml", "prefect.yaml"):
        shutil.copy(original / name, project)
    write(project, LIST)
    monkeypatch.chdir(project)
    return project


def contents(project: Path) -> dict[str, bytes]:
    """Return what is in each file, by its path."""
    paths = (path for path in project.rglob("*") if path.is_file())
    return {path.relative_to(project).as_posix(): path.read_bytes() for path in paths}


def write(project: Path, text: str) -> None:
    (project / discover.TABLES).write_text(text, encoding="utf-8")


def read(project: Path) -> tuple[Any, ...]:
    """Return the list as it is written."""
    names: dict[str, Any] = {"__package__": tables.__package__, "__name__": tables.__name__}
    exec(compile((project / discover.TABLES).read_text(encoding="utf-8"), "tables", "exec"), names)
    return names["TABLES"]


@pytest.mark.parametrize("kind", MAKERS)
def test_a_database_becomes_entries(
    kind: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SOURCE_URL", MAKERS[kind](tmp_path / "source.db"))
    if kind == "other":  # any database that SQLAlchemy knows
        monkeypatch.setattr(readers, "_READERS", {})
    assert cli.main(["discover", "--write"]) == 0
    more = (Table(name="whole"),) if kind == "postgres" else ()
    assert read(project) == (*EXPECTED, *more)
    text = (project / discover.TABLES).read_text(encoding="utf-8")
    assert '# If its rows never change: mode="incremental", cursor="created_at".' in text
    assert '# If its rows never change: mode="incremental", cursor="id".' in text
    assert 'added: mode="append", cursor="modified_at".\n    Table(name="loose"' in text
    assert edits.tidy(discover.TABLES, text) == text


@pytest.mark.parametrize("kind", ["other", "sqlite", "duckdb", "postgres", "mysql"])
def test_views_and_other_schemas_are_mentioned(
    kind: str,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = MAKERS[kind](tmp_path / "source.db")
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SOURCE_URL", url)
    statements = ("CREATE SCHEMA far", "CREATE VIEW far.only AS SELECT 1 AS a")
    if kind == "other":
        monkeypatch.setattr(readers, "_READERS", {})
    elif kind == "duckdb":
        with duckdb.connect(tmp_path / "source.db") as connection:
            connection.execute(";".join(statements))
    elif kind == "postgres":
        connection = psycopg2.connect(url)
        with connection, connection.cursor() as cursor:
            cursor.execute(";".join(statements))
        connection.close()
    assert cli.main(["discover", "--like", "*codes"]) == 0
    out, err = capsys.readouterr()
    assert "1 view left out; --views proposes them too.\n" in err
    assert "all_codes" not in out
    if kind in {"duckdb", "postgres"}:
        assert err.endswith("1 other schema; --schema reads one: far.\n")
        assert cli.main(["discover", "--views", "--schema", "far"]) == 0
        out, err = capsys.readouterr()
        assert '(Table(name="only", schema="far"),)\n' in out
        assert "views" not in err
    assert cli.main(["discover", "--views", "--like", "*codes", "--write"]) == 0
    assert [table.name for table in read(project)] == ["all_codes", "codes"]


def test_by_default_it_shows_the_edit(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (project / discover.TABLES).read_bytes()
    assert cli.main(["discover", "--like", "p*"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"--- a/{discover.TABLES}\n+++ b/{discover.TABLES}\n")
    assert '+    Table(name="points"),\n' in out
    assert "codes" not in out
    told = f"2 tables; --write adds them to {discover.TABLES}.\n"
    assert err == f"{told}1 view left out; --views proposes them too.\n"
    assert (project / discover.TABLES).read_bytes() == before


def test_what_is_listed_is_left_out_and_names_do_not_collide(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = (
        AllTables(schema="other"),
        *(Table(name=name) for name in ("events", "Order Items", "loose", "codes")),
        Table(name="people", source="crm"),
    )
    monkeypatch.setattr(tables, "TABLES", listed)
    entries = "AllTables(schema='other'), Table(name='events')"
    write(project, f"from ..common.table import AllTables, Table\n\nTABLES = ({entries})\n")
    assert cli.main(["discover", "--write"]) == 0
    people, points, visits = read(project)[2:]
    assert people.target_name == "other_people"
    assert points == Table(name="points")
    assert visits.rules[-1].references == "other_people"
    monkeypatch.setattr(tables, "TABLES", (*listed, people, points, visits))
    capsys.readouterr()
    assert cli.main(["discover", "--write"]) == 0
    assert capsys.readouterr().out == f"Nothing to add: all 7 are in {discover.TABLES} already.\n"
    monkeypatch.setattr(tables, "TABLES", (AllTables(exclude=("points",)),))
    assert cli.main(["discover"]) == 0
    assert capsys.readouterr().err.startswith("1 table; ")


def test_a_view_that_cannot_be_read_is_named_and_left_out(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE VIEW broken AS SELECT a FROM gone")
    connection.close()
    assert cli.main(["discover", "--views", "--like", "*o*", "--write"]) == 0
    text = "View 'broken' cannot be read: no such table: main.gone. It is left out.\n"
    assert capsys.readouterr().err == text
    assert {"all_codes", "loose"} < {table.name for table in read(project)}
    assert cli.main(["discover", "--views", "--like", "broken"]) == 1
    assert capsys.readouterr().err.startswith(text)


def test_foreign_keys_refer_to_what_is_listed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["discover", "--like", "visits", "--write"]) == 0
    assert not [rule for rule in read(project)[0].rules if isinstance(rule, rules.ForeignKey)]
    monkeypatch.setattr(tables, "TABLES", (Table(name="people", target="persons"),))
    write(project, LIST)
    assert cli.main(["add", "table", "visits"]) == 0
    assert read(project)[0].rules[-1].references == "persons"


def test_names_and_columns_that_a_warehouse_has_not_are_left_out_or_replaced(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = sqlite3.connect(tmp_path / "odd.db")
    columns = "id INTEGER NOT NULL, _dlt_load_id TEXT NOT NULL, _dlt_id TEXT NOT NULL UNIQUE"
    for name in ("a%b", "a/b", "_ingestions", "_dlt_loads", "plain"):
        connection.execute(f'CREATE TABLE "{name}" ({columns})')
    connection.close()
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SOURCE_URL", f"sqlite:///{tmp_path}/odd.db")
    assert cli.main(["discover", "--write"]) == 0
    assert [(table.name, table.target) for table in read(project)] == [
        ("a%b", "a_b"),
        ("a/b", "other_a_b"),
        ("plain", None),
    ]
    for table in read(project):
        assert table.exclude == ("_dlt_load_id", "_dlt_id")
        assert table.rules == (rules.NotNull(column="id"),)


def test_a_named_source_is_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = settings.load().source_url.get_secret_value()
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SOURCE_URLS", json.dumps({"crm": url}))
    assert cli.main(["discover", "--source", "crm", "--like", "codes", "--write"]) == 0
    assert read(project) == (Table(name="codes", source="crm", key=("code",)),)
    monkeypatch.setattr(tables, "TABLES", (Table(name="codes"),))
    assert cli.main(["discover", "--source", "crm", "--like", "codes", "--write"]) == 0
    assert read(project)[1] == Table(name="codes", source="crm", target="crm_codes", key=("code",))


@pytest.mark.parametrize(
    ("url", "words", "sentence"),
    [
        (
            "sqlite:///nowhere.db",
            (),
            f"no such file; name yours in {settings.ENV_PREFIX}SOURCE_URL",
        ),
        ("oracledb://scott:tiger@host/x", (), "no driver for a source of type 'oracledb'"),
        (None, ("--schema", "sales"), "no tables in the schema 'sales'. Schemas: main."),
        (None, ("--source", "erp"), "There is no source 'erp'"),
        (None, ("--source", "NW"), "no source 'NW': write 'nw', as names of sources are"),
        (None, ("--like", "zebra*"), "The source has no table like 'zebra*'."),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    url: str | None,
    words: tuple[str, ...],
    sentence: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SOURCE_URLS__NW", "sqlite:///nw.db")
    if url is not None:
        monkeypatch.setenv(f"{settings.ENV_PREFIX}SOURCE_URL", url)
    before = (project / discover.TABLES).read_bytes()
    assert cli.main(["discover", "--write", *words]) == 1
    out, err = capsys.readouterr()
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert "tiger" not in err
    assert (project / discover.TABLES).read_bytes() == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("TABLES = ()\n", "TABLES = (Table(name='x'),)\n"),
        ("TABLES = (\n    1,  # é\n)\n", "TABLES = (\n    1,  # é\n    Table(name='x'),\n)\n"),
        (
            "TABLES = [\n  1  # last, kept\n  # end\n]\nY = 1\n",
            "TABLES = [\n    1,  # last, kept\n    # end\n    Table(name='x'),\n]\nY = 1\n",
        ),
    ],
)
def test_an_entry_goes_to_the_end_of_the_list(before: str, after: str, project: Path) -> None:
    start = "from ..common.table import Table\n\nX = Table(name='y')\n"
    write(project, edits.tidy(discover.TABLES, f"{start}{before}"))
    assert discover.insert(["Table(name='x')"]) == edits.tidy(discover.TABLES, f"{start}{after}")


@pytest.mark.parametrize(
    "start", ["", '"""é"""\n', "from ..common.table import Table\n\nX = Table(name='y')\n"]
)
def test_what_an_entry_needs_is_imported(start: str, project: Path) -> None:
    write(project, edits.tidy(discover.TABLES, f"{start}\nTABLES = ()\n"))
    text = discover.insert(["Table(name='x', rules=(rules.NotNull(column='a'),))"])
    assert "from ..common import rules\nfrom ..common.table import Table\n" in text
    assert text.count("import") == 2
    write(project, text)
    assert read(project)[-1].rules == (rules.NotNull(column="a"),)


@pytest.mark.parametrize("text", ["TABLES = tuple(Y)\n", "Y = ()\n", "TABLES = () + (1,)\n"])
def test_what_is_no_plain_list_is_left_alone(text: str, project: Path) -> None:
    write(project, text)
    with pytest.raises(errors.PermanentError, match=r"by hand:\nTable\(name='x'\)"):
        discover.insert(["Table(name='x')"])


def test_a_schema_of_hundreds_of_tables_takes_seconds(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = sqlite3.connect(tmp_path / "many.db")
    for number in range(375):
        columns = f"id INTEGER PRIMARY KEY, name TEXT NOT NULL, last_updated_{number} TIMESTAMP"
        connection.execute(f"CREATE TABLE t{number:03} ({columns})")
    connection.close()
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SOURCE_URL", f"sqlite:///{tmp_path}/many.db")
    assert cli.main(["discover", "--write"]) == 0
    found = read(project)
    assert len(found) == 375
    assert found[374].cursor == "last_updated_374"


@pytest.mark.parametrize(
    ("words", "entry"),
    [
        (["Order Items"], EXPECTED[0]),
        (["people"], EXPECTED[4]),
        (
            ["people", "--mode", "full"],
            Table(name="people", rules=(rules.Unique(columns=("mail",)),)),
        ),
        (
            ["points", "--key", "id, x", "--cursor", "x"],
            Table(
                name="points", key=("id", "x"), mode="incremental", cursor="x", cursor_nulls="keep"
            ),
        ),
        (["all_codes"], Table(name="all_codes")),
        (
            ["loose", "--cursor", "modified_at", "--target", "latest"],
            Table(name="loose", target="latest", mode="append", cursor="modified_at"),
        ),
        (["codes", "--target", "tokens"], Table(name="codes", target="tokens", key=("code",))),
    ],
    ids=lambda value: value.name if isinstance(value, Table) else None,
)
def test_a_table_is_read_first(words: list[str], entry: Table, project: Path) -> None:
    before = contents(project)
    assert cli.main(["add", "table", *words]) == 0
    after = contents(project)
    assert {path for path in after if after[path] != before.get(path)} == {discover.TABLES}
    assert read(project) == (entry,)


@pytest.mark.parametrize(
    ("part", "paths"),
    [
        ("task", {"tasks/count_zebras.py", "tests/test_count_zebras.py"}),
        ("flow", {"flows/count_zebras_flow.py", "tests/test_count_zebras_flow.py", "prefect.yaml"}),
        ("derived", {"sql/count_zebras.sql", "sql/count_zebras.yml"}),
    ],
)
def test_a_part_is_written_with_its_test(
    part: str, paths: set[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(project)
    assert cli.main(["add", part, "count_zebras"]) == 0
    after = contents(project)
    changed = sorted(path for path in after if after[path] != before.get(path))
    assert {path.removeprefix(f"{SRC}/") for path in changed} == paths
    printed = capsys.readouterr().out
    assert all(path in printed for path in changed)
    python = [path for path in changed if path.endswith(".py")]
    for words in (["check"], ["format", "--check"]) if python else ():
        command = [sys.executable, "-m", "ruff", *words, "--no-cache", *python]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    if part == "flow":
        last = yaml.safe_load(after["prefect.yaml"])["deployments"][-1]
        assert last["entrypoint"] == f"{add.PACKAGE}.flows.count_zebras_flow.count_zebras"
        assert last.keys() == {"name", "entrypoint", "tags", "work_pool"}


def test_a_dry_run_shows_what_it_would_do(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(project)
    assert cli.main(["add", "task", "count_zebras", "--dry-run"]) == 0
    assert cli.main(["add", "table", "points", "--dry-run"]) == 0
    assert contents(project) == before
    printed = capsys.readouterr().out
    assert f"--- /dev/null\n+++ b/{SRC}/tasks/count_zebras.py" in printed
    assert "+def count_zebras(" in printed
    assert f"--- a/{discover.TABLES}\n+++ b/{discover.TABLES}" in printed
    assert '+    Table(name="points")' in printed


REFUSED = [
    (["task", "class"], "'class' is not a valid name"),
    (["task", "match"], "'match' is not a valid name"),
    (["task", "list"], "'list' is not a valid name"),
    (["task", "task"], "needs the name task for something else"),
    (["task", "warehouse"], "needs the name warehouse for something else"),
    (["flow", "notifications"], "needs the name notifications for something else"),
    (["task", "Zebras"], "'Zebras' is not a valid name"),
    (["task", "count-zebras"], "'count-zebras' is not a valid name"),
    (["task", "zebras\n"], "is not a valid name"),
    (["task", "z" * 41], "lower-case letters, digits and _, at most 40"),
    (["task", "count_zebras"], "already exists"),
    (["flow", "ingestion"], "ingestion_flow.py already exists"),
    (["derived", "codes"], "There is already a table codes"),
    (["table", "codes"], "already has codes; --target"),
    (["table", "point"], "The source has no table 'point'. Did you mean 'points'?"),
    (["table", "points", "--schema", "eu"], "no table 'points' in the schema 'eu'"),
    (["table", "points", "--source", "crm"], "There is no source 'crm'"),
    (["table", "points", "--key", "id,nr"], "points has no column 'nr'. Columns: id, x."),
    (["table", "points", "--cursor", "at"], "points has no column 'at'"),
]


def test_what_cannot_be_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "TABLES", (Table(name="codes"),))
    assert cli.main(["add", "task", "count_zebras"]) == 0
    before = contents(project)
    for words, sentence in REFUSED:
        assert cli.main(["add", *words]) == 1
        assert sentence in capsys.readouterr().err
    assert contents(project) == before


def test_elsewhere_nothing_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["add", "task", "count_zebras"]) == 1
    assert "go to its folder first." in capsys.readouterr().err


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_deployment_leaves_the_rest_as_it_was(
    newline: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = YAML.replace("PACKAGE", add.PACKAGE).replace("\n", newline)
    (project / "prefect.yaml").write_bytes(text.encode())
    assert cli.main(["add", "flow", "new"]) == 0
    entry = (
        f"\n- name: *name\n  entrypoint: {add.PACKAGE}.flows.new_flow.new\n"
        "  tags: *tags\n  work_pool: *work_pool\n"
    )
    place = f"  # description: out{newline}"
    expected = text.replace(place, place + entry.replace("\n", newline))
    assert (project / "prefect.yaml").read_bytes().decode() == expected


@pytest.mark.parametrize(
    "text",
    ["deployments: []\n", "name: x\n", "- a\n", "deployments:\n- name: a\n", "a: [\n", ""],
)
def test_a_file_that_is_laid_out_otherwise_is_left_alone(text: str, project: Path) -> None:
    (project / "prefect.yaml").write_text(text)
    before = contents(project)
    assert cli.main(["add", "flow", "new"]) == 1
    assert contents(project) == before


def test_a_folder_that_cannot_be_written_is_one_sentence(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(project / SRC / "sql", ignore_errors=True)
    (project / SRC / "sql").touch()
    assert cli.main(["add", "derived", "new"]) == 1
    assert f"{SRC}/sql/new.sql cannot be written" in capsys.readouterr().err


def test_a_file_that_is_gone_is_named(project: Path) -> None:
    (project / "prefect.yaml").unlink()
    with pytest.raises(errors.PermanentError, match=r"prefect\.yaml cannot be read"):
        edits.read("prefect.yaml")
