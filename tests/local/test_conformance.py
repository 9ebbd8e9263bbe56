"""The local executor passes the suite that every executor passes."""

from __future__ import annotations

import os
from contextlib import suppress

from tests.local.conftest import marked, program, question, server

from evalx.model import EndpointSpec, TaskSpec
from evalx.testing import ExecutorConformance


class TestLocalExecutor(ExecutorConformance):
    plugin = "local"
    sdk = ("psutil", "hydra", "omegaconf", "rich", "sqlite3")

    def endpoint(self) -> EndpointSpec:
        return server()

    def broken_endpoint(self) -> EndpointSpec:
        return server("--no-such-option", name="broken", index=1)

    def task(self) -> TaskSpec:
        return question()

    def failing_task(self) -> TaskSpec:
        return program("raise SystemExit('it broke')", index=1)

    def endless_task(self) -> TaskSpec:
        return program("import time; time.sleep(3600)", index=2)

    def alive(self, resource: str) -> int:
        """Sessions: each server and task is one, however many processes it has."""
        sessions = set()
        for process in marked(resource):
            with suppress(ProcessLookupError):
                sessions.add(os.getsid(process.pid))
        return len(sessions)
