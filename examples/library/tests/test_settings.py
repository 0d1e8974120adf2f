"""Settings and their secrets: from the environment, or from a Secret block."""

from __future__ import annotations

import traceback

import pytest
from prefect.blocks.system import Secret
from pydantic import SecretStr

from my_task_library.common import (
    environment,
    errors,
    secrets,
)

TOKEN = "s3cret-token"


class Settings(environment.EnvironmentSettings):
    """Settings of a namespace."""

    token: SecretStr
    size: int = 3


def test_they_are_read_without_showing_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{environment.PREFIX}TOKEN", TOKEN)
    read = Settings.read()
    assert (read.size, secrets.reveal(read.token)) == (3, TOKEN)
    assert TOKEN not in f"{read!r} {read} {read.model_dump_json()}"


def test_a_wrong_one_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{environment.PREFIX}TOKEN", TOKEN)
    monkeypatch.setenv(f"{environment.PREFIX}SIZE", TOKEN)
    with pytest.raises(errors.PermanentError, match="SIZE: Input should be") as caught:
        Settings.read()
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


@pytest.mark.usefixtures("prefect_server")
def test_a_secret_may_be_in_a_block() -> None:
    Secret(value=TOKEN).save("portal-token", overwrite=True)
    assert secrets.reveal(SecretStr("block:portal-token")) == TOKEN
    with pytest.raises(errors.PermanentError, match="no Secret block called 'missing'"):
        secrets.reveal(SecretStr("block:missing"))
