"""Calls that go wrong as the settings say, as the real SDK sees them."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from leptonai.api.v2.api_resource import ClientError, ServerError
from tests.lepton.emulator.conftest import Emulate, endpoint, job, sdk

from evalx_lepton.emulator.faults import CallFaults
from evalx_lepton.emulator.settings import Fault


@pytest.mark.parametrize(
    ("status", "raised"), [(408, ClientError), (409, ClientError), (429, ClientError), (500, ServerError), (503, ServerError)]
)
def test_a_status_before_the_call_has_an_effect(emulate: Emulate, status: int, raised: type[Exception]) -> None:
    emulator = emulate(faults=[{"status": status, "method": "POST", "path": "/jobs", "times": 1}])
    client = sdk(emulator)
    with pytest.raises(raised, match=str(status)):
        client.job.create(job("true"))
    assert emulator.alive() == []
    assert client.job.create(job("true"))


@pytest.mark.parametrize("new", [False, True])
def test_a_status_after_the_call_had_its_effect(emulate: Emulate, new: bool) -> None:
    emulator = emulate(new_endpoints=new, faults=[{"status": 504, "method": "POST", "path": "/*s", "when": "after"}])
    with pytest.raises(ServerError, match="504"):
        sdk(emulator).deployment.create(endpoint())
    assert emulator.alive() == ["endpoint/model"]


@pytest.mark.parametrize(("when", "left"), [("before", 0), ("after", 1)])
def test_a_reset_before_or_after(emulate: Emulate, when: str, left: int) -> None:
    emulator = emulate(faults=[{"status": "reset", "method": "POST", "path": "/jobs", "when": when}])
    with pytest.raises(requests.exceptions.ConnectionError):
        sdk(emulator).job.create(job("sleep 30"))
    assert len(emulator.alive()) == left


def test_a_cut_body(emulate: Emulate) -> None:
    emulator = emulate(faults=[{"status": "cut", "path": "/shapes"}])
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        sdk(emulator).shapes.list_shapes()


def test_a_slow_body_arrives_whole(emulate: Emulate) -> None:
    emulator = emulate(faults=[{"status": "slow", "path": "/shapes", "seconds": 0.5}])
    before = time.monotonic()
    assert len(sdk(emulator).shapes.list_shapes()) == len(emulator.settings.shapes)
    assert time.monotonic() - before >= 0.5


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_in_both_forms(emulate: Emulate, as_date: bool) -> None:
    emulator = emulate(faults=[{"status": 429, "path": "/usersecrets", "retry_after": 7, "retry_after_date": as_date}])
    with pytest.raises(ClientError) as refused:
        sdk(emulator).secret.list_all()
    text = refused.value.response.headers["Retry-After"]
    seconds = parsedate_to_datetime(text).timestamp() - time.time() if as_date else float(text)
    assert 0 < seconds <= 7


def test_a_fault_strikes_only_after_so_many_calls_and_so_often(emulate: Emulate) -> None:
    emulator = emulate(faults=[{"status": 500, "path": "/jobs", "after": 1, "times": 2}])
    headers = {"Authorization": f"Bearer {emulator.token}"}
    answers = [requests.get(emulator.url + "/jobs", headers=headers, timeout=10).status_code for _ in range(4)]
    assert answers == [200, 500, 500, 200]


def test_chance_is_the_same_for_the_same_seed() -> None:
    def picks(seed: int) -> list[bool]:
        faults = CallFaults([Fault(500, probability=0.5)], random.Random(seed))
        return [faults.pick("GET", "/jobs") is not None for _ in range(40)]

    assert picks(1) == picks(1) != picks(2)
    assert 5 < sum(picks(1)) < 35


def test_faults_choose_calls_by_method_and_path() -> None:
    faults = CallFaults([Fault(500, method="DELETE", path="/jobs/*"), Fault(408, path="/jobs*")], random.Random(0))
    asked: list[tuple[Any, ...]] = [("GET", "/jobs"), ("DELETE", "/jobs/x"), ("GET", "/usersecrets")]
    assert [fault and fault.status for fault in (faults.pick(*call) for call in asked)] == [408, 500, None]


def test_every_call_takes_its_time(emulate: Emulate) -> None:
    client = sdk(emulate(latency=0.2))
    before = time.monotonic()
    client.job.list_all(page=1, page_size=1)
    assert time.monotonic() - before >= 0.2
