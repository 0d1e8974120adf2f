"""prefect.yaml: reads and validates its entries before anything is changed on the server."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import functools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pydantic_core
import yaml
from prefect import Flow, events, exceptions, flows, get_client
from prefect.client.schemas import actions
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.types import Name, PositiveInteger
from prefect.utilities import schema_tools, templating
from prefect.utilities.callables import parameter_schema
from prefect.utilities.importtools import import_object
from pydantic import BaseModel, TypeAdapter, ValidationError

from . import errors, runs, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping

    from prefect.client.orchestration import SyncPrefectClient

PATH = Path("prefect.yaml")
TIMING = {"schedule", "active", "parameters", "slug"}
"""The fields that schedules in the file and on Prefect's server have in common."""

# All valid keys: Prefect ignores unknown keys, so a typing error would go unnoticed.
_STEPS = ("build", "push", "pull")
_FILE = {"name", "description", "prefect-version", "definitions", "deployments", *_STEPS}
_KEYS = {
    *("description", "tags", "version", "parameters", "enforce_parameter_schema", "schedules"),
    *("paused", "flow_name", "concurrency_limit", "work_pool", "triggers"),
}
_REQUIRED = {"name", "entrypoint", "pull"}
_POOL = {"name", "work_queue_name", "job_variables"}
_LIMIT = {"limit", "collision_strategy", "grace_period_seconds"}
_SCHEDULES = {"cron": CronSchedule, "interval": IntervalSchedule, "rrule": RRuleSchedule}
_TRIGGER: TypeAdapter[events.DeploymentTriggerTypes] = TypeAdapter(events.DeploymentTriggerTypes)


class _Pool(BaseModel):
    name: str | None = None
    work_queue_name: Name | None = None
    job_variables: dict[str, Any] | None = None


class _Shape(BaseModel):
    """Types that Prefect's client models do not validate."""

    name: str = ""
    entrypoint: str = ""
    tags: list[str] = []
    parameters: dict[str, Any] = {}
    enforce_parameter_schema: bool = True
    concurrency_limit: PositiveInteger | None
    work_pool: _Pool
    schedules: list[dict[str, Any]] = []
    triggers: list[dict[str, Any]] = []
    pull: list[dict[str, dict[str, Any]]] = []


@dataclass
class Entry:
    """An entry of prefect.yaml, as it is sent to Prefect's server."""

    key: tuple[str, str]  # names of flow and deployment, which identify it on the server
    request: dict[str, Any]  # fields of the deployment, except the flow's id
    triggers: list[events.DeploymentTriggerTypes]
    unused: str = ""  # a sentence about job variables that its work pool does not use


def read(client: SyncPrefectClient, templates: Mapping[str, dict[str, Any]]) -> list[Entry]:
    """Return the entries.

    Args:
        client: Client of Prefect's server.
        templates: Base job templates of work pools that need not exist yet, by name.

    Raises:
        PermanentError: The file does not exist, or has mistakes.
    """
    try:
        content = yaml.safe_load(PATH.read_text(encoding="utf-8") if PATH.is_file() else "{}")
        content = pydantic_core.to_jsonable_python(content)  # dates become text, as in Prefect
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an alias that contains itself
        raise errors.PermanentError(f"{PATH}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or content.get("name") != settings.PROJECT:
        message = f"There is no {PATH} with `name: {settings.PROJECT}` here"
        raise errors.PermanentError(f"{message}: run the command in the project's folder.")
    if ignored := [key for key in content if key not in _FILE and not key.startswith("x-")]:
        message = f"{PATH}: nothing uses {', '.join(map(repr, sorted(ignored)))}"
        raise errors.PermanentError(f"{message}. Put anchors below `definitions`.")
    steps = {key: content.get(key) for key in _STEPS}
    listed = content.get("deployments") or []
    if not isinstance(listed, list):
        raise errors.PermanentError(f"{PATH}: `deployments` is not a list.")
    written = {n: steps | one for n, one in enumerate(listed, start=1) if isinstance(one, dict)}
    others = [n for n in range(1, len(listed) + 1) if n not in written]
    found, mistakes = list[Entry](), [f"\n- entry {n}: it is not a mapping" for n in others]

    @functools.cache
    def job_schema(pool: str) -> dict[str, Any]:
        template = templates.get(pool) or client.read_work_pool(pool).base_job_template
        return template.get("variables", {})

    for number, given in zip(written, asyncio.run(_fill_in([*written.values()])), strict=True):
        of_entry: list[str] = []
        with _noting(of_entry):
            found.append(_read_entry(given, job_schema, of_entry))
        if of_entry:
            text = "; ".join(dict.fromkeys(of_entry))
            name = " ".join(str(given.get("name") or f"entry {number}").split())
            mistakes.append(f"\n- {name} of {given.get('entrypoint') or 'no flow'}: {text}")
    counts = Counter("/".join(entry.key) for entry in found)
    mistakes += [f"\n- {count} entries are {key}" for key, count in counts.items() if count > 1]
    if mistakes:
        raise errors.PermanentError(f"{PATH} has mistakes; nothing was changed.{''.join(mistakes)}")
    return found


async def _fill_in(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fill in Prefect's variables and blocks, and environment variables, except in `pull`."""
    given = [{key: one[key] for key in one if key != "pull"} for one in entries]
    async with get_client() as client:
        unknown = {
            mark.full_match
            for mark in templating.find_placeholders(given)
            if mark.type is templating.PlaceholderType.VARIABLE
            and await client.read_variable_by_name(mark.name.rpartition(".")[2]) is None
        }
        try:
            made: Any = await templating.resolve_block_document_references(given, client=client)
        except (ValueError, exceptions.ObjectNotFound) as error:
            raise errors.PermanentError(f"{PATH}: {error}") from error
        made = await templating.resolve_variables(made, client=client)
    filled: Any = templating.apply_values(made, {}, remove_notset=False)
    # An event fills in the rest of a trigger, a worker fills in `ctx.…`.
    now = templating.find_placeholders([{**one, "triggers": None} for one in filled])
    for mark in templating.find_placeholders(filled):
        later = mark not in now or mark.name.startswith("ctx.")
        if mark.type is templating.PlaceholderType.ENV_VAR or not later:
            unknown.add(mark.full_match)
    if unknown:
        message = f"{PATH}: nothing fills in {', '.join(sorted(unknown))}."
        raise errors.PermanentError(
            f"{message} Name an environment: --env-file environments/NAME.env."
        )
    return [one | {"pull": old["pull"]} for one, old in zip(filled, entries, strict=True)]


@contextlib.contextmanager
def _noting(mistakes: list[str]) -> Generator[None]:
    """Add an error to the mistakes, and continue after the block."""
    try:
        yield
    except ValidationError as error:  # without values: they may be secrets
        found = error.errors(include_url=False, include_context=False, include_input=False)
        mistakes += (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
    except (AttributeError, TypeError, ValueError) as error:  # such as a text instead of a mapping
        mistakes.append(str(error))


def _read_entry(
    given: dict[str, Any], job_schema: Callable[[str], dict[str, Any]], mistakes: list[str]
) -> Entry:
    """Return an entry, and add all that is wrong with it to the mistakes."""
    entry = {key: value for key, value in given.items() if value is not None}
    if missing := _REQUIRED - {key for key, value in entry.items() if value != ""}:
        mistakes.append(f"{', '.join(sorted(missing))} is missing")
    pool, limit = entry.get("work_pool", {}), entry.get("concurrency_limit")
    limit = limit if isinstance(limit, dict) else {"limit": limit}
    changed = {"work_pool": pool, "concurrency_limit": limit.get("limit")}
    shape = _Shape.model_validate(entry | changed)
    ignored = [*entry.keys() - _KEYS - _REQUIRED, *pool.keys() - _POOL, *limit.keys() - _LIMIT]
    if len(shape.name.splitlines()) > 1:
        mistakes.append("its name has a line break")
    flow, schema = None, dict[str, Any]()
    if shape.entrypoint:
        with _noting(mistakes):
            flow, schema = _load_flow(shape.entrypoint)
    triggers: list[events.DeploymentTriggerTypes] = []
    for number, one in enumerate(shape.triggers, start=1):
        with _noting(mistakes):
            named = {"name": f"{shape.name}__automation_{number}"} | one
            trigger = _TRIGGER.validate_python(named)
            triggers.append(trigger)
            ignored += one.keys() - type(trigger).model_fields.keys()
            parameters = (one.get("parameters") if flow else None) or {}
            ignored += parameters.keys() - schema.get("properties", {}).keys()
    if ignored:
        mistakes.append(f"nothing uses {', '.join(map(repr, sorted(ignored)))}")
    timings: list[dict[str, Any]] = []
    for one in shape.schedules:
        with _noting(mistakes):
            timings.append(_schedule(one))
    slugs = Counter(one["slug"] for one in timings if one["slug"] is not None)
    double = {key: count for key, count in slugs.items() if count > 1}
    mistakes += [f"{count} schedules have the slug {key}" for key, count in double.items()]
    if missing := {settings.PROJECT, runs.deployment_name()} - {*shape.tags}:
        mistakes.append(f"the tags {', '.join(sorted(missing))} are missing: add `tags: *tags`")
    if shape.enforce_parameter_schema and flow:
        parameters, strict = shape.parameters, schema | {"additionalProperties": False}
        mistakes += _misfits(parameters, strict)
        for one in timings:
            mistakes += _misfits(parameters | one["parameters"], strict, required=True)
    for step, inputs in (one for steps in shape.pull for one in steps.items()):
        with _noting(mistakes), _loading(f"the pull step {step}"):
            if "requires" not in inputs:  # a worker installs these
                import_object(step)
    name, variables = shape.work_pool.name, shape.work_pool.job_variables or {}
    unused = ""
    try:
        mistakes += _misfits(variables, job_schema(name)) if name else ["no work pool"]
        unused = _unused(variables, job_schema(name), name) if name else ""
    except exceptions.ObjectNotFound:
        mistakes.append(f"there is no work pool {name}")
    options: Any = {key: limit[key] for key in limit if key != "limit"} or None
    # A run fills in the rest.
    pull: Any = templating.apply_values(entry.get("pull", []), {}, remove_notset=False)
    made = actions.DeploymentCreate(
        flow_id=UUID(int=0),
        name=shape.name,
        entrypoint=shape.entrypoint,
        path=None,
        description=entry.get("description") or (flow and flow.description),
        tags=shape.tags,
        version=entry.get("version"),
        parameters=shape.parameters,
        parameter_openapi_schema=schema,
        enforce_parameter_schema=shape.enforce_parameter_schema,
        paused=entry.get("paused", False),
        concurrency_limit=shape.concurrency_limit,
        concurrency_options=options,
        work_pool_name=name,
        work_queue_name=shape.work_pool.work_queue_name or "default",
        job_variables=variables,
        pull_steps=pull,
    )
    request = made.model_dump(mode="json", include=made.model_fields_set - {"flow_id"})
    # `schedules: null` keeps the schedules on the server.
    request["schedules"] = None if given.get("schedules", ()) is None else timings
    return Entry((flow.name if flow else "", shape.name), request, triggers, unused)


def _unused(variables: Collection[str], schema: dict[str, Any], pool: str) -> str:
    """Return a sentence about job variables that a work pool does not have, or "".

    They are not a mistake: the same file may serve work pools of several types.
    """
    known = [*schema.get("properties", variables)]
    texts: list[str] = []
    for name in sorted({*variables} - {*known}):
        close = difflib.get_close_matches(name, known, n=1)
        texts.append(f"{name} (did you mean {close[0]}?)" if close else name)
    if not texts:
        return ""
    return f"The work pool {pool} does not use these job variables: {', '.join(texts)}."


def _schedule(given: dict[str, Any]) -> dict[str, Any]:
    """Return a schedule in the form that Prefect's server returns."""
    kinds = [*_SCHEDULES.keys() & given.keys()]
    if len(kinds) != 1:
        raise ValueError("a schedule needs one of cron, interval and rrule")
    # The other keys belong to the schedule's class, which refuses unknown ones.
    timing = {key: given[key] for key in given.keys() - TIMING - {"replaces"}}
    others = {key: given[key] for key in given.keys() & TIMING}
    schedule = actions.DeploymentScheduleCreate(schedule=_SCHEDULES[kinds[0]](**timing), **others)
    dump = schedule.model_dump(mode="json", include=TIMING)
    if "anchor_date" not in given:  # the interval keeps the anchor on the server
        dump["schedule"].pop("anchor_date", None)
    return dump


@functools.cache
def _load_flow(entrypoint: str) -> tuple[Flow[..., Any], dict[str, Any]]:
    """Return a flow and the JSON schema of its parameters."""
    with _loading("the entry point"):
        flow: Any = flows.load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
        return flow, parameter_schema(flow).model_dump(exclude_unset=True)


@contextlib.contextmanager
def _loading(what: str) -> Generator[None]:
    """Raise errors of loading code as a `ValueError` of one line."""
    try:
        yield
    except Exception as error:
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"{what} does not load: {text}") from error


def _misfits(given: dict[str, Any], schema: dict[str, Any], *, required: bool = False) -> list[str]:
    """Return what does not fit a JSON schema, without values: they may be secrets."""
    return [
        error.message
        if error.validator in {"additionalProperties", "required"}
        else f"{error.json_path} does not fit {error.validator}: {error.validator_value}"
        for error in schema_tools.validate(given, schema, ignore_required=not required)
    ]
