from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest

from evalx import processes
from evalx.errors import ExitCode, RunBusy
from evalx.model import RunPlan
from evalx.store import Store
from evalx.store.lease import HEARTBEAT_LIMIT

Spawn = Callable[..., "subprocess.Popen[str]"]
RUN = "abcdefghijk"


class Clock(Protocol):
    seconds: float


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], line: str = "go") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


@pytest.fixture
def run(store: Store, make_plan: Callable[..., RunPlan], tmp_path: Path) -> Iterator[str]:
    """A run that nobody owns."""
    store.create(make_plan(), tmp_path / "run", "").close()
    yield RUN


def alter(store: Store, **columns: Any) -> None:
    with store.transaction() as db:
        for column, value in columns.items():
            db.execute(f"UPDATE leases SET {column} = ?", (value,))


def test_the_owner_is_this_process(store: Store, run: str) -> None:
    with store.open(run):
        holder = store.holder(run)
        assert holder is not None
        assert (holder.pid, holder.host, holder.alive, holder.local) == (os.getpid(), os.uname().nodename, True, True)
        assert holder.started == psutil.Process().create_time()
    assert store.holder(run) is None


def test_one_process_opens_a_run_once(store: Store, run: str) -> None:
    with store.open(run) as journal:
        with pytest.raises(RunBusy, match="already open in this process") as caught:
            store.open(run)
        assert caught.value.exit_code is ExitCode.BUSY
        assert journal.note("warning").seq == 2
    store.open(run).close()


def test_closing_twice_gives_nothing_of_a_later_owner_up(store: Store, run: str) -> None:
    first = store.open(run)
    first.close()
    with store.open(run):
        first.close()
        assert store.holder(run) is not None


def test_a_closed_journal_writes_nothing(store: Store, run: str) -> None:
    journal = store.open(run)
    journal.close()
    with pytest.raises(RunBusy, match="was taken over"):
        journal.note("warning")


def test_a_live_owner_is_named(store: Store, run: str, spawn: Spawn) -> None:
    owner = spawn("owner", run)
    assert read(owner) == "open"
    with pytest.raises(RunBusy, match=f"owned by process {owner.pid}, which is alive"):
        store.open(run)


def test_a_stopped_owner_is_alive(store: Store, run: str, spawn: Spawn) -> None:
    owner = spawn("owner", run)
    assert read(owner) == "open"
    os.kill(owner.pid, signal.SIGSTOP)
    with pytest.raises(RunBusy):
        store.open(run)


def test_a_killed_owner_is_no_obstacle_not_even_as_a_zombie(store: Store, run: str, spawn: Spawn) -> None:
    owner = spawn("owner", run)
    assert read(owner) == "open"
    owner.kill()
    os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(owner.pid).status() == psutil.STATUS_ZOMBIE
    holder = store.holder(run)
    assert holder is not None and holder.pid == owner.pid and not holder.alive
    store.open(run).close()


def test_another_process_with_the_same_pid_is_not_the_owner(store: Store, run: str) -> None:
    journal = store.open(run)
    alter(store, birth="1")
    holder = store.holder(run)
    assert holder is not None and not holder.alive
    store.open(run).close()
    journal.close()


def test_who_was_taken_over_can_write_nothing(store: Store, run: str, spawn: Spawn) -> None:
    """The owner is alive but was thought dead, as after a long suspension on another machine."""
    owner = spawn("owner", run)
    assert read(owner) == "open"
    tell(owner)
    assert read(owner) == "written"
    alter(store, machine="another", heartbeat=0)
    with store.open(run) as journal:
        tell(owner)
        assert read(owner) == "RunBusy"
        assert [event.seq for event in store.events(run)] == [1, 2]
        assert journal.note("warning").seq == 3


def test_the_fence_only_grows(store: Store, run: str) -> None:
    fences = []
    for _ in range(3):
        with store.open(run), store.transaction() as db:
            fences.append(db.execute("SELECT fence FROM leases").fetchone()[0])
    assert fences == [2, 3, 4]


class TestAnotherMachine:
    @pytest.mark.parametrize(("age", "alive"), [(0, True), (HEARTBEAT_LIMIT, True), (HEARTBEAT_LIMIT + 1, False)])
    def test_its_processes_live_until_their_heartbeat_is_old(self, store: Store, run: str, clock: Clock, age: float, alive: bool) -> None:
        journal = store.open(run)
        alter(store, machine="another boot", host="elsewhere", pid=1)
        clock.seconds += age
        holder = store.holder(run)
        assert holder is not None and (holder.alive, holder.local, holder.host) == (alive, False, "elsewhere")
        if alive:
            with pytest.raises(RunBusy, match="owned by process 1 on elsewhere"):
                store.open(run)
        else:
            store.open(run).close()
        journal.close()

    def test_a_heartbeat_or_a_write_keeps_it_alive(self, store: Store, run: str, clock: Clock) -> None:
        with store.open(run) as journal:
            alter(store, machine="another boot")
            for beat in (journal.heartbeat, lambda: journal.note("warning")):
                clock.seconds += HEARTBEAT_LIMIT + 1
                beat()
                with pytest.raises(RunBusy):
                    store.open(run)


def test_of_racing_processes_exactly_one_wins(run: str, spawn: Spawn) -> None:
    racers = [spawn("racer", run) for _ in range(4)]
    assert {read(racer) for racer in racers} == {"ready"}
    for racer in racers:
        tell(racer)
    assert sorted(read(racer) for racer in racers) == ["RunBusy", "RunBusy", "RunBusy", "won"]


def test_processes_may_create_the_database_at_once(evalx_home: Path, spawn: Spawn) -> None:
    openers = [spawn("opener") for _ in range(4)]
    assert {read(opener) for opener in openers} == {"ready"}
    for opener in openers:
        tell(opener)
    assert [read(opener) for opener in openers] == ["0"] * 4


def test_a_killed_process_is_seen_to_be_dying() -> None:
    """A killed process that is traced, or busy in the kernel, may last; a sleeping one is gone at once, and then there is none."""
    process = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert not processes.is_dying(process.pid)
    process.kill()
    process.communicate()
    assert processes.is_dying(process.pid)


def test_each_kind_of_owner_has_its_own_advice(store: Store, run: str, spawn: Spawn) -> None:
    owner = spawn("owner", run)
    assert read(owner) == "open"
    said = [refusal(store, run)]
    os.kill(owner.pid, signal.SIGSTOP)
    wait_for(lambda: psutil.Process(owner.pid).status() == psutil.STATUS_STOPPED)
    holder = store.holder(run)
    assert holder is not None and holder.alive and holder.stopped
    said.append(refusal(store, run))
    alter(store, machine="another", host="elsewhere")
    said.append(refusal(store, run))
    assert said == [
        (f"run {run} is owned by process {owner.pid}, which is alive", f"wait for it, or: evalx cancel {run}"),
        (
            f"run {run} is owned by process {owner.pid}, which is alive, but stopped (by SIGSTOP or Ctrl-Z)",
            f"kill -CONT {owner.pid} lets it go on; evalx cancel {run} ends it",
        ),
        (
            f"run {run} is owned by process {owner.pid} on elsewhere, which was alive less than 120 s ago",
            f"there: evalx cancel {run}; if that process is gone, try again in 120 s",
        ),
    ]
    holder = store.holder(run)
    assert holder is not None and not holder.stopped, "what is stopped elsewhere cannot be seen"


def test_who_took_a_run_over_is_named(store: Store, run: str) -> None:
    journal = store.open(run)
    assert store.holder(run) is not None
    with pytest.raises(RunBusy) as own:
        store.open(run)
    assert (own.value.message, own.value.hint) == (f"run {run} is already open in this process", "close its journal first")
    alter(store, fence=99, host="elsewhere", pid=7)
    with pytest.raises(RunBusy) as caught:
        journal.note("warning")
    assert (caught.value.message, caught.value.hint) == (f"run {run} was taken over by process 7 on elsewhere", f"evalx status {run}")
    journal.close()
    holder = store.holder(run)
    assert holder is not None and holder.pid == 7, "a lease that another process holds is not given back"


def test_who_took_a_run_over_may_be_on_another_machine_or_be_done_already(store: Store, run: str) -> None:
    journal = store.open(run)
    alter(store, fence=99, machine="another", host="elsewhere", pid=7)
    with pytest.raises(RunBusy) as there:
        journal.heartbeat()
    alter(store, pid=None)
    with pytest.raises(RunBusy) as done:
        journal.heartbeat()
    assert [there.value.message, done.value.message] == [f"run {run} was taken over by process 7 on elsewhere", f"run {run} was taken over"]
    journal.close()


def test_an_owner_is_known_by_boot_and_namespace() -> None:
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        pytest.skip("no /proc here")
    assert processes.machine() == f"{boot.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    assert processes.birth(os.getpid()) == Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert processes.birth(2**22 + 1) is None
    assert not processes.is_stopped(2**22 + 1)


def test_without_proc_the_time_of_creation_tells_processes_apart() -> None:
    assert processes.birth_elsewhere(os.getpid()) == str(psutil.Process().create_time())
    assert processes.birth_elsewhere(2**22 + 1) is None
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.birth_elsewhere(child.pid) is None
    child.wait()


def refusal(store: Store, run: str) -> tuple[str, str | None]:
    with pytest.raises(RunBusy) as caught:
        store.open(run)
    return caught.value.message, caught.value.hint


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
