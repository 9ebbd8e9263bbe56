"""Endpoints: replicas that start, serve, crash, start again and go, and the states that the platform shows for that."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from evalx_lepton.emulator.containers import WORKSPACE, Request, Unstartable, accelerator_env
from evalx_lepton.emulator.events import Events
from evalx_lepton.emulator.logs import LogFile
from evalx_lepton.emulator.names import suffix
from evalx_lepton.emulator.proxy import EndpointProxy
from evalx_lepton.emulator.settings import EndpointFault
from evalx_lepton.emulator.wire import USER, EndpointSpec

if TYPE_CHECKING:
    from evalx_lepton.emulator.workspace import Workspace

NEVER = float("inf")
MAX_BACKOFF = 30.0
OUT_OF_MEMORY = ("/bin/sh", "-c", "echo 'loading the weights'; kill -9 $$")
CRASH = ("/bin/sh", "-c", "echo 'crashed by a fault of the emulated workspace' >&2; exit 1")


class Phase(Enum):
    """Where a replica stands."""

    QUEUED = 1
    PROVISIONING = 2
    BOOTING = 3
    READY = 4
    CRASHED = 5
    REFUSED = 6
    ENDING = 7
    GONE = 8


REASONS = {
    Phase.QUEUED: "NoCapacity",
    Phase.PROVISIONING: "InProgress",
    Phase.BOOTING: "InProgress",
    Phase.READY: "Ready",
    Phase.CRASHED: "SystemError",
    Phase.REFUSED: "ConfigError",
    Phase.ENDING: "Deleting",
    Phase.GONE: "Deleted",
}
"""What the platform's readiness route says of each."""


@define(eq=False)
class Replica:
    """One container. until: when its phase is over, as far as that is known. port: of its process."""

    workspace: Workspace
    endpoint: str
    spec: EndpointSpec
    id: str
    log: LogFile
    events: Events
    phase: Phase = Phase.QUEUED
    message: str = ""
    until: float = 0.0
    port: int | None = None
    fault: EndpointFault | None = None
    started: float = 0.0
    terminations: list[dict[str, Any]] = field(factory=list)
    since: float = field(factory=time.time)

    @property
    def ready(self) -> bool:
        """It takes requests."""
        return self.phase is Phase.READY

    @property
    def reason(self) -> str:
        """What the platform's readiness route says of it."""
        return "Queueing" if self.phase is Phase.QUEUED and self._fault_is("queueing") else REASONS[self.phase]

    @property
    def unheard_of(self) -> bool:
        """Its endpoint is in a state that no client knows."""
        return self._fault_is("unknown")

    def _fault_is(self, kind: str) -> bool:
        return self.fault is not None and self.fault.kind == kind

    def advance(self, now: float) -> None:
        """Do what is due. now: monotonic."""
        if self.phase is Phase.QUEUED:
            self._place(now)
        elif self.phase in (Phase.PROVISIONING, Phase.CRASHED) and now >= self.until:
            self._start()
        elif self.phase is Phase.BOOTING and self.port in self.workspace.listening():
            self._become_ready(now)
        elif self.phase is Phase.READY and now >= self.until:
            self.until = NEVER
            self.workspace.processes.stop(self.id, 0)

    def end(self) -> None:
        """Begin to stop it; the phase is GONE when it has."""
        if self.phase in (Phase.BOOTING, Phase.READY) and self.port is not None:
            self._move(Phase.ENDING)
            self.workspace.processes.stop(self.id, self.workspace.settings.grace)
        elif self.phase is not Phase.ENDING:
            self._gone()

    def _place(self, now: float) -> None:
        if self.fault is None:
            self.fault = self.workspace.workload_faults.endpoint(self.endpoint)
        lacking = self._fault_is("no_capacity") or self._fault_is("queueing")
        if lacking or not self.workspace.capacity.take(self.id, self.spec.shape):
            if not self.message:
                queued = self._fault_is("queueing")
                self.message = "the quota of the workspace is used up" if queued else self.workspace.capacity.describe(self.spec.shape)
                self.events.add("QuotaExceeded" if queued else "FailedScheduling", self.message, warning=True)
            return
        self.until = now + self.workspace.settings.provisioning
        self._move(Phase.PROVISIONING, "the node is being prepared")
        self.events.add("Scheduled", "assigned to emulated-node-0")
        self.advance(now)

    def _start(self) -> None:
        fault = self.fault.kind if self.fault else None
        if fault == "stuck":
            self._move(Phase.BOOTING, "the container is being created")
        elif fault == "image_pull":
            self._refuse(f'failed to pull image "{self.spec.container["container"].get("image")}": manifest unknown', pull=True)
        elif fault == "config_error":
            self._refuse("the container's configuration is wrong (a fault of the emulator's settings)")
        else:
            at_once = self.fault is not None and self.fault.after == 0
            self._launch(CRASH if fault == "crash" and at_once else OUT_OF_MEMORY if fault == "oom" else None)

    def _launch(self, instead: tuple[str, ...] | None) -> None:
        """instead: a command in place of the container's own."""
        port = self.workspace.ports.take()
        env = {
            "LEPTON_DEPLOYMENT_NAME": self.endpoint,
            "LEPTON_REPLICA_ID": self.id,
            "LEPTON_WORKSPACE_ID": WORKSPACE,
            **accelerator_env(self.workspace.settings.shape(self.spec.shape)),
        }
        try:
            launch = self.workspace.preparer.launch(Request(self.id, self.spec.container, env, self.spec.port, port))
        except Unstartable as error:
            self.workspace.ports.release(port)
            self._refuse(str(error), error.pull)
            return
        self.port, self.started, self.log.closed = port, time.time(), False
        if instead:
            launch = evolve(launch, argv=instead, mounts=())
        self.workspace.processes.launch(self.id, launch, self._ended)
        self._move(Phase.BOOTING, "the container is starting")
        self.events.add("Started", "started the container")

    def _become_ready(self, now: float) -> None:
        self.until = NEVER
        if self.fault is not None and (self.fault.kind == "node_lost" or (self.fault.kind == "crash" and self.fault.after)):
            self.until = now + self.fault.after
        self._move(Phase.READY)

    def _ended(self, code: int) -> None:
        self.log.close()
        self.workspace.ports.release(self.port)
        self.port = None
        if self.phase is Phase.ENDING:
            self._gone()
            return
        if self._fault_is("node_lost"):
            self._lose_node()
            return
        self._note_termination(code)
        pause = min(self.workspace.settings.restart_backoff * 2 ** (len(self.terminations) - 1), MAX_BACKOFF)
        self.until = time.monotonic() + pause
        self.fault = self.workspace.workload_faults.endpoint(self.endpoint)
        self._move(Phase.CRASHED, f"back-off {pause:g} s restarting a container that ended with exit code {code}")
        self.events.add("BackOff", self.message, warning=True)

    def _lose_node(self) -> None:
        """Its node is gone, and it with it; it starts again elsewhere."""
        self.until = time.monotonic() + self.workspace.settings.restart_backoff
        self.fault = self.workspace.workload_faults.endpoint(self.endpoint)
        self._move(Phase.CRASHED, "node emulated-node-0 is lost")
        self.events.add("NodeLost", self.message, warning=True)

    def _note_termination(self, code: int) -> None:
        times = {"started_at": int(self.started), "finished_at": int(time.time())}
        killed = self._fault_is("oom")
        reason = "OOMKilled" if killed else "Completed" if code == 0 else "Error"
        how = {"exit_code": 137 if killed else code, "reason": reason, "message": ""}
        if killed:
            self.events.add("OOMKilled", "the container was killed: it used more memory than its shape has", warning=True)
        self.terminations.append(times | how)

    def _refuse(self, message: str, pull: bool = False) -> None:
        self._move(Phase.REFUSED, message)
        self.events.add("ErrImagePull" if pull else "CreateContainerConfigError", message, warning=True)

    def _gone(self) -> None:
        self.workspace.capacity.release(self.id)
        self._move(Phase.GONE)

    def _move(self, phase: Phase, message: str = "") -> None:
        self.phase, self.message, self.since = phase, message, time.time()


@define(eq=False)
class Endpoint:
    """An endpoint. transition: what the state reads until it is Ready again. created, modified, deleted_at: seconds since 1970."""

    workspace: Workspace
    name: str
    spec: dict[str, Any]
    labels: dict[str, str]
    visibility: str = "public"
    owner: str = USER
    token_is_generated: bool = False
    replicas: list[Replica] = field(factory=list)
    ending: list[Replica] = field(factory=list)
    events: Events = field(factory=Events)
    transition: str = "Starting"
    created: float = field(factory=time.time)
    modified: float = field(factory=time.time)
    deleted_at: float | None = None
    version: int = 1
    logs: list[LogFile] = field(factory=list)
    read: EndpointSpec = field(init=False)
    proxy: EndpointProxy = field(init=False)
    _turn: int = 0
    _gone_after: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.read = self.workspace.family.read(self.spec)
        self.proxy = EndpointProxy(self._tokens, self._target)

    @property
    def url(self) -> str:
        """What the world calls."""
        return self.proxy.url

    def change(self, spec: dict[str, Any]) -> None:
        """Another spec. Raises as `Family.read` does."""
        was, self.read = self.read, self.workspace.family.read(spec)
        self.spec, self.modified, self.version = spec, time.time(), self.version + 1
        if not self.replicas or was.replicas != self.read.replicas:
            self.scale("Scaling" if self.replicas else "Starting")
        elif was != self.read:
            self.scale("Updating")

    def scale(self, transition: str) -> None:
        """Bring the replicas to what the spec asks for: new ones if it asks for another container, none if it asks for none."""
        wanted = self.read
        keep = [replica for replica in self.replicas if replica.spec == wanted][: wanted.replicas]
        self._retire([replica for replica in self.replicas if replica not in keep])
        self.replicas = keep + [self._new_replica(wanted) for _ in range(wanted.replicas - len(keep))]
        self.transition = transition
        self.workspace.wake()

    def restart(self) -> None:
        """All replicas anew."""
        self._retire(self.replicas)
        self.replicas = []
        self.scale("Restarting")

    def delete(self) -> None:
        """Begin to go. Repeatable."""
        if self.deleted_at is None:
            self.deleted_at = time.time()
            self._gone_after = time.monotonic() + self.workspace.settings.deletion
            self._retire(self.replicas)
            self.replicas = []
            self.workspace.wake()

    def advance(self, now: float) -> None:
        """Do what is due."""
        for replica in self.replicas:
            replica.advance(now)
        self.ending = [replica for replica in self.ending if replica.phase is not Phase.GONE]
        if self.phase() == "Ready":
            self.transition = "Not Ready"
            self._scale_down_if_idle(now)
        else:
            self.proxy.last_request = now

    @property
    def is_gone(self) -> bool:
        """Nothing of it is left."""
        return self.deleted_at is not None and not self.ending and time.monotonic() >= self._gone_after

    def phase(self) -> str:
        """The state as the platform names it."""
        if self.deleted_at is not None:
            return "Deleting"
        if not self.replicas:
            return "Stopping" if self.ending else "Stopped"
        if all(replica.ready for replica in self.replicas):
            return "Frozen" if any(replica.unheard_of for replica in self.replicas) else "Ready"
        if any(replica.phase in (Phase.CRASHED, Phase.REFUSED) for replica in self.replicas):
            return "Not Ready"
        return self.transition

    def generate_token(self) -> str:
        """A token that the platform makes; whoever creates the endpoint sees it once."""
        token = suffix(32)
        self.spec = {**self.spec, "api_tokens": [{"value": token}]}
        self.token_is_generated = True
        return token

    def _new_replica(self, spec: EndpointSpec) -> Replica:
        name = f"{self.name}-{suffix(9)}-{suffix(5)}"
        log = LogFile(self.workspace.preparer.log(name), {"endpoint": self.name, "deployment": self.name, "replica": name})
        self.logs.append(log)
        return Replica(self.workspace, self.name, spec, name, log, self.events)

    def _retire(self, replicas: list[Replica]) -> None:
        for replica in replicas:
            replica.end()
        self.ending += replicas

    def _scale_down_if_idle(self, now: float) -> None:
        timeout = self.read.no_traffic_timeout
        if timeout and not self.proxy.active and now - self.proxy.last_request >= timeout:
            self.events.add("ScaledDown", f"no traffic for {timeout:g} s: scaled to zero")
            self._retire(self.replicas)
            self.replicas = []

    def _tokens(self) -> list[str]:
        return [self._token(entry) for entry in self.spec.get("api_tokens") or []]

    def _token(self, entry: Mapping[str, Any]) -> str:
        """A token; one that names a secret which is not there opens nothing."""
        if entry.get("value") is not None:
            return str(entry["value"])
        name = (entry.get("value_from") or {}).get("token_name_ref")
        return self.workspace.secrets.get(str(name)) or suffix(32)

    def _target(self) -> int | None:
        ready = [replica for replica in self.replicas if replica.ready and not (replica.fault and replica.fault.kind == "never_healthy")]
        self._turn += 1
        return ready[self._turn % len(ready)].port if ready else None
