"""The Lepton executor passes the suite that every executor passes, on both families of the platform's endpoint routes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest
from tests.lepton.conftest import program, question, server

from evalx.model import EndpointSpec, TaskSpec
from evalx.testing import ExecutorConformance
from evalx_lepton.emulator import Emulator
from evalx_lepton.emulator.settings import EndpointFault


class TestLeptonExecutor(ExecutorConformance):
    plugin = "lepton"
    sdk = ("leptonai", "pydantic", "requests", "starlette", "uvicorn")
    new_endpoints: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def emulator(self, workspace: Callable[..., Emulator]) -> Iterator[None]:
        fault = EndpointFault("config_error", name="*broken*")
        self._emulator = workspace(endpoint_faults=(fault,), new_endpoints=self.new_endpoints)
        yield
        assert [name for name in self._emulator.alive() if not name.startswith("secret/")] == []

    def endpoint(self) -> EndpointSpec:
        return server()

    def broken_endpoint(self) -> EndpointSpec:
        return server("broken", index=1)

    def task(self) -> TaskSpec:
        return question()

    def failing_task(self) -> TaskSpec:
        return program("raise SystemExit('it broke')", index=1)

    def endless_task(self) -> TaskSpec:
        return program("import time; time.sleep(3600)", index=2, timeout=3600.0)

    def alive(self, resource: str) -> int:
        return sum(1 for name in self._emulator.alive() if name == f"endpoint/{resource}" or name.startswith(f"job/{resource}"))


@pytest.mark.slow
class TestOnNewRoutes(TestLeptonExecutor):
    new_endpoints = True
