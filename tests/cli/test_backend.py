"""`cleanup --all-runs --executor`, `cleanup --storage` and the preview of `plan`, with an executor of another distribution."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.cloud import CLOUD, Cloud, CloudExecutor

from evalx import backend
from evalx.errors import AuthError, ConfigError, EvalxError
from evalx.model import EndpointSpec, Finding, Found, RunPlan, TaskSpec
from evalx.plan import new_run_id
from evalx.store import Store
from evalx.store.states import ResourceState

SWEEP = ("cleanup", "--all-runs", "--executor", "cloud")

A, B = "aaaaaaaaaaa", "bbbbbbbbbbb"

ENTRY_POINTS = """
[evalx.executors]
cloud = tests.cli.cloud:CloudExecutor
plain = evalx.testing:InMemoryExecutor
[evalx.cloud.deployments]
stub = tests.cli.cloud:Stub
"""


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    info = tmp_path / "site" / "cloud-2.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cloud\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    CLOUD.reset()
    yield CLOUD
    CLOUD.reset()


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "my.yaml").write_text(
        "execution: {type: cloud}\ndeployment: {type: stub}\nevaluation:\n  harness: command\n"
        "  tasks: [{name: math, harness_config: {command: ['true']}}]\n"
    )
    return "my.yaml"


def endpoint(run_id: str, number: int = 0, **more: Any) -> Found:
    return Found(run_id, "endpoint", f"evalx-{run_id}-e{number}", "Ready", **{"mine": True, "owner": "me@x", **more})


def task(run_id: str, number: int = 0, **more: Any) -> Found:
    return Found(run_id, "task", f"evalx-{run_id}-t{number}", "Running", **{"mine": True, "owner": "me@x", **more})


def secret(run_id: str, **more: Any) -> Found:
    return Found(run_id, "secret", f"evalx-{run_id}-KEY", **{"mine": True, **more})


def given_up(folder: Path, executor: str) -> str:
    """A run in the store that nobody works on and whose endpoint may be alive; its id."""
    spec = EndpointSpec("one", 0, "stub", "m")
    plan = RunPlan(new_run_id(), executor, (spec,), (TaskSpec("one", 0, "command", "one"),), execution={"type": executor})
    with Store() as store, store.create(plan, folder / plan.run_id, "") as journal:
        journal.resource(spec, f"evalx-{plan.run_id}-e0", ResourceState.READY)
    return plan.run_id


def outcomes(done: Any) -> dict[str, str | None]:
    return {entry["resource"]: entry["outcome"] for entry in done.json["found"]}


class TestListing:
    def test_it_shows_everything_and_changes_nothing(self, evalx: Any, cloud: Cloud) -> None:
        cloud.there = [endpoint(A, created=time.time() - 3700), task(A), secret(A), endpoint(B, mine=False, owner="them@x")]
        done = evalx(*SWEEP)
        assert done.code == 7
        assert f"run {A}, not known here" in done.out
        row = next(line.split() for line in done.out.splitlines() if f"evalx-{A}-e0" in line)
        assert row == ["endpoint", f"evalx-{A}-e0", "Ready", "1h01m", "you", "(me@x)"]
        assert "not you (them@x)" in done.out
        assert max(map(len, done.out.splitlines())) <= 80
        assert "to delete: evalx cleanup --all-runs --executor cloud --apply" in done.err
        assert (cloud.deletes, cloud.teardowns, len(cloud.there)) == ([], [], 4)

    def test_as_json(self, evalx: Any, cloud: Cloud) -> None:
        cloud.there = [endpoint(A, created=100.0), endpoint(B, mine=False)]
        done = evalx(*SWEEP, "--json")
        assert (done.code, done.err, done.json["applied"], done.json["executor"]) == (7, "", False, "cloud")
        mine, theirs = done.json["found"]
        assert (mine["run_id"], mine["kind"], mine["state"], mine["owner"], mine["created"]) == (A, "endpoint", "Ready", "me@x", 100.0)
        assert (mine["deletable"], mine["known"], mine["in_use"], mine["outcome"]) == (True, False, None, None)
        assert (theirs["deletable"], theirs["reason"]) == (False, "not yours")

    def test_nothing_of_ours_is_fine(self, evalx: Any, cloud: Cloud) -> None:
        cloud.there = [endpoint(B, mine=False)]
        assert evalx(*SWEEP).code == 0
        cloud.there = []
        done = evalx(*SWEEP)
        assert (done.code, done.out) == (0, "")

    def test_what_the_store_knows_is_not_told_twice(self, evalx: Any, cloud: Cloud, stored: Any) -> None:
        run = stored("one", "two")
        run.endpoint(0, ResourceState.READY)
        run.endpoint(1, ResourceState.READY)
        run.abandon()
        cloud.there = [endpoint(run.run_id)]
        done = evalx(*SWEEP)
        assert done.out.count(f"evalx-{run.run_id}-e0") == done.out.count(f"evalx-{run.run_id}-e1") == 1
        assert f"run {run.run_id}, known here, nobody works on it" in done.out

    def test_settings_are_changed_by_overrides(self, evalx: Any, cloud: Cloud) -> None:
        assert evalx(*SWEEP, "execution.output_dir=elsewhere").code == 0
        done = evalx(*SWEEP, "execution.output_dri=elsewhere")
        assert done.code == 2
        assert "unknown key" in done.err
        assert "did you mean 'output_dir'?" in done.err


class TestDeleting:
    def test_what_is_ours_goes_and_is_proven_gone(self, evalx: Any, cloud: Cloud) -> None:
        cloud.there = [endpoint(A), task(A), secret(A), task(B), endpoint("ccccccccccc", mine=False)]
        done = evalx(*SWEEP, "--apply")
        assert done.code == 0, done.err
        assert cloud.names == ["evalx-ccccccccccc-e0"]
        assert sorted(cloud.deletes) == [(A, f"evalx-{A}-e0"), (A, f"evalx-{A}-t0"), (B, f"evalx-{B}-t0")]
        assert sorted(cloud.teardowns) == [A, B]
        assert cloud.looks == 2
        assert "cloud: 4 resources gone, nothing of yours is left there" in done.err
        assert "left alone: evalx-ccccccccccc-e0 (not yours)" in done.err

    def test_as_json(self, evalx: Any, cloud: Cloud) -> None:
        cloud.there = [endpoint(A), endpoint(B, mine=False)]
        done = evalx(*SWEEP, "--apply", "--json")
        assert (done.code, done.err, done.json["applied"]) == (0, "", True)
        assert outcomes(done) == {f"evalx-{A}-e0": "gone", f"evalx-{B}-e0": "left_alone"}

    def test_nothing_of_a_run_that_a_process_works_on_is_touched(self, evalx: Any, cloud: Cloud, stored: Any) -> None:
        busy, given_up = stored("one"), stored("one")
        given_up.close()
        cloud.there = [endpoint(busy.run_id), secret(busy.run_id), endpoint(given_up.run_id)]
        assert f"run {busy.run_id}, in use by process {os.getpid()}" in evalx(*SWEEP).out
        done = evalx(*SWEEP, "--apply")
        assert done.code == 0
        assert f"left alone: evalx-{busy.run_id}-e0 (in use by process {os.getpid()})" in done.err
        assert cloud.names == [f"evalx-{busy.run_id}-KEY", f"evalx-{busy.run_id}-e0"]
        assert cloud.teardowns == [given_up.run_id]

    def test_what_appears_late_goes_too(self, evalx: Any, cloud: Cloud) -> None:
        """The call that created it was under way when its process was killed."""
        cloud.there, cloud.late = [endpoint(A)], [task(A)]
        assert evalx(*SWEEP, "--apply").code == 0
        assert cloud.there == []
        assert cloud.looks == 3

    def test_the_settle_window_is_waited_for(self, evalx: Any, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        cloud.there = [endpoint(A)]
        pauses: list[float] = []
        sleep = backend.asyncio.sleep

        async def spy(seconds: float) -> None:
            pauses.append(seconds)
            await sleep(0)

        monkeypatch.setattr(backend.asyncio, "sleep", spy)
        cloud.settle = 1000.0
        assert evalx(*SWEEP, "--apply").code == 0
        assert max(pauses) > 600

    def test_a_new_run_of_ours_is_left_for_the_next_time(self, evalx: Any, cloud: Cloud) -> None:
        """What began after the list was made cannot be what the user meant."""
        cloud.there, cloud.late = [endpoint(A)], [endpoint(B)]
        assert evalx(*SWEEP, "--apply").code == 0
        assert cloud.names == [f"evalx-{B}-e0"]

    def test_what_cannot_be_deleted_is_told_and_ends_with_7(self, evalx: Any, cloud: Cloud) -> None:
        def refuse(name: str) -> bool:
            if name.endswith("e0"):
                raise EvalxError("the cloud says no", "ask somebody")
            return True

        cloud.there, cloud.on_cleanup = [endpoint(A), endpoint(A, 1), secret(A)], refuse
        done = evalx(*SWEEP, "--apply")
        assert done.code == 7
        assert f"may be alive: evalx-{A}-e0 (the cloud says no (hint: ask somebody))" in done.err
        assert f"may be alive: evalx-{A}-KEY (there is more of the same run that could not be deleted)" in done.err
        assert f"gone: evalx-{A}-e1" in done.err
        assert cloud.teardowns == []

    def test_what_is_said_to_be_gone_and_is_still_listed_ends_with_7(
        self, evalx: Any, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backend, "CLEANUP_DEADLINE", 0.3)
        monkeypatch.setattr(CloudExecutor, "_drop", lambda *_: None)
        cloud.there = [endpoint(A)]
        done = evalx(*SWEEP, "--apply", "--json")
        assert done.code == 7
        assert outcomes(done) == {f"evalx-{A}-e0": "may_be_alive"}

    def test_what_never_goes_ends_with_7(self, evalx: Any, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backend, "CLEANUP_DEADLINE", 0.3)
        cloud.there, cloud.on_cleanup = [endpoint(A)], lambda _name: False
        done = evalx(*SWEEP, "--apply")
        assert done.code == 7
        assert "not done after 0 s" in done.err

    def test_ctrl_c_ends_with_7_and_names_what_is_left(self, evalx: Any, cloud: Cloud) -> None:
        def interrupt(_name: str) -> bool:
            os.kill(os.getpid(), signal.SIGINT)
            return False

        cloud.there, cloud.on_cleanup = [endpoint(A)], interrupt
        done = evalx(*SWEEP, "--apply")
        assert done.code == 7
        assert f"may be alive: evalx-{A}-e0" in done.err

    def test_a_name_that_somebody_else_has_too_is_not_deleted(self, evalx: Any, cloud: Cloud) -> None:
        cloud.there = [task(A), task(A, mine=False, owner="them@x"), endpoint(A)]
        done = evalx(*SWEEP, "--apply")
        assert done.code == 7
        assert [name for _, name in cloud.deletes] == [f"evalx-{A}-e0"]
        assert f"may be alive: evalx-{A}-t0 (somebody else has one of the same name)" in done.err

    def test_a_run_that_is_shared_is_not_torn_down(self, evalx: Any, cloud: Cloud) -> None:
        cloud.there = [task(A), secret(A, mine=False)]
        assert evalx(*SWEEP, "--apply").code == 0
        assert (cloud.names, cloud.teardowns) == ([f"evalx-{A}-KEY"], [])

    def test_what_has_but_a_name_like_ours_is_left_alone(self, evalx: Any, cloud: Cloud) -> None:
        """A secret bears no marks, and its value could not be had back."""
        cloud.there = [endpoint(A), secret(A), secret(B)]
        done = evalx(*SWEEP, "--apply")
        assert (done.code, cloud.names) == (0, [f"evalx-{B}-KEY"])
        assert f"left alone: evalx-{B}-KEY (nothing but its name says that it is evalx's" in done.err
        assert cloud.teardowns == [A]

    def test_a_secret_that_outlasts_its_run_is_tried_again(self, evalx: Any, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the first listing has shown is still true when the rest of the run is gone."""
        cloud.there, drop, kept = [endpoint(A), secret(A)], CloudExecutor._drop, [True]

        def lag(self: CloudExecutor, goes: Any) -> None:
            if cloud.teardowns and kept:
                kept.clear()
                return
            drop(self, goes)

        monkeypatch.setattr(CloudExecutor, "_drop", lag)
        assert evalx(*SWEEP, "--apply").code == 0
        assert (cloud.there, cloud.teardowns) == ([], [A, A])

    def test_runs_of_this_machine_are_cleaned_up_as_ever(self, evalx: Any, cloud: Cloud, tmp_path: Path) -> None:
        run_id = given_up(tmp_path, "cloud")
        cloud.there = [endpoint(A)]
        done = evalx(*SWEEP, "--apply", "--json")
        assert done.code == 0, done.err
        assert [entry["deleted"] for entry in done.json["runs"]] == [[f"evalx-{run_id}-e0"]]
        assert cloud.there == []

    def test_refused_credentials_are_told(self, evalx: Any, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(_self: Any) -> list[Found]:
            raise AuthError("the cloud does not know you", "log in")

        monkeypatch.setattr("evalx.facade.Hooks.discover", refused)
        for apply in ((), ("--apply",)):
            done = evalx(*SWEEP, *apply)
            assert (done.code, "the cloud does not know you" in done.err) == (4, True)


class TestUsage:
    def test_an_executor_that_cannot_be_asked(self, evalx: Any, cloud: Cloud) -> None:
        done = evalx("cleanup", "--all-runs", "--executor", "plain")
        assert done.code == 2
        assert "the plain executor cannot be asked what exists" in done.err

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (["last", "--executor", "cloud"], "--executor goes with --all-runs"),
            (["last", "execution.output_dir=x"], "with --all-runs --executor NAME only"),
            (["--all-runs", "execution.output_dir=x"], "with --all-runs --executor NAME only"),
            (["--all-runs", "--storage"], "--storage goes with one run"),
            (["one", "two"], "Name one run"),
            (["--all-runs", "--executor", "clowd"], "clowd"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_wrong_usage_ends_with_2(self, evalx: Any, cloud: Cloud, args: list[str], said: str) -> None:
        done = evalx("cleanup", *args)
        assert done.code == 2
        assert said in done.err


class TestStorage:
    def test_an_executor_without_files_elsewhere_says_where_they_are(self, evalx: Any, tmp_path: Path) -> None:
        run_id = given_up(tmp_path, "local")
        done = evalx("cleanup", "last", "--storage")
        assert done.code == 2
        assert f"the local executor keeps no files elsewhere\n hint: all of them are in {tmp_path / run_id}\n" in done.err

    def test_it_is_asked_until_they_are_gone(self, evalx: Any, cloud: Cloud, config: str) -> None:
        assert evalx("run", config).code == 0
        cloud.purges = [False, True]
        done = evalx("cleanup", "last", "--storage")
        assert (done.code, cloud.purges) == (0, [])
        assert "the run's files at the backend are deleted" in done.err
        cloud.purges = [True]
        assert evalx("cleanup", "last", "--storage", "--json").json["storage_deleted"] is True

    def test_what_is_not_done_in_time_ends_with_7(self, evalx: Any, cloud: Cloud, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
        assert evalx("run", config).code == 0
        monkeypatch.setattr(backend, "CLEANUP_DEADLINE", 0.1)
        cloud.purges = [False, False]
        done = evalx("cleanup", "last", "--storage")
        assert done.code == 7
        assert "may be left at the backend" in done.err


class TestPreview:
    def test_what_would_be_sent_is_shown_with_each_resource(self, evalx: Any, cloud: Cloud, config: str) -> None:
        for command in (("plan", config), ("run", config, "--dry-run")):
            done = evalx(*command)
            assert done.code == 0
            lines = done.out.splitlines()
            assert "    create: evalx-<run id>-e0-math" in lines
            assert "    - '<script: see the end>'" in lines
            assert lines[lines.index("    - |-") + 1 :][:2] == ["      x", "      y"]
            assert lines[lines.index("script") + 1 :][:2] == ["  set -e", "  echo 0"]
            assert lines[lines.index("secrets") + 1] == "  - host:TOKEN"
            assert "300 characters; --json shows" in done.out
            assert "A" * 41 not in done.out
        assert cloud.deletes == []

    def test_as_json_it_is_complete(self, evalx: Any, cloud: Cloud, config: str) -> None:
        shown = evalx("plan", config, "--json").json["preview"]
        assert shown["endpoints"]["math"] == {"create": "evalx-<run id>-e0-math", "data": "A" * 300}
        assert shown["tasks"]["math"]["argv"][2] == shown["script"]

    def test_an_executor_without_one(self, evalx: Any, tmp_path: Path) -> None:
        (tmp_path / "local.yaml").write_text(
            "defaults: [{execution: local/default}, {deployment: none}, _self_]\n"
            "target: {api_endpoint: {url: 'http://127.0.0.1:9/v1', model_id: m}}\n"
            "evaluation: {harness: command, tasks: [{name: math, harness_config: {command: ['true']}}]}\n"
        )
        assert evalx("plan", "local.yaml", "--json").json["preview"] is None
        assert "  sent" not in evalx("plan", "local.yaml").out.splitlines()

    def test_what_is_wrong_is_told_rather_than_shown(self, evalx: Any, cloud: Cloud, config: str) -> None:
        cloud.preview_error = ConfigError("no such shape")
        assert "error: no such shape" in evalx("plan", config).err
        cloud.findings = [Finding("error", "the shape is wrong")]
        done = evalx("plan", config)
        assert (done.code, "error: the shape is wrong" in done.err, "task math" in done.out) == (2, True, True)
