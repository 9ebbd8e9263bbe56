from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from attrs import evolve

from evalx import failpoints, redaction
from evalx.errors import RunNotFound, StoreError
from evalx.model import RunPlan, Secret
from evalx.places import DATABASE, state_directory
from evalx.serial import from_json
from evalx.store import Store, database
from evalx.store.states import Cleanliness, RunState, TaskState

MakePlan = Callable[..., RunPlan]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_state_directory_is_the_given_one_or_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVALX_STATE_DIR", "~/x")
    assert state_directory() == Path.home() / "x"
    monkeypatch.delenv("EVALX_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_directory() == tmp_path / "evalx"


def test_a_new_run_is_planned_with_all_its_tasks(store: Store, make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(tasks=3)
    with store.create(plan, tmp_path / "out" / "run", "a: 1\n") as journal:
        record = journal.record
    assert record == store.find(plan.run_id)
    assert (record.state, record.outcome, record.cleanliness) == (RunState.PLANNED, None, Cleanliness.CLEAN)
    assert (record.created, record.updated, record.executor) == (5.0, 1e6, plan.executor)
    assert record.plan == plan
    assert [(task.run_id, task.index) for task in store.tasks(plan.run_id)] == [(plan.run_id, index) for index in range(3)]
    assert [(task.spec, task.state, task.result) for task in store.tasks(plan.run_id)] == [
        (spec, TaskState.PENDING, None) for spec in plan.tasks
    ]
    assert [(event.seq, event.kind, event.state) for event in store.events(plan.run_id)] == [(1, "run", "planned")]
    assert store.resources(plan.run_id) == []


def test_the_run_directory_describes_the_run(store: Store, make_plan: MakePlan, tmp_path: Path) -> None:
    plan, run = make_plan(), tmp_path / "out" / "run"
    store.create(plan, run, "model: tiny  # ä\n").close()
    assert from_json(RunPlan, json.loads((run / "plan.json").read_text())) == plan
    assert (run / "config.yaml").read_text() == "model: tiny  # ä\n"
    assert [json.loads(line)["seq"] for line in (run / "events.jsonl").read_text().splitlines()] == [1]
    assert {mode(run)} == {0o700}
    assert {mode(path) for path in run.iterdir()} == {0o600}


def test_state_is_private_and_durable(store: Store, evalx_home: Path) -> None:
    assert mode(evalx_home) == 0o700
    assert {mode(path) for path in evalx_home.iterdir()} == {0o600}
    with store.transaction() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert db.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_two_stores_of_a_process_do_not_lose_what_is_written_while_another_process_looks(
    store: Store, make_plan: MakePlan, tmp_path: Path, evalx_home: Path
) -> None:
    """SQLite's locks are the process's: were the file opened and closed beside SQLite, another process would take itself for the last."""
    database = str(evalx_home / DATABASE)
    look = f"import sqlite3; c = sqlite3.connect({database!r}); print(c.execute('SELECT state FROM runs').fetchall()); c.close()"
    plan = make_plan()
    with store.create(plan, tmp_path / "run", "") as journal:
        Store().close()
        subprocess.run([sys.executable, "-c", look], check=True, timeout=60, capture_output=True)
        journal.run(RunState.ACTIVE)
        seen = subprocess.run([sys.executable, "-c", look], check=True, timeout=60, capture_output=True, text=True)
    assert seen.stdout == "[('active',)]\n"


def test_secrets_in_a_plan_stay_references(store: Store, make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan()
    secret = evolve(plan.tasks[0], options={"key": {"secret_ref": Secret("host:TOKEN").ref}})
    store.create(evolve(plan, tasks=(secret,)), tmp_path / "run", "").close()
    assert "host:TOKEN" in (tmp_path / "run" / "plan.json").read_text()


@pytest.fixture
def three(store: Store, make_plan: MakePlan, tmp_path: Path) -> list[str]:
    ids = ["abcdefghijk", "abzzzzzzzzz", "qbcdefghijk"]
    for run_id in ids:
        store.create(make_plan(run_id), tmp_path / run_id, "").close()
    return ids


def test_runs_come_newest_first_also_when_the_clock_went_back(store: Store, three: list[str]) -> None:
    assert [run.run_id for run in store.runs()] == three[::-1]
    assert [run.run_id for run in store.runs(limit=2)] == three[:0:-1]


@pytest.mark.parametrize(("text", "found"), [("abcdefghijk", 0), ("abc", 0), ("abz", 1), ("q", 2), ("last", 2)])
def test_a_run_is_found_by_id_prefix_or_as_the_last(store: Store, three: list[str], text: str, found: int) -> None:
    assert store.find(text).run_id == three[found]


@pytest.mark.parametrize("text", ["x", "", "%", "abcdefghijkl", "bc"])
def test_what_is_not_there_is_not_found(store: Store, three: list[str], text: str) -> None:
    with pytest.raises(RunNotFound, match=f'^no run "{text}"$') as caught:
        store.find(text)
    assert (caught.value.hint or "").startswith("evalx ls ")


def test_an_ambiguous_prefix_lists_the_candidates(store: Store, three: list[str]) -> None:
    with pytest.raises(RunNotFound, match=r'"ab" may be any of 2 runs: abcdefghijk, abzzzzzzzzz$') as caught:
        store.find("ab")
    assert caught.value.hint == "give more letters"


@pytest.mark.parametrize(("runs", "named"), [(5, "xa, xb, xc, xd, xe"), (6, "xa, xb, xc, xd, xe, …")])
def test_of_many_candidates_some_are_named(store: Store, make_plan: MakePlan, tmp_path: Path, runs: int, named: str) -> None:
    for letter in "abcdef"[:runs]:
        store.create(make_plan(f"x{letter}"), tmp_path / letter, "").close()
    with pytest.raises(RunNotFound) as caught:
        store.find("x")
    assert caught.value.message == f'"x" may be any of {runs} runs: {named}'


def test_what_a_stored_plan_refers_to_is_a_secret(
    store: Store, make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAIN_NAME", "value-of-plain")
    store.create(evolve(make_plan(), execution={"env": {"A": "host:PLAIN_NAME"}}), tmp_path / "run", "").close()
    redaction.forget()
    assert redaction.redact("value-of-plain") == "value-of-plain"
    store.find("last")
    assert redaction.redact("value-of-plain") == "<PLAIN_NAME>"
    redaction.forget()


def test_a_process_can_be_made_to_die_when_it_has_taken_a_run(store: Store, make_plan: MakePlan, tmp_path: Path) -> None:
    store.create(make_plan(), tmp_path / "run", "").close()
    failpoints.arm("lease.taken:1:raise")
    try:
        with pytest.raises(failpoints.Failpoint):
            store.open("abcdefghijk")
    finally:
        failpoints.arm("")
    assert store.holder("abcdefghijk") is not None


def test_before_the_first_run_there_is_no_last(store: Store) -> None:
    with pytest.raises(RunNotFound, match=r"^there are no runs yet$") as caught:
        store.find("last")
    assert (caught.value.hint or "").startswith("evalx run ")
    with pytest.raises(RunNotFound):
        store.open("abcdefghijk")
    assert store.holder("abcdefghijk") is None


def test_events_can_be_read_from_where_one_stopped(store: Store, make_plan: MakePlan, tmp_path: Path) -> None:
    with store.create(make_plan(), tmp_path / "run", "") as journal:
        for number in range(3):
            journal.note("warning", reason=str(number))
    assert [event.reason for event in store.events("abcdefghijk", after=2)] == ["1", "2"]


class TestNothingHalfWritten:
    def test_a_run_id_is_used_once(self, store: Store, make_plan: MakePlan, tmp_path: Path) -> None:
        store.create(make_plan(), tmp_path / "run", "").close()
        with pytest.raises(StoreError, match=r"UNIQUE"):
            store.create(make_plan(), tmp_path / "other", "")
        assert not (tmp_path / "other").exists()

    def test_a_run_directory_is_used_once(self, store: Store, make_plan: MakePlan, tmp_path: Path) -> None:
        store.create(make_plan(), tmp_path / "run", "first").close()
        with pytest.raises(StoreError, match=r"plan\.json: File exists"):
            store.create(make_plan("other"), tmp_path / "run", "second")
        assert [run.run_id for run in store.runs()] == ["abcdefghijk"]
        assert (tmp_path / "run" / "config.yaml").read_text() == "first"

    def test_a_run_directory_that_cannot_be_made_leaves_no_run(self, store: Store, make_plan: MakePlan, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match=r"cannot write .*file") as caught:
            store.create(make_plan(), tmp_path / "file" / "run", "")
        assert "output_dir" in str(caught.value.hint)
        assert store.runs() == []

    def test_files_that_were_there_stay(self, store: Store, make_plan: MakePlan, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.yaml").write_text("mine")
        with pytest.raises(StoreError):
            store.create(make_plan(), tmp_path / "run", "")
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]

    def test_a_plan_that_is_not_json_is_refused(self, store: Store, make_plan: MakePlan, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"not JSON"):
            store.create(evolve(make_plan(), execution={"x": object()}), tmp_path / "run", "")
        assert not (tmp_path / "run").exists()


class TestUnusable:
    def test_a_state_directory_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("")
        with pytest.raises(StoreError, match=r"cannot write .*state: ") as caught:
            Store(tmp_path / "state")
        assert "EVALX_STATE_DIR" in str(caught.value.hint)

    def test_a_read_only_file_system(self, read_only: Path) -> None:
        with pytest.raises(StoreError, match=r"cannot (write|use) .*: .*") as caught:
            Store(read_only / "new")
        assert "EVALX_STATE_DIR" in str(caught.value.hint)

    def test_a_database_of_a_newer_evalx_is_left_alone(self, evalx_home: Path) -> None:
        Store().close()
        with closing(sqlite3.connect(evalx_home / "evalx.db")) as db:
            db.execute("PRAGMA user_version = 99")
        with pytest.raises(StoreError, match=r"written by a newer evalx") as caught:
            Store()
        assert caught.value.hint == "pip install --upgrade evalx"
        assert [path.name for path in evalx_home.iterdir() if "corrupt" in path.name] == []

    def test_a_closed_store_says_so(self, evalx_home: Path) -> None:
        store = Store()
        store.close()
        store.close()
        with pytest.raises(StoreError, match=r"closed"):
            store.runs()


class TestWords:
    """What SQLite says, with the file and what to do about it."""

    def test_of_a_lock_that_another_process_keeps(self, evalx_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
        path = evalx_home / DATABASE
        with Store() as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError) as caught, store.transaction():
                pass
        assert caught.value.message == f"cannot use {path}: another process kept it locked for 10 s (database is locked)"
        assert caught.value.hint == f"try again; find the process with: fuser {path}"

    @pytest.mark.parametrize(
        ("sql", "said"), [("SELECT whatever", "no such column: whatever"), ("SELECT ?", "Incorrect number of bindings")]
    )
    def test_of_anything_else(self, store: Store, evalx_home: Path, sql: str, said: str) -> None:
        with pytest.raises(StoreError) as caught, store.transaction() as db:
            db.execute(sql)
        assert caught.value.message.startswith(f"cannot use {evalx_home / DATABASE}: {said}")
        assert caught.value.message.count(said) == 1

    def test_of_a_folder_in_the_files_place(self, evalx_home: Path) -> None:
        (evalx_home / DATABASE).mkdir(parents=True)
        with pytest.raises(StoreError, match=r"it cannot be opened \(unable to open database file\)$") as caught:
            Store()
        assert "EVALX_STATE_DIR" in str(caught.value.hint)


class TestDamaged:
    @pytest.mark.parametrize(
        "content", [b"", b"this is no database" * 400, b"SQLite format 3\0" + b"\xff" * 8000], ids=["empty", "text", "torn header"]
    )
    def test_it_is_put_aside_and_reported(self, evalx_home: Path, content: bytes) -> None:
        evalx_home.mkdir()
        (evalx_home / "evalx.db").write_bytes(content)
        with pytest.raises(StoreError, match=r"is damaged \(.*\); it was put aside as (\S+corrupt-\S+)\.") as caught:
            Store()
        (aside,) = evalx_home.glob("evalx.db.corrupt-*")
        assert re.fullmatch(r"evalx\.db\.corrupt-\d{8}T\d{6}\.\d{9}", aside.name) and aside.read_bytes() == content
        assert str(aside) in str(caught.value)
        assert "events.jsonl" in str(caught.value.hint)
        assert not (evalx_home / "evalx.db").exists()
        with Store() as fresh:
            assert fresh.runs() == []

    @pytest.mark.parametrize("left", ["nothing of it", "its beginning"])
    def test_what_is_left_of_a_database_is_never_taken_for_a_new_one(
        self, evalx_home: Path, make_plan: MakePlan, tmp_path: Path, left: str
    ) -> None:
        """A crash of the machine, a full disk or a careless hand has emptied or removed the file; the write-ahead log is still there."""
        with Store() as store:
            store.create(make_plan(), tmp_path / "run", "").close()
            wal = (evalx_home / "evalx.db-wal").read_bytes()
        (evalx_home / "evalx.db-wal").write_bytes(wal)
        (evalx_home / "evalx.db-shm").write_bytes(b"")
        if left == "its beginning":
            (evalx_home / "evalx.db").write_bytes(b"")
        else:
            (evalx_home / "evalx.db").unlink()
        with pytest.raises(StoreError, match=r"is damaged \((it is empty|its main file is missing)\); it was put aside as"):
            Store()
        (kept,) = evalx_home.glob("evalx.db.corrupt-*-wal")
        assert kept.read_bytes() == wal and len([*evalx_home.glob("evalx.db.corrupt-*-shm")]) == 1
        with Store() as fresh:
            assert fresh.runs() == []

    def test_the_database_of_something_else_is_put_aside(self, evalx_home: Path) -> None:
        evalx_home.mkdir()
        with closing(sqlite3.connect(evalx_home / "evalx.db")) as db:
            db.execute("CREATE TABLE theirs (x)")
        with pytest.raises(StoreError, match=r"no tables of evalx"):
            Store()

    def test_a_damaged_page_is_found_before_anything_is_done(self, evalx_home: Path, make_plan: MakePlan, tmp_path: Path) -> None:
        with Store() as store, store.create(make_plan(tasks=200), tmp_path / "run", "") as journal:
            for number in range(200):
                journal.note("warning", reason="x" * 300 + str(number))
        path = evalx_home / "evalx.db"
        content = bytearray(path.read_bytes())
        for page in range(4, len(content) // 4096, 3):
            content[page * 4096 : page * 4096 + 200] = os.urandom(200)
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"is damaged"):
            Store()
        assert (tmp_path / "run" / "plan.json").exists()

    def test_damage_met_while_working_is_put_aside_too(self, evalx_home: Path, make_plan: MakePlan, tmp_path: Path) -> None:
        path = evalx_home / "evalx.db"
        with Store() as store:
            store.create(make_plan(tasks=300), tmp_path / "run", "").close()
            with closing(sqlite3.connect(path)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with path.open("r+b") as file:
                file.seek(4096)
                file.write(b"\xff" * (path.stat().st_size - 4096))
            with pytest.raises(StoreError, match=r"is damaged"):
                store.tasks("abcdefghijk")
        assert [aside.stat().st_size for aside in evalx_home.glob("evalx.db.corrupt-*")]


@pytest.fixture
def read_only() -> Path:
    """A folder that even root cannot write to."""
    return Path("/proc/self")
