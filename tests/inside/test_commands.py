"""The commands, against a warehouse and a real Prefect server. Runs inside a generated project."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from typing import TYPE_CHECKING, Any
from unittest import mock

import filelock
import pytest
from databases import EXAMPLES
from my_data_project import cli, flows
from my_data_project.common import (
    derived,
    errors,
    extraction,
    loading,
    receipts,
    runs,
    secrets,
    server,
    settings,
)
from my_data_project.common.table import AllTables, Table
from my_data_project.flows import ingestion_flow, tables
from prefect import get_client
from prefect.client.schemas.actions import LogCreate, WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed, Failed, Pending

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from databases import Database

PREFIX = settings.ENV_PREFIX


def test_a_git_that_does_not_answer_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    late = mock.Mock(side_effect=subprocess.TimeoutExpired("git", 60))
    monkeypatch.setattr(subprocess, "run", late)
    assert runs.version.__wrapped__() == metadata.version(settings.PROJECT)
    assert late.call_args.kwargs["timeout"]


@pytest.fixture
def loaded(source: Database, warehouse: Database, examples: None, tmp_path: Path) -> Database:
    """A warehouse with the orders, and rates that a flow of one's own has loaded."""
    load(tmp_path, EXAMPLES["orders"])
    load(tmp_path, Table(name="rates"), lambda: [{"currency": "EUR"}, {"currency": "USD"}])
    return warehouse


def load(folder: Path, table: Table, rows: Any = None) -> None:
    """Load a table without Prefect."""
    loading.load(extraction.extract(table, folder, receipt=None, rows=rows))


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command that must succeed (or must not) and return what it printed."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert cli.main(list(words)) == code
        out, err = capsys.readouterr()
        return out if code == 0 else err

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command that is not complete and return its last line."""

    def run(*words: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main(list(words))
        assert caught.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("usage: ")
        assert "options:" in err  # the whole help
        return err.splitlines()[-1]

    return run


@pytest.fixture
def environment(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """Give a test an environment of its own on the server, which others may share."""
    (tmp_path / "prefect.yaml").write_text(json.dumps({"name": settings.PROJECT}))
    name = f"test-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv(f"{PREFIX}ENVIRONMENT", name)
    monkeypatch.setenv(f"{PREFIX}WORK_POOL", name)
    monkeypatch.setenv(f"{PREFIX}WORK_POOL_TYPE", "process")
    yield name
    with get_client(sync_client=True) as client:
        for what in ("stuck", "late", "lost"):
            for made in client.read_automations_by_name(f"{runs.deployment_name()}-{what}"):
                client.delete_automation(made.id)


def deploy(client: Any, name: str | None = None) -> Any:
    """Make a deployment as `prefect deploy` does from prefect.yaml; return its id."""
    return client.create_deployment(
        flow_id=client.create_flow(ingestion_flow.ingest_all),
        name=name or runs.deployment_name(),
        entrypoint=f"{ingestion_flow.__name__}.ingest_all",
        tags=[settings.PROJECT, runs.deployment_name()],
    )


def cells(text: str, first: str) -> list[str]:
    """Return the cells of the line that begins with a cell."""
    lines = [line.strip("│ \n").split("│") for line in text.splitlines() if line.startswith("│")]
    return next(found for line in lines if (found := [cell.strip() for cell in line])[0] == first)


def test_a_command_without_arguments_says_what_it_takes(loaded: Database, refused: Any) -> None:
    for command, names in (
        ("backfill", "Tables: customers, orders."),
        ("reset", "Tables: customers, orders, rates."),
        ("secret", "source-url, warehouse-url, slack-webhook-url."),
        ("add", "WHAT"),
    ):
        last = refused(command)
        assert last.startswith(f"{settings.PROJECT} {command}: ")
        assert last.endswith(names)


def test_the_program_without_arguments_lists_its_commands(refused: Any) -> None:
    assert refused().startswith(f"{settings.PROJECT}: ")


@pytest.mark.parametrize("words", [["ingest"], ["backfill", "orders", "--since", "2026"]])
def test_an_empty_list_says_how_to_fill_it(
    words: list[str], warehouse: Database, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "TABLES", ())
    monkeypatch.setattr(ingestion_flow, "FLOWS", {})
    text = printed(*words, code=1)
    assert f"uv run {settings.PROJECT} discover" in text
    assert len(text.splitlines()) == 1
    assert f"uv run {settings.PROJECT} add table NAME" in printed("status")
    monkeypatch.setattr(tables, "TABLES", (AllTables(),))
    assert printed("status").startswith("No table is loaded yet.\n")


@pytest.mark.parametrize(
    "entries", [(Table(name="a"), Table(name="A")), (Table(name="a", schema="eu"), Table(name="a"))]
)
def test_a_list_that_cannot_work_is_one_sentence(
    entries: tuple[Table, ...], printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "TABLES", entries)
    monkeypatch.delitem(sys.modules, ingestion_flow.__name__)
    monkeypatch.delattr(flows, "ingestion_flow")
    text = printed("ingest", code=1)
    assert "flows/tables.py has two tables" in text
    assert text.count("flows/tables.py") == 1
    assert len(text.splitlines()) == 1


def test_ingest_needs_no_deployment(
    source: Database, loaded: Database, prefect_server: str, printed: Any
) -> None:
    text = printed("ingest", "customers")
    assert cells(text, "customers")[:4] == ["customers", "3", "3", "0"]
    assert loaded.rows("customers") == source.rows("customers")
    assert "There is no table trains. Tables: customers, orders." in printed(
        "ingest", "trains", code=1
    )


def test_derived_tables_follow_an_ingestion(
    source: Database,
    loaded: Database,
    prefect_server: str,
    printed: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "names.sql").write_text("SELECT id FROM raw.customers\n", encoding="utf-8")
    monkeypatch.setattr(derived, "FOLDER", tmp_path)
    assert "names: 3 rows" not in printed("ingest", "customers")
    assert "names: 3 rows" in printed("ingest", "customers", "--transform")


def test_a_table_that_fails_is_marked_among_the_others(
    source: Database,
    warehouse: Database,
    prefect_server: str,
    examples: None,
    printed: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables, "TABLES", (Table(name="customers"), Table(name="trains")))
    assert cli.main(["ingest"]) == 1
    out, err = capsys.readouterr()
    assert cells(out, "customers")[1:3] == ["3", "3"]
    assert cells(out, "customers")[-1] == "ok"
    assert cells(out, "trains")[1:] == ["-", "-", "-", "-", "failed"]
    assert "1 of 2 tables failed.\ntrains: The source has no table 'trains'" in err


def test_backfill_repairs_a_window_and_leaves_the_watermark(
    source: Database, loaded: Database, prefect_server: str, printed: Any, tmp_path: Path
) -> None:
    load(tmp_path, EXAMPLES["customers"])  # which a rule of the orders looks at
    before = receipts.read_receipts()["orders"].watermark
    source("UPDATE orders SET price = 7")
    words = ("backfill", "orders", "--since", "2026-01-01 09:00", "--until", "2026-01-02")
    assert cells(printed(*words), "orders")[:3] == ["orders", "1", "1"]
    assert loaded("SELECT id FROM raw.orders WHERE price = 7") == [11]
    assert receipts.read_receipts()["orders"].watermark == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trains", "--since", "2026-01-01"], "no table trains. Tables: customers, orders."),
        (
            ["orders", "--since", "7 days ago"],
            "write a date as 2026-01-31, a time as 2026-01-31T06:00",
        ),
    ],
)
def test_a_backfill_that_makes_no_sense_is_one_sentence(
    loaded: Database, prefect_server: str, printed: Any, words: list[str], message: str
) -> None:
    said = printed("backfill", *words, code=1).rpartition(f"{settings.PROJECT}: ")[2]
    assert message in said
    assert said.count("\n") <= 2  # how many failed, and a line for each


def test_a_window_that_is_no_date_is_refused_before_a_run(
    loaded: Database, prefect_server: str, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion_flow, "ingest_all", mock.Mock(side_effect=AssertionError))
    for words in (["--since", "yesterday"], ["--since", "2026-01-01", "--until", "today"]):
        text = printed("backfill", "orders", *words, code=1)
        assert f"{words[-1]!r} is no cursor value: write a date as 2026-01-31" in text
        assert len(text.splitlines()) == 1


def test_reset_asks_and_then_forgets_the_watermark(
    loaded: Database, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = loaded.rows("orders")
    assert "no terminal to confirm on" in printed("reset", "orders", code=1)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", mock.Mock(side_effect=["n", "y"]))
    assert "Nothing was changed." in printed("reset", "orders")
    assert receipts.read_receipts()["orders"].mode != "reset"
    text = printed("reset", "orders")
    assert "forgets the watermark 2026-01-02" in text
    assert "Done." in text
    assert loaded.rows("orders") == rows
    assert receipts.read_receipts()["orders"].mode == "reset"
    assert "nothing to do" in printed("reset", "orders", "--yes")
    assert cells(printed("status"), "orders")[1] == "-"


@pytest.mark.parametrize("given", [KeyboardInterrupt, EOFError])
def test_leaving_a_question_changes_nothing(
    given: type[BaseException], loaded: Database, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", mock.Mock(side_effect=given))
    assert printed("reset", "orders", code=130) == f"\n{settings.PROJECT}: stopped.\n"
    assert receipts.read_receipts()["orders"].mode != "reset"


def test_a_folder_of_the_project_is_as_good_as_its_root(
    printed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "src" / "package"
    folder.mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".env").write_text(f"{PREFIX}WAREHOUSE_URL=duckdb:///here.duckdb\n")
    monkeypatch.delenv(f"{PREFIX}WAREHOUSE_URL", raising=False)
    monkeypatch.setattr(cli, "__file__", str(folder / "cli.py"))
    monkeypatch.chdir(folder)
    assert "duckdb:///here.duckdb" in printed("status", "--json")
    assert (tmp_path / "here.duckdb").exists()
    assert [*folder.iterdir()] == []


def test_reset_can_drop_each_loaded_table(loaded: Database, printed: Any) -> None:
    for table, count in (("orders", 4), ("rates", 2)):
        text = printed("reset", table, "--drop", "--yes")
        assert f"drops raw.{table} with its {count} rows" in text
        schema = "information_schema.tables WHERE table_schema = 'raw'"
        assert table not in loaded(f"SELECT table_name FROM {schema}")
    text = printed("reset", "trains", "--yes", code=1)
    assert "There is no table trains. Tables: customers, orders." in text


def test_status_shows_every_table_that_was_loaded(loaded: Database, printed: Any) -> None:
    text = printed("status")
    assert cells(text, "orders")[2].startswith("2026-01-02")
    assert cells(text, "orders")[3:6] == ["4", "4", "0"]
    assert cells(text, "rates")[3] == "2"
    assert cells(text, "customers")[1] == "-"
    found = json.loads(printed("status", "--json"))
    assert [row["table"] for row in found["tables"]] == ["customers", "orders", "rates"]
    assert found["tables"][1]["watermark"].startswith("2026-01-02")
    assert "PREFECT_API_URL is not set" in found["errors"][0]


def test_status_fits_a_narrow_screen(
    loaded: Database, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = printed("status")
    assert max(map(len, text.splitlines()[:-1])) <= 80  # the last one says what is missing
    assert cells(text, "orders")[1].startswith("2")
    assert cells(text, "orders")[2].startswith("2026-01-02")
    assert cells(text, "orders")[3:] == ["4", "4", "0"]
    assert "rates" in text.partition("Where they come from")[2]


def test_status_does_not_wait(
    loaded: Database, printed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}WAREHOUSE_URL", f"duckdb:///{tmp_path}/busy.duckdb")
    monkeypatch.setenv(f"{PREFIX}LOCK_TIMEOUT_SECONDS", "60")
    lock = filelock.FileLock(tmp_path / "busy.duckdb.lock", is_singleton=False)
    begin = time.monotonic()
    with lock:
        assert "Another process is using duckdb:///" in printed("status")
    assert time.monotonic() - begin < settings.load().lock_timeout_seconds / 2


def test_status_asks_a_server_once(
    printed: Any, examples: None, warehouse: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(503)
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}):
            text = printed("status")
        server.shutdown()
    assert "is unavailable (503)" in text
    assert len(asked) == len(set(asked))


def test_status_shows_deployments_and_what_is_wrong(
    loaded: Database, environment: str, printed: Any, tmp_path: Path
) -> None:
    (tmp_path / "prefect.yaml").unlink()
    assert f"Nothing is deployed as {runs.deployment_name()} yet." in printed("status", "--check")
    with get_client(sync_client=True) as client:
        kept, gone = deploy(client), deploy(client, f"{runs.deployment_name()}-old")
        first = client.create_flow_run_from_deployment(kept)
        client.set_flow_run_state(first.id, Failed(message="no such table [a]"), force=True)
    text = printed("status")
    name = f"ingest-all/{runs.deployment_name()}"
    assert f"{name}: Failed: no such table [a]\n" in text
    assert f"/runs/flow-run/{first.id}\n" in text
    assert "prefect.yaml" not in text  # which is not here to compare with
    entry = {
        "name": f"{settings.PROJECT}-{{{{ ${PREFIX}ENVIRONMENT }}}}",
        "entrypoint": f"{ingestion_flow.__name__}.ingest_all",
        "tags": [settings.PROJECT, runs.deployment_name()],
        "work_pool": {"name": environment},
    }
    content = {"name": settings.PROJECT, "pull": [], "deployments": [entry]}
    (tmp_path / "prefect.yaml").write_text(json.dumps(content))
    assert "prefect.yaml" not in printed("status")  # its work pool is missing: `deploy` says so
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=environment, type="process"))
    assert f"{name}-old is not in prefect.yaml any more" in printed("status")
    assert f"`uv run {settings.PROJECT} deploy --prune` deletes it" in printed("status")
    pruned = [line.split() for line in printed("deploy", "--prune").splitlines()]
    assert ["│", "deployment", "│", f"{name}-old", "│", "deleted", "│", "-", "│"] in pruned
    with get_client(sync_client=True) as client:
        assert [one.id for one in server.read_deployments(client).values()] == [kept]
        assert gone != kept
    assert "any more" not in printed("status")


def test_status_names_the_error_of_a_run_that_crashed_on_import(
    loaded: Database, environment: str, printed: Any
) -> None:
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run_from_deployment(deploy(client))
        crashed = Crashed(message="Process exited with status code: 1.")
        client.set_flow_run_state(flow_run.id, crashed, force=True)
        log = {"name": "x", "level": 40, "flow_run_id": flow_run.id}
        text = "trying to load flow\nTraceback (most recent call last):\n  ...\nImportError: no y"
        now = datetime.now(UTC)
        logs = [LogCreate(**log, message=text, timestamp=now - timedelta(seconds=1))]
        client.create_logs([*logs, LogCreate(**log, message="The process ended.", timestamp=now)])
    assert "Crashed: Process exited with status code: 1. ImportError: no y\n" in printed("status")


def test_status_says_what_to_do_about_a_run_that_is_stuck(
    loaded: Database, environment: str, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run_from_deployment(deploy(client))
        client.set_flow_run_state(flow_run.id, Pending())
        assert "sign of life" not in printed("status")
        late = mock.Mock(wraps=runs.settings.load, side_effect=None)
        late.return_value = settings.load().model_copy(update={"late_after_seconds": 0})
        monkeypatch.setattr(settings, "load", late)
        text = printed("status")
        assert f"{flow_run.name} is Pending without a sign of life since" in text
        # What it advises ends it.
        command = f"flow-run delete {flow_run.id}"
        assert f"`uv run prefect {command}`" in text
        client.delete_flow_run(flow_run.id)
    assert "sign of life" not in printed("status")


def test_a_run_that_never_begins_is_not_pending_for_ever(
    environment: str, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}LATE_AFTER_SECONDS", "10")
    printed("deploy")
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run_from_deployment(deploy(client))
        client.set_flow_run_state(flow_run.id, Pending())
        deadline = time.monotonic() + 90
        while (state := client.read_flow_run(flow_run.id).state) and state.is_pending():
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert state is not None
        assert state.is_crashed()
        assert "did not begin it in 10 s" in str(state.message)


def test_status_needs_neither_warehouse_nor_server(
    printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}WAREHOUSE_URL", "nonsense://somewhere/db")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        text = printed("status")
    assert "'nonsense' is not supported" in text
    assert "does not answer" in text
    assert "PREFECT_API_URL is not set" in printed("status")
    assert "cannot be shown: see above" in printed("status", "--check", code=1)


@pytest.mark.parametrize(
    "words",
    [["reset", "orders", "--yes"], ["backfill", "orders", "--since", "2026-01-01"], ["status"]],
    ids=lambda words: words[0],
)
def test_without_prefects_server_a_command_says_so(
    examples: None, printed: Any, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    for name in ("SOURCE_URL", "WAREHOUSE_URL"):
        monkeypatch.setenv(f"{PREFIX}{name}", "block:commands-away")
    with temporary_settings({PREFECT_API_URL: "http://me:hunter2@127.0.0.1:9/api"}):
        text = " ".join(printed(*words, code=0 if words == ["status"] else 1).split())
    assert "Prefect's server at http://127.0.0.1:9/api does not answer" in text
    assert "hunter2" not in text


def test_a_missing_block_names_the_command_that_fills_it(
    prefect_server: str, examples: None, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}WAREHOUSE_URL", "block:commands-missing")
    text = printed("reset", "orders", "--yes", code=1)
    assert f"'commands-missing'. Fill it: uv run {settings.PROJECT} secret warehouse-url" in text


def test_a_secret_is_set_and_replaced(
    prefect_server: str, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}WAREHOUSE_URL", "block:commands-warehouse")
    for value in ("duckdb:///one.db", "duckdb:///two.db"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{value}\n"))
        text = printed("secret", "warehouse-url")
        assert value not in text
        assert secrets.reveal(settings.load().warehouse_url) == value
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert "nothing was changed" in printed("secret", "warehouse-url", code=1)
    monkeypatch.setattr(sys, "stdin", io.StringIO("postgresql://me:hun@ter2@db.example.com/crm"))
    text = printed("secret", "warehouse-url", code=1)
    assert "percent-encode" in text
    assert "ter2" not in text
    assert secrets.reveal(settings.load().warehouse_url) == "duckdb:///two.db"
    assert "SOURCE_URL names no Secret block" in printed("secret", "source-url", code=1)
    text = printed("secret", "foo", code=1)
    assert "no secret foo. There are: source-url, warehouse-url, slack-webhook-url" in text


def test_the_secret_of_a_named_source_is_set(
    prefect_server: str, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}SOURCE_URLS", '{"my_crm": "block:commands-crm", "erp": "x://y"}')
    monkeypatch.setattr(sys, "stdin", io.StringIO("sqlite:///crm.db"))
    printed("secret", "source-urls.my_crm")
    assert secrets.reveal(settings.load().source_urls["my_crm"]) == "sqlite:///crm.db"
    text = printed("secret", "source-urls.erp", code=1)
    assert f"{PREFIX}SOURCE_URLS__ERP names no Secret block" in text


def test_a_table_is_found_by_its_name_in_the_warehouse(
    examples: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Table(name="orders", schema="eu", target="eu_orders")
    monkeypatch.setattr(tables, "TABLES", (entry,))
    assert ingestion_flow.list_tables(["eu_orders"]) == ({"eu_orders": entry}, {})
    with pytest.raises(errors.PermanentError, match=r"no table orders\. Tables: eu_orders"):
        ingestion_flow.list_tables(["orders"])
