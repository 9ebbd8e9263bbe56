"""A run's plan and a source of its events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

from evalx.model import EndpointSpec, Event, RunPlan, TaskSpec


@frozen
class Run:
    """What displays want to know of a run."""

    plan: RunPlan
    directory: Path = Path("/runs/abcdefghijk")
    run_id: str = "abcdefghijk"


@frozen
class Script:
    """Makes events, each a second after the one before."""

    _seen: list[Event] = field(factory=list)

    def __call__(self, kind: str, name: str = "", state: str = "", reason: str | None = None, **data: Any) -> Event:
        seq = len(self._seen) + 1
        self._seen.append(Event(seq, 1000.0 + seq, "abcdefghijk", kind, name, state, reason, data))
        return self._seen[-1]


@pytest.fixture
def say() -> Script:
    return Script()


@pytest.fixture
def make_facts() -> Callable[..., Run]:
    def make(*names: str, shared: bool = False, variant: str = "vllm") -> Run:
        served = ("model",) if shared else names
        endpoints = tuple(EndpointSpec(name, index, variant, "m") for index, name in enumerate(served))
        tasks = tuple(TaskSpec(name, index, "command", "model" if shared else name) for index, name in enumerate(names))
        return Run(RunPlan("abcdefghijk", "local", endpoints, tasks))

    return make
