"""Warehouses of files with real data, and cloud warehouses up to the connection."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import projects
import pytest
from buckets import s3_server
from environments import Environments
from projects import Render, tool

SCRIPTS = Path(__file__).with_name("warehouses")
SERVICES = (
    *("snowflake", "bigquery", "redshift", "databricks", "clickhouse", "mssql", "motherduck"),
)
EXTRAS = [*SERVICES, "filesystem"]
KEY = {
    "type": "service_account",
    "project_id": "other-project",
    "private_key": "no key",
    "client_email": "loader@other-project.iam.gserviceaccount.com",
}
LOGIN = "loader:p%40ss%2Fword"  # pragma: allowlist secret
WORD = "p@ss/word"


@pytest.fixture(scope="module")
def project(
    render: Render, environments: Environments, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project with the drivers of all warehouses."""
    folder = tmp_path_factory.mktemp("warehouses") / "my-data-project"
    shutil.copytree(render(extras=EXTRAS, example=False), folder)
    environments.sync(folder, keep=False)
    return folder


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A local bucket; yields its URL as a warehouse."""
    login = {"aws_access_key_id": "key", "aws_secret_access_key": "sec/ret"}
    with s3_server() as url:
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **login)
        client.create_bucket(Bucket="lake")
        yield f"s3://key:sec%2Fret@lake/warehouse?region=us-east-1&endpoint_url={url}"


@pytest.mark.parametrize(
    "place", [pytest.param("folder", marks=pytest.mark.large("faults")), "bucket"]
)
def test_files(place: str, project: Path, s3: str, tmp_path: Path) -> None:
    url = s3 if place == "bucket" else f"file://{tmp_path}/the lake"
    printed = tool(project, "python", SCRIPTS / "files.py", url)
    assert printed.count(": ok") == 7
    if place == "folder":
        assert (tmp_path / "the lake/raw/clicks/_delta_log").is_dir()


CONFIGURED: list[tuple[str, str, dict[str, Any]]] = [
    (
        f"snowflake://{LOGIN}@org-account/analytics?warehouse=load&role=loader",
        "snowflake",
        {"host": "org-account", "database": "analytics", "warehouse": "load", "password": WORD},
    ),
    (
        f"snowflake://{LOGIN}@org-account/analytics/public",
        "snowflake",
        {"database": "analytics"},
    ),
    (
        f"redshift+psycopg2://{LOGIN}@c.example.com/analytics",
        "redshift",
        {"drivername": "postgresql", "port": 5439, "password": WORD},
    ),
    (
        "databricks://token:dapi123@dbc.example.com:443?http_path=/sql/1.0/w/a&catalog=main",
        "databricks",
        {"access_token": "dapi123", "http_path": "/sql/1.0/w/a", "catalog": "main"},
    ),
    (
        "databricks://client:secret@dbc.example.com?http_path=/sql/1.0/w/a&catalog=main",
        "databricks",
        {"client_id": "client", "client_secret": "secret"},
    ),
    (
        f"clickhouse://{LOGIN}@ch.example.com:9440/analytics?http_port=8444",
        "clickhouse",
        {"port": 9440, "http_port": 8444, "database": "analytics", "password": WORD},
    ),
    (
        f"mssql+pyodbc://{LOGIN}@sql.example.com/analytics?driver=ODBC+Driver+18+for+SQL+Server",
        "tsql",
        {"port": 1433, "driver": "ODBC Driver 18 for SQL Server", "password": WORD},
    ),
    (
        "motherduck:///my_db?motherduck_token=token",
        "duckdb",
        {"database": "my_db", "password": "token"},
    ),
    (
        "bigquery://my-project?location=EU&credentials_base64="
        + base64.b64encode(json.dumps(KEY).encode()).decode(),
        "bigquery",
        {"client_email": KEY["client_email"]},
    ),
]
"""A URL, its dialect of SQL, and some of the credentials that it gives."""

INCOMPLETE = {
    "snowflake://org-account/analytics": "requires `username`",
    "bigquery://my-project": "lacks",
    "s3://lake/warehouse": "lacks aws_access_key_id",
    "databricks://dbc.example.com?catalog=main": "Authentication failed",
}
"""A URL without a login, and words of the sentence that says so."""


@pytest.fixture(scope="module")
def printed(project: Path) -> dict[str, str]:
    """The output of `configured.py` for each URL."""
    home = {"HOME": "/nonexistent", "DATABRICKS_CONFIG_FILE": "/nonexistent"}
    urls = [*(url for url, *_ in CONFIGURED), *INCOMPLETE]
    text = tool(project, "python", SCRIPTS / "configured.py", *urls, **home)
    parts = re.split(r"^URL \d+\n", text, flags=re.MULTILINE)
    return dict(zip(urls, parts[1:], strict=True))


@pytest.mark.parametrize(
    ("url", "dialect", "expected"),
    CONFIGURED,
    ids=lambda value: re.split(r"\W", value)[0] if isinstance(value, str) else "",
)
def test_services(
    url: str, dialect: str, expected: dict[str, Any], printed: dict[str, str]
) -> None:
    """Credentials come from the URL, and SQL is in the warehouse's dialect."""
    _, mark, found = printed[url].rpartition("FACTS")
    assert mark, printed[url]
    facts: dict[str, Any] = json.loads(found)
    assert WORD not in facts["described"]
    assert len(facts["statements"]) >= 10
    assert facts["dialect"] == dialect
    assert {name: facts["credentials"].get(name) for name in expected} == expected
    if dialect == "bigquery":
        assert (facts["location"], facts["name"]) == ("EU", "`my-project`.`raw`.`Order Items`")


@pytest.mark.parametrize(("url", "words"), INCOMPLETE.items(), ids=str)
def test_a_login_that_is_missing_is_one_sentence(
    url: str, words: str, printed: dict[str, str]
) -> None:
    assert "PermanentError: " in printed[url], printed[url]
    assert words in printed[url].rpartition("PermanentError: ")[2], printed[url]


def test_the_table_of_the_docs_is_complete() -> None:
    """Each warehouse of an extra has a row in docs/warehouses.md."""
    page = (projects.ROOT / "docs" / "warehouses.md").read_text(encoding="utf-8")
    rows = {
        cell.strip("` ") for cell in re.findall(r"^\|[^|]+\|[^|]+\|([^|]+)\|", page, re.MULTILINE)
    }
    assert {"postgres", *EXTRAS} <= rows
