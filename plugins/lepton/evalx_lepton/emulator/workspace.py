"""The state of the emulated workspace: what exists, what is remembered, and the one loop that lets time have its effects."""

from __future__ import annotations

import asyncio
import random
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from evalx_lepton.emulator.capacity import Capacity
from evalx_lepton.emulator.containers import Preparer
from evalx_lepton.emulator.endpoints import Endpoint
from evalx_lepton.emulator.faults import CallFaults, WorkloadFaults
from evalx_lepton.emulator.jobs import Job
from evalx_lepton.emulator.logs import LogFile
from evalx_lepton.emulator.ports import Ports, listening
from evalx_lepton.emulator.processes import Processes
from evalx_lepton.emulator.settings import EmulatorSettings
from evalx_lepton.emulator.wire import Deployments, Endpoints, Family

TICK = 0.05
"""Seconds between two looks at what is under way."""

LOOK_AT_LOGS = 0.2
LOOK_AT_ENDS = 0.5


@define
class Ghosts:
    """What lists still show although it is gone. lag: for how many seconds."""

    lag: float
    _bodies: list[tuple[float, str, dict[str, Any]]] = field(factory=list)

    def add(self, kind: str, body: dict[str, Any]) -> None:
        """Something of that kind has just gone."""
        if self.lag:
            self._bodies.append((time.time() + self.lag, kind, body))

    def show(self, kind: str) -> list[dict[str, Any]]:
        """Those of a kind that lists still show."""
        self._bodies = [ghost for ghost in self._bodies if ghost[0] > time.time()]
        return [body for _, known, body in self._bodies if known == kind]

    def visible(self, created: float) -> bool:
        """Whether something created then is in lists by now."""
        return not self.lag or time.time() >= created + self.lag


@define(eq=False)
class Workspace:
    """Everything of a workspace. state: the folder for storage and logs."""

    settings: EmulatorSettings
    state: Path
    token: str
    processes: Processes = field(factory=Processes)
    endpoints: dict[str, Endpoint] = field(factory=dict)
    jobs: dict[str, Job] = field(factory=dict)
    archive: dict[str, Job] = field(factory=dict)
    secrets: dict[str, str] = field(factory=dict)
    secret_facts: dict[str, dict[str, Any]] = field(factory=dict)
    ports: Ports = field(factory=Ports)
    calls: Counter[str] = field(factory=Counter)
    history: list[str] = field(factory=list)
    started: float = field(factory=time.time)
    family: Family = field(init=False)
    capacity: Capacity = field(init=False)
    call_faults: CallFaults = field(init=False)
    workload_faults: WorkloadFaults = field(init=False)
    ghosts: Ghosts = field(init=False)
    preparer: Preparer = field(init=False)
    past_logs: list[LogFile] = field(factory=list)
    _wake: asyncio.Event = field(factory=asyncio.Event)
    _listening: tuple[float, set[int]] = (0.0, set())
    _logs_due: float = 0.0
    _ends_due: float = 0.0

    def __attrs_post_init__(self) -> None:
        settings = self.settings
        self.family = Endpoints() if settings.new_endpoints else Deployments()
        self.capacity = Capacity(settings.capacity)
        self.call_faults = CallFaults(settings.faults, random.Random(settings.seed))  # noqa: S311 -- to be the same every time
        self.workload_faults = WorkloadFaults(settings.endpoint_faults, settings.job_faults)
        self.ghosts = Ghosts(settings.list_lag)

    async def open(self) -> None:
        """Start the node."""
        for name in ("logs", "storage", "replicas"):
            (self.state / name).mkdir(parents=True, exist_ok=True)
        await self.processes.open(self.state / "node")
        can_mount = self.settings.mounts == "auto" and not self.processes.no_mounts
        self.preparer = Preparer(self.settings, self.state, self.secrets, can_mount)

    async def close(self) -> None:
        """End everything that runs."""
        for endpoint in self.endpoints.values():
            endpoint.proxy.close()
        await self.processes.close()

    async def run(self) -> None:
        """Let time pass, until cancelled. Sleeps while nothing exists."""
        while True:
            if not self.endpoints and not self.jobs:
                await self._wake.wait()
            self._wake.clear()
            self.advance()
            await asyncio.sleep(TICK)

    def wake(self) -> None:
        """Something exists, or changed: look at it soon."""
        self._wake.set()

    def advance(self) -> None:
        """Do what is due by now."""
        now = time.monotonic()
        for endpoint in list(self.endpoints.values()):
            self.advance_endpoint(endpoint, now)
        for job in list(self.jobs.values()):
            self.advance_job(job, now)
        if now >= self._ends_due:
            self._ends_due = now + LOOK_AT_ENDS
            self._archive_old_jobs()
        if now >= self._logs_due:
            self._logs_due = now + LOOK_AT_LOGS
            self.collect_logs(log for log in self._live_logs() if not log.closed)

    def advance_endpoint(self, endpoint: Endpoint, now: float) -> None:
        """Do what is due with this one. now: monotonic."""
        endpoint.advance(now)
        if endpoint.is_gone and self.endpoints.get(endpoint.name) is endpoint:
            self._forget_endpoint(endpoint)

    def advance_job(self, job: Job, now: float) -> None:
        """Do what is due with this one. now: monotonic."""
        if not job.is_final:
            job.advance(now)
            self._forget_job(job)

    def listening(self) -> set[int]:
        """Ports that somebody listens on; one look serves a tick."""
        now = time.monotonic()
        if now - self._listening[0] > TICK / 2:
            self._listening = (now, listening())
        return self._listening[1]

    def collect_logs(self, logs: Iterable[LogFile]) -> None:
        """Take in what has been written since the last time."""
        for log in logs:
            log.collect()

    def add_secret(self, entry: Mapping[str, Any], owner: str) -> None:
        """Create or replace one. Its value is in memory only."""
        self.secrets[entry["name"]] = str(entry.get("value") or "")
        facts = {key: entry[key] for key in ("name", "tags", "visibility") if entry.get(key) is not None}
        self.secret_facts[entry["name"]] = {"owner": owner, "visibility": "public", **facts, "created": time.time()}

    def remove_secret(self, name: str) -> None:
        """Raises KeyError if it is not there."""
        del self.secrets[name]
        self.ghosts.add("secret", self.secret_facts.pop(name))

    def note(self, user: str, verb: str, what: str) -> None:
        """Remember that somebody has created, changed or deleted something."""
        self.history.append(f"{user} {verb} {what}")

    def alive(self) -> list[str]:
        """What exists: `endpoint/<name>`, `job/<id>`, `secret/<name>`, in order. Finished jobs exist until they are deleted or archived."""
        names = [f"endpoint/{name}" for name in list(self.endpoints)] + [f"job/{name}" for name in list(self.jobs)]
        return sorted(names + [f"secret/{name}" for name in list(self.secrets)])

    def _live_logs(self) -> Iterable[LogFile]:
        for endpoint in self.endpoints.values():
            yield from (replica.log for replica in endpoint.replicas + endpoint.ending)
        for job in self.jobs.values():
            yield from (worker.log for worker in job.workers)

    def _forget_endpoint(self, endpoint: Endpoint) -> None:
        self.ghosts.add("endpoint", self.family.render(endpoint))
        self.past_logs += endpoint.logs
        endpoint.proxy.close()
        del self.endpoints[endpoint.name]
        self._remove_homes(endpoint.logs)

    def _forget_job(self, job: Job) -> None:
        if job.state == "vanished":
            del self.jobs[job.id]
        elif job.is_deleted:
            self.ghosts.add("job", job.render())
            self._put_away(job, "Deleted")

    def _archive_old_jobs(self) -> None:
        for job in [job for job in self.jobs.values() if job.due_for_archive()]:
            self._put_away(job, "Archived" if self.settings.archive_state == "Archived" else job.state)

    def _put_away(self, job: Job, state: str) -> None:
        job.archive(state)
        self.archive[job.id] = self.jobs.pop(job.id)
        self._remove_homes(job.all_logs)

    def _remove_homes(self, logs: Iterable[LogFile]) -> None:
        for log in logs:
            shutil.rmtree(self.state / "replicas" / log.path.stem, ignore_errors=True)


def new_token() -> str:
    """A token for the workspace."""
    return secrets.token_urlsafe(24)
