"""What a run costs: from prices, what is billed, and the store's times."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import evolve

from evalx.cost import Meter, check_prices, cost_of, forecast, forecast_in_words, spent_in_words, unpriced
from evalx.errors import ConfigError, ExitCode
from evalx.model import Billing, EndpointHandle, EndpointSpec, Event, Limits, Outcome, RunPlan, TaskResult, TaskSpec
from evalx.store.records import ResourceRecord, TaskRecord
from evalx.store.states import ResourceState, TaskState

GPU, CPU = Billing("gpu.8xh100", 2, 8.0), Billing("cpu.small", 1, 0.0)
PRICES = {"gpu.8xh100": 30.0, "cpu.small": 0.5}
HOUR = 3600.0


def plan(endpoint: Billing | None = GPU, task: Billing | None = CPU, **limits: Any) -> RunPlan:
    """Two endpoints with a task each; ready within 600 seconds, tasks over within an hour."""
    names = ("a", "b")
    return RunPlan(
        "abcdefghijk",
        "lepton",
        tuple(EndpointSpec(name, index, "vllm", "m", ready_timeout=600.0) for index, name in enumerate(names)),
        tuple(TaskSpec(name, index, "command", name, timeout=HOUR) for index, name in enumerate(names)),
        {"prices": PRICES, "currency": "EUR"},
        limits=Limits(**limits),
        endpoint_billing=(endpoint,) * 2,
        task_billing=(task,) * 2,
    )


def resource(spec: EndpointSpec | TaskSpec, created: float, gone: float | None = None, owned: bool = True) -> ResourceRecord:
    kind = "endpoint" if isinstance(spec, EndpointSpec) else "task"
    state = ResourceState.READY if gone is None else ResourceState.GONE
    handle = EndpointHandle(spec, "r", owned=owned) if isinstance(spec, EndpointSpec) else None
    updated = created if gone is None else gone
    return ResourceRecord("abcdefghijk", kind, spec.index, spec.attempt, f"{kind}-{spec.name}", spec, state, None, handle, created, updated)


def ended(spec: TaskSpec, at: float) -> TaskRecord:
    result = TaskResult(spec, Outcome.PASSED, started=0.0, ended=at)
    return TaskRecord("abcdefghijk", spec.index, spec, TaskState.SCORED, spec.attempt, None, result, 0.0, at)


class TestSoFar:
    def test_hours_times_price(self) -> None:
        made = plan()
        resources = [resource(made.endpoints[0], 0, gone=HOUR), resource(made.endpoints[1], HOUR), resource(made.tasks[0], 0, gone=HOUR)]
        cost = cost_of(made, resources, [], now=2.5 * HOUR)
        assert cost.amount == pytest.approx(60 * 1 + 60 * 1.5 + 0.5)
        assert (cost.endpoint_hours, cost.gpu_hours, cost.unpriced) == (2.5, 2.5 * 16, ())
        assert spent_in_words(cost) == "150.50 EUR, 2.50 endpoint hours, 40.00 GPU hours"

    def test_it_goes_on_while_nobody_works_on_the_run(self) -> None:
        """A resource is paid for until it is proven gone, also between a crash and a resume, and while it is only suspected to be alive."""
        made = plan()
        suspected = evolve(resource(made.endpoints[0], 0), state=ResourceState.LEAK_SUSPECTED, updated=10.0)
        assert cost_of(made, [suspected], [], now=24 * HOUR).amount == pytest.approx(60 * 24)

    def test_every_attempt_counts(self) -> None:
        made = plan()
        again = evolve(made.endpoints[0], attempt=1)
        assert cost_of(made, [resource(made.endpoints[0], 0, gone=HOUR), resource(again, 0, gone=HOUR)], []).amount == pytest.approx(120)

    def test_a_task_that_has_ended_costs_nothing_more(self) -> None:
        made = plan()
        jobs = [resource(made.tasks[0], 0), resource(made.tasks[1], 0)]
        assert cost_of(made, jobs, [ended(made.tasks[0], HOUR)], now=10 * HOUR).amount == pytest.approx(0.5 + 5)

    def test_an_endpoint_of_somebody_else_is_not_paid_for(self) -> None:
        made = plan()
        cost = cost_of(made, [resource(made.endpoints[0], 0, owned=False)], [], now=HOUR)
        assert (cost.amount, cost.endpoint_hours) == (0.0, 0.0)

    def test_a_missing_price_makes_the_whole_unknown(self) -> None:
        made = plan(task=Billing("cpu.large", 1, 0.0))
        resources = [resource(made.endpoints[0], 0, gone=HOUR), resource(made.tasks[0], 0, gone=HOUR)]
        cost = cost_of(made, resources, [])
        assert cost.amount is None and cost.unpriced == ("cpu.large",)
        assert spent_in_words(cost) == "unknown (no price for cpu.large), 1.00 endpoint hours, 16.00 GPU hours"

    def test_an_executor_that_does_not_tell(self) -> None:
        made = evolve(plan(), endpoint_billing=(), task_billing=())
        cost = cost_of(made, [resource(made.endpoints[0], 0, gone=HOUR)], [])
        assert (cost.amount, cost.gpu_hours, cost.billed) == (None, None, True)
        assert spent_in_words(cost) == "unknown (the executor does not tell what is billed), 1.00 endpoint hours"

    def test_what_is_not_billed_is_free(self) -> None:
        made = plan(Billing(), Billing())
        cost = cost_of(made, [resource(made.endpoints[0], 0, gone=HOUR)], [])
        assert (cost.amount, cost.billed, cost.gpu_hours) == (0.0, False, 0.0)
        assert forecast_in_words(forecast(made)) == "nothing is billed"


class TestForecast:
    def test_everything_until_its_deadline(self) -> None:
        told = forecast(plan())
        assert told.per_hour == pytest.approx(2 * 60 + 2 * 0.5)
        task = HOUR + 60 + 300
        assert told.at_most == pytest.approx(2 * 60 * (600 + task + 300) / HOUR + 2 * 0.5 * task / HOUR)

    def test_limits_lower_it(self) -> None:
        assert forecast(plan(max_endpoints=1, max_tasks=1)).per_hour == pytest.approx(60.5)
        assert forecast(plan(max_duration=600.0)).at_most == pytest.approx(2 * 60.5 * 900 / HOUR)

    def test_keeping_endpoints_raises_it(self) -> None:
        """Each waits for the last task, and then for its time; only what the user said is added, whatever ends the run before."""
        for limits in ({}, {"max_duration": 600.0}):
            less, more = forecast(plan(**limits)), forecast(plan(**limits, keep=2 * HOUR))
            assert less.at_most is not None and more.at_most == pytest.approx(less.at_most + 2 * 60.0 * 2)
        uneven = plan(keep=HOUR)
        short = evolve(uneven, tasks=(evolve(uneven.tasks[0], timeout=60.0), uneven.tasks[1]))
        with_short, kept = forecast(evolve(short, limits=Limits())).at_most, forecast(short).at_most
        assert with_short is not None and kept == pytest.approx(with_short + 60.0 * (2 + (HOUR - 60.0) / HOUR))

    def test_tasks_that_wait_for_a_slot_keep_their_endpoints_waiting(self) -> None:
        assert (forecast(plan(max_tasks=1)).at_most or 0.0) > (forecast(plan()).at_most or 0.0)

    def test_a_missing_price(self) -> None:
        made = plan(endpoint=Billing("gpu.x", 1, 1.0))
        assert forecast(made).at_most is None and unpriced(made) == ("gpu.x",)
        assert forecast_in_words(forecast(made)) == "unknown (no price for gpu.x)"
        check_prices(made)
        with pytest.raises(ConfigError, match=r"no price for gpu\.x") as caught:
            check_prices(evolve(made, limits=Limits(max_cost=5.0)))
        assert "execution.prices={gpu.x: <price of an hour>}" in (caught.value.hint or "")

    def test_a_cap_for_an_executor_that_does_not_tell(self) -> None:
        with pytest.raises(ConfigError, match="does not tell"):
            check_prices(plan(endpoint=None, max_cost=5.0))


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def event(name: str, state: ResourceState, kind: str = "endpoint") -> Event:
    return Event(1, 0.0, "abcdefghijk", kind, name, state.value, data={"resource": f"{kind}-{name}"})


class TestMeter:
    def test_it_counts_what_is_there(self) -> None:
        clock = Clock()
        meter = Meter(plan(), 7.0, [resource(plan().endpoints[0], 0)], clock)
        clock.seconds += HOUR
        assert meter.spent() == pytest.approx(67)
        for state in (ResourceState.INTENT, ResourceState.CREATED, ResourceState.READY):
            meter.on_event(None, event("b", state))
        meter.on_event(None, event("a", ResourceState.INTENT, "job"))
        clock.seconds += HOUR
        assert meter.spent() == pytest.approx(67 + 120.5)
        meter.on_event(None, event("b", ResourceState.DELETING))
        clock.seconds += HOUR
        meter.on_event(None, event("b", ResourceState.GONE))
        meter.on_event(None, event("a", ResourceState.GONE))
        clock.seconds += HOUR
        meter.on_event(None, event("a", ResourceState.GONE, "job"))
        assert meter.spent() == pytest.approx(67 + 120.5 + 120.5 + 0.5) and meter.rate == 0

    def test_it_stops_the_run_at_the_limit(self) -> None:
        clock = Clock()
        meter = Meter(plan(), 0.0, [resource(plan().endpoints[0], 0)], clock)
        stops = []

        async def go() -> None:
            watch = asyncio.create_task(meter.watch(60.0, lambda *why: stops.append(why), "EUR"))
            clock.seconds += HOUR - 0.05
            await asyncio.sleep(0.01)
            assert not stops
            clock.seconds += 0.1
            await watch

        asyncio.run(go())
        assert stops == [("max_cost of 60.00 EUR reached", ExitCode.DEADLINE)]
