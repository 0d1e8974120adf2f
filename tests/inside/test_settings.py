"""Settings, secrets and the URLs of databases. Runs inside a generated project."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from my_data_project.common import db_utils, environment, errors, secrets, settings
from prefect.blocks.system import Secret
from pydantic import SecretStr

PREFIX = settings.ENV_PREFIX
PARTS = ("S3cr", "kTail", "zZ9q")
HOST = "db.example.com"


def test_the_defaults_need_no_environment() -> None:
    assert settings.load().warehouse_url.get_secret_value().startswith("duckdb:///")


def test_the_environment_goes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"{PREFIX}BATCH_BYTES=5\n{PREFIX}MAX_WORKERS=3\nOTHER=1\n")
    monkeypatch.setenv(f"{PREFIX}BATCH_BYTES", "7")
    config = settings.load()
    assert (config.batch_bytes, config.max_workers) == (7, 3)


def test_a_wrong_value_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}BATCH_BYTES", "hunter2")
    with pytest.raises(errors.PermanentError, match=f"{PREFIX}BATCH_BYTES") as caught:
        settings.load()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", ["A=b\n".encode("utf-16"), "# é\n".encode("latin-1")])
def test_a_file_that_is_not_utf_8_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(errors.PermanentError, match=r"^\.env cannot be read.* UTF-8\.$"):
        settings.load()


def test_sources_in_one_variable_are_json_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}SOURCE_URLS", "postgresql://me:hunter2@db/x")
    with pytest.raises(errors.PermanentError, match=f'"source_urls".*{PREFIX}') as caught:
        settings.load()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "it's", 'a"b'])
@pytest.mark.parametrize("setting", ["RAW_SCHEMA", "MARTS_SCHEMA"])
def test_a_schema_has_a_name_that_stays(
    name: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}{setting}", name)
    with pytest.raises(errors.PermanentError, match=f"{PREFIX}{setting}"):
        settings.load()


@pytest.mark.parametrize("setting", ["ENVIRONMENT", "WORK_POOL"])
def test_names_are_not_empty(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}{setting}", "")
    with pytest.raises(errors.PermanentError, match=f"{PREFIX}{setting}"):
        settings.load()


def test_a_misspelt_variable_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment._warn_if_misspelt.cache_clear()
    (tmp_path / ".env").write_text(f"{PREFIX}MAX_WORKER=3\n{PREFIX}SOURCE_URLS__CRM=hunter2\n")
    for name in ("SOURCES_URL", "IMAGE", "SCHEDULE"):  # the last two are not similar to a setting
        monkeypatch.setenv(f"{PREFIX}{name}", "hunter2")
    for _ in range(2):
        settings.load()
    assert {record.getMessage() for record in caplog.records} == {
        f"{PREFIX}SOURCES_URL is not a setting: did you mean {PREFIX}SOURCE_URL?",
        f"{PREFIX}MAX_WORKER is not a setting: did you mean {PREFIX}MAX_WORKERS?",
    }
    assert len(caplog.records) == 2


def test_sources_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}SOURCE_URL", "sqlite:///one.db")
    monkeypatch.setenv(f"{PREFIX}SOURCE_URLS__CRM", "sqlite:///two.db")
    assert db_utils.source_url(None) == "sqlite:///one.db"
    assert db_utils.source_url("crm") == "sqlite:///two.db"
    with pytest.raises(errors.PermanentError, match=f"set {PREFIX}SOURCE_URLS__ERP to its URL"):
        db_utils.source_url("erp")


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}WAREHOUSE_URL", "postgresql://me:hunter2@db/x")
    monkeypatch.setenv(f"{PREFIX}SOURCE_URLS__CRM", "postgresql://me:hunter2@db/x")
    config = settings.load()
    assert "hunter2" not in f"{config!r} {config} {config.model_dump()}"
    assert secrets.reveal(config.warehouse_url) == "postgresql://me:hunter2@db/x"


def test_a_secret_may_be_a_block(prefect_server: str) -> None:
    Secret(value="hunter2").save("warehouse-url", overwrite=True)
    assert secrets.reveal(SecretStr("block:warehouse-url")) == "hunter2"


def test_the_line_break_behind_a_url_is_not_a_part_of_it(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and Kubernetes leave one: a DuckDB file got it in its name."""
    url = "duckdb:///data/warehouse.duckdb"
    Secret(value=f"{url}\n").save("with-break", overwrite=True)
    for text in (f"{url}\n", "block:with-break"):
        for name in ("SOURCE_URL", "SOURCE_URLS__CRM", "WAREHOUSE_URL"):
            monkeypatch.setenv(f"{PREFIX}{name}", text)
        found = (db_utils.source_url(None), db_utils.source_url("crm"), db_utils.warehouse_url())
        assert found == (url, url, url)


def test_a_missing_block_is_one_clear_error(prefect_server: str) -> None:
    with pytest.raises(errors.PermanentError, match="no Secret block called 'nothing'"):
        secrets.reveal(SecretStr("block:nothing"))


@pytest.mark.parametrize(
    ("url", "host", "password"),
    [
        (f"postgresql://me:p%40ss%2Fw%3Ard%25@{HOST}:5432/crm", HOST, "p@ss/w:rd%"),
        (f"postgresql://me@tenant:p/w:rd@{HOST}/crm", HOST, "p/w:rd"),
        ("postgresql://me:pw@[fe80::1%eth0]:5432/crm", "fe80::1%eth0", "pw"),
        ("postgresql://me:pw@/crm?host=/run/postgresql", None, "pw"),
        (f"postgresql://{HOST}/crm?password=p@ss", HOST, None),
    ],
)
def test_a_url_is_read(url: str, host: str | None, password: str | None) -> None:
    parsed = db_utils.parse_url(url)
    assert (parsed.host, parsed.password) == (host, password)


def test_a_password_that_is_not_encoded_is_refused_and_not_shown() -> None:
    """Whatever it holds, and wherever a part of it would be taken for something else."""
    for first, second, end in itertools.product("@/:?#%&=[] ,", "@/:?#%&=[] ,", ("", "=", "?x=1")):
        password = f"{PARTS[0]}{first}{PARTS[1]}{second}{PARTS[2]}{end}"
        try:
            shown = db_utils.describe(f"postgresql://me:{password}@{HOST}:5432/crm")
        except errors.PermanentError as error:
            shown = str(error)
            assert "percent-encode" in shown
        else:
            assert f"@{HOST}:5432/crm" in shown
        assert not [part for part in PARTS if part in shown], password


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:S3cr@kTail@{HOST}:5432/crm",
        f"postgresql://m/e:S3cr@{HOST}/crm",
        f"postgresql://{HOST}:5432/crm?password=S3cr@kTail",
        f"postgresql://me:pw@{HOST}:S3cr/crm",
        "postgresql://me:S3cr@kTa%il",
    ],
)
def test_a_url_that_is_cut_wrongly_is_refused(url: str) -> None:
    with pytest.raises(errors.PermanentError, match="percent-encode") as caught:
        db_utils.parse_url(url)
    assert not [part for part in PARTS if part in str(caught.value)]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url", "must look like"),
        ("sqlite://", "needs a file, because runs share it: sqlite:///path"),
        ("duckdb:///:memory:", "needs a file"),
        ("duckdb://data/warehouse.duckdb", "needs a file.*: duckdb:///path"),
        ("sqlite://data/source.db", "needs a file.*: sqlite:///path"),
        ("postgresql://me:pw@one,two/crm", r"host=first,second&port=5432,5432"),
    ],
)
def test_what_is_no_database_is_refused(url: str, message: str) -> None:
    with pytest.raises(errors.PermanentError, match=message):
        db_utils.parse_url(url)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me@{HOST}/crm?password=S3cr",
        f"postgresql://me@{HOST}/crm?sslmode=require&sslpassword=S3cr",
        "duckdb:///crm.duckdb?motherduck_token=S3cr",
    ],
)
def test_parameters_show_no_secret(url: str) -> None:
    shown = db_utils.describe(url)
    assert "S3cr" not in shown
    assert "=..." in shown
