"""Set a secret: create or change the Secret block that a setting names.

Runs read secrets when they need them, so the next run uses the new value without a deployment.
After a new Slack webhook, also run `deploy`, for the alerts about late runs.
"""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "set the Secret block that a setting names (source-url, warehouse-url, ...)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the setting."""
    parser.add_argument(
        "setting", nargs="?", metavar="SETTING", help="source-url, source-urls.NAME, warehouse-url"
    )


def run(arguments: argparse.Namespace) -> None:
    """Ask for the value without showing it, or read it from standard input."""
    from prefect.blocks.system import Secret

    from ..common import db_utils, errors, secrets, server, settings

    texts = settings.secret_texts()
    if arguments.setting is None:
        arguments.error(f"name a setting: {', '.join(texts)}.")
    wanted = str(arguments.setting).lower().replace("_", "-")
    setting = next((name for name in texts if name.replace("_", "-") == wanted), None)
    if setting is None:
        message = f"There is no secret {arguments.setting}. There are: {', '.join(texts)}."
        raise errors.PermanentError(message)
    if not texts[setting].startswith(secrets.BLOCK_PREFIX):
        variable = setting.replace("-", "_").replace(".", "__").upper()
        message = f"{settings.ENV_PREFIX}{variable} names no Secret block"
        raise errors.PermanentError(f"{message}: set it to block:<name> first.")
    name = texts[setting].removeprefix(secrets.BLOCK_PREFIX)
    with server.connect() as client:
        where = f"the Secret block {name} on {client.api_url}"
        prompt = f"New value of {where}: "
        value = (getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.read()).strip()
        if not value:
            raise errors.PermanentError("The value is empty: nothing was changed.")
        if setting != "slack-webhook-url":
            db_utils.parse_url(value)
        Secret(value=value).save(name, overwrite=True)
    print(f"Set {where}.")
