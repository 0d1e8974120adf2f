"""Jobs of a remote system: submits one for a flow run, watches it and copies its log."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import datetime
import re
import time
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio
import tenacity
from prefect.logging.handlers import APILogHandler
from pydantic import Field, PositiveFloat

from . import errors, http
from .job_variables import Options, StrictJobConfiguration

if TYPE_CHECKING:
    from collections.abc import Generator

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.logging.loggers import PrefectLogAdapter

FLOW_RUN = "prefect.io/flow-run-id"
ATTEMPT = "prefect.io/attempt"
"""Labels of a job, by which it is found again: its flow run, and the attempt."""

DEADLINE_SECONDS = 30
"""How long a request may take, with its retries."""

LOG_BYTES = 64 * 1024
"""How much of a job's log one request reads."""

LOG_LINES = 10_000
LINE_LENGTH = 2_000
"""How much of a job's output goes to Prefect. The system keeps all of it."""

LOG_OFFSET = "job-log-offset"
"""Label of a flow run: the job and the offset up to which Prefect has its log."""

LOGGED_BY_PREFECT = re.compile(r"\d\d:\d\d:\d\d\.\d{3} \| [A-Z]+ +\| (Flow|Task) run '")
"""The beginning of lines that Prefect in the job already sends to its API."""

SECRET = re.compile("AUTH|CREDENTIAL|KEY|PASSWORD|SECRET|TOKEN", re.IGNORECASE)
"""Variables of a job's environment whose values are masked in logs and states."""

MASK = "********"

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


@dataclasses.dataclass(frozen=True)
class Job:
    """A job, as the system describes it."""

    id: str
    attempt: int
    state: JobState
    exit_code: int | None = None
    reason: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended."""
        return self.state not in ("queued", "running")


def attempt(flow_run: FlowRun) -> int:
    """Return the number of the current attempt: its scheduled time, in ms since 1970.

    `run_count` does not work, because it counts only attempts that began to run.
    """
    if flow_run.state is None:
        return 0
    when = flow_run.state.state_details.scheduled_time or flow_run.state.timestamp
    return int(when.timestamp() * 1000)


class JobOptions(Options):
    """Job variables of all workers for remote jobs."""

    poll_interval_seconds: PositiveFloat = Field(
        default=15, description="Longest pause between two checks of a job, in seconds."
    )
    queue_timeout_seconds: PositiveFloat | None = Field(
        default=None,
        description="How long a job may wait to run until it is cancelled; empty for no limit.",
    )
    grace_seconds: PositiveFloat = Field(
        default=30,
        description="Seconds that a cancelled run may take to end before its job is cancelled.",
    )
    stream_output: bool = Field(
        default=True, description="Copy what a job prints to the logs of its flow run."
    )


class RemoteJobConfiguration(StrictJobConfiguration, JobOptions):
    """The configuration of a flow run's job."""

    def system(self) -> JobSystem:
        """Return the system that runs the job; the worker enters its context once."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """Id of this attempt to run the flow run; there is at most one job for it."""
        return f"{self.labels[FLOW_RUN]}-{self.attempt}"

    @property
    def attempt(self) -> int:
        """Number of the attempt; later attempts have larger numbers."""
        return int(self.labels[ATTEMPT])

    def prepare_for_flow_run(self, flow_run: FlowRun, *args: Any, **named: Any) -> None:
        """Add what depends on the flow run: command, environment, name and labels."""
        super().prepare_for_flow_run(flow_run, *args, **named)
        self.labels |= {FLOW_RUN: str(flow_run.id), ATTEMPT: str(attempt(flow_run))}

    def mask(self, text: str) -> str:
        """Return a text without the secrets of the job's environment."""
        secrets = {value for name, value in self.env.items() if value and SECRET.search(name)}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) > 3:  # shorter ones, such as `1`, are part of other words
                text = text.replace(secret, MASK)
        return re.sub(r"(?<=://)[^/\s@]+(?=@)", MASK, text)


class JobSystem(abc.ABC):
    """The requests that a worker sends to a system that runs jobs.

    Every request raises `PermanentError` if the system refuses it, and `TransientError` if the
    system does not answer, or its response cannot be read.

    Attributes:
        client: Client of the system's API.
        name: Address of the system, which identifies it.
    """

    def __init__(self, client: http.AsyncClient) -> None:
        # Short, because a watch retries itself and logs the reason in the flow run's logs.
        client.policy = dataclasses.replace(client.policy, deadline_seconds=DEADLINE_SECONDS)
        self.client = client
        self.name = str(client.base_url).rstrip("/")

    async def __aenter__(self) -> Self:
        """Open the client."""
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        """Close the client."""
        await self.client.__aexit__(*error)

    @abc.abstractmethod
    async def submit(self, configuration: Any) -> Job:
        """Submit a job. The worker calls this after `find` has found none."""

    @abc.abstractmethod
    async def find(self, flow_run: str) -> list[Job]:
        """Return all jobs of a flow run, in any order."""

    @abc.abstractmethod
    async def status(self, job_id: str) -> Job | None:
        """Return a job, or None if the system has no such job."""

    @abc.abstractmethod
    async def log(self, job_id: str, offset: int) -> bytes:
        """Return at most `LOG_BYTES` of a job's output from an offset in bytes."""

    @abc.abstractmethod
    async def cancel(self, job_id: str, *, force: bool) -> None:
        """Ask a job to end, or kill it; do nothing if it has ended."""


class Watch:
    """A flow run and its job, with the last known state of both.

    While the system does not answer, the watch logs that in the flow run's logs and continues; it
    does not assume that the job has failed.
    """

    def __init__(
        self,
        flow_run: FlowRun,
        configuration: RemoteJobConfiguration,
        system: JobSystem,
        client: PrefectClient,
        logger: PrefectLogAdapter,
    ) -> None:
        self.flow_run = flow_run
        self.job: Job | None = None
        self._configuration = configuration
        self._system = system
        self._client = client
        self._logger = logger
        self._is_gone = False
        self._note = self._warned = ""
        self._lines = 0

    @property
    def identifier(self) -> str:
        """System and job, for the flow run's `infrastructure_pid`; empty without a job."""
        return f"{self._system.name}::{self.job.id}" if self.job else ""

    @property
    def is_superseded(self) -> bool:
        """Whether another job with its own watch already runs the flow run again."""
        state, job = self.flow_run.state, self.job
        if state is None or job is None:
            return False
        scheduled = state.is_pending() and state.state_details.scheduled_time is not None
        waits_again = scheduled and attempt(self.flow_run) != job.attempt
        return waits_again or self.flow_run.infrastructure_pid != self.identifier

    @property
    def verdict(self) -> str:
        """The last known state of the job, with the system's reason."""
        if self.job is None:
            return f"{self._system.name} has no job of this flow run."
        name = f"Job {self.job.id} of {self._system.name}"
        if self._is_gone:
            return f"{name} is gone: it was {self.job.state}, and now the system knows no such job."
        code = "" if self.job.exit_code is None else f" with exit code {self.job.exit_code}"
        words = self._configuration.mask(self._note or self.job.reason)[:LINE_LENGTH]
        reason = f": {words.rstrip('.')}" if words else ""
        return f"{name} {self.job.state}{code}{reason}."

    async def begin(self) -> None:
        """Find the flow run's job; submit one if there is none and the flow run is pending.

        Raises:
            PermanentError: The system refuses.
        """
        # A response can be lost after the job was created, so each attempt looks for the job first.
        self.job = await self._answer(errors.TransientError, http.OutcomeUnknownError)(
            self._find_or_submit
        )
        if self.job is not None:
            identifier = self.identifier
            await self._client.update_flow_run(self.flow_run.id, infrastructure_pid=identifier)

    async def _find_or_submit(self) -> Job | None:
        flow_run = str(self.flow_run.id)
        if self.flow_run.infrastructure_pid is None:
            found = await self._system.find(flow_run)
        else:
            # There may be a job already: retry all errors, because they tell nothing about it.
            look = self._answer(errors.PermanentError, errors.TransientError)
            found = await look(self._system.find, flow_run)
        newest = max(found, key=lambda job: job.attempt, default=None)
        await self._refresh()
        waits = self.flow_run.state is not None and self.flow_run.state.is_pending()
        if waits and (newest is None or newest.attempt != self._configuration.attempt):
            return await self._system.submit(self._configuration)
        return newest

    async def follow(self) -> None:
        """Check the job until it has ended, or until the system has lost it."""
        answer = self._answer(errors.PermanentError, errors.TransientError)
        start = time.monotonic()
        pause = 1.0
        while self.job is not None:
            seen = await answer(self._system.status, self.job.id)
            if seen is None:
                # A proxy may answer 404 while the system is unavailable: check in another way.
                found = await answer(self._system.find, str(self.flow_run.id))
                self._is_gone = self.job.id not in [job.id for job in found]
            else:
                self.job = seen
                with self._warning():
                    await self._copy_log(seen)
            # Read the flow run after the job, so that its last state from the job is included.
            await self._refresh()
            if self._is_gone or self.job.has_ended:
                return
            with self._warning():
                await self._interfere(self.job, time.monotonic() - start)
            pause = min(1.5 * pause, self._configuration.poll_interval_seconds)
            await anyio.sleep(pause)

    async def _interfere(self, job: Job, waited: float) -> None:
        """Cancel the job if its flow run is cancelled, or if it was queued for too long."""
        state, options = self.flow_run.state, self._configuration
        if state is not None and (state.is_cancelling() or state.is_cancelled()):
            age = (datetime.datetime.now(datetime.UTC) - state.timestamp).total_seconds()
            # In a running job, Prefect itself ends the flow run and runs its hooks.
            if job.state == "queued" or age > options.grace_seconds:
                await self._system.cancel(job.id, force=age > 2 * options.grace_seconds)
        elif job.state == "queued" and waited > (options.queue_timeout_seconds or waited):
            self._note = f"it was still queued after {waited:.0f} s"
            await self._system.cancel(job.id, force=False)

    async def _copy_log(self, job: Job) -> None:
        """Copy new output of the job to the flow run's logs."""
        known, _, offset = str(self.flow_run.labels.get(LOG_OFFSET, "")).rpartition(":")
        start = position = int(offset) if known == job.id else 0
        while self._configuration.stream_output and self._lines < LOG_LINES:
            chunk = await self._system.log(job.id, position)
            # Whole lines, so that no secret is split; except a very long or the last line.
            end = chunk.rfind(b"\n") + 1
            if not end and (job.has_ended or len(chunk) >= LOG_BYTES):
                end = len(chunk)
            if not end:
                break
            self._write(chunk[:end].decode(errors="replace"))
            position += end
        if position > start:
            await APILogHandler.aflush()
            await self._client.update_flow_run_labels(
                self.flow_run.id, {LOG_OFFSET: f"{job.id}:{position}"}
            )

    def _write(self, text: str) -> None:
        for line in self._configuration.mask(text).splitlines():
            if not line.strip() or LOGGED_BY_PREFECT.match(line):
                continue
            self._logger.info("%s", line[:LINE_LENGTH])
            self._lines += 1
            if self._lines == LOG_LINES:
                self._logger.warning("The rest of the output is in the job's log only.")
                break

    async def _refresh(self) -> None:
        self.flow_run = await self._client.read_flow_run(self.flow_run.id)

    @contextlib.contextmanager
    def _warning(self) -> Generator[None]:
        try:
            yield
        except (errors.PermanentError, errors.TransientError) as error:
            if str(error) != self._warned:
                self._logger.warning("%s", error)
            self._warned = str(error)

    def _answer(self, *kinds: type[Exception]) -> tenacity.AsyncRetrying:
        """Return a caller that logs these errors and repeats a request until it succeeds."""

        def say(tried: tenacity.RetryCallState) -> None:
            error = tried.outcome.exception() if tried.outcome else None
            self._logger.warning("%s Asking again in %.0f s.", error, tried.upcoming_sleep)

        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(kinds),
            wait=tenacity.wait_exponential(max=60),
            before_sleep=say,
        )
