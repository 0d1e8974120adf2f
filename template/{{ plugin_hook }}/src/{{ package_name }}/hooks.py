"""The startup hook: the entry point `prefect.plugins`.

If `PREFECT_PLUGINS_ENABLED` is true, Prefect calls it in every process that imports Prefect: keep
it fast, without slow imports. After an error, Prefect logs it and starts without the file; with
`PREFECT_PLUGINS_STRICT` it does not start.
"""

from __future__ import annotations

from prefect.plugins import HookContext, SetupResult, register_hook

from .common import settings_file

PREFECT_PLUGIN_API_REQUIRES = ">=0.1,<1"


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Set the variables of the organisation's settings file, if there is one.

    Raises:
        PermanentError: The file cannot be used.
    """
    path = settings_file.find()
    if path is None:
        ctx.logger_factory(__name__).debug("There is no settings file.")
        return None
    note = settings_file.apply(path)
    # The variables are already set; values passed here would be shown by Prefect.
    return SetupResult(env={settings_file.VARIABLE: str(path)}, note=note)
