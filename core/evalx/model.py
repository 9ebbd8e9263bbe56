"""The values that pass between the core, its plugins and the store.

All are frozen, hold no open resource and survive JSON, so that a handle written by one process is enough for another process, on
another day, to go on. A secret is never a value here: `Secret` is only the reference under which it is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import field, frozen

Json = Mapping[str, Any]
"""A JSON object: string keys; values are None, bool, int, float, str, lists and objects of these."""


class Outcome(StrEnum):
    """How a task ended. Only `PASSED` carries metrics."""

    PASSED = "passed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    NO_RESULT = "no_result"
    LOST = "lost"
    SKIPPED = "skipped"


@frozen
class Secret:
    """A reference to a secret: `host:NAME` is a variable of evalx's own environment, `secret:NAME` one kept by the platform."""

    ref: str

    @property
    def source(self) -> str:
        """Where it is kept: `host` or `secret`."""
        return self.ref.partition(":")[0]

    @property
    def name(self) -> str:
        """Its name there."""
        return self.ref.partition(":")[2]


EnvValue = str | Secret


@frozen
class EndpointSpec:
    """A model endpoint as planned.

    name: unique in the run. variant: the deployment variant's plugin name (`vllm`, `none`, ...). model: the name under which it is
    served. options: the validated `deployment` section of the config (and `target`, for `none`). ready_timeout: seconds from deploy
    until it must answer.
    """

    name: str
    index: int
    variant: str
    model: str
    options: Json = field(factory=dict)
    ready_timeout: float = 1200.0
    attempt: int = 0


@frozen
class TaskSpec:
    """An evaluation task as planned.

    name: unique in the run. harness: the adapter's plugin name. endpoint: the name of the EndpointSpec it asks. options: the
    validated entry of `evaluation.tasks`, merged with what `evaluation` gives all tasks. timeout: seconds from submission.
    """

    name: str
    index: int
    harness: str
    endpoint: str
    options: Json = field(factory=dict)
    timeout: float = 3600.0
    attempt: int = 0


Spec = EndpointSpec | TaskSpec


@frozen
class Limits:
    """What bounds a run. Counts of None mean no limit; durations are seconds, None means none; max_cost is in the prices' currency. queue:
    how long a task may wait for the platform before its own time counts; None: it counts from submission. keep: how long endpoints stay up
    after the last task; None: each goes when its own tasks are over."""

    max_tasks: int | None = None
    max_endpoints: int | None = None
    max_duration: float | None = None
    no_progress: float | None = 3600.0
    max_cost: float | None = None
    queue: float | None = None
    keep: float | None = None


@frozen
class Billing:
    """What an endpoint or a task is billed as while it exists: so many of a shape. count 0: it costs nothing. accelerators: how many one of
    the shape has; None: not known."""

    shape: str = ""
    count: float = 0.0
    accelerators: float | None = None


@frozen
class ExportSpec:
    """An export that is made when the run has ended. exporter: its plugin name. output: the file or folder, absolute; None: in the run
    directory, or nothing where the exporter writes no file. options: validated, of the exporter's `Options`."""

    exporter: str
    output: str | None = None
    options: Json = field(factory=dict)


@frozen
class RunPlan:
    """All that will happen in a run, known before anything is created; enough to go on with it from another process.

    execution: the validated `execution` section, from which the executor's settings are built again. start: `pipelined` (a task
    starts when its own endpoint is ready) or `all_ready`. plugins: names of further plugins (group `evalx.plugins`) to load. exports:
    where the results are carried when the run has ended. endpoint_billing, task_billing: what each is billed as, by index, as far as the
    executor tells. backend: which one the run's resources are at, if the executor tells.
    """

    run_id: str
    executor: str
    endpoints: tuple[EndpointSpec, ...]
    tasks: tuple[TaskSpec, ...]
    execution: Json = field(factory=dict)
    start: str = "pipelined"
    limits: Limits = field(factory=Limits)
    plugins: tuple[str, ...] = ()
    created: float = 0.0
    exports: tuple[ExportSpec, ...] = ()
    endpoint_billing: tuple[Billing | None, ...] = ()
    task_billing: tuple[Billing | None, ...] = ()
    backend: str | None = None

    def endpoint(self, name: str) -> EndpointSpec:
        """The endpoint of that name. Raises KeyError."""
        for spec in self.endpoints:
            if spec.name == name:
                return spec
        raise KeyError(name)


@frozen
class ServerSpec:
    """A model server, executor-neutral: what to start and how to ask it.

    argv: the command; empty keeps the image's own entrypoint. health_path: answers 200 when the model is loaded; None where the
    server has none. routes: endpoint type (`chat`, `completions`, ...) to URL path. startup_grace: seconds in which refusals are normal.
    """

    image: str | None
    argv: tuple[str, ...]
    port: int
    served_model: str
    health_path: str | None = "/health"
    routes: Mapping[str, str] = field(factory=dict)
    env: Mapping[str, EnvValue] = field(factory=dict)
    labels: Mapping[str, str] = field(factory=dict)
    pre_cmd: str | None = None


@frozen
class EndpointHandle:
    """An endpoint that was created, adopted, or found.

    resource: its name at the backend. url: base or full URL once it answers, else None. owned: False means it is not ours and is
    never deleted. data: whatever the executor needs to find it again from another process; these keys have a meaning for the core:
    `routes` (endpoint type to URL path), `api_key` (a Secret's ref that requests must carry as bearer token) and `token` (where that is
    one of `RunContext.token`, the purpose it was made for).
    """

    spec: EndpointSpec
    resource: str
    url: str | None = None
    owned: bool = True
    data: Json = field(factory=dict)


@frozen
class TaskHandle:
    """A task that was submitted. resource and data as in EndpointHandle."""

    spec: TaskSpec
    resource: str
    data: Json = field(factory=dict)


Handle = EndpointHandle | TaskHandle


@frozen
class Site:
    """Where a task will run, as the task itself sees it.

    workdir: absolute path of its own writable folder; the command's files are written there and results are expected in
    `<workdir>/results`. dataset_dir: where `dataset_dir` of the task is visible, if it has one. adapter_port: a TCP port that belongs
    to this task alone. containerised: the image of the command is used.
    """

    workdir: str
    adapter_port: int
    dataset_dir: str | None = None
    containerised: bool = False

    @property
    def results(self) -> str:
        return f"{self.workdir}/results"


@frozen
class TaskCommand:
    """What an executor must run for a task.

    argv: the complete command (pre_cmd, post_cmd and the time limit included), to be run in `Site.workdir`. files: relative path to
    text, written there before. env: literal values and secret references. image: the container it wants, None where it has no
    container of its own. dataset_dir: folder of the host to make visible at `Site.dataset_dir`.
    """

    argv: tuple[str, ...]
    env: Mapping[str, EnvValue] = field(factory=dict)
    files: Mapping[str, str] = field(factory=dict)
    image: str | None = None
    dataset_dir: str | None = None


@frozen
class Metric:
    """One score. name: `metric` or `metric/score` as the harness calls it, group scores prefixed `group:`; value in the harness's own
    unit; stderr: its standard error in the same unit, None if the harness gives none; n: number of samples, None if unknown."""

    name: str
    value: float
    stderr: float | None = None
    n: int | None = None


@frozen
class Artifact:
    """A result file: path relative to the task's folder in the run directory (or a location elsewhere), size in bytes, SHA-256 hex."""

    path: str
    size: int
    sha256: str


@frozen
class TaskResult:
    """The end of a task. reason: in words, for everything but a pass. started, ended: seconds since the epoch, None if it never did."""

    spec: TaskSpec
    outcome: Outcome
    metrics: tuple[Metric, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    reason: str | None = None
    started: float | None = None
    ended: float | None = None


@frozen
class Finding:
    """What a preflight check found. level: `error` stops the run before anything is created, `warning` does not; `ok` (it is as it should
    be) and `note` (it could not be looked at) are for `evalx doctor` only. hint: the command or edit that mends it. kind: `config` (exit
    code 2) or `auth` (4). unasked: the backend could not be asked at all, which keeps a run from starting, not a plan from being shown."""

    level: str
    message: str
    hint: str | None = None
    kind: str = "config"
    unasked: bool = False


@frozen
class Found:
    """A resource at a backend that bears evalx's marks. kind: `endpoint`, `task` or another word of the executor's. owner: who created
    it, as far as the backend tells; mine: whether that is the user who asks. created: seconds since the epoch, None if unknown. marked: of
    another kind than endpoints and tasks, and yet it bears a mark of evalx's, not just such a name."""

    run_id: str
    kind: str
    resource: str
    state: str = ""
    owner: str = ""
    mine: bool = False
    created: float | None = None
    marked: bool = False


@frozen
class Event:
    """Something that happened in a run; what displays, exporters and the event file are made of.

    seq: grows by one within a run. time: seconds since the epoch. kind: `run`, `endpoint`, `task`, `job` (state changes; `job` is what a
    task runs as at the backend), `progress` (phase, reason, done/total in data), `warning`. name: the endpoint's or task's name, "" for
    the run. state: the new state.
    """

    seq: int
    time: float
    run_id: str
    kind: str
    name: str = ""
    state: str = ""
    reason: str | None = None
    data: Json = field(factory=dict)
