"""Waiting while endpoints are kept: what ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from evalx.errors import ExitCode, RunBusy
from evalx.keeping.handover import vigil
from evalx.model import Limits, RunPlan
from evalx.plan import new_run_id
from evalx.store import Journal, Store
from evalx.store.states import RunOutcome, RunState

DAY = 86400.0


@pytest.fixture
def journal(tmp_path: Path, evalx_home: Path) -> Iterator[Journal]:
    plan = RunPlan(new_run_id(), "local", (), (), limits=Limits(keep=DAY))
    with Store() as store, store.create(plan, tmp_path / "run", "") as journal:
        journal.run(RunState.KEEPING, outcome=RunOutcome.SUCCEEDED, exit_code=0, until=time.time() + DAY)
        yield journal


async def costly(stop: Callable[[str, ExitCode], None]) -> None:
    stop("max_cost of 5.00 EUR reached", ExitCode.DEADLINE)


def test_it_ends_when_the_run_has_cost_enough(journal: Journal) -> None:
    assert asyncio.run(vigil(journal, costly)) == "max_cost of 5.00 EUR reached"


def test_it_ends_at_once_when_the_time_is_over(journal: Journal) -> None:
    journal.run(RunState.KEEPING, exit_code=0, until=time.time() - 1.0)
    assert asyncio.run(vigil(journal, None)).startswith("its endpoints were kept until ")


def test_a_clock_that_was_set_back_does_not_make_it_longer(journal: Journal) -> None:
    """The time of the store is a year ahead, and the plan says how long it may take."""
    journal.run(RunState.KEEPING, exit_code=0, until=time.time() + 365 * DAY)
    journal.record = evolve(journal.record, plan=evolve(journal.plan, limits=Limits(keep=0.2)))
    assert asyncio.run(asyncio.wait_for(vigil(journal, None), 60)).startswith("its endpoints were kept until ")


def test_it_is_told_when_another_process_has_taken_the_run(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalx.keeping.handover.HEARTBEAT", 0.05)
    with Store() as store, store.open(journal.record.run_id, heir_of=journal.fence), pytest.raises(RunBusy):
        asyncio.run(vigil(journal, None))
