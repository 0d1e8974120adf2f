"""Creates blocks from Prefect's settings, for local work without a saved block.

As in Prefect's own integrations, the field `token` of a block in the plugin `prefect-gitea` is
`PREFECT_INTEGRATIONS_GITEA_TOKEN` in the environment or in `.env`, or `token` below
`[integrations.gitea]` in `prefect.toml`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic import ValidationError, create_model

from . import errors

if TYPE_CHECKING:
    from prefect.blocks.core import Block

NAME = __name__.partition(".")[0].removeprefix("prefect_")
PREFIX = f"PREFECT_INTEGRATIONS_{NAME.upper()}_"
"""Prefix of all variables."""


class _Settings(PrefectBaseSettings):
    model_config = build_settings_config(("integrations", NAME))


def read(block: type[Block]) -> Any:
    """Create a block from the current settings.

    Args:
        block: The block's class; its fields are the settings.

    Raises:
        PermanentError: A setting is missing, or holds a value that does not fit.
    """
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in block.model_fields.items()
    }
    try:
        found = create_model(f"{block.__name__}Settings", __base__=_Settings, **fields)()
        return block(**{name: getattr(found, name) for name in found.model_fields_set})
    except AttributeError:  # raised by Prefect for a block
        message = f"Wrong settings: `integrations.{NAME}` of prefect.toml is no table."
        raise errors.PermanentError(message) from None
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise errors.PermanentError(f"Wrong settings: {problems}") from None
