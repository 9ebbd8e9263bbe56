"""An executor of another distribution whose backend is `CLOUD`: what is there is what a test has put there."""

from __future__ import annotations

from collections.abc import Callable

from attrs import Factory, define, field, frozen

from evalx.context import RunContext
from evalx.hookspecs import API_VERSION, hookimpl
from evalx.model import Finding, Found, Handle, Json, TaskHandle
from evalx.testing import InMemoryExecutor


@define(eq=False)
class Cloud:
    """there: what exists. on_cleanup: called with a resource's name before it is deleted; may raise, or say that it is not gone yet.
    late: appears when something is first deleted. purges: answers of the hook purge. teardowns: the runs that were torn down."""

    there: list[Found] = field(factory=list)
    late: list[Found] = field(factory=list)
    deletes: list[tuple[str, str]] = field(factory=list)
    teardowns: list[str] = field(factory=list)
    purges: list[bool] = field(factory=list)
    on_cleanup: Callable[[str], bool] = field(default=lambda _name: True)
    looks: int = 0
    findings: list[Finding] = field(factory=list)
    preview_error: Exception | None = None
    settle: float = 0.0

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]

    @property
    def names(self) -> list[str]:
        return sorted(found.resource for found in self.there)


CLOUD = Cloud()


@frozen(kw_only=True)
class Options:
    served_model_name: str = "m"


class Stub:
    """The only deployment variant there."""

    evalx_api = API_VERSION
    Options = Options


@define(eq=False)
class CloudExecutor(InMemoryExecutor):
    """Tells what exists, and deletes it by name."""

    deployments = "evalx.cloud.deployments"
    cloud: Cloud = Factory(lambda: CLOUD)
    settle: float = Factory(lambda: CLOUD.settle)

    @hookimpl
    def cleanup(self, run: RunContext, handle: Handle) -> bool:
        if run.plan.tasks:
            return self.world.delete(handle.resource)
        if not self.cloud.on_cleanup(handle.resource):
            return False
        kind = "task" if isinstance(handle, TaskHandle) else "endpoint"
        self.cloud.deletes.append((run.run_id, handle.resource))
        self._drop(lambda found: (found.run_id, found.kind, found.resource) == (run.run_id, kind, handle.resource))
        self.cloud.there += self.cloud.late
        self.cloud.late = []
        return True

    @hookimpl
    def teardown(self, run: RunContext) -> bool:
        self.cloud.teardowns.append(run.run_id)
        self._drop(lambda found: (found.run_id, found.kind) == (run.run_id, "secret"))
        return True

    @hookimpl
    def discover(self, run: RunContext) -> list[Found]:
        self.cloud.looks += 1
        return list(self.cloud.there)

    @hookimpl
    def purge(self, run: RunContext) -> bool:
        return self.cloud.purges.pop(0)

    @hookimpl
    def preflight(self, run: RunContext) -> list[Finding]:
        return self.cloud.findings

    @hookimpl
    def preview(self, run: RunContext) -> Json:
        if self.cloud.preview_error is not None:
            raise self.cloud.preview_error
        script = "set -e\n" + "\n".join(f"echo {number}" for number in range(3)) + "\n"
        endpoints = {endpoint.name: {"create": run.resource_name(endpoint), "data": "A" * 300} for endpoint in run.plan.endpoints}
        tasks = {task.name: {"create": run.resource_name(task), "argv": ["sh", "-c", script, "x\ny"]} for task in run.plan.tasks}
        return {"endpoints": endpoints, "tasks": tasks, "script": script, "secrets": ["host:TOKEN"]}

    def _drop(self, goes: Callable[[Found], bool]) -> None:
        self.cloud.there = [found for found in self.cloud.there if not goes(found)]
