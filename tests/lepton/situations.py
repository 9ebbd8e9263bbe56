"""What can be wrong with a run on Lepton, and how evalx tells it: the table of docs/lepton/troubleshooting.md, which a test compares."""

from __future__ import annotations

import sys
from typing import Any

from attrs import field, frozen
from tests.lepton.conftest import SERVER

from evalx_lepton.emulator.settings import EndpointFault, Fault, ImageRule, JobFault


@frozen
class Situation:
    """One of them. what: in the table's words. name: of the task that is in it. phase, reason, hint: what the screen shows, reason and hint
    in part. ends: how it is over, in the table's words. on_new: the reason where endpoints are under /endpoints, if it is another."""

    what: str
    name: str
    phase: str
    reason: str
    hint: str
    ends: str
    on_new: str | None = None

    def row(self) -> str:
        """The row of the table."""
        return f"| {self.what} | `{self.phase}` | `{self.reason}` | {self.hint or '-'} | {self.ends} |"

    def told(self, new_endpoints: bool) -> str:
        """The reason on one kind of routes."""
        return self.on_new if new_endpoints and self.on_new else self.reason


@frozen
class OfEndpoint(Situation):
    fault: EndpointFault = field(kw_only=True)


@frozen
class OfJob(Situation):
    fault: JobFault = field(kw_only=True)


@frozen
class OfCalls(Situation):
    """code: the exit code of the run. environment: of the command. settings: of the workspace."""

    code: int = field(kw_only=True)
    faults: tuple[Fault, ...] = field(default=(), kw_only=True)
    environment: dict[str, str] = field(factory=dict, kw_only=True)
    settings: dict[str, Any] = field(factory=dict, kw_only=True)
    execution: dict[str, Any] = field(factory=dict, kw_only=True)


AT_ONCE, WAITS, QUEUES = "at once", "`endpoint_readiness_timeout`", "`tasks.queue_timeout`"

ENDPOINTS = (
    OfEndpoint(
        *("An image that cannot be pulled", "image-pull", "degraded", "failed to pull image", "`image_pull_secrets`", AT_ONCE),
        fault=EndpointFault("image_pull"),
    ),
    OfEndpoint(
        *("A spec that cannot be run", "config-error", "degraded", "ConfigError", "`evalx plan` shows the spec", AT_ONCE),
        fault=EndpointFault("config_error"),
    ),
    OfEndpoint(
        *("No free shape", "no-capacity", "starting", "NoCapacity", "no free shape: another resource_shape or node_group", WAITS),
        fault=EndpointFault("no_capacity"),
        on_new="FailedScheduling",
    ),
    OfEndpoint(
        *("The quota is used up", "queueing", "starting", "Queueing", "the quota is used up: fewer at a time", WAITS),
        fault=EndpointFault("queueing"),
        on_new="QuotaExceeded",
    ),
    OfEndpoint(
        *("Out of memory", "oom", "degraded", "exit code 137, OOMKilled", "a larger deployment.lepton_config.resource_shape", AT_ONCE),
        fault=EndpointFault("oom"),
        on_new="OOMKilled",
    ),
    OfEndpoint(
        *("A server that keeps ending", "crash-loop", "degraded", "Crashing: ended 3 times", "`evalx logs`", AT_ONCE),
        fault=EndpointFault("crash"),
        on_new="Crashing: ended",
    ),
    OfEndpoint(
        *("A container that never starts", "stuck", "starting", "InProgress", "see its log: evalx logs", WAITS),
        fault=EndpointFault("stuck"),
        on_new="not over in time",
    ),
    OfEndpoint(
        *("A server that never gets well", "never-healthy", "loading", "answers 503", "see its log: evalx logs", WAITS),
        fault=EndpointFault("never_healthy"),
    ),
    OfEndpoint(
        *("A state that the SDK does not know", "unknown-state", "unknown", "this leptonai does not know", "give it longer", WAITS),
        fault=EndpointFault("unknown"),
    ),
    OfEndpoint(
        *("The endpoint's node is lost", "node-lost", "not ready", "node emulated-node-0 is lost", "the platform starts it anew", WAITS),
        fault=EndpointFault("node_lost"),
    ),
)

JOBS = (
    OfJob(
        *("A job's image that cannot be pulled", "job-image", "failed", "ErrImagePull", "tasks.image_pull_secrets", AT_ONCE),
        fault=JobFault("image_pull"),
    ),
    OfJob(
        *("A job without a free shape", "job-capacity", "queueing", "FailedScheduling", "no free shape", QUEUES),
        fault=JobFault("no_capacity"),
    ),
    OfJob(
        *("A job that waits for quota", "job-quota", "queueing", "QuotaExceeded", "the quota is used up", QUEUES),
        fault=JobFault("quota"),
    ),
    OfJob(
        *("A job that never starts", "job-stuck", "starting", "the platform gives no reason", "lep job events", QUEUES),
        fault=JobFault("stuck"),
    ),
    OfJob(
        *("A job out of memory", "job-oom", "failed", "OOMKilled", "execution.evaluation_tasks.resource_shape", AT_ONCE),
        fault=JobFault("oom", after=0.3),
    ),
    OfJob(
        *("A job that was preempted", "job-preempted", "cancelled", "Preempted", "priority_class", AT_ONCE),
        fault=JobFault("preempt", after=0.3),
    ),
    OfJob(
        *("A job that fails", "job-failed", "failed", "worker 0 ended with exit code 1", "`evalx logs`", AT_ONCE),
        fault=JobFault("fail", after=0.3),
    ),
    OfJob(
        *("The job's node is lost", "job-node-lost", "failed", "NodeLost", "tasks.max_job_failure_retry", AT_ONCE),
        fault=JobFault("node_lost", after=0.3),
    ),
    OfJob(
        *("A job that somebody has deleted", "job-deleted", "lost", "its job is gone", "somebody, or something, has deleted it", AT_ONCE),
        fault=JobFault("vanish", after=0.3),
    ),
    OfJob(
        *(
            "A job in a state that the SDK does not know",
            "job-unknown",
            "unknown",
            "a state that this leptonai does not know",
            "",
            "goes on",
        ),
        fault=JobFault("unknown"),
    ),
)

BEFORE = "before anything is created"

OTHER_MODEL = (sys.executable, str(SERVER), "--port", "{port}", "--model", "another")

CALLS = (
    OfCalls(
        *("A token that is not accepted (401)", "unauthorised", "-", "does not accept the token (HTTP 401)", "`lep login`", BEFORE),
        code=4,
        environment={"LEPTON_WORKSPACE_TOKEN": "wrong"},
    ),
    OfCalls(
        *("A token without rights (403)", "forbidden", "-", "not allowed to do this (HTTP 403)", "of an account that may use it", BEFORE),
        code=4,
        faults=(Fault(403, path="/workspace"),),
    ),
    OfCalls(
        *("The workspace's name instead of its id (404)", "no-workspace", "-", "the workspace was not found", "id, not its name", BEFORE),
        code=4,
        faults=(Fault(404, path="/workspace"),),
    ),
    OfCalls(
        *("A host name that cannot be resolved", "dns", "-", "cannot be resolved", "`LEPTON_WORKSPACE_URL` is set, is it right?", BEFORE),
        code=2,
        environment={"LEPTON_WORKSPACE_URL": "http://no-such-host.invalid/ws"},
    ),
    OfCalls(
        *("Too many calls (429)", "throttled", "retrying", "HTTP 429", "", "goes on, after the time in `Retry-After`"),
        code=0,
        faults=(Fault(429, method="POST", path="/jobs", retry_after=1, times=1),),
    ),
    OfCalls(
        *("The quota does not allow it (403 at creation)", "no-quota", "degraded", "quota exceeded", "the quota is used up", AT_ONCE),
        code=5,
        faults=(Fault(403, method="POST", path="/deployments", message="quota exceeded: 8 of 8 GPUs in use"),),
    ),
    OfCalls(
        *("A token that may not start jobs (403)", "no-jobs", "failed", "HTTP 403", "is it a token of this workspace", AT_ONCE),
        code=4,
        faults=(Fault(403, method="POST", path="/jobs"),),
    ),
    OfCalls(
        *("The platform does not answer for a while", "unavailable", "unknown", "HTTP 503", "", "goes on"),
        code=0,
        faults=(Fault(503, method="GET", path="/jobs", after=2, times=2),),
    ),
    OfCalls(
        *(
            "A model of another name",
            "wrong-model",
            "degraded",
            "serves no model 'stub', only 'another'",
            "deployment.served_model_name",
            AT_ONCE,
        ),
        code=5,
        settings={"images": (ImageRule("example.test/vllm*", OTHER_MODEL), ImageRule("example.test/eval*"))},
    ),
)
