"""What runs have left at a backend, asked of the backend itself: for cleaning up where this machine's state knows nothing of it.

Only what the executor says is ours (`Found.mine`) is ever deleted, and nothing of a run that a live process here works on. A run that
goes on on another machine cannot be told from one that was given up, so whoever deletes should have looked at the list first.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen

from evalx.calls import Calls, now
from evalx.context import RunContext
from evalx.errors import ConfigError, DeadlineExceeded, EvalxError, PluginError, RunNotFound
from evalx.facade import Hooks
from evalx.lifecycle import CLEANUP_DEADLINE
from evalx.model import EndpointHandle, EndpointSpec, Found, Handle, RunPlan, TaskHandle, TaskSpec
from evalx.plan import new_run_id
from evalx.reasons import in_words
from evalx.runs import check_backend, context_of, reopened
from evalx.serial import to_json
from evalx.store import Store

T = TypeVar("T")

Key = tuple[str, str, str]
"""What tells resources at a backend apart: run id, kind, name."""

UNPROVEN = "it is not proven that it is gone"


@frozen
class Sighting:
    """A resource at the backend. known: its run is in this machine's store. in_use: the live process that works on the run, in words.
    certain: it is an endpoint or task, whose marks were checked, or one of these or the store shows that there was such a run. What else
    has but a name that looks like ours, a secret say, may be the user's own and could not be had back."""

    found: Found
    known: bool = False
    in_use: str | None = None
    certain: bool = True

    @property
    def key(self) -> Key:
        return _key(self.found)

    @property
    def deletable(self) -> bool:
        """Whether it is certainly ours, and nobody here works on it."""
        return self.found.mine and self.certain and self.in_use is None


def _key(found: Found) -> Key:
    return found.run_id, found.kind, found.resource


class Backend:
    """All that runs have at one executor's backend."""

    def __init__(self, executor: str, settings: Any, store: Store) -> None:
        """settings: the executor's, which say where the backend is. Raises PluginError if the executor cannot be asked what exists."""
        self._executor, self._settings, self._store = executor, settings, store
        self._run = self._context(new_run_id())
        if "discover" not in self._run.plugins.capabilities():
            message = f"the {executor} executor cannot be asked what exists: it has no hook discover"
            raise PluginError(message, "evalx cleanup --all-runs, for the runs of this machine")
        self._hooks = self._run.plugins.hooks(self._run)
        self._unproven: dict[Key, str] = {}
        self._runs: set[str] = set()

    def look(self) -> list[Sighting]:
        """Everything there is; changes nothing. Raises what the executor raises."""
        return _with_calls(self._hooks, self._look)

    def remove(self, sightings: Sequence[Sighting]) -> dict[Key, str]:
        """Delete what is deletable, and prove that it is gone. Returns what may be left, and why: interrupted by Ctrl-C, all the rest."""
        self._unproven = {sighting.key: UNPROVEN for sighting in sightings if sighting.deletable}
        if self._unproven:
            try:
                _with_calls(self._hooks, partial(self._remove, sightings))
            except KeyboardInterrupt:
                return self._unproven
            except EvalxError as error:
                return dict.fromkeys(self._unproven, in_words(error))
        return self._unproven

    # ------------------------------------------------------------------ looking

    async def _look(self, calls: Calls, deadline: float) -> list[Sighting]:
        found = await calls.insist("discover", self._hooks.discover, deadline)
        users = {run_id: self._user(run_id) for run_id in {one.run_id for one in found}}
        self._runs |= {one.run_id for one in found if users[one.run_id][0] or (one.mine and one.kind in _HANDLES)}
        return [Sighting(one, *users[one.run_id], certain=one.marked or one.run_id in self._runs) for one in found]

    def _user(self, run_id: str) -> tuple[bool, str | None]:
        """Whether the run is known here, and the live process that works on it."""
        if not self._is_known(run_id):
            return False, None
        holder = self._store.holder(run_id)
        if holder is None or not holder.alive:
            return True, None
        return True, f"process {holder.pid}" + ("" if holder.local else f" on {holder.host}")

    def _is_known(self, run_id: str) -> bool:
        try:
            return self._store.find(run_id).run_id == run_id
        except RunNotFound:
            return False

    # ------------------------------------------------------------------ deleting

    async def _remove(self, sightings: Sequence[Sighting], calls: Calls, deadline: float) -> None:
        """Delete, wait until what was still being created has appeared, look again; until nothing of these runs is there any more."""
        settled = now() + getattr(self._run.plugins.executor, "settle", 0.0)
        runs = {sighting.found.run_id for sighting in sightings if sighting.deletable}
        failed: dict[Key, str] = {}
        while True:
            todo = [sighting for sighting in sightings if sighting.found.run_id in runs and sighting.key not in failed]
            failed |= await self._remove_once(todo, calls, deadline)
            self._unproven |= failed
            await asyncio.sleep(max(settled - now(), 0.0))
            sightings = await self._look(calls, deadline)
            seen = {one.key: UNPROVEN for one in sightings if one.deletable and one.found.run_id in runs}
            self._unproven = seen | failed
            if not seen.keys() - failed.keys() or now() >= deadline:
                return
            await asyncio.sleep(1.0)

    async def _remove_once(self, sightings: Sequence[Sighting], calls: Calls, deadline: float) -> dict[Key, str]:
        """One attempt at each; what failed, and why."""
        runs: dict[str, list[Sighting]] = {}
        for sighting in sightings:
            runs.setdefault(sighting.found.run_id, []).append(sighting)
        failures = await asyncio.gather(*(self._remove_run(run_id, seen, calls, deadline) for run_id, seen in runs.items()))
        return {key: why for failed in failures for key, why in failed.items()}

    async def _remove_run(self, run_id: str, seen: Sequence[Sighting], calls: Calls, deadline: float) -> dict[Key, str]:
        targets = [sighting.found for sighting in seen if sighting.deletable]
        foreign = [sighting.found for sighting in seen if not sighting.found.mine]
        try:
            with self._owned(run_id):
                run = self._context(run_id)
                return await _Removal(run, targets, foreign, calls, deadline).execute()
        except EvalxError as error:
            return dict.fromkeys(map(_key, targets), in_words(error))

    @contextmanager
    def _owned(self, run_id: str) -> Iterator[None]:
        """Keep other processes of this machine from going on with the run meanwhile. Raises RunBusy."""
        if not self._is_known(run_id):
            yield
            return
        with self._store.open(run_id):
            yield

    def _context(self, run_id: str) -> RunContext:
        """A run of which nothing but the id is known."""
        plan = RunPlan(run_id, self._executor, (), (), execution=to_json(self._settings))
        directory = Path(self._settings.output_dir).expanduser().absolute() / run_id
        run = context_of(plan, directory, settings=self._settings)
        run.plugins.hooks(run).setup()
        return run


@frozen
class _Removal:
    """What is to be deleted of one run. foreign: what is somebody else's, though it bears the run's name."""

    run: RunContext
    targets: Sequence[Found]
    foreign: Collection[Found]
    calls: Calls
    deadline: float

    async def execute(self) -> dict[Key, str]:
        """What failed, and why. First endpoints and tasks; then, if all of them are gone, what belongs to the run as a whole."""
        single = [found for found in self.targets if found.kind in _HANDLES]
        failures = await asyncio.gather(*map(self._remove, single))
        failed = {_key(found): why for found, why in zip(single, failures, strict=True) if why is not None}
        rest = [_key(found) for found in self.targets if found.kind not in _HANDLES]
        why = await self._tear_down(bool(failed))
        return failed | (dict.fromkeys(rest, why) if why is not None else {})

    async def _remove(self, found: Found) -> str | None:
        """None if it is gone, else why not."""
        if any((other.kind, other.resource) == (found.kind, found.resource) for other in self.foreign):
            return "somebody else has one of the same name"
        hooks = self.run.plugins.hooks(self.run)
        return await self._until(f"delete {found.kind} {found.resource}", partial(hooks.cleanup, _HANDLES[found.kind](found.resource)))

    async def _tear_down(self, others_left: bool) -> str | None:
        if "teardown" not in self.run.plugins.capabilities():
            return f"the {self.run.plan.executor} executor has no hook that deletes it"
        if others_left or self.foreign:
            return "there is more of the same run that could not be deleted"
        return await self._until("teardown", self.run.plugins.hooks(self.run).teardown)

    async def _until(self, what: str, call: Callable[[], bool]) -> str | None:
        try:
            await _until_true(self.calls, what, call, self.deadline)
        except EvalxError as error:
            return in_words(error)
        return None


def _endpoint(name: str) -> Handle:
    return EndpointHandle(EndpointSpec(name, 0, "", ""), name)


def _task(name: str) -> Handle:
    return TaskHandle(TaskSpec(name, 0, "", ""), name)


_HANDLES: dict[str, Callable[[str], Handle]] = {"endpoint": _endpoint, "task": _task}
"""Handles with nothing but a name, by kind."""


# ---------------------------------------------------------------------- files


def check_purge(run_id: str) -> None:
    """Raises ConfigError if the run's executor keeps no files anywhere but in the run's directory; RunNotFound."""
    with Store() as store:
        record = store.find(run_id)
    if "purge" not in context_of(record.plan, record.directory).plugins.capabilities():
        raise ConfigError(f"the {record.executor} executor keeps no files elsewhere", f"all of them are in {record.directory}")


def purge(run_id: str) -> bool:
    """Delete the files that a run has left at its backend; whether they are gone. False if that took too long, or Ctrl-C ended it.

    Repeatable. Raises RunBusy if a live process owns the run, AuthError if it is at another backend, and what the executor raises.
    """
    with reopened(run_id) as (run, _):
        check_backend(run)
        hooks = run.plugins.hooks(run)

        async def work(calls: Calls, deadline: float) -> None:
            await _until_true(calls, "purge", hooks.purge, deadline)

        try:
            _with_calls(hooks, work)
        except (DeadlineExceeded, KeyboardInterrupt):
            return False
    return True


# ---------------------------------------------------------------------- calling


def _with_calls(hooks: Hooks, work: Callable[[Calls, float], Awaitable[T]]) -> T:
    """Do the work in a pool of the executor's, with a deadline."""

    async def main() -> T:
        pool = hooks.make_pool()
        try:
            return await work(Calls(pool, threading.Event()), now() + CLEANUP_DEADLINE)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return asyncio.run(main())


async def _until_true(calls: Calls, what: str, call: Callable[[], bool], deadline: float) -> None:
    """Ask until the answer is True. Raises DeadlineExceeded and what the call raises."""
    started = now()
    while not await calls.insist(what, call, deadline):
        pause = min(5.0, 0.2 + (now() - started) / 20)
        if now() + pause >= deadline:
            raise DeadlineExceeded(f"{what}: not done after {now() - started:.0f} s", "the same command goes on with it")
        await asyncio.sleep(pause)
