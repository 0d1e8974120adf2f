"""Blocks as Prefect finds and shows them; credentials and their settings."""

from __future__ import annotations

import inspect
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import is_open
from local_server import Answer
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.plugins import load_prefect_collections
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

import prefect_my_system as package
from prefect_my_system import blocks, cli
from prefect_my_system.blocks import names
from prefect_my_system.common import errors, settings

if TYPE_CHECKING:
    from local_server import FileServer

Credentials = blocks.MySystemCredentials
URL = "https://example.com/api"
VARIABLE = settings.PREFIX


@pytest.mark.parametrize("block", [getattr(blocks, name) for name in blocks.__all__])
class TestStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self, block: type[Block]) -> type[Block]:
        return block


@pytest.mark.parametrize("name", blocks.__all__)
def test_a_block_s_form_is_readable(name: str) -> None:
    """Prefect's UI shows Markdown unrendered, and asks for a type first for `| None`."""
    for field in getattr(blocks, name).model_json_schema()["properties"].values():
        assert "`" not in field["description"]
        assert "anyOf" not in field


def test_everything_is_ready_for_a_release() -> None:
    """Fails if this version is a release; before a release, it is skipped with a list."""
    version = metadata.version(cli.DISTRIBUTION)
    urls = metadata.metadata(cli.DISTRIBUTION).get_all("Project-URL") or []
    missing = [
        *(["LOGO_URL in blocks/names.py"] if not names.LOGO_URL else []),
        *(["DOCUMENTATION_URL in blocks/names.py"] if "example" in names.DOCUMENTATION_URL else []),
        *(["[project.urls] in pyproject.toml"] if not urls else []),
    ]
    if missing and (version == "0.0.0" or not re.fullmatch(r"[0-9.]+((a|b|rc)[0-9]+)?", version)):
        pytest.skip(f"Before the first release, set {', '.join(missing)}.")
    assert not missing


def test_prefect_finds_the_blocks() -> None:
    points = metadata.entry_points(group="prefect.collections")
    assert [point.value for point in points if point.name == package.__name__] == [package.__name__]
    assert load_prefect_collections()[package.__name__] is package
    # As `prefect block register -m` looks for them.
    found = {name for name, thing in inspect.getmembers(package) if inspect.isclass(thing)}
    assert found >= set(blocks.__all__)
    for name in blocks.__all__:
        block = getattr(package, name)
        assert Block.get_block_class_from_key(block.get_block_type_slug()) is block


@pytest.mark.parametrize(
    "url", ["http://admin:hunter2@example.com", f"{URL}?key=hunter2", f"{URL}#hunter2", "hunter2"]
)
def test_a_base_url_is_an_address_and_no_more(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Credentials.model_validate({"base_url": url, "token": "hunter3"})
    assert "hunter" not in str(caught.value)
    assert re.search("put no user name|end it before|valid URL", str(caught.value))


def test_credentials_do_not_show_the_token(credentials: Block) -> None:
    assert "s3cret" not in f"{credentials!r} {credentials} {credentials.model_dump_json()}"


def test_credentials_open_the_system(web: FileServer, credentials: Credentials) -> None:
    web.put("/api/version", Answer(body=b'{"version": 1}'))
    with credentials.get_client() as client:
        assert client.get("version").json() == {"version": 1}
    assert is_open(web.requests[0], credentials)


@pytest.mark.usefixtures("prefect_server")
def test_the_token_may_be_in_a_secret_block(web: FileServer, credentials: Credentials) -> None:
    web.put("/api/version", Answer())
    Secret(value="kept elsewhere").save("the-token", overwrite=True)
    named = credentials.model_copy(update={"token": SecretStr("block:the-token")})
    with named.get_client() as client:
        client.get("version")
    assert is_open(web.requests[0], named, "kept elsewhere")
    missing = credentials.model_copy(update={"token": SecretStr("block:none")})
    with pytest.raises(errors.PermanentError, match="no Secret block called 'none'"):
        missing.get_client()


@pytest.mark.usefixtures("prefect_server")
def test_a_secret_block_holds_a_text(web: FileServer, credentials: Credentials) -> None:
    web.put("/api/version", Answer())
    named = credentials.model_copy(update={"token": SecretStr("block:odd")})
    Secret(value="1e5").save("odd", overwrite=True)
    with named.get_client() as client:
        client.get("version")
    assert is_open(web.requests[0], named, "1e5")  # and not 100000.0
    Secret(value={"token": "hunter2"}).save("odd", overwrite=True)
    with pytest.raises(errors.PermanentError, match="'odd' holds no text") as caught:
        named.get_client()
    assert "hunter2" not in str(caught.value)


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where there is neither .env nor prefect.toml


@pytest.mark.usefixtures("_elsewhere")
def test_settings_stand_in_for_a_saved_block(monkeypatch: pytest.MonkeyPatch) -> None:
    table = f'[integrations.{settings.NAME}]\nbase_url = "{URL}"\ntimeout_seconds = 7\n'
    Path("prefect.toml").write_text(table, encoding="utf-8")
    monkeypatch.setenv(f"{VARIABLE}TOKEN", "from the environment")
    found = Credentials.from_settings()
    assert str(found.base_url) == URL
    assert found.timeout_seconds == 7
    assert found.token == SecretStr("from the environment")


@pytest.mark.usefixtures("_elsewhere")
def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.PermanentError, match=f"{VARIABLE}BASE_URL: Field required"):
        Credentials.from_settings()
    monkeypatch.setenv(f"{VARIABLE}BASE_URL", "http://admin:hunter2@example.com")
    monkeypatch.setenv(f"{VARIABLE}TOKEN", "hunter3")
    with pytest.raises(errors.PermanentError, match=f"{VARIABLE}BASE_URL: .*put no") as caught:
        Credentials.from_settings()
    assert "hunter" not in str(caught.value)


@pytest.mark.usefixtures("_elsewhere")
def test_settings_are_a_table() -> None:
    Path("prefect.toml").write_text(f'[integrations]\n{settings.NAME} = "x"\n', encoding="utf-8")
    with pytest.raises(errors.PermanentError, match="is no table"):
        Credentials.from_settings()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out.strip() == metadata.version(cli.DISTRIBUTION)
