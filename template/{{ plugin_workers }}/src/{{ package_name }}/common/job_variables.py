"""Job variables of this package's workers; wrong ones are refused by name."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Self

from prefect.workers.base import BaseJobConfiguration
from pydantic import BaseModel, ValidationError, field_validator

from . import errors

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema


class Options(BaseModel):
    """Job variables whose form in Prefect's UI does not ask for a type first."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the schema, with the plain type of each field instead of `anyOf` with null."""
        schema = handler(core_schema)
        for field in handler.resolve_ref_schema(schema)["properties"].values():
            kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
            if len(kinds) == 1:
                field |= kinds[0]
                del field["anyOf"]
        return schema


class StrictJobConfiguration(BaseJobConfiguration):
    """A job configuration that refuses job variables that Prefect drops silently."""

    @field_validator("command")
    @classmethod
    def _has_words(cls, command: str | None) -> str | None:
        shlex.split(command or "")  # raises a ValueError for an open quotation
        return command

    @classmethod
    async def resolve_for_flow_run(
        cls,
        flow_run: FlowRun,
        *,
        client: PrefectClient,
        work_pool: WorkPool,
        deployment: DeploymentResponse | None = None,
        **worker: Any,
    ) -> Self:
        """Merge the job variables of the work pool, the deployment and the flow run.

        Raises:
            PermanentError: A job variable is unknown, or has a value that does not fit.
        """
        if deployment is None and flow_run.deployment_id is not None:
            deployment = await client.read_deployment(flow_run.deployment_id)
        wishes = {**(flow_run.job_variables or {})}
        if deployment is not None:
            wishes |= deployment.job_variables or {}
        known = work_pool.base_job_template.get("variables", {}).get("properties", {})
        # A key such as `env.HOME` names the variable `env`.
        unknown = sorted({name.partition(".")[0] for name in wishes} - known.keys())
        if unknown:
            raise errors.PermanentError(
                f"The work pool {work_pool.name} has no job variable {', '.join(unknown)}:"
                f" correct the deployment, or use one of {', '.join(sorted(known))}."
            )
        if not isinstance(wishes.get("env") or {}, dict):
            raise errors.PermanentError("The job variable env is no mapping of names to values.")
        try:
            return await super().resolve_for_flow_run(
                flow_run, client=client, work_pool=work_pool, deployment=deployment, **worker
            )
        except ValidationError as error:
            # Without values: they may be secrets.
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                for problem in error.errors()
            )
            raise errors.PermanentError(
                f"Wrong job variables ({problems}): correct the deployment or its work pool."
            ) from None
