"""The startup hook: the entry point `prefect.plugins`.

Prefect calls it in every process that imports Prefect, if `PREFECT_PLUGINS_ENABLED` is true: keep
it fast, without slow imports. Prefect logs an error and starts without the file; with
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
    # The variables are set already: Prefect would show the values that it is given here.
    return SetupResult(env={settings_file.VARIABLE: str(path)}, note=note)
