"""What a run costs: how long each of its resources was there, times what the executor says it is billed as, times the config's price.

Nothing here asks a platform for money: prices are `execution.prices` (shape → price of one for an hour), the hook `billing` says what a
planned endpoint or task is billed as, and times are those of the store. A resource counts from when its name was committed until it was
proven gone, a task's at most until its result says it ended; so the figure is what a run costs at most. What has no price makes the
whole unknown, never cheaper.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from evalx.errors import ConfigError, ExitCode
from evalx.hookspecs import hookimpl
from evalx.model import Billing, EndpointSpec, Event, RunPlan, Spec, TaskSpec
from evalx.store.records import ResourceRecord, TaskRecord
from evalx.store.states import ResourceState

if TYPE_CHECKING:
    from evalx.facade import Hooks

HOUR = 3600.0

POLL = 1.0
"""Most seconds between two looks at what a run has cost so far."""

UNTOLD = "?"
"""Stands among shapes for what the executor does not tell."""


@frozen
class Cost:
    """What a run has cost, at most. amount: in the config's currency; None: not everything has a price. unpriced: shapes without one.

    endpoint_hours: of all endpoints together. gpu_hours: None if the executor does not tell how many accelerators a shape has. billed:
    whether anything of the run costs money at all.
    """

    amount: float | None
    currency: str
    unpriced: tuple[str, ...]
    endpoint_hours: float
    gpu_hours: float | None
    billed: bool


@frozen
class Forecast:
    """What a planned run will cost. per_hour: while all that may exist at once does. at_most: if everything takes until its
    deadline, in one attempt. None: not everything has a price."""

    per_hour: float | None
    at_most: float | None
    currency: str
    unpriced: tuple[str, ...]
    billed: bool


# ---------------------------------------------------------------------- rates


def with_billing(plan: RunPlan, hooks: Hooks) -> RunPlan:
    """The plan with what each endpoint and task will be billed as, for whoever looks at the run later."""
    return evolve(
        plan,
        endpoint_billing=tuple(hooks.billing(spec) for spec in plan.endpoints),
        task_billing=tuple(hooks.billing(spec) for spec in plan.tasks),
    )


def _billing(plan: RunPlan, spec: Spec) -> Billing | None:
    told = plan.endpoint_billing if isinstance(spec, EndpointSpec) else plan.task_billing
    return told[spec.index] if spec.index < len(told) else None


def hourly(plan: RunPlan, spec: Spec) -> float | None:
    """What the spec costs in an hour; None if that is not known."""
    billing = _billing(plan, spec)
    if billing is None:
        return None
    if not billing.count:
        return 0.0
    price = _prices(plan).get(billing.shape)
    return None if price is None else price * billing.count


def _prices(plan: RunPlan) -> Mapping[str, float]:
    return plan.execution.get("prices") or {}


def _currency(plan: RunPlan) -> str:
    return str(plan.execution.get("currency") or "")


def _specs(plan: RunPlan) -> Iterable[Spec]:
    yield from plan.endpoints
    yield from plan.tasks


def unpriced(plan: RunPlan) -> tuple[str, ...]:
    """Shapes that the run will be billed for and that have no price; `UNTOLD` for what the executor does not tell."""
    missing: dict[str, None] = {}
    for spec in _specs(plan):
        if hourly(plan, spec) is None:
            billing = _billing(plan, spec)
            missing[billing.shape if billing is not None else UNTOLD] = None
    return tuple(missing)


def _billed(plan: RunPlan) -> bool:
    return any((billing := _billing(plan, spec)) is None or billing.count > 0 for spec in _specs(plan))


def check_prices(plan: RunPlan) -> None:
    """Raises ConfigError if a cost is to be capped that cannot be known."""
    missing = unpriced(plan)
    if plan.limits.max_cost is None or not missing:
        return
    if UNTOLD in missing:
        raise ConfigError(
            f"max_cost cannot be kept: executor {plan.executor} does not tell what it bills for",
            "run without max_cost, or with max_duration",
        )
    example = ", ".join(f"{shape}: <price of an hour>" for shape in missing)
    raise ConfigError(f"max_cost cannot be kept: there is no price for {', '.join(missing)}", f"execution.prices={{{example}}}")


# ---------------------------------------------------------------------- before


def forecast(plan: RunPlan) -> Forecast:
    """What the plan will cost, from the deadlines."""
    from evalx.lifecycle import CLEANUP_DEADLINE

    endpoints = [hourly(plan, spec) for spec in plan.endpoints]
    tasks = [hourly(plan, spec) for spec in plan.tasks]
    missing = unpriced(plan)
    per_hour = at_most = None
    if not missing:
        per_hour = _most(endpoints, plan.limits.max_endpoints) + _most(tasks, plan.limits.max_tasks)
        end = math.inf if plan.limits.max_duration is None else plan.limits.max_duration + CLEANUP_DEADLINE
        spans = [min(_endpoint_span(plan, spec), end) for spec in plan.endpoints]
        if plan.limits.keep is not None:  # all wait for the last task, and then for their time
            spans = [max(spans) + plan.limits.keep for _ in spans]
        spans += [min(_task_span(spec), end) for spec in plan.tasks]
        at_most = sum((rate or 0.0) * span for rate, span in zip([*endpoints, *tasks], spans, strict=True)) / HOUR
    return Forecast(per_hour, at_most, _currency(plan), missing, _billed(plan))


def _most(rates: Iterable[float | None], at_once: int | None) -> float:
    return sum(sorted((rate or 0.0 for rate in rates), reverse=True)[:at_once])


def _task_span(task: TaskSpec) -> float:
    from evalx.driver import HARD_STOP_SLACK
    from evalx.lifecycle import CLEANUP_DEADLINE

    return task.timeout + HARD_STOP_SLACK + CLEANUP_DEADLINE


def _endpoint_span(plan: RunPlan, endpoint: EndpointSpec) -> float:
    """Seconds that an endpoint may be there: until it is ready (all are, with `all_ready`), its tasks are over, and it is gone."""
    from evalx.lifecycle import CLEANUP_DEADLINE

    ready = max(spec.ready_timeout for spec in plan.endpoints) if plan.start == "all_ready" else endpoint.ready_timeout
    own = [_task_span(task) for task in plan.tasks if task.endpoint == endpoint.name]
    slots = plan.limits.max_tasks
    if slots is None or slots >= len(plan.tasks):
        work = max(own, default=0.0)
    else:  # its tasks wait for slots that others' tasks have: never longer than all of the work on all slots, and one task
        spans = [_task_span(task) for task in plan.tasks]
        work = sum(spans) / slots + max(spans)
    return ready + work + CLEANUP_DEADLINE


# ---------------------------------------------------------------------- so far


def cost_of(plan: RunPlan, resources: Iterable[ResourceRecord], tasks: Iterable[TaskRecord], now: float | None = None) -> Cost:
    """What the run has cost until now (seconds since the epoch; default: this moment)."""
    moment = time.time() if now is None else now
    ends = {(task.index, task.attempt): task.result.ended for task in tasks if task.result is not None and task.result.ended is not None}
    amount: float | None = 0.0
    endpoint_hours, gpu_hours = 0.0, 0.0
    missing: dict[str, None] = {}
    accelerators_known = True
    for record in resources:
        billing = _billing(plan, record.spec)
        hours = _seconds(record, ends.get((record.index, record.attempt)) if record.kind == "task" else None, moment) / HOUR
        if record.kind == "endpoint" and getattr(record.handle, "owned", True):
            endpoint_hours += hours
        rate = hourly(plan, record.spec) if getattr(record.handle, "owned", True) else 0.0
        if rate is None:
            missing[billing.shape if billing is not None else UNTOLD] = None
        amount = None if rate is None or amount is None else amount + rate * hours
        if billing is None or billing.accelerators is None:
            accelerators_known = accelerators_known and billing is not None and not billing.count
        else:
            gpu_hours += hours * billing.count * billing.accelerators
    return Cost(amount, _currency(plan), tuple(missing), endpoint_hours, gpu_hours if accelerators_known else None, _billed(plan))


def _seconds(record: ResourceRecord, ended: float | None, now: float) -> float:
    end = record.updated if record.state is ResourceState.GONE else now
    return max(min(end, end if ended is None else ended) - record.created, 0.0)


class Meter:
    """What a run costs while it is driven; an observer of its events. cost: what it had cost before, at `now` on the monotonic clock."""

    def __init__(self, plan: RunPlan, spent: float, alive: Iterable[ResourceRecord], clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = {("endpoint", spec.name): (hourly(plan, spec) or 0.0) / HOUR for spec in plan.endpoints}
        self._rates |= {("job", spec.name): (hourly(plan, spec) or 0.0) / HOUR for spec in plan.tasks}
        self._clock = clock
        self._spent, self._at = spent, clock()
        self._running = {record.name: self._rate("job" if record.kind == "task" else record.kind, record.spec.name) for record in alive}

    def _rate(self, kind: str, name: str) -> float:
        return self._rates.get((kind, name), 0.0)

    @property
    def rate(self) -> float:
        """What is being spent in a second."""
        return sum(self._running.values())

    def spent(self) -> float:
        """What has been spent until now."""
        now = self._clock()
        self._spent += self.rate * (now - self._at)
        self._at = now
        return self._spent

    @hookimpl
    def on_event(self, run: Any, event: Event) -> None:  # noqa: ARG002 -- the hook's signature
        """Something was asked for, or is gone."""
        resource = event.data.get("resource")
        if event.kind not in ("endpoint", "job") or resource is None:
            return
        self.spent()
        if event.state == ResourceState.GONE:
            self._running.pop(resource, None)
        else:
            self._running.setdefault(resource, self._rate(event.kind, event.name))

    async def watch(self, limit: float, stop: Callable[[str, ExitCode], None], currency: str = "") -> None:
        """Call stop when the limit is reached; a look is never later than `POLL` after the one before."""
        import asyncio

        while (left := limit - self.spent()) > 0:
            await asyncio.sleep(min(POLL, left / self.rate) if self.rate else POLL)
        stop(f"max_cost of {money(limit, currency)} reached", ExitCode.DEADLINE)


# ---------------------------------------------------------------------- in words


def money(amount: float, currency: str) -> str:
    """`12.50 EUR`, with four decimals below one."""
    return f"{amount:.{2 if amount >= 1 or amount == 0 else 4}f} {currency}".rstrip()


def hours(value: float) -> str:
    """`1.25`, with four decimals below one tenth."""
    return f"{value:.{2 if value >= 0.1 or value == 0 else 4}f}"


def spent_in_words(cost: Cost) -> str:
    """`12.50 EUR, 1.25 endpoint hours, 2.50 GPU hours`; `unknown (no price for gpu.1xh200), …`."""
    amount = money(cost.amount, cost.currency) if cost.amount is not None else _unknown(cost.unpriced)
    gpus = f", {hours(cost.gpu_hours)} GPU hours" if cost.gpu_hours is not None else ""
    return f"{amount}, {hours(cost.endpoint_hours)} endpoint hours{gpus}"


def forecast_in_words(told: Forecast) -> str:
    """`12.00 EUR per hour, at most 48.00 EUR`; `unknown (…)`; `nothing is billed`."""
    if not told.billed:
        return "nothing is billed"
    if told.per_hour is None or told.at_most is None:
        return _unknown(told.unpriced)
    return f"{money(told.per_hour, told.currency)} per hour while all of it exists, at most {money(told.at_most, told.currency)}"


def _unknown(missing: tuple[str, ...]) -> str:
    if UNTOLD in missing:
        return "unknown (the executor does not tell what is billed)"
    return f"unknown (no price for {', '.join(missing)})"
