"""What Prefect's server has, compared with what it should have."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule

from . import runs, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from uuid import UUID

    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import AutomationCore

    from .prefect_file import Entry

_SAME = {
    *("entrypoint", "description", "parameters", "enforce_parameter_schema", "path", "paused"),
    *("parameter_openapi_schema", "concurrency_options", "work_pool_name", "work_queue_name"),
    *("job_variables", "pull_steps"),
}
"""Fields that the request for a deployment and the deployment itself have in common."""
_OPEN = ("parameters", "job_variables")
"""Fields of which a difference is named by its path."""
_TIMING = {"schedule", "active", "parameters", "slug"}
_AUTOMATION = ("actions", "description", "enabled", "name", "trigger")


@dataclass
class Item:
    """Something that Prefect's server has or should have.

    Attributes:
        what: What it is.
        name: Its name.
        state: `create`, `change`, `unchanged` or `orphaned`.
        fields: What has to change.
        apply: Makes it right; of an orphan, deletes it.
        version: The version of a deployment that the one of this package replaces.
    """

    what: str
    name: str
    state: str = "unchanged"
    fields: list[str] = field(default_factory=list)
    apply: Callable[[], object] | None = None
    version: str | None = None


def differences(entry: Entry, old: DeploymentResponse) -> list[str]:
    """Return the names of the fields in which a deployment is not what its entry asks for.

    The values may be secrets. What the entry leaves to the server is taken over into it.
    """
    new = entry.request
    if entry.keeps_schedules:
        kept = [schedule.model_dump(include=_TIMING) for schedule in old.schedules]
        new.schedules = [DeploymentScheduleCreate.model_validate(one) for one in kept]
    anchors = {
        one.slug: one.schedule.anchor_date
        for one in old.schedules
        if isinstance(one.schedule, IntervalSchedule)
    }
    for one in new.schedules:
        timing = one.schedule
        if isinstance(timing, IntervalSchedule) and "anchor_date" not in timing.model_fields_set:
            timing.anchor_date = anchors.get(one.slug, timing.anchor_date)
    ours = new.model_dump(mode="json", include=_SAME)
    theirs = old.model_dump(mode="json", include=_SAME)
    ours["work_queue_name"] = ours["work_queue_name"] or "default"
    found = [path for name in sorted(_SAME) for path in _paths(name, ours[name], theirs[name])]
    limit = old.global_concurrency_limit and old.global_concurrency_limit.limit
    pairs = {
        "concurrency_limit": (new.concurrency_limit, limit),
        "schedules": (_timing(new.schedules), _timing(old.schedules)),
        "tags": (sorted(new.tags), sorted(old.tags)),
        "version": (new.version, old.version),
    }
    return found + [name for name, (wanted, has) in pairs.items() if wanted != has]


def _paths(name: str, ours: Any, theirs: Any) -> list[str]:
    if name.startswith(_OPEN) and isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted({*ours, *theirs})
        return [p for k in keys for p in _paths(f"{name}.{k}", ours.get(k), theirs.get(k))]
    return [] if ours == theirs else [name]


def _timing(schedules: Iterable[Any]) -> list[str]:
    return sorted(str(one.model_dump(mode="json", include=_TIMING)) for one in schedules)


def wanted_triggers(entry: Entry, deployment: UUID) -> list[AutomationCore]:
    """Return the automations that start a deployment, marked as this project's."""
    made: list[AutomationCore] = []
    for trigger in entry.triggers:
        trigger.set_deployment_id(deployment)
        made.append(trigger.as_automation())
        made[-1].tags = [settings.PROJECT, runs.deployment_name()]
    return made


def is_trigger(entry: Entry, automation: AutomationCore) -> bool:
    """Tell whether an automation that starts a deployment comes from its entry, now or before.

    Others may start it as well: those that somebody has made in Prefect's UI stay.
    """
    numbered = rf"{re.escape(entry.request.name)}__automation_\d+"
    names = {trigger.name for trigger in entry.triggers}
    return (
        automation.name in names
        or re.fullmatch(numbered, automation.name) is not None
        or {settings.PROJECT, runs.deployment_name()} <= {*automation.tags}
    )


def changes(new: AutomationCore, old: AutomationCore) -> list[str]:
    """Return the names of the fields in which an automation is not as it should be."""
    return [name for name in _AUTOMATION if _dump(new, name) != _dump(old, name)]


def are_same(wanted: Collection[AutomationCore], found: Collection[AutomationCore]) -> bool:
    """Tell whether automations are as they should be, none of them doubled."""
    return len(wanted) == len(found) and all(
        any(not changes(new, old) for old in found) for new in wanted
    )


def _dump(automation: AutomationCore, name: str) -> Any:
    return automation.model_dump(include={name})  # sets compare as such
