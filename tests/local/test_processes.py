"""Jobs as processes: found again, told apart from others, ended completely."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from evalx.model import Json
from evalx_local import ports, processes
from evalx_local.processes import ProcessRuntime
from evalx_local.runtime import Job, Place, Status

from .conftest import marked, until

Start = Callable[..., tuple[Place, Json]]

OTHER_PROCESS = """
    import json, os, pathlib, signal, sys
    from evalx_local import ports
    from evalx_local.processes import ProcessRuntime
    from evalx_local.runtime import Job, Place
    folder, argv = pathlib.Path(sys.argv[1]), tuple(sys.argv[2:])
    marks = {"EVALX_RUN": "r", "EVALX_RESOURCE": folder.name, "EVALX_SPEC": "hash"}
    with ports.reserve() as port:
        data = ProcessRuntime().start(Place(folder.name, folder), Job(argv, folder, {}, marks), port)
    print(json.dumps(data), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def names() -> Iterator[list[str]]:
    """Names of started jobs; whatever carries one of them is killed in the end."""
    names: list[str] = []
    yield names
    for process in [process for name in names for process in marked(name)]:
        process.kill()
        process.wait()


@pytest.fixture
def start(tmp_path: Path, names: list[str]) -> Start:
    """Starts a shell script as a job: `start(script, name)` → its place and data."""

    def begin(script: str, name: str = f"evalx-test{os.getpid()}-t0", **env: str) -> tuple[Place, Json]:
        place = _place(tmp_path, name)
        names.append(name)
        marks = {"EVALX_RUN": "r", "EVALX_RESOURCE": name, "EVALX_SPEC": "hash"}
        with ports.reserve() as port:
            return place, ProcessRuntime().start(place, Job(("sh", "-c", script), place.folder, env, marks), port)

    return begin


def _place(folder: Path, name: str) -> Place:
    (folder / name).mkdir(exist_ok=True)
    return Place(name, folder / name)


def _over(place: Place, data: Json) -> Status:
    runtime = ProcessRuntime()
    return until(lambda: None if (status := runtime.poll(place, data)).running else status)


def _stop(place: Place, data: Json) -> None:
    runtime = ProcessRuntime()
    until(lambda: runtime.stop(place, data))


@pytest.mark.parametrize(("script", "code"), [("true", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("no-such-program", 127)])
def test_the_exit_code_is_there_for_anybody(start: Start, script: str, code: int) -> None:
    place, data = start(script)
    status = _over(place, data)
    assert status.exit_code == code
    assert status.started is not None
    assert status.ended is not None
    assert status.started <= status.ended
    _stop(place, data)


def test_output_goes_to_the_log_and_input_is_empty(start: Start) -> None:
    place, data = start("echo out; echo err >&2; cat; echo $VARIABLE in $PWD", VARIABLE="value")
    _over(place, data)
    assert place.log.read_text().splitlines() == ["out", "err", f"value in {place.folder}"]
    assert place.log.stat().st_mode & 0o077 == 0


def test_a_job_has_a_session_and_default_signals_of_its_own(start: Start) -> None:
    place, data = start("exec sleep 60")
    pid = data["pid"]
    assert os.getsid(pid) == pid != os.getsid(0)
    child = until(lambda: psutil.Process(pid).children() or None)[0]
    status = Path(f"/proc/{child.pid}/status").read_text()
    ignored = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn")), 16)
    assert ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGTERM - 1) | 1 << (signal.SIGINT - 1)) == 0
    _stop(place, data)


def test_a_job_outlives_the_evalx_that_was_killed(tmp_path: Path, names: list[str]) -> None:
    place = _place(tmp_path, f"evalx-orphan{os.getpid()}-t0")
    names.append(place.name)
    code = [sys.executable, "-c", textwrap.dedent(OTHER_PROCESS), str(place.folder), "sh", "-c", "sleep 0.3; exit 3"]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert ProcessRuntime().poll(place, {}).running
    assert ProcessRuntime().find(place) is not None
    assert _over(place, {}).exit_code == 3


def test_a_job_is_found_by_name_alone_while_it_runs_and_afterwards(start: Start) -> None:
    place, data = start("sleep 60")
    assert ProcessRuntime().find(place) == pytest.approx(data)
    until(psutil.Process(data["pid"]).children)  # a shell that is stopped before it has begun leaves no exit code
    until(lambda: ProcessRuntime().stop(place, {}))
    assert not marked(place.name)
    until(lambda: place.exit_code.exists())
    assert ProcessRuntime().find(place) == {"spec": "hash"}


def test_a_job_is_found_as_soon_as_it_is_started(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel shows no environment of a process that has just been started: for milliseconds, on a busy machine."""
    look, old, looks = processes.environment, set(psutil.pids()), Counter[int]()

    def slow(pid: int) -> bytes:
        looks[pid] += 1
        return look(pid) if pid in old or looks[pid] > 5 else b""

    monkeypatch.setattr(processes, "environment", slow)
    place, data = start("sleep 60")
    assert ProcessRuntime().find(place) == pytest.approx(data)
    _stop(place, data)


def test_nothing_is_found_where_nothing_was_started(tmp_path: Path) -> None:
    place = _place(tmp_path, "evalx-nothing-t0")
    assert ProcessRuntime().find(place) is None
    assert ProcessRuntime().stop(place, {}) is True
    place.started.write_text("hash")  # evalx died between this and the start
    assert ProcessRuntime().find(place) is None
    assert ProcessRuntime().poll(place, {}) == Status(False, None, place.started.stat().st_mtime, None)


def test_a_job_whose_shell_was_killed_has_no_exit_code(start: Start) -> None:
    place, data = start("sleep 60")
    os.kill(data["pid"], signal.SIGKILL)
    status = _over(place, data)
    assert (status.running, status.exit_code) == (False, None)
    _stop(place, data)
    assert not marked(place.name)


def test_a_stop_is_asked_for_first_and_lets_the_command_finish(start: Start) -> None:
    place, data = start("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done")
    until(lambda: "up" in place.log.read_text())
    _stop(place, data)
    assert place.log.read_text().splitlines()[-1] == "bye"
    assert place.exit_code.read_text().strip() == "5"


def test_what_ignores_the_request_is_killed_after_the_grace_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    place, data = start("trap '' TERM; echo up; sleep 60 & sleep 60; sleep 60")
    until(lambda: "up" in place.log.read_text())
    runtime = ProcessRuntime()
    assert runtime.stop(place, data) is False
    assert runtime.stop(place, data) is False
    assert marked(place.name), "it was not given its grace time"
    monkeypatch.setattr(processes, "GRACE", 0.0)
    until(lambda: runtime.stop(place, data))
    assert not marked(place.name)


@pytest.mark.parametrize(
    "escape",
    [
        "setsid sleep 60 & echo $! > pid; exec sleep 60",  # another session, the variables kept
        "env -i /bin/sleep 60 & echo $! > pid; exec sleep 60",  # our session, the variables lost
        "setsid sh -c 'sleep 60 & echo $! > pid; sleep 60' & exit 0",  # orphaned before the stop
    ],
)
def test_children_that_went_astray_are_found(start: Start, escape: str) -> None:
    place, data = start(escape)
    pid = place.folder / "pid"
    astray = psutil.Process(int(until(lambda: (pid.exists() and pid.read_text().strip()) or None)))
    assert _lives(astray)
    _stop(place, data)
    assert not _lives(astray)


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_pid_that_was_used_again_is_not_ours(start: Start) -> None:
    place, data = start("exit 0")
    _over(place, data)
    until(lambda: ProcessRuntime().stop(place, data))
    place.exit_code.unlink()
    time.sleep(2 / os.sysconf("SC_CLK_TCK"))  # births are told apart by the clock's ticks
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        reused = {**data, "pid": stranger.pid, "started": psutil.Process(stranger.pid).create_time() - 60}
        assert ProcessRuntime().poll(place, reused).running is False
        assert ProcessRuntime().stop(place, reused) is True
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_exit_code_that_is_no_number_is_none(start: Start) -> None:
    place, data = start("exit 0")
    _over(place, data)
    for text in (b"", b"zero", b"\xff", "²".encode()):
        place.exit_code.write_bytes(text)
        status = ProcessRuntime().poll(place, data)
        assert (status.running, status.exit_code) == (False, None)


def test_setting_the_clock_changes_nothing(start: Start) -> None:
    """The kernel counts a process's start from boot: its time of day moves when the clock is set."""
    place, data = start("exec sleep 60")
    assert ProcessRuntime().poll(place, {**data, "started": data["started"] - 7 * 3600}).running
    older = {key: value for key, value in data.items() if key != "birth"}
    assert ProcessRuntime().poll(place, older).running
    assert not ProcessRuntime().poll(place, {**older, "started": data["started"] - 7 * 3600}).running


def test_look_alikes_are_never_touched(start: Start) -> None:
    place, data = start("sleep 60")
    name = place.name
    looks = [{"EVALX_RESOURCE": other} for other in (f"{name}0", f"{name}-x", f"x{name}", name[:-1], name.upper(), f" {name}")]
    looks += [{"EVALX_RUN": "r"}, {"evalx_resource": name}, {"X": f"EVALX_RESOURCE={name}"}]
    strangers = [subprocess.Popen(["sleep", "60"], env={**os.environ, **look}, start_new_session=True) for look in looks]
    strangers.append(subprocess.Popen(["sh", "-c", "sleep 60; true", f"EVALX_RESOURCE={name}", name], start_new_session=True))
    try:
        _stop(place, data)
        _stop(place, {})
        assert [stranger.poll() for stranger in strangers] == [None] * len(strangers)
    finally:
        for stranger in strangers:
            os.killpg(stranger.pid, signal.SIGKILL)
            stranger.wait()


def test_many_short_jobs_leave_no_descriptor_thread_or_zombie(start: Start, tmp_path: Path) -> None:
    me = psutil.Process()
    gc.collect()  # what earlier tests left to the collector must not close while we count
    descriptors, threads = me.num_fds(), threading.active_count()
    jobs = [start("exit 0", f"evalx-many{os.getpid()}-t{index}") for index in range(100)]
    for place, data in jobs:
        assert _over(place, data).exit_code == 0
        _stop(place, data)
    assert me.num_fds() <= descriptors and threading.active_count() <= threads
    ours = {data["pid"] for _, data in jobs}
    assert [child for child in me.children() if child.pid in ours] == []


def test_a_job_that_ends_while_it_is_looked_for_is_over_and_not_unknown(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise whoever goes on with a run would start it a second time."""
    gate = tmp_path / "gate"
    place, _ = start(f"while [ ! -e {gate} ]; do sleep 0.02; done; exit 3")
    look = processes._processes

    def ends_first(*args: object, **kwargs: object) -> list[psutil.Process]:
        gate.touch()
        until(place.exit_code.exists)
        return look(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(processes, "_processes", ends_first)
    assert ProcessRuntime().find(place) == {"spec": "hash"}
