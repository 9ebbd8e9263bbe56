"""The real driver and the real store, in a cloud where answers are lost, calls have their effect late and lists lag behind, while
processes are stopped, killed at any await, superseded and started again, in whatever order Hypothesis thinks of.

    EVALX_TEST_EXAMPLES=2000 pytest tests/unit/test_machine.py -k whatever
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from evalx import calls, driver, ledger, lifecycle, processes, runs, summaries
from evalx.context import RunContext
from evalx.driver import Driver
from evalx.errors import EvalxError, ExitCode, RunBusy
from evalx.model import EndpointSpec, RunPlan, TaskSpec
from evalx.store import Journal, Store, lease, store
from evalx.store.states import ResourceState, TaskState
from evalx.testing import make_run

from .cloud import LATE, MAX_LAG, SETTLE, Cloud, CloudExecutor
from .virtual import Clock, VirtualLoop

READY, TIMEOUT = 120.0, 300.0

LONGEST = 2 * (READY + TIMEOUT + driver.HARD_STOP_SLACK + driver.LAST_LOOK + 2 * (lifecycle.CLEANUP_DEADLINE + SETTLE) + calls.STOP_GRACE)
"""Virtual seconds in which any process must have ended: a task that was lost is run a second time."""


@define(eq=False)
class Process:
    """One evalx process, as far as others can tell."""

    pid: int
    run: RunContext
    db: Store
    journal: Journal
    driver: Driver
    executor: CloudExecutor
    work: asyncio.Task[None] = field(init=False)
    began: float = 0.0
    superseded: bool = False


class Machine(RuleBasedStateMachine):
    settle = SETTLE

    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        self.folder = tempfile.TemporaryDirectory(prefix="evalx-machine-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.clock = Clock()
        self.loop = VirtualLoop(self.clock)
        self.loop.set_exception_handler(lambda *_: None)  # of what the killed have left behind
        self.pids = itertools.count(100)
        self.living: set[int] = set()
        self.pid = 0
        self.processes: list[Process] = []
        self.plan: RunPlan | None = None
        self.scored: dict[str, int] = {}
        self._isolate()

    def _isolate(self) -> None:
        """Processes are told apart by pids of ours, and time is the clock's."""
        self.patches.setenv("EVALX_STATE_DIR", f"{self.folder.name}/state")
        self.patches.setattr(lease, "os", SimpleNamespace(getpid=lambda: self.pid, uname=os.uname))
        self.patches.setattr(processes, "birth", lambda pid: f"{pid}" if pid in self.living else None)
        self.patches.setattr(processes, "started", lambda: 0.0)
        self.patches.setattr(store, "DYING_SECONDS", -1.0)
        self.patches.setattr(ledger, "time", self.clock)

    # ------------------------------------------------------------------ what happens

    @initialize(
        seed=st.integers(0, 2**32), tasks=st.integers(1, 3), shared=st.booleans(), all_ready=st.booleans(), lag=st.floats(0.0, MAX_LAG)
    )
    def begin(self, seed: int, tasks: int, shared: bool, all_ready: bool, lag: float) -> None:
        self.cloud = Cloud(self.clock, random.Random(seed), lag=lag)
        names = [f"task{number}" for number in range(tasks)]
        endpoints = ["model"] if shared else names
        self.endpoints = [EndpointSpec(name, index, "memory", "m", ready_timeout=READY) for index, name in enumerate(endpoints)]
        self.tasks = [TaskSpec(name, index, "memory", "model" if shared else name, timeout=TIMEOUT) for index, name in enumerate(names)]
        self.start_as = "all_ready" if all_ready else "pipelined"
        random.seed(seed)  # of the driver's jitter
        self._start(None)

    @precondition(lambda self: not self.current)
    @rule(ending=st.booleans())
    def start(self, ending: bool) -> None:
        """`resume` or `cleanup`, after the last process has ended in whatever way."""
        self._start("cleaned up" if ending else None)

    @rule(seconds=st.floats(0.01, 1.5))
    def a_moment_passes(self, seconds: float) -> None:
        self.time_passes(seconds)

    @rule(seconds=st.floats(1.0, 40.0))
    def time_passes(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self._bury()

    @rule(turns=st.integers(1, 30))
    def some_turns(self, turns: int) -> None:
        self.loop.steps(turns)
        self._bury()

    @precondition(lambda self: self.current)
    @rule()
    def kill(self) -> None:
        self._kill(self.current)

    @precondition(lambda self: self.current and self._creating(self.current))
    @rule(ending=st.booleans())
    def kill_while_it_creates(self, ending: bool) -> None:
        """And go on at once, when nothing of it can be seen yet."""
        self._kill(self.current)
        if not self.processes:
            self._start("cleaned up" if ending else None)

    @precondition(lambda self: self.current)
    @rule()
    def stop(self) -> None:
        self.loop.call_soon(self.current.driver.stop, "interrupted", ExitCode.SIGTERM)
        self.loop.steps(1)

    @precondition(lambda self: self.current)
    @rule()
    def another_process_is_refused(self) -> None:
        self.pid = next(self.pids)
        with Store(now=self.clock.time) as db, pytest.raises(RunBusy, match=f"process {self.current.pid}"):
            db.open(self.plan.run_id)

    @precondition(lambda self: self.current and not self._creating(self.current))
    @rule(ending=st.booleans())
    def another_process_takes_over(self, ending: bool) -> None:
        """From one that was taken for dead, and goes on."""
        self.living.discard(self.current.pid)
        self.current.superseded = True
        self._start("cleaned up" if ending else None)

    @rule(seconds=st.floats(1.0, 60.0))
    def the_cloud_is_down(self, seconds: float) -> None:
        self.cloud.down = self.clock.now + seconds

    # ------------------------------------------------------------------ processes

    @property
    def current(self) -> Any:
        """The process that owns the run."""
        return next((process for process in self.processes if not process.superseded), None)

    def _start(self, ending: str | None) -> None:
        self.pid = pid = next(self.pids)
        self.living.add(pid)
        executor = CloudExecutor(self.cloud, self.loop)
        run_id = self.plan.run_id if self.plan is not None else None
        run = make_run(Path(self.folder.name), executor, self.endpoints, self.tasks, name="cloud", start=self.start_as, run_id=run_id)
        db = Store(now=self.clock.time)
        journal = db.open(run_id) if run_id is not None else db.create(run.plan, run.directory, "")
        self.plan = run.plan
        process = Process(pid, run, db, journal, Driver(run, journal, run.plugins.hooks(run), settle=self.settle, ending=ending), executor)
        process.began = self.clock.now
        process.work = self.loop.create_task(process.driver.execute())
        self.processes.append(process)

    def _kill(self, process: Process) -> None:
        """From here on nothing that it does has any effect: its database is closed to it, and its calls reach nobody."""
        process.db.close()
        for pool in process.executor.pools:
            pool.dead = True
        self.living.discard(process.pid)
        self.processes.remove(process)
        own = [process.work] if process.work.done() else [task for task in asyncio.all_tasks(self.loop) if self._belongs(task, process)]
        for task in own:
            task.cancel()
        self.loop.run_until_complete(asyncio.wait(own, timeout=0.0))
        self.loop.steps(20)

    def _belongs(self, task: asyncio.Task[Any], process: Process) -> bool:
        return len(self.processes) == 0 or task is process.work

    def _creating(self, process: Process) -> bool:
        """Whether a create call is under way: what it does after a takeover, no lease can undo."""
        with Store(now=self.clock.time) as db:
            return any(record.handle is None and record.state.may_exist for record in db.resources(process.run.run_id))

    def _bury(self) -> None:
        for process in [process for process in self.processes if process.work.done()]:
            self.processes.remove(process)
            self._judge(process)
            self.living.discard(process.pid)
            process.journal.close()
            process.db.close()
        for process in self.processes:
            assert self.clock.now - process.began < LONGEST, "a process that does not end"

    def _judge(self, process: Process) -> None:
        """A process has ended, and says how."""
        process.work.result()
        summary = summaries.summarise(process.run, process.journal, process.driver, False)
        try:
            runs._closed(process.journal, summary, None)
        except EvalxError as error:
            process.driver.fatal = process.driver.fatal or error
            summary = summaries.summarise(process.run, process.journal, process.driver, False)
        if process.superseded:
            assert summary.exit_code is ExitCode.BUSY
        elif summary.exit_code is not ExitCode.DIRTY:
            assert not self.cloud.exist(), f"exit code {summary.exit_code!r}, and alive"
        if summary.exit_code is ExitCode.OK:
            assert len(self._scored()) == len(self.tasks)

    # ------------------------------------------------------------------ what must be true

    @invariant()
    def what_exists_is_known(self) -> None:
        if self.plan is not None:
            with Store(now=self.clock.time) as db:
                known = {record.name for record in db.resources(self.plan.run_id) if record.state.may_exist}
            assert {entry.name for entry in self.cloud.exist()} <= known

    @invariant()
    def what_is_scored_stays_so_and_never_runs_again(self) -> None:
        if self.plan is not None:
            now = self._scored()
            assert self.scored.items() <= now.items()
            self.scored = now

    @invariant()
    def nothing_is_created_twice(self) -> None:
        if self.plan is not None:
            assert all(count == 1 for count in self.cloud.created().values()), self.cloud.created()

    def _scored(self) -> dict[str, int]:
        """Task → how many jobs of it there have ever been."""
        created = self.cloud.created()
        with Store(now=self.clock.time) as db:
            scored = [record.spec for record in db.tasks(self.plan.run_id) if record.state is TaskState.SCORED]
        start = f"evalx-{self.plan.run_id}-t"  # as a run's id may begin with t2
        return {
            task.name: sum(1 for name in created if name.startswith((f"{start}{task.index}-", f"{start}{task.index}r"))) for task in scored
        }

    def teardown(self) -> None:
        try:
            if self.plan is not None:
                self._end()
        finally:
            for process in list(self.processes):
                self._kill(process)
            self._sweep()
            self.loop.close()
            self.patches.undo()
            self.folder.cleanup()

    def _sweep(self) -> None:
        """End what the killed have left in the loop: for Python's sake."""
        while left := asyncio.all_tasks(self.loop):
            for task in left:
                task.cancel()
            self.loop.steps(1)

    def _end(self) -> None:
        """Left alone, every process ends; then one `cleanup` in a friendly cloud leaves nothing, now or later."""
        self.cloud.friendly()
        self._until_over()
        self._start("cleaned up")
        process = self.current
        self._until_over()
        assert not process.driver.left
        self.loop.advance(LATE + MAX_LAG)
        assert not self.cloud.exist()
        self.what_is_scored_stays_so_and_never_runs_again()

    def _until_over(self) -> None:
        while self.processes:
            self.time_passes(20.0)


class Hasty(Machine):
    """With a known mistake: what lists do not show is taken for gone at once."""

    settle = 0.0


class Careless(Machine):
    """With a known mistake: what is to be created is written down when it has been created."""

    def _isolate(self) -> None:
        super()._isolate()

        async def intend(_: Any, resource: Any) -> None:
            resource.created = resource.created or self.clock.time()
            resource.state = ResourceState.INTENT

        self.patches.setattr(ledger.Ledger, "intend", intend)


FEW = 20
"""Examples that always are the same; more of them are others every time."""

EXAMPLES = int(os.environ.get("EVALX_TEST_EXAMPLES", FEW))
SETTINGS = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == FEW,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    print_blob=True,
)


@pytest.mark.slow
@pytest.mark.timeout(300 + 10 * EXAMPLES)
def test_whatever_happens_nothing_is_left_lost_or_created_twice() -> None:
    run_state_machine_as_test(Machine, settings=SETTINGS)


def killed_while_creating(kind: type[Machine], ending: bool = True) -> int:
    """Of 40 runs that were killed as their first create call was under way, and cleaned up or resumed at once: how many went wrong."""
    wrong = 0
    for seed in range(40):
        machine = kind()
        try:
            machine.begin(seed=seed, tasks=1, shared=True, all_ready=False, lag=0.0)
            machine.a_moment_passes(0.35)
            if machine.current and machine._creating(machine.current):
                machine.kill_while_it_creates(ending)
            machine.time_passes(10.0)
            machine.what_exists_is_known()
            machine.nothing_is_created_twice()
        except AssertionError:
            wrong += 1
            machine.plan = None  # it need not come to a good end
        machine.teardown()
    return wrong


@pytest.mark.parametrize("ending", [True, False])
def test_killed_while_a_create_call_is_under_way(ending: bool) -> None:
    assert killed_while_creating(Machine, ending) == 0


def test_killed_while_a_job_is_being_created_and_resumed_at_once() -> None:
    """No list shows it yet, and its name may be borne by two."""
    met = 0
    for seed in range(20):
        machine = Machine()
        try:
            machine.begin(seed=seed, tasks=1, shared=True, all_ready=False, lag=2.0)
            machine.cloud.late, machine.cloud.lost = 1.0, 0.0
            while machine.current and "-t0-" not in str(machine.cloud.entries):
                machine.a_moment_passes(0.1)
            if machine.current:
                met += 1
                machine.kill()
                machine.start(False)
            machine.cloud.friendly()
            machine.time_passes(40.0)
            machine.nothing_is_created_twice()
        finally:
            machine.teardown()
    assert met > 10


@pytest.mark.parametrize("what", ["stopped", "cleaned up", "resumed"])
def test_a_job_that_lists_do_not_show_yet(what: str) -> None:
    """Stopped, or killed and cleaned up or resumed, when it was created less than the lists' lag ago."""
    met = 0
    for seed in range(10):
        machine = Machine()
        try:
            machine.begin(seed=seed, tasks=1, shared=True, all_ready=False, lag=2.0)
            while machine.current and not any("-t0" in entry.name for entry in machine.cloud.exist()):
                machine.a_moment_passes(0.1)
            if machine.current:
                met += 1
                if what == "stopped":
                    machine.stop()
                else:
                    machine.some_turns(30)
                    machine.kill()
                    machine.start(what == "cleaned up")
            for _ in range(8):
                machine.a_moment_passes(2.0)
                machine.what_exists_is_known()
        finally:
            machine.teardown()
    assert met > 5


@pytest.mark.parametrize("mistaken", [Hasty, Careless])
def test_a_mistake_is_found(mistaken: type[Machine]) -> None:
    """An ablation: were this to pass with the mistake in it, the machine would prove nothing."""
    assert killed_while_creating(mistaken) > 2
