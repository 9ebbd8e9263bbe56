"""What is left after kill -9 and on a full disk: real processes, real signals, real errors of the system."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from evalx.errors import StoreError
from evalx.model import RunPlan, TaskHandle
from evalx.store import Store
from evalx.store.states import ResourceState

Spawn = Callable[..., "subprocess.Popen[str]"]
RUN = "abcdefghijk"


@pytest.fixture
def run(make_plan: Callable[..., RunPlan], evalx_home: Path, tmp_path: Path) -> Path:
    """The directory of a run that nobody owns."""
    with Store() as store:
        store.create(make_plan(), tmp_path / "run", "").close()
    return tmp_path / "run"


def acknowledged(output: str) -> tuple[int, int]:
    """The seq and number that were said last, in a whole line."""
    seq, number = output[: output.rfind("\n")].rpartition("\n")[2].split()
    return int(seq), int(number)


def test_a_storm_of_kill_9_loses_nothing_that_was_acknowledged(run: Path, evalx_home: Path, spawn: Spawn) -> None:
    moment = random.Random(os.getpid())
    for _ in range(6):
        writer = spawn("writer", RUN)
        assert writer.stdout is not None
        said = writer.stdout.readline()
        time.sleep(moment.random() / 20)
        writer.kill()
        seq, number = acknowledged(said + writer.stdout.read())
        with Store() as store:
            events = store.events(RUN)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert len(events) in (seq, seq + 1)
            (resource,) = store.resources(RUN)
            assert resource.handle is not None and resource.handle.data["number"] in (number, number + 1)
            with store.transaction() as db:
                assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            store.open(RUN).close()
            assert [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()] == [
                {"seq": event.seq, "time": event.time, "run_id": RUN, "kind": event.kind, "name": event.name, "state": event.state,
                 "reason": event.reason, "data": dict(event.data)} for event in events
            ]  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: text.splitlines(keepends=True)[0],
        lambda text: text + '{"seq": 5, "ti',
        lambda text: text + "not an event\n",
        lambda text: text + text,
        lambda text: "\n".join(text.splitlines()[1:]) + "\n",
    ],
    ids=["empty", "torn", "behind", "torn beyond", "foreign line", "doubled", "first line missing"],
)
def test_the_event_file_is_mended_on_opening(run: Path, damage: Callable[[str], str]) -> None:
    with Store() as store:
        with store.open(RUN) as journal:
            for number in range(3):
                journal.note("warning", reason=str(number))
        whole = (run / "events.jsonl").read_text()
        (run / "events.jsonl").write_text(damage(whole))
        with store.open(RUN) as journal:
            assert (run / "events.jsonl").read_text() == whole
            journal.note("warning")
        assert [json.loads(line)["seq"] for line in (run / "events.jsonl").read_text().splitlines()] == [1, 2, 3, 4, 5]
    assert not list(run.glob("*.ahead-*")), "the database knows all of it"


def test_events_that_the_database_has_forgotten_are_kept(run: Path, evalx_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An older copy of the database was put back, or its write-ahead log has lost its end."""
    before = (evalx_home / "evalx.db").read_bytes()
    with Store() as store, store.open(RUN) as journal:
        journal.note("warning", reason="it was created")
    for path in evalx_home.glob("evalx.db-*"):
        path.unlink()
    (evalx_home / "evalx.db").write_bytes(before)
    with Store() as store, store.open(RUN) as journal:
        journal.note("warning", reason="it goes on")
    (aside,) = run.glob("events.jsonl.ahead-*")
    assert "it was created" in aside.read_text()
    said = capsys.readouterr()
    assert "cleanup --all-runs" in said.out + said.err
    assert [json.loads(line)["seq"] for line in (run / "events.jsonl").read_text().splitlines()] == [1, 2]


def test_a_run_whose_directory_was_deleted_can_still_be_opened(run: Path) -> None:
    for path in run.iterdir():
        path.unlink()
    run.rmdir()
    with Store() as store, store.open(RUN) as journal:
        assert journal.note("warning").seq == 2
    assert len((run / "events.jsonl").read_text().splitlines()) == 2
    assert (stat.S_IMODE(run.stat().st_mode), stat.S_IMODE((run / "events.jsonl").stat().st_mode)) == (0o700, 0o600)


def test_a_run_directory_that_cannot_be_written_does_not_stop_the_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is derived; what it lacks is added as soon as that is possible."""
    run.rename(tmp_path / "moved")
    run.write_text("in the way")
    with Store() as store, store.open(RUN) as journal:
        for _ in range(2):
            journal.note("warning", reason="unfiled")
        run.unlink()
        journal.note("warning", reason="filed")
    assert [json.loads(line)["seq"] for line in (run / "events.jsonl").read_text().splitlines()] == [1, 2, 3, 4]
    said = "".join(capsys.readouterr())
    assert said.count("the event file lags behind") == 1 and "File exists" in said, "it is told once"


def test_a_reader_in_another_process_is_not_disturbed(run: Path, spawn: Spawn) -> None:
    writer = spawn("writer", RUN)
    assert writer.stdout is not None
    writer.stdout.readline()
    seen: list[int] = []
    with Store() as store:
        while len(seen) < 20 or seen[-1] < seen[0] + 20:
            events, (resource,) = store.events(RUN), store.resources(RUN)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert resource.state is ResourceState.CREATED
            seen.append(len(events))
    assert seen == sorted(seen)


@pytest.mark.parametrize("limit", [60_000, 150_000])
def test_when_no_file_may_grow_any_more_nothing_is_half_written(run: Path, evalx_home: Path, spawn: Spawn, limit: int) -> None:
    writer = spawn("limited", RUN, limit)
    output, errors = writer.communicate(timeout=60)
    *written, failure, closing, closed = output.splitlines()
    assert failure.startswith(f"StoreError cannot use {evalx_home}/evalx.db: "), errors
    assert (closing, closed.split()[0]) == ("closing", "closed")
    seq, number = acknowledged("\n".join(written) + "\n")
    assert_intact(run, evalx_home, seq, number)


def assert_intact(run: Path, state: Path, seq: int, number: int) -> None:
    """Everything up to that event is there, and nothing else; and one can go on."""
    with closing(sqlite3.connect(state / "evalx.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    with Store(state) as store:
        assert [event.seq for event in store.events(RUN)] == list(range(1, seq + 1))
        (resource,) = store.resources(RUN)
        assert resource.handle is not None and resource.handle.data["number"] == number
        with store.open(RUN) as journal:
            assert journal.note("warning").seq == seq + 1
    assert [json.loads(line)["seq"] for line in (run / "events.jsonl").read_text().splitlines()] == list(range(1, seq + 2))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return ballast
    return ballast


def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_space(small_disk: Path, make_plan: Callable[..., RunPlan]) -> None:
    state, run = small_disk / "state", small_disk / "run"
    number = 0
    with Store(state) as store, store.create(make_plan(), run, "") as journal:
        task = journal.plan.tasks[0]
        journal.resource(task, "r-task", ResourceState.CREATED, handle=TaskHandle(task, "r-task", {"number": 0}))
        ballast = fill(small_disk)
        with pytest.raises(StoreError, match=r"the disk is full|writing failed") as caught:
            for number in range(1, 10_000):
                handle = TaskHandle(task, "r-task", {"number": number, "padding": "x" * 500})
                journal.resource(task, "r-task", ResourceState.CREATED, handle=handle)
        assert "EVALX_STATE_DIR" in str(caught.value.hint)
        seq = journal.last_seq
        ballast.unlink()
        assert journal.note("warning", reason="space again").seq == seq + 1
    assert_intact(run, state, seq + 1, number - 1)


def test_on_a_full_disk_no_run_begins(small_disk: Path, make_plan: Callable[..., RunPlan], tmp_path: Path) -> None:
    with Store(tmp_path / "elsewhere") as store:
        ballast = fill(small_disk)
        with pytest.raises(StoreError, match=r"No space left on device") as caught:
            store.create(make_plan(tasks=50), small_disk / "run", "")
        assert "output_dir" in str(caught.value.hint)
        assert store.runs() == []
        assert not (small_disk / "run").exists()
        ballast.unlink()
        store.create(make_plan(tasks=50), small_disk / "run", "").close()
    ballast = fill(small_disk)
    with pytest.raises(StoreError, match=r"disk is full|failed|No space") as caught:
        Store(small_disk / "state")
    assert "EVALX_STATE_DIR" in str(caught.value.hint)
