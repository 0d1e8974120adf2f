"""What a flow run may use of the machine, and the sentence for a run that used more.

Measured before it was decided how to hold a run to its memory (Linux 6, Python 3.11, MiB):

| program | address space | in use |
|---|---|---|
| 40 threads that sleep | 1293 | 9 |
| a query of DuckDB on 8 threads | 1259 | 68 |
| a group-by of Polars | 897 | 95 |

`RLIMIT_AS` limits the first column and fails programs that use next to nothing: under 512 MiB
the threads did not start. What counts here is the second column, of all processes together,
with shared pages counted once (PSS): one process of 200 MiB with four forks uses 212 MiB,
where the sum of their resident sizes is 1048 MiB.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the processes of a run may use together; none is no limit.

    Attributes:
        memory_mib: Memory, in MiB.
        cpu_seconds: Processor time, in seconds; two busy cores use two seconds each second.
        wall_seconds: Time from start to end, in seconds.
    """

    memory_mib: int | None = None
    cpu_seconds: int | None = None
    wall_seconds: int | None = None


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to run.

    Attributes:
        flow_run: Id of the flow run.
        command: Words of the command that runs it.
        limits: What it may use.
        niceness: How far it stands back for other processes, 0 to 19.
        grace_seconds: How long its processes may take to end when they are asked to.
        folder: Working directory; none makes one that is removed at the end.
        waits: True if the command starts one process at a time and does nothing else.
    """

    flow_run: str
    command: list[str]
    limits: Limits
    niceness: int = 0
    grace_seconds: float = 30
    folder: str | None = None
    waits: bool = False

    def dump(self) -> str:
        """Return the order as text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def load(cls, text: str) -> Order:
        """Return the order that a text stands for."""
        values: dict[str, Any] = json.loads(text)
        values["limits"] = Limits(**values["limits"])
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the processes of a run use, or used; the units are those of `Limits`."""

    memory_mib: float
    cpu_seconds: float
    wall_seconds: float


@dataclass(frozen=True, kw_only=True)
class Excess:
    """A limit that is broken.

    Attributes:
        name: Name of the limit, a field of `Limits`.
        message: What happened and what to change, in two sentences.
    """

    name: str
    message: str


UNITS = {
    "memory_mib": "MiB of memory",
    "cpu_seconds": "seconds of processor time",
    "wall_seconds": "seconds",
}


def excess(limits: Limits, usage: Usage) -> Excess | None:
    """Compare what a run uses with what it may use.

    Args:
        limits: What it may use.
        usage: What it uses.

    Returns:
        The first limit that is broken, or none.
    """
    for name, unit in UNITS.items():
        limit: int | None = getattr(limits, name)
        used: float = getattr(usage, name)
        if limit is not None and used > limit:
            message = (
                f"The run was ended: it used {used:,.1f} {unit}, over its limit of {limit:,}."
                f" Make it use less, or raise the job variable {name} of its deployment or its"
                " work pool."
            )
            return Excess(name=name, message=message)
    return None
