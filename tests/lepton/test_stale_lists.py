"""Lists that do not tell what is, or change while they are read: every hook, over listings that are old, or whose pages move."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from copy import deepcopy
from typing import Any

import pytest
from attrs import define, evolve, field
from tests.lepton.conftest import World, question, server
from tests.lepton.test_faulty_calls import insist, made

from evalx.model import Outcome
from evalx_lepton import sdk
from evalx_lepton.emulator import endpoint_routes, job_routes
from evalx_lepton.emulator.guard import Call

Worlds = Callable[..., World]
Handler = Callable[[Call], Awaitable[Any]]

OLD = 0.3
"""Seconds that a list may be old; less than the settle window of these tests."""

KINDS = ("late", "old", "in turn", "one goes", "one comes")


@define(eq=False)
class Lists:
    """How the emulator's lists go wrong. told: how often they did."""

    kind: str
    told: Counter[str] = field(factory=Counter)
    _kept: dict[str, tuple[float, Any]] = field(factory=dict)
    _turn: Counter[str] = field(factory=Counter)
    _there: bool = True
    _looks: int = 0

    def wrapped(self, listing: Handler) -> Handler:
        async def answer(call: Call) -> Any:
            now = json.loads(json.dumps(await listing(call)))
            return self._old(str(call.request.url), now) if self.kind in ("old", "in turn") else now

        return answer

    def _old(self, asked: str, now: Any) -> Any:
        """What was true some time ago: always, or in every second answer."""
        since, kept = self._kept.get(asked, (float("-inf"), None))
        if time.monotonic() - since > OLD:
            since, kept = self._kept[asked] = (time.monotonic(), now)
        self._turn[asked] += 1
        if self.kind == "in turn" and self._turn[asked] % 2:
            return now
        self.told["old"] += kept != now
        return kept

    def paged(self, page: Callable[[Call, list[Any]], list[Any]]) -> Callable[[Call, list[Any]], list[Any]]:
        """Once a later page is asked for, a job of the first page goes, or a new one stands there, until the next listing but one."""

        def answer(call: Call, found: list[Any]) -> list[Any]:
            number = int(call.query("page", "1"))
            if number > 1:
                self._there, self._looks = False, 0
            else:
                self._looks += 1
                self._there |= self._looks > 2
            if found and self._there == (self.kind == "one goes"):
                self.told[self.kind] += 1
                found = [other(found[0]), *found]
            return page(call, found)

        return answer

    def begin(self) -> None:
        """The next listing is the first again."""
        self._there, self._looks = True, 0


def other(body: dict[str, Any]) -> dict[str, Any]:
    """A job of another task of the same run, and newer."""
    copy = deepcopy(body)
    copy["metadata"]["name"] = copy["metadata"]["name"].replace("-t0-", "-t7-")
    copy["metadata"]["id"] = copy["metadata"]["name"] + "-abcd"
    return copy


@pytest.fixture
def lists(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Lists:
    wrong = Lists(request.param)
    for routes in (endpoint_routes, job_routes):
        table = [(*route[:2], wrong.wrapped(route[2]) if route[2] is routes.listing else route[2]) for route in routes.ROUTES]
        monkeypatch.setattr(routes, "ROUTES", tuple(table))
    if wrong.kind.startswith("one"):
        monkeypatch.setattr(job_routes, "_page", wrong.paged(job_routes._page))
        monkeypatch.setattr(sdk, "PAGE", 1)
    return wrong


@pytest.mark.parametrize("lists", KINDS, indirect=True)
def test_every_hook_over_lists_that_are_wrong(world: Worlds, lists: Lists) -> None:
    """One of each is created, also by a second process that finds it, the result comes home, and all of it goes."""
    task = question()
    here = world([server()], [task], emulator={"list_lag": OLD} if lists.kind == "late" else {})
    hooks = here.hooks
    endpoint = insist(lambda: here.deploy(here.run.plan.endpoints[0]))
    ready = insist(lambda: hooks.wait_ready(endpoint))
    lists.begin()
    job = insist(lambda: here.submit(task, ready))
    other = here.again()
    time.sleep(2 * OLD)  # whoever comes at once has to wait for the settle window, as the driver does
    lists.begin()
    assert insist(lambda: other.submit(task, ready)).data["id"] == job.data["id"]
    lists.begin()
    result = insist(lambda: hooks.collect(job))
    assert (result.outcome, [metric.value for metric in result.metrics]) == (Outcome.PASSED, [1.0]), result.reason
    lists.begin()
    assert {one.kind for one in insist(hooks.discover) if one.mine} == {"endpoint", "task", "secret"}
    for handle in (job, ready):
        lists.begin()
        insist(lambda handle=handle: hooks.cleanup(handle))  # type: ignore[misc]
        assert handle.resource not in str(here.emulator.alive())
    insist(hooks.teardown)
    assert here.emulator.alive() == []
    assert made(here.emulator, "create") == {"endpoint": 1, "job": 1, "secret": 1}, here.emulator.history
    assert not lists.kind.startswith("one") or lists.told[lists.kind] > 0
    here.made.clear()


@pytest.mark.parametrize("lists", KINDS, indirect=True)
def test_what_is_deleted_right_after_its_creation(world: Worlds, lists: Lists) -> None:
    """By the process that created it, while the lists do not know of it yet."""
    task = evolve(question(), options={**question().options, "params": {"command": ["sleep", "600"]}})
    here = world([server()], [task], emulator={"list_lag": OLD} if lists.kind == "late" else {})
    endpoint = insist(lambda: here.deploy(here.run.plan.endpoints[0]))
    ready = insist(lambda: here.hooks.wait_ready(endpoint))
    job = insist(lambda: here.submit(task, ready))
    insist(lambda: here.hooks.cleanup(job))
    assert not here.alive(here.run.resource_name(task))
    insist(lambda: here.hooks.cleanup(ready))
    insist(here.hooks.teardown)
    assert here.emulator.alive() == []
    here.made.clear()
