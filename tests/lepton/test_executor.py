"""The executor's hooks over the real SDK, against the emulated workspace."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.lepton.conftest import World, program, question, server, until

from evalx.errors import EndpointFailed
from evalx.model import Outcome


def test_an_endpoint_and_a_task_from_beginning_to_end(world: Callable[..., World]) -> None:
    task = question()
    here = world([server()], [task])
    endpoint = here.ready()
    result = here.result(here.submit(task, endpoint))
    assert result.outcome is Outcome.PASSED, result.reason
    assert [metric.value for metric in result.metrics] == [1.0]
    assert "asked one question" in (here.run.task_dir(task) / "output.log").read_text()
    for handle in reversed(here.made):
        here.remove(handle)
    until(here.hooks.teardown)
    assert here.emulator.alive() == []
