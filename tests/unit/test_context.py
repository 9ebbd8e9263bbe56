"""What hooks are given as `run`: names, marks, tokens."""

from __future__ import annotations

import base64
import hmac
import re
import stat
from pathlib import Path

import pytest
from attrs import evolve

from evalx.context import NAME_LENGTH, Report
from evalx.errors import ConfigError, StoreError
from evalx.model import EndpointHandle, EndpointSpec, Outcome, Secret, TaskSpec
from evalx.redaction import redact
from evalx.store.key import _make, state_key
from evalx.testing import InMemoryExecutor, make_run


@pytest.mark.parametrize("name", ["gsm8k", "Ünïcode / ../../etc", "x" * 200, "---", "a.b_c"])
@pytest.mark.parametrize("index", [0, 7, 1234])
def test_names_fit_every_backend_and_differ_by_kind_index_and_attempt(tmp_path: Path, name: str, index: int) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    endpoint, task = EndpointSpec(name, index, "v", "m"), TaskSpec(name, index, "h", name)
    names = [run.resource_name(spec) for spec in (endpoint, evolve(endpoint, attempt=1), task, evolve(task, attempt=3))]
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]{0,34}[a-z0-9])?", found) and run.run_id in found for found in names)


def test_a_folder_never_leaves_the_run_directory(tmp_path: Path) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    for name in ("../../escape", "/etc", "..", "a/b", ""):
        folder = run.task_dir(TaskSpec(name, 0, "h", "e"))
        assert folder.parent == run.directory / "tasks" and folder.is_dir()


def test_the_spec_hash_changes_with_anything_in_the_spec(tmp_path: Path) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    spec = EndpointSpec("a", 0, "v", "m", {"x": {"y": 1}})
    assert run.spec_hash(spec) == run.spec_hash(EndpointSpec("a", 0, "v", "m", {"x": {"y": 1}}))
    assert run.spec_hash(spec) != run.spec_hash(evolve(spec, options={"x": {"y": 2}}))


def test_tokens_belong_to_one_run_and_purpose_and_survive_a_restart(tmp_path: Path, evalx_home: Path) -> None:
    run, other = make_run(tmp_path, InMemoryExecutor()), make_run(tmp_path, InMemoryExecutor())
    token = run.token("endpoints")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert make_run(tmp_path, InMemoryExecutor(), run_id=run.run_id).token("endpoints") == token
    assert len({token, run.token("other"), other.token("endpoints")}) == 3
    assert stat.S_IMODE((evalx_home / "key").stat().st_mode) == 0o600
    assert not [path for path in evalx_home.iterdir() if path.suffix == ".part"]


def test_a_damaged_key_is_an_error_not_a_new_key(tmp_path: Path, evalx_home: Path) -> None:
    evalx_home.mkdir()
    (evalx_home / "key").write_bytes(b"short")
    with pytest.raises(StoreError, match="damaged") as caught:
        make_run(tmp_path, InMemoryExecutor()).token("endpoints")
    assert caught.value.hint == "remove it; running endpoints made with it can then only be cleaned up"


def test_a_missing_host_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    monkeypatch.setenv("EVALX_TEST_PRESENT", "value")
    assert run.environment({"A": "x", "B": Secret("host:EVALX_TEST_PRESENT")}) == {"A": "x", "B": "value"}
    with pytest.raises(ConfigError, match="EVALX_TEST_ABSENT"):
        run.environment({"A": Secret("host:EVALX_TEST_ABSENT")})


@pytest.mark.parametrize(
    ("name", "slug"),
    [("gsm8k", "-gsm8k"), ("MMLU Pro_5", "-mmlu-pro-5"), ("--a..b--", "-a-b"), ("", ""), ("···", ""), ("aé9z", "-a-9z")],
)
def test_names_are_made_of_run_kind_index_attempt_and_a_readable_rest(tmp_path: Path, name: str, slug: str) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    assert run.resource_name(EndpointSpec(name, 3, "v", "m")) == f"evalx-{run.run_id}-e3{slug}"
    assert run.resource_name(TaskSpec(name, 3, "h", "e", attempt=2)) == f"evalx-{run.run_id}-t3r2{slug}"


def test_a_long_name_is_cut_and_never_at_a_hyphen(tmp_path: Path) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    stem = f"evalx-{run.run_id}-e0-"
    room = NAME_LENGTH - len(stem)
    assert NAME_LENGTH == 36
    assert run.resource_name(EndpointSpec("x" * 60, 0, "v", "m")) == stem + "x" * room
    assert run.resource_name(EndpointSpec("x" * (room - 1) + "-yz", 0, "v", "m")) == stem + "x" * (room - 1)


def test_labels_name_the_run_the_resource_and_its_spec(tmp_path: Path) -> None:
    run, spec = make_run(tmp_path, InMemoryExecutor()), EndpointSpec("a", 0, "v", "m", {"z": 1, "a": 2})
    digest = run.spec_hash(spec)
    assert run.labels(spec) == {"EVALX_RUN": run.run_id, "EVALX_RESOURCE": run.resource_name(spec), "EVALX_SPEC": digest}
    assert re.fullmatch("[0-9a-f]{16}", digest)
    assert digest == run.spec_hash(EndpointSpec("a", 0, "v", "m", {"a": 2, "z": 1})), "the order of options is no difference"


def test_folders_are_numbered_and_readable(tmp_path: Path) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    endpoint = EndpointHandle(EndpointSpec("Llama 3.1_8B", 12, "v", "m", attempt=1), "x")
    assert run.endpoint_dir(endpoint) == run.directory / "endpoints" / "012-Llama-3.1_8B-r1"
    assert run.endpoint_dir(endpoint).is_dir()
    for name, slug in {"..a/b!!": "a-b", "-.X.Y.X.-": "X.Y.X", "x" * 80: "x" * 60}.items():
        assert run.task_dir(TaskSpec(name, 5, "h", "e")) == run.directory / "tasks" / f"005-{slug}"


def test_a_token_is_the_hmac_of_run_and_purpose(tmp_path: Path, evalx_home: Path) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    token = run.token("endpoints")
    mac = hmac.digest((evalx_home / "key").read_bytes(), f"{run.run_id}:endpoints".encode(), "sha256")
    assert base64.urlsafe_b64decode(token + "=") == mac
    assert redact(f"it is {token}") == "it is <endpoints token>"


def test_the_key_is_kept_from_others_and_made_once(evalx_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALX_STATE_DIR", str(evalx_home / "deep" / "er"))
    key = state_key()
    assert len(key) == 32 and state_key() == key
    assert stat.S_IMODE((evalx_home / "deep" / "er").stat().st_mode) == 0o700
    _make(evalx_home / "deep" / "er" / "key")  # as a process does that saw no key a moment ago
    assert state_key() == key
    assert [path.name for path in (evalx_home / "deep" / "er").iterdir()] == ["key"]


def test_a_key_that_cannot_be_made_is_named(evalx_home: Path) -> None:
    evalx_home.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=f"^the key {evalx_home / 'key'} can be neither read nor made: "):
        state_key()


def test_only_references_to_this_machine_are_read_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    monkeypatch.setenv("EVALX_TEST_PRESENT", "value")
    with pytest.raises(ConfigError, match=r"^environment variable EVALX_TEST_PRESENT is not set$") as caught:
        run.secret(Secret("secret:EVALX_TEST_PRESENT"))
    assert caught.value.hint == "export EVALX_TEST_PRESENT=…"


def test_reports_are_kept_by_resource_whoever_gives_them(tmp_path: Path) -> None:
    run = make_run(tmp_path, InMemoryExecutor())
    endpoint, task = EndpointSpec("a", 0, "v", "m"), TaskSpec("a", 0, "h", "a")
    run.report(EndpointHandle(endpoint, "x"), "loading", "weights", 1, 4, 77, True)
    run.report(task, "asking")
    assert run.last_report(endpoint) == Report("loading", "weights", 1, 4, 77, True)
    assert run.last_report(task) == Report("asking", None, None, None, None, None)
    assert run.last_report(evolve(task, attempt=1)) is None


def test_reports_look_alike_if_a_user_sees_no_difference() -> None:
    report = Report("asking", "why", 1, 4, 77, True)
    assert report.looks_like(evolve(report, activity=78)) and report.looks_like(evolve(report, queued=None))
    assert not report.looks_like(None)
    for change in ({"phase": "x"}, {"reason": None}, {"done": 2}, {"total": 5}):
        assert not report.looks_like(evolve(report, **change))


def test_a_result_is_what_the_files_say_and_what_the_executor_knows_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, task = make_run(tmp_path, InMemoryExecutor()), TaskSpec("t", 0, "command", "e", {"argv": ["true"]})
    assert run.result(task, exit_code=0).outcome is Outcome.NO_RESULT
    results = run.task_dir(task) / "results"
    results.mkdir()
    (results / "results.json").write_text('{"schema": 1, "metrics": [{"name": "accuracy", "value": 0.5}]}')
    monkeypatch.setenv("EVALX_TEST_TOKEN", "secret-value")
    (results / "said.txt").write_text("secret-value")
    passed = run.result(task, exit_code=0, started=3.0, ended=5.0)
    assert (passed.spec, passed.outcome, passed.started, passed.ended) == (task, Outcome.PASSED, 3.0, 5.0)
    assert [(metric.name, metric.value) for metric in passed.metrics] == [("accuracy", 0.5)]
    assert (results / "said.txt").read_text() == "*" * 12
    assert run.result(task, exit_code=1).outcome is Outcome.FAILED
    lost = run.result(task, outcome=Outcome.LOST, reason="the machine went away")
    assert (lost.outcome, lost.reason) == (Outcome.LOST, "the machine went away")
