"""The demo, on a small part of its data."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import cast

import pytest
from databases import WAREHOUSES
from prefect.artifacts import Artifact

from my_data_project import cli, demo_source
from my_data_project.common import (
    errors,
    runs,
    settings,
)

DATA = Path(__file__).parent / "data"
VARIABLES = [
    f"{settings.ENV_PREFIX}{name}_URL" for name in ("SOURCE", "WAREHOUSE", "SLACK_WEBHOOK")
]


def read_slice(table: str) -> list[dict[str, str]]:
    """Return the rows of a data file, unchanged."""
    with (DATA / f"{table}.csv").open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the demo's changes to this process, and give it the small data."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "sqlite:///elsewhere.db")
    monkeypatch.setattr(demo_source, "find_files", lambda: DATA)


def test_the_source_holds_the_files(tmp_path: Path) -> None:
    database = tmp_path / "made" / "source.db"
    total = sum(len(read_slice(table)) for table in demo_source.TABLES)
    assert demo_source.build_source(DATA, database) == total
    connection = sqlite3.connect(database)
    query = "SELECT typeof(dep_delay), typeof(tailnum), time_hour FROM flights LIMIT 1"
    kinds = connection.execute(query).fetchone()
    ((unknown,),) = connection.execute("SELECT count(*) FROM planes WHERE speed IS NULL")
    connection.close()
    assert kinds == ("integer", "text", "2013-11-03 11:00:00.000000")
    assert unknown == sum(row["speed"] == "NA" for row in read_slice("planes")) > 0


def test_a_broken_file_leaves_no_source(tmp_path: Path) -> None:
    files = shutil.copytree(DATA, tmp_path / "files")
    (files / "weather.csv").write_bytes(b"origin,day\n\xff\xfe,1\n")
    database = tmp_path / "source.db"
    with pytest.raises(errors.PermanentError, match="Cannot build"):
        demo_source.build_source(files, database)
    assert not database.exists()


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(errors.PermanentError, match=r"airlines\.csv\.zip"):
        demo_source.build_source(tmp_path, tmp_path / "source.db")


def test_the_demo_finds_the_faults_of_its_data_and_derives_tables(
    prefect_server: str, variables: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flights = read_slice("flights")
    assert run_demo(capsys) == len(flights)
    assert not (tmp_path / "elsewhere.db").exists()
    planes = {row["tailnum"] for row in read_slice("planes")}
    airports = {row["faa"] for row in read_slice("airports")}
    local = ("origin", "year", "month", "day", "hour")
    hours = Counter(tuple(row[name] for name in local) for row in read_slice("weather"))
    expected = [
        sum(row["tailnum"] not in planes for row in flights),
        sum(row["dest"] not in airports for row in flights),
        sum(count - 1 for count in hours.values()),
    ]
    keys = [runs.artifact_key("quality", table) for table in ("flights", "weather")]
    artifacts = [cast("Artifact", Artifact.get(key)) for key in keys]
    found = [row for artifact in artifacts for row in json.loads(str(artifact.data))]
    assert sorted(row["violations"] for row in found if row["violations"]) == sorted(expected)
    assert {row["status"] for row in found} == {"ok", "warn"}
    warehouse = WAREHOUSES["duckdb"](tmp_path / "data")
    carriers = "SELECT count(*), sum(flights) FROM marts.delays_by_carrier"
    assert warehouse(carriers) == [(len({row["carrier"] for row in flights}), len(flights))]
    with_weather = "SELECT count(*) FROM marts.delays_by_origin_hour WHERE visibility_miles > 0"
    assert warehouse(with_weather)[0] > 0
    # The second time, only the rows with the newest cursor value.
    assert run_demo(capsys) < len(flights) // 2


def run_demo(capsys: pytest.CaptureFixture[str]) -> int:
    """Run the command, and return the number of flights that it reports as read."""
    assert cli.main(["demo"]) == 0
    shown = re.search(r"flights +│ +(\d+) ", capsys.readouterr().out)
    assert shown
    return int(shown[1])


def test_the_command_explains_errors(
    variables: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    assert cli.main(["demo"]) == 1
    assert "Cannot build data/source.db" in capsys.readouterr().err


def test_the_command_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip()
