"""A cloud in virtual time, and its executor: what is created may come into being late, answers are lost, lists lag behind.

Like Lepton's, its endpoints have names that are taken once, and its jobs do not. It keeps its own record of all that ever came into being.
"""

from __future__ import annotations

import random
from collections import Counter

from attrs import define, field

from evalx.config import ExecutionSettings
from evalx.context import RunContext
from evalx.errors import EndpointFailed, TransientError
from evalx.hookspecs import API_VERSION, hookimpl
from evalx.model import EndpointHandle, EndpointSpec, Handle, Metric, Outcome, TaskHandle, TaskResult, TaskSpec

from .virtual import Clock, VirtualLoop, VirtualPool

SETTLE, LATE, MAX_LAG = 10.0, 4.0, 3.0
LOOKS = 2
NEVER = float("inf")


@define(eq=False)
class Entry:
    """Something that exists from `born` until `gone`. copy: the network delivered the call that made it twice."""

    name: str
    born: float
    lasts: float
    copy: bool = False
    gone: float = NEVER


@define(eq=False)
class Cloud:
    """lost, late, twice, refused: how likely each is; of a create call, and `refused` of any call. down: no call is answered until then."""

    clock: Clock
    dice: random.Random
    lag: float = 0.0
    lost: float = 0.3
    late: float = 0.2
    twice: float = 0.05
    refused: float = 0.05
    down: float = 0.0
    entries: list[Entry] = field(factory=list)

    def friendly(self) -> None:
        """From now on nothing goes wrong."""
        self.lost = self.late = self.twice = self.refused = self.down = 0.0

    def exist(self) -> list[Entry]:
        now = self.clock.now
        return [entry for entry in self.entries if entry.born <= now < entry.gone]

    def listed(self, name: str) -> list[Entry]:
        then = self.clock.now - self.lag
        return [entry for entry in self.entries if entry.name == name and entry.born <= then < entry.gone]

    def created(self) -> Counter[str]:
        """Name → how often it came into being, copies of the network's making aside."""
        return Counter(entry.name for entry in self.entries if not entry.copy and entry.born <= self.clock.now)

    def call(self) -> None:
        """Any call. Raises TransientError."""
        if self.clock.now < self.down or self.dice.random() < self.refused:
            raise TransientError("503 try again")

    def create(self, name: str, lasts: float, unique: bool) -> None:
        """Raises FileExistsError if the name is taken, TransientError if no answer comes."""
        self.call()
        fate = self.dice.random()
        if unique and any(entry.name == name for entry in self.exist()):
            raise FileExistsError(name)
        late = self.lost <= fate < self.lost + self.late
        made = Entry(name, self.clock.now + (self.dice.uniform(0.0, LATE) if late else 0.0), lasts)
        if unique:  # of calls under way, the first that arrives takes the name
            others = [entry for entry in self.entries if entry.name == name and entry.gone > self.clock.now]
            first = min([*others, made], key=lambda entry: entry.born)
            self.entries = [entry for entry in self.entries if entry not in others]
            made = first
        self.entries.append(made)
        if not unique and self.dice.random() < self.twice:
            self.entries.append(Entry(name, made.born, lasts, copy=True))
        if fate < self.lost + self.late:
            raise TransientError("the answer was lost")

    def delete(self, entry: Entry) -> None:
        """It takes a moment."""
        self.call()
        if entry.gone == NEVER:
            entry.gone = self.clock.now + self.dice.uniform(0.0, 2.0)


@define(eq=False)
class CloudExecutor:
    """Of one process."""

    evalx_api = API_VERSION
    Settings = ExecutionSettings
    deployments = "evalx.testing.deployments"
    settle = SETTLE

    cloud: Cloud
    loop: VirtualLoop
    pools: list[VirtualPool] = field(factory=list)
    _unanswered: dict[str, float] = field(factory=dict)
    _submitted: dict[str, float] = field(factory=dict)
    _absent: Counter[str] = field(factory=Counter)

    @hookimpl
    def make_pool(self, run: RunContext) -> VirtualPool:
        self.pools.append(VirtualPool(self.loop, lambda: self.cloud.dice.uniform(0.01, 0.3)))
        return self.pools[-1]

    @hookimpl
    def deploy(self, run: RunContext, endpoint: EndpointSpec) -> EndpointHandle:
        name = run.resource_name(endpoint)
        try:
            self.cloud.create(name, lasts=5.0, unique=True)
        except FileExistsError:
            if any(entry.name == name and entry.gone < NEVER for entry in self.cloud.exist()):
                raise TransientError(f"{name} is being deleted") from None
        return EndpointHandle(endpoint, name)

    @hookimpl
    def wait_ready(self, run: RunContext, handle: EndpointHandle) -> EndpointHandle | None:
        self.cloud.call()
        found = [entry for entry in self.cloud.exist() if entry.name == handle.resource]
        if not found:
            raise EndpointFailed(f"{handle.resource} is gone")
        run.report(handle, "starting")
        ready = found[0].born + found[0].lasts <= self.cloud.clock.now
        return EndpointHandle(handle.spec, handle.resource, "cloud://it") if ready else None

    @hookimpl
    def run_task(self, run: RunContext, task: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:
        self.cloud.call()
        name, now = run.resource_name(task), self.cloud.clock.now
        if not [entry for entry in self.cloud.listed(name) if entry.gone == NEVER]:
            since = now - self._unanswered.get(name, -NEVER)
            if since < SETTLE:
                raise TransientError("whether there is a job is not known yet", SETTLE - since)
            try:
                self.cloud.create(name, lasts=8.0, unique=False)
            except TransientError:
                self._unanswered[name] = now
                raise
        self._submitted[name] = now
        return TaskHandle(task, name)

    @hookimpl
    def collect(self, run: RunContext, handle: TaskHandle) -> TaskResult | None:
        self.cloud.call()
        now, found = self.cloud.clock.now, self.cloud.listed(handle.resource)
        if not found:
            young = now - self._submitted.get(handle.resource, -NEVER) < SETTLE
            return None if young else TaskResult(handle.spec, Outcome.LOST, reason="its job is gone")
        if now < min(entry.born + entry.lasts for entry in found):
            run.report(handle, "running", done=int(now - found[0].born), total=8)
            return None
        return TaskResult(handle.spec, Outcome.PASSED, (Metric("accuracy", 0.5),))

    @hookimpl
    def cleanup(self, run: RunContext, handle: Handle) -> bool:
        self.cloud.call()
        name = handle.resource
        known = self.cloud.listed(name)
        if isinstance(handle, EndpointHandle):
            known = [entry for entry in self.cloud.exist() if entry.name == name]
        for entry in known:
            self.cloud.delete(entry)
        self._absent[name] = 0 if known else self._absent[name] + 1
        if self._absent[name] < LOOKS:
            return False
        del self._absent[name]
        return True

    @hookimpl
    def poll_interval(self, run: RunContext, handle: Handle, age: float) -> float:
        return 0.5 + age / 10
