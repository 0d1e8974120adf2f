"""prefect.yaml: what its entries ask of Prefect's server, validated before any of it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pydantic_core
import yaml
from prefect import exceptions, get_client
from prefect.client.schemas.actions import DeploymentCreate, DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.events import DeploymentTriggerTypes
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import get_current_settings
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate
from prefect.utilities.templating import (
    PlaceholderType,
    apply_values,
    find_placeholders,
    resolve_block_document_references,
    resolve_variables,
)
from pydantic import TypeAdapter, ValidationError

from . import errors, runs, settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient

PATH = Path("prefect.yaml")
NO_FLOW = UUID(int=0)
"""Stands for the id of a flow, which only Prefect's server knows."""

# Prefect ignores a key that it does not know, so a typing error would go unseen.
_KEYS = {
    *("name", "entrypoint", "flow_name", "description", "tags", "version", "version_type"),
    *("parameters", "enforce_parameter_schema", "schedules", "paused", "concurrency_limit"),
    *("work_pool", "triggers", "build", "push", "pull"),
}
_POOL_KEYS = {"name", "work_queue_name", "job_variables"}
_LIMIT_KEYS = {"limit", "collision_strategy", "grace_period_seconds"}
_SCHEDULES = {"cron": CronSchedule, "interval": IntervalSchedule, "rrule": RRuleSchedule}
_TRIGGER: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)


@dataclass
class Entry:
    """What an entry asks of Prefect's server.

    Attributes:
        flow: Name of its flow.
        request: The deployment; the id of the flow is missing.
        triggers: What starts it.
        has_version: Whether its version is its own, and not the package's.
        keeps_schedules: Whether it says `schedules: null`: those on the server stay as they are.
    """

    flow: str
    request: DeploymentCreate
    triggers: list[DeploymentTriggerTypes]
    has_version: bool
    keeps_schedules: bool

    @property
    def key(self) -> tuple[str, str]:
        """The names of its flow and its own, by which Prefect's server knows a deployment."""
        return self.flow, self.request.name


def code_version() -> str:
    """Return the version of this package, with the commit where that is known."""
    version = metadata.version(settings.PROJECT)
    commit = os.environ.get("GITHUB_SHA") or os.environ.get("CI_COMMIT_SHA") or ""
    if not commit:
        git = ("git", "rev-parse", "--verify", "HEAD")
        with contextlib.suppress(OSError):  # there is no git
            done = subprocess.run(  # noqa: S603 - fixed words, none from outside
                git, capture_output=True, text=True, check=False
            )
            commit = done.stdout.strip()
    return f"{version.partition('+')[0]}+g{commit[:8]}" if commit else version


def load() -> dict[str, Any]:
    """Read the file.

    Raises:
        PermanentError: It is not here, or is no file of this project.
    """
    try:
        content = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    except OSError:
        message = f"There is no {PATH} here: run the command in the project's folder."
        raise errors.PermanentError(message) from None
    except yaml.YAMLError as error:
        raise errors.PermanentError(f"{PATH}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or content.get("name") != settings.PROJECT:
        raise errors.PermanentError(f"{PATH} has no `name: {settings.PROJECT}`.")
    return pydantic_core.to_jsonable_python(content)  # dates become text, as Prefect has it


def orphans(keys: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those deployments that are not in the file, if it is here.

    Args:
        keys: Names of flows and deployments.
    """
    with contextlib.suppress(errors.PermanentError):
        listed: set[tuple[str | None, str]] = set()
        # This variable may come from `.env` instead.
        name = f"{{{{ ${settings.ENV_PREFIX}ENVIRONMENT }}}}"
        for entry in load().get("deployments") or []:
            written = str(entry.get("name")).replace(name, settings.load().environment)
            try:
                flow = load_flow_from_entrypoint(entry["entrypoint"], use_placeholder_flow=False)
                listed.add((flow.name, apply_values(written, {})))
            except Exception:  # noqa: BLE001 - whatever its modules raise: it may be any flow
                listed.add((None, apply_values(written, {})))
        return {key for key in keys if not listed & {key, (None, key[1])}}
    return set()


def read(
    client: SyncPrefectClient, templates: Mapping[str, dict[str, Any]], mistakes: list[str]
) -> list[Entry]:
    """Return what the entries ask for.

    Args:
        client: Prefect's server.
        templates: Job templates of work pools that need not be on the server yet, by name.
        mistakes: Where to add a sentence for each mistake; an entry with one may be left out.

    Raises:
        PermanentError: There is no such file.
    """
    reader = _Reader(client, load(), templates)
    entries = [entry for entry in map(reader.read, *reader.fill_in()) if entry]
    counts = Counter(entry.key for entry in entries)
    for flow, name in (key for key, count in counts.items() if count > 1):
        reader.add(f"{flow}/{name}", "two entries have this flow and this name")
    mistakes.extend(reader.mistakes)
    return entries


class _Reader:
    """Turns entries into requests, and collects what is wrong with them."""

    def __init__(
        self,
        client: SyncPrefectClient,
        content: dict[str, Any],
        templates: Mapping[str, dict[str, Any]],
    ) -> None:
        self.client, self.content, self.version = client, content, code_version()
        self.tags = {settings.PROJECT, runs.deployment_name()}
        self.mistakes: dict[str, None] = {}  # without doubles, in their order
        self.templates: dict[str, dict[str, Any] | None] = dict(templates)
        self.flows: dict[str, tuple[Flow[..., Any], dict[str, Any]] | None] = {}

    def add(self, where: str, text: str) -> None:
        """Remember a mistake."""
        self.mistakes[f"{where}: {text.rstrip('.')}."] = None

    def fill_in(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the entries with their placeholders filled in, and as they are written."""
        written: list[dict[str, Any]] = []
        for number, entry in enumerate(self.content.get("deployments") or [], start=1):
            if isinstance(entry, dict) and entry.get("name") and entry.get("entrypoint"):
                written.append(entry)
            else:
                self.add(f"entry {number}", "it needs a name and an entrypoint")
        # What `pull` leaves open, a run fills in.
        entries = [{key: entry[key] for key in entry if key != "pull"} for entry in written]
        return asyncio.run(self._fill_in(entries)), written

    async def _fill_in(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Fill in Prefect's variables and blocks, and variables of the environment."""
        missing: set[PlaceholderType] = set()
        async with get_client() as client:
            for mark in sorted(find_placeholders(entries)):
                if mark.type is PlaceholderType.VARIABLE:
                    name = mark.name.removeprefix("prefect.variables.")
                    if await client.read_variable_by_name(name) is None:
                        missing.add(mark.type)
                        self.add(mark.full_match, f"Prefect has no variable {name}")
                elif mark.type is PlaceholderType.BLOCK_DOCUMENT:
                    try:
                        await resolve_block_document_references(mark.full_match, client=client)
                    except (ValueError, exceptions.ObjectNotFound):
                        missing.add(mark.type)
                        self.add(mark.full_match, "Prefect has no such block or key")
            filled: Any = entries
            if PlaceholderType.BLOCK_DOCUMENT not in missing:
                try:
                    filled = await resolve_block_document_references(filled, client=client)
                except ValueError as error:  # a list or a mapping within other text
                    self.add("a block", str(error))
            if PlaceholderType.VARIABLE not in missing:
                filled = await resolve_variables(filled, client=client)
        done: Any = apply_values(filled, dict(os.environ), remove_notset=False)
        for mark in sorted(find_placeholders(done)):
            if mark.type is PlaceholderType.ENV_VAR:
                variable = mark.name.removeprefix("$")
                self.add(variable, "the variable is not set; name one of environments/*.env")
        return done

    def read(self, entry: dict[str, Any], written: dict[str, Any]) -> Entry | None:
        """Return what one entry asks for, or None if it has mistakes."""
        where = f"{entry['name']} of {entry['entrypoint']}"
        # What could not be filled in has been named; it would only look wrong in other ways too.
        known = ("name", "entrypoint", "triggers")
        filled = {k: v for k, v in entry.items() if k in known or not find_placeholders(v)}
        unfilled = entry.keys() - filled.keys()
        for key in entry:
            for mark in find_placeholders(entry[key]) if key != "triggers" else ():
                if mark.type is PlaceholderType.STANDARD and not mark.name.startswith("ctx."):
                    self.add(where, f"nothing fills in {mark.full_match}")
        self.check_keys(where, entry, _KEYS)
        for key in ("build", "push"):
            if written.get(key, self.content.get(key)):
                self.add(where, f"`{key}` steps are not run; build first, or use `prefect deploy`")
        pull = written.get("pull", self.content.get("pull"))
        if pull is None:
            self.add(where, "write `pull: []`, or Prefect deploys the path of this folder")
        missing = self.tags - {*(filled.get("tags") or ())}
        if missing and "tags" not in unfilled:
            self.add(where, f"the tags {', '.join(sorted(missing))} are missing: add `tags: *tags`")
        if not (loaded := self.load_flow(where, entry["entrypoint"])):
            return None
        flow, schema = loaded
        request = self.build(where, filled, flow, schema, unfilled)
        triggers = self.read_triggers(where, entry, schema)
        if request is None:
            return None
        steps: Any = apply_values(pull or [], {}, remove_notset=False)
        request.pull_steps = steps
        keeps = "schedules" in written and written["schedules"] is None
        return Entry(flow.name, request, triggers, bool(filled.get("version")), keeps)

    def check_keys(self, where: str, found: Iterable[str], known: Collection[str]) -> None:
        """Refuse keys that Prefect would ignore."""
        for key in found:
            if key not in known:
                self.add(where, f"Prefect ignores the key {key!r}")

    def load_flow(
        self, where: str, entrypoint: str
    ) -> tuple[Flow[..., Any], dict[str, Any]] | None:
        """Return a flow and the schema of its parameters."""
        if entrypoint not in self.flows:
            self.flows[entrypoint] = None
            try:
                flow: Any = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
                schema = parameter_schema(flow).model_dump(exclude_unset=True)
                self.flows[entrypoint] = flow, schema
            except Exception as error:  # noqa: BLE001 - whatever its modules raise
                text = str(error).strip().partition("\n")[0] or type(error).__name__
                self.add(where, f"the entry point does not load: {text}")
        return self.flows[entrypoint]

    def build(
        self,
        where: str,
        entry: dict[str, Any],
        flow: Flow[..., Any],
        schema: dict[str, Any],
        unfilled: Collection[str],
    ) -> DeploymentCreate | None:
        """Return the request that makes the deployment, or None."""
        pool = entry.get("work_pool") or {}
        self.check_keys(f"{where}, work_pool", pool, _POOL_KEYS)
        limit: Any = entry.get("concurrency_limit")
        options: dict[str, Any] | None = None
        if isinstance(limit, dict):
            self.check_keys(f"{where}, concurrency_limit", limit, _LIMIT_KEYS)
            options = {key: limit[key] for key in limit if key != "limit"}
            limit = limit.get("limit")
        parameters = entry.get("parameters") or {}
        enforced = entry.get("enforce_parameter_schema") is not False
        self.check_parameters(where, parameters, schema, enforced=enforced)
        schedules: list[DeploymentScheduleCreate] = []
        for number, config in enumerate(entry.get("schedules") or [], start=1):
            place = f"{where}, schedule {number}"
            given = config.get("parameters") or {}
            self.check_parameters(place, given, schema, enforced=enforced)
            for name in {*schema.get("required", ())} - {*parameters, *given}:
                if "parameters" not in unfilled:
                    self.add(place, f"the parameter {name!r} has no value")
            try:
                schedules.append(_schedule(config))
            except (ValidationError, ValueError) as error:
                self.add_invalid(place, error)
        try:
            request = DeploymentCreate(
                flow_id=NO_FLOW,
                name=entry["name"],
                entrypoint=entry["entrypoint"],
                description=entry.get("description") or flow.description,
                tags=entry.get("tags") or [],
                version=entry.get("version") or self.version,
                parameters=parameters,
                parameter_openapi_schema=schema,
                enforce_parameter_schema=enforced,
                schedules=schedules,
                paused=entry.get("paused") or False,
                concurrency_limit=limit,
                concurrency_options=options,
                work_pool_name=pool.get("name")
                or get_current_settings().deployments.default_work_pool_name,
                work_queue_name=pool.get("work_queue_name"),
                job_variables=pool.get("job_variables") or {},
            )
        except ValidationError as error:
            self.add_invalid(where, error)
            return None
        if "work_pool" not in unfilled:
            self.check_job(where, request)
        return request

    def check_parameters(
        self, where: str, given: dict[str, Any], schema: dict[str, Any], *, enforced: bool
    ) -> None:
        """Refuse parameters that a run would refuse."""
        known = schema.get("properties", {})
        for name in given:
            if name not in known:
                self.add(where, f"the flow has no parameter {name!r}")
        if enforced:
            self.check_values(where, given, schema)

    def check_job(self, where: str, request: DeploymentCreate) -> None:
        """Refuse job variables that the work pool would refuse."""
        name = request.work_pool_name
        if not name:
            self.add(where, "it names no work pool")
            return
        if name not in self.templates:
            self.templates[name] = None
            with contextlib.suppress(exceptions.ObjectNotFound):
                self.templates[name] = self.client.read_work_pool(name).base_job_template
        template = self.templates[name]
        if template is None:
            self.add(where, f"Prefect's server has no work pool {name}")
        elif variables := template.get("variables"):
            self.check_values(f"{where}, job_variables", request.job_variables, variables)

    def check_values(self, where: str, given: dict[str, Any], schema: dict[str, Any]) -> None:
        """Refuse values that do not fit a JSON schema; the values may be secrets."""
        for error in validate(given, schema, ignore_required=True):
            name = error.json_path.removeprefix("$.")
            self.add(where, f"{name} does not fit {error.validator}: {error.validator_value}")

    def read_triggers(
        self, where: str, entry: dict[str, Any], schema: dict[str, Any]
    ) -> list[DeploymentTriggerTypes]:
        """Return what starts a deployment."""
        triggers: list[DeploymentTriggerTypes] = []
        for number, spec in enumerate(entry.get("triggers") or [], start=1):
            place = f"{where}, trigger {number}"
            try:
                trigger = _TRIGGER.validate_python(
                    {"name": f"{entry['name']}__automation_{number}"} | spec
                )
            except ValidationError as error:
                self.add_invalid(place, error)
                continue
            self.check_keys(place, spec, type(trigger).model_fields)
            self.check_parameters(place, trigger.parameters or {}, schema, enforced=False)
            triggers.append(trigger)
        return triggers

    def add_invalid(self, where: str, error: Exception) -> None:
        """Remember what pydantic found."""
        if not isinstance(error, ValidationError):
            self.add(where, str(error))
            return
        for found in error.errors(include_url=False, include_context=False, include_input=False):
            self.add(where, f"{'.'.join(map(str, found['loc']))}: {found['msg']}")


def _schedule(config: dict[str, Any]) -> DeploymentScheduleCreate:
    kinds = _SCHEDULES.keys() & {key for key, value in config.items() if value is not None}
    if len(kinds) != 1:
        raise ValueError("it needs one of cron, interval and rrule")
    # The rest belongs to its kind, which refuses what it does not know.
    others = {"active", "parameters", "slug"}
    timing = {k: v for k, v in config.items() if k not in others | {"replaces"} and v is not None}
    given = {k: v for k, v in config.items() if k in others and v is not None}
    return DeploymentScheduleCreate(schedule=_SCHEDULES[kinds.pop()](**timing), **given)
