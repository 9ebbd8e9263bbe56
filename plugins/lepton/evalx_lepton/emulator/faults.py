"""Which calls and which workloads go wrong; the same ones every time, for one seed and one order of calls."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from email.utils import formatdate
from fnmatch import fnmatchcase
from time import time
from typing import TypeVar

from attrs import define, field

from evalx_lepton.emulator.settings import EndpointFault, Fault, JobFault

F = TypeVar("F", EndpointFault, JobFault)


@define
class CallFaults:
    """Picks the fault of a call, if it has one."""

    faults: Sequence[Fault]
    random: random.Random
    _seen: Counter[int] = field(factory=Counter)
    _done: Counter[int] = field(factory=Counter)

    def pick(self, method: str, path: str) -> Fault | None:
        """path: relative to the workspace, without the query."""
        for number, fault in enumerate(self.faults):
            if fnmatchcase(method, fault.method) and fnmatchcase(path, fault.path) and self._strikes(number, fault):
                return fault
        return None

    def _strikes(self, number: int, fault: Fault) -> bool:
        self._seen[number] += 1
        if self._seen[number] <= fault.after or (fault.times is not None and self._done[number] >= fault.times):
            return False
        if fault.probability < 1.0 and self.random.random() >= fault.probability:
            return False
        self._done[number] += 1
        return True


@define
class WorkloadFaults:
    """Picks the fault of an endpoint's or a job's start."""

    endpoints: Sequence[EndpointFault]
    jobs: Sequence[JobFault]
    _done: Counter[int] = field(factory=Counter)

    def endpoint(self, name: str) -> EndpointFault | None:
        """The fault of this start of an endpoint's replica."""
        return self._first(self.endpoints, name)

    def job(self, name: str) -> JobFault | None:
        """The fault of this start of a job."""
        return self._first(self.jobs, name)

    def _first(self, faults: Sequence[F], name: str) -> F | None:
        for fault in faults:
            if fnmatchcase(name, fault.name) and (fault.times is None or self._done[id(fault)] < fault.times):
                self._done[id(fault)] += 1
                return fault
        return None


def retry_after(fault: Fault) -> dict[str, str]:
    """The header of that name, in the form that the fault asks for."""
    if fault.retry_after is None:
        return {}
    as_date = formatdate(time() + fault.retry_after, usegmt=True)
    return {"Retry-After": as_date if fault.retry_after_date else f"{fault.retry_after:g}"}
