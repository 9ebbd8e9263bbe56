"""The executor's hooks over the real SDK, against the emulated workspace."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from tests.lepton.conftest import World, program, question, server, until

from evalx.errors import EndpointFailed, TaskRefused, TransientError
from evalx.logtimes import offset
from evalx.model import EndpointHandle, EndpointSpec, Outcome, TaskHandle, TaskSpec
from evalx_lepton.emulator.settings import EndpointFault, Fault, JobFault
from evalx_lepton.harvest import pages
from evalx_lepton.problems import NotFound
from evalx_lepton.sdk import Workspace
from evalx_lepton.settings import EvaluationTasks, LeptonPlatform, LeptonSettings, TaskPlatform
from evalx_lepton.states import Phase
from evalx_lepton.tasks import SHORT_PATIENCE

Worlds = Callable[..., World]


def chosen(**tasks: Any) -> LeptonSettings:
    return LeptonSettings(type="lepton", lepton_platform=LeptonPlatform(tasks=TaskPlatform(**tasks)))


class TestFromBeginningToEnd:
    @pytest.mark.parametrize(
        "emulator", [{}, {"new_endpoints": True, "secure_defaults": True}, {"keep_labels": False}, {"mounts": "substitute"}]
    )
    def test_on_every_kind_of_workspace(self, world: Worlds, emulator: dict[str, Any]) -> None:
        task = question()
        here = world([server()], [task], emulator=emulator)
        result = here.result(here.submit(task, here.ready()))
        assert result.outcome is Outcome.PASSED, result.reason
        assert [metric.value for metric in result.metrics] == [1.0]
        assert "asked one question" in (here.run.task_dir(task) / "output.log").read_text()
        for handle in reversed(here.made):
            here.remove(handle)
        until(here.hooks.teardown)
        assert here.emulator.alive() == []

    @pytest.mark.parametrize("emulator", [{"log_collection": False}, {"log_lag": 1.0}, {"log_resolution": 10**9}, {"list_lag": 0.3}])
    def test_results_come_home_whatever_the_log_is_like(self, world: Worlds, emulator: dict[str, Any]) -> None:
        # No more lines in one second than a page has: what is above that of one moment, no page can show.
        code = "import json, time\nfor n in range(12000): print('line', n, flush=not n % 4000); n % 4000 or time.sleep(0.7)\n"
        code += "open('results/big', 'wb').write(__import__('os').urandom(200000))\n"
        task = program(code + QUIET_RESULT)
        here = world([server()], [task], emulator=emulator)
        result = here.result(here.submit(task, here.ready()))
        assert result.outcome is Outcome.PASSED, result.reason
        log = (here.run.task_dir(task) / "output.log").read_text().split()
        assert [int(word) for word in log[1::2]] == list(range(12000))

    def test_without_shared_storage(self, world: Worlds) -> None:
        task = question()
        settings = LeptonSettings(type="lepton", evaluation_tasks=EvaluationTasks(use_shared_storage=False))
        here = world([server()], [task], chosen=settings)
        assert here.result(here.submit(task, here.ready())).outcome is Outcome.PASSED

    def test_a_data_folder_travels_with_the_job(self, world: Worlds, tmp_path: Path) -> None:
        (tmp_path / "data" / "deep").mkdir(parents=True)
        (tmp_path / "data" / "deep" / "a.txt").write_text("täxt")
        code = "import os, sys; assert open(f'{sys.argv[1]}/deep/a.txt').read() == 'täxt'; import json\n" + QUIET_RESULT
        task = program(code, "{dataset_dir}", dataset_dir=str(tmp_path / "data"))
        here = world([server()], [task])
        result = here.result(here.submit(task, here.ready()))
        assert result.outcome is Outcome.PASSED, result.reason

    def test_files_too_large_for_a_log_stay_on_the_mount(self, world: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("evalx_lepton.job.MAX_ARCHIVE", 50_000)
        task = program("import json, os; open('results/big', 'wb').write(os.urandom(100_000))\n" + QUIET_RESULT)
        here = world([server()], [task])
        result = here.result(here.submit(task, here.ready()))
        assert result.outcome is Outcome.PASSED
        name = f"{here.run.run_id}/{here.run.resource_name(task)}/results/big"
        elsewhere = [file for file in result.artifacts if file.path.startswith("node-nfs:")]
        assert [(file.path, file.size) for file in elsewhere] == [
            (f"node-nfs:lepton-shared-fs:/shared/nemo-evaluator-launcher-workspace/{name}", 100_000)
        ]
        assert list(here.emulator.state.rglob(f"*{name}"))


QUIET_RESULT = "json.dump({'schema': 1, 'metrics': [{'name': 'a', 'value': 1.0}]}, open('results/results.json', 'w'))"


class TestEndpoints:
    @pytest.mark.parametrize("new_endpoints", [False, True])
    @pytest.mark.parametrize(("kind", "said"), [("config_error", "ConfigError"), ("image_pull", "pull image|ErrImagePull")])
    def test_the_hopeless_fail_at_once(self, world: Worlds, kind: Any, said: str, new_endpoints: bool) -> None:
        here = world([server()], emulator={"endpoint_faults": (EndpointFault(kind),), "new_endpoints": new_endpoints})
        with pytest.raises(EndpointFailed, match=said):
            here.ready()

    def test_no_capacity_is_waited_for_with_its_reason(self, world: Worlds) -> None:
        here = world([server()], emulator={"endpoint_faults": (EndpointFault("no_capacity"),)})
        handle = here.deploy(here.run.plan.endpoints[0])
        until(lambda: here.hooks.wait_ready(handle) or "NoCapacity" in str(here.run.last_report(handle.spec)))

    def test_one_that_is_deleted_by_somebody_fails(self, world: Worlds) -> None:
        here = world([server()])
        handle = here.ready()
        Workspace().delete_endpoint(handle.resource)
        with pytest.raises(EndpointFailed, match=r"gone|being deleted"):
            until(lambda: here.hooks.wait_ready(handle) and None)

    def test_the_answer_to_create_is_lost(self, world: Worlds) -> None:
        fault = Fault("reset", method="POST", path="/deployments", when="after", times=1)
        here = world([server()], emulator={"faults": (fault,)})
        spec = here.run.plan.endpoints[0]
        with pytest.raises(TransientError):
            here.deploy(spec)
        assert here.hooks.deploy(spec).resource == here.run.resource_name(spec)
        assert len(here.alive(here.run.resource_name(spec))) == 1
        assert here.emulator.calls["POST /deployments"] == 1, "a second call that comes late could make it anew when it has been deleted"

    def test_the_log_is_kept_when_it_is_deleted(self, world: Worlds) -> None:
        here = world([server()])
        handle = here.ready()
        assert next(iter(here.hooks.read_logs(handle, follow=False) or ())).startswith("listening")
        here.remove(handle)
        assert "listening" in (here.run.endpoint_dir(handle) / "output.log").read_text()

    def test_create_calls_carry_marks_token_and_limits(self, world: Worlds) -> None:
        here = world([server(lepton_config={"endpoint_name": "mine"})])
        handle = here.deploy(here.run.plan.endpoints[0])
        found = Workspace()._client.deployment.get(handle.resource)
        assert found.metadata.labels["EVALX_RUN"] == here.run.run_id
        env = {variable.name: variable.value for variable in found.spec.envs}
        assert env["EVALX_SPEC"] == here.run.spec_hash(handle.spec)
        assert env["EVALX_NAME"] == "mine"
        assert (env["SERVED_MODEL_NAME"], env["MODEL_PATH"], env["MODEL_PORT"]) == ("stub", "example/stub", "8000")
        assert found.spec.auto_scaler.scale_down.no_traffic_timeout > 3600
        assert len(found.spec.api_tokens) == 1
        assert found.spec.resource_requirement.min_replicas == 1


class TestJobs:
    def test_the_answer_to_create_is_lost_and_there_is_one_job(self, world: Worlds) -> None:
        task = question()
        fault = Fault("reset", method="POST", path="/jobs", when="after", times=1)
        here = world([server()], [task], emulator={"faults": (fault,), "list_lag": 0.3})
        endpoint = here.ready()
        with pytest.raises(TransientError):
            here.submit(task, endpoint)

        def again() -> TaskHandle | None:
            try:
                return here.hooks.run_task(task, endpoint)
            except TransientError:
                return None

        handle = until(again)
        assert len(here.alive(handle.resource)) == 1
        assert here.result(handle).outcome is Outcome.PASSED

    def test_the_call_is_lost_and_there_is_one_job_in_the_end(self, world: Worlds) -> None:
        task = question()
        here = world([server()], [task], emulator={"faults": (Fault("reset", method="POST", path="/jobs", when="before", times=1),)})
        endpoint = here.ready()
        with pytest.raises(TransientError):
            here.submit(task, endpoint)
        with pytest.raises(TransientError, match="not known yet") as waiting:
            here.hooks.run_task(task, endpoint)
        time.sleep(waiting.value.retry_after or 0)
        handle = until(lambda: here.hooks.run_task(task, endpoint))
        assert len(here.alive(handle.resource)) == 1

    def test_twins_are_reduced_to_one(self, world: Worlds) -> None:
        task = program("import time; time.sleep(600)")
        here = world([server()], [task])
        endpoint = here.ready()
        first = here.submit(task, endpoint)
        workspace = Workspace()
        body = json.loads(workspace._client.job.get(first.data["id"]).model_dump_json(exclude_none=True, by_alias=True))
        body["metadata"] = {"id": first.resource, "name": first.resource, "labels": body["metadata"]["labels"]}
        workspace.create_job({"metadata": body["metadata"], "spec": body["spec"]})
        assert len(here.alive(first.resource)) == 2
        assert here.again().submit(task, endpoint).data == first.data
        until(lambda: len(here.alive(first.resource)) == 1)

    def test_another_process_collects(self, world: Worlds) -> None:
        task = question()
        here = world([server()], [task])
        handle = here.submit(task, here.ready())
        assert here.again().result(handle).outcome is Outcome.PASSED

    @pytest.mark.parametrize(
        ("kind", "outcomes"),
        [
            ("vanish", {Outcome.LOST, Outcome.CANCELLED}),  # by whether it came to tell that it was asked to end
            ("preempt", {Outcome.CANCELLED}),
            ("fail", {Outcome.FAILED}),
            ("unknown", set()),
        ],
    )
    def test_what_becomes_of_jobs_that_do_not_end_by_themselves(
        self, world: Worlds, kind: Any, outcomes: set[Outcome], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(SHORT_PATIENCE, Phase.STOPPED, 1.0)
        task = program("import time; time.sleep(600)")
        here = world([server()], [task], emulator={"job_faults": (JobFault(kind, after=0.5),)}, chosen=chosen(log_timeout=2.0))
        handle = here.submit(task, here.ready())
        if not outcomes:
            until(lambda: here.hooks.collect(handle) or getattr(here.run.last_report(task), "phase", "") == "unknown")
            return
        result = here.result(handle)
        assert result.outcome in outcomes, result.reason
        assert result.reason
        assert result.metrics == ()

    def test_a_log_that_never_comes_ends_without_result_and_says_where_the_files_are(self, world: Worlds) -> None:
        task = question()
        faults = (Fault(404, method="GET", path="/jobs/*/replicas"),)
        here = world([server()], [task], emulator={"log_lag": 3600.0, "faults": faults}, chosen=chosen(log_timeout=2.0))
        result = here.result(here.submit(task, here.ready()))
        assert result.outcome is Outcome.NO_RESULT
        assert f"/shared/nemo-evaluator-launcher-workspace/{here.run.run_id}/" in (result.reason or "")

    def test_an_image_that_cannot_be_had_ends_the_task(self, world: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(SHORT_PATIENCE, Phase.FAILED, 1.0)
        task = question()
        here = world([server()], [task], emulator={"job_faults": (JobFault("image_pull"),)})
        result = here.result(here.submit(task, here.ready()))
        assert result.outcome is Outcome.FAILED
        assert "ErrImagePull" in (result.reason or "")

    def test_retry_after_reaches_the_core(self, world: Worlds) -> None:
        task = question()
        faults = (Fault(429, method="GET", path="/jobs", retry_after=7, times=1),)
        here = world([server()], [task], emulator={"faults": faults})
        endpoint = here.ready()
        with pytest.raises(TransientError) as caught:
            here.submit(task, endpoint)
        assert caught.value.retry_after == 7

    def test_logs_of_a_job_live_and_past(self, world: Worlds) -> None:
        task = program("import time\nfor n in range(8): print('step', n, flush=True); time.sleep(0.2)")
        here = world([server()], [task])
        handle = here.submit(task, here.ready())
        steps = [f"step {n}" for n in range(8)]
        assert [line for line in here.hooks.read_logs(handle, follow=True) or () if line] == steps
        assert [line for line in here.hooks.read_logs(handle, follow=False) or () if line] == steps

    @pytest.mark.parametrize("lag", [0.0, 1.0], ids="history {} s late".format)
    def test_logs_of_a_job_since_a_time(self, world: Worlds, tmp_path: Path, lag: float) -> None:
        task = two_halves(tmp_path / "go")
        here = world([server()], [task], emulator={"log_lag": lag})
        handle = here.submit(task, here.ready())

        def lines(follow: bool, since: float | None = None) -> list[str]:
            return [line for line in here.hooks.read_logs(handle, follow=follow, since=since) or () if line]

        until(lambda: "one 2" in recorded(handle))
        time.sleep(BETWEEN)
        since = time.time()
        (tmp_path / "go").touch()
        assert lines(follow=True, since=since) == ["two 0", "two 1", "two 2"]
        until(lambda: "two 2" in recorded(handle))
        assert lines(follow=False, since=since) == ["two 0", "two 1", "two 2"]
        here.result(handle)
        log = here.run.task_dir(task) / "output.log"
        begins = offset(log, since)
        assert begins is not None and log.read_text()[begins:].split() == ["two", "0", "two", "1", "two", "2"]

    def test_times_outlast_a_history_that_comes_late(self, world: Worlds, tmp_path: Path) -> None:
        task = two_halves(tmp_path / "go")
        here = world([server()], [task], emulator={"log_lag": 3.0})
        handle = here.submit(task, here.ready())
        until(lambda: "one 2" in recorded(handle))
        time.sleep(BETWEEN)
        since = time.time()
        (tmp_path / "go").touch()
        here.result(handle)
        log = here.run.task_dir(task) / "output.log"
        begins = offset(log, since)
        assert begins is not None and log.read_text()[begins:].split()[-2:] == ["two", "2"] and "one" not in log.read_text()[begins:]


BETWEEN = 0.5
"""Seconds between what was written before a time and that time; the workspace's clock is known by what its answers bear."""


def recorded(handle: TaskHandle) -> list[str]:
    """What the history of a job's log has: lines that bear times."""
    try:
        return [text for page in pages(Workspace(), "job", str(handle.data["id"]), int((time.time() - 3600) * 10**9)) for _, text in page]
    except NotFound:
        return []


def two_halves(go: Path) -> TaskSpec:
    """Prints three lines, waits for a file, and prints three more."""
    return program(f"""
        import pathlib, time
        for n in range(3): print('one', n, flush=True)
        while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)
        for n in range(3): print('two', n, flush=True)
    """)


class TestWhatIsNotOurs:
    """50 look-alikes: same beginnings, labels of other runs, marks without name, names without marks."""

    def test_look_alikes_survive_cleanup_and_discovery(self, world: Worlds) -> None:
        task = program("import time; time.sleep(600)")
        here = world([server()], [task])
        handle = here.submit(task, here.ready())
        foreign = self._create(here)
        other = here.again()
        found = {one.resource for one in other.hooks.discover() if one.mine}
        assert found >= {handle.resource, here.run.resource_name(here.run.plan.endpoints[0])}
        assert not found & foreign
        for made in (*here.made, *(EndpointHandle(server(), name) for name in foreign), *(TaskHandle(task, name) for name in foreign)):
            here.remove(made)
        until(here.hooks.teardown)
        names = {name.partition("/")[2] for name in here.emulator.alive()}
        assert {name for name in foreign if not any(one.startswith(name) for one in names)} == set()
        assert not any(name.startswith(handle.resource) for name in names)
        deletes = sum(count for call, count in here.emulator.calls.items() if call.startswith(("DELETE", "PATCH", "PUT")))
        assert deletes == 2 + 1  # the endpoint, the job, the token's secret

    def _create(self, here: World) -> set[str]:
        run_id, workspace = here.run.run_id, Workspace()
        names = set()
        for number in range(25):
            marks = [{}, {"EVALX_RUN": "aaaaaaaaaaa"}, {"EVALX_RUN": run_id}, {"EVALX_RUN": run_id, "EVALX_RESOURCE": "x"}][number % 4]
            name = f"evalx-{run_id}-e{number + 5}" if number % 2 else f"evalx-look-alike-{number}"
            spec = {
                "container": {"image": "example.test/vllm:1", "command": ["x"]},
                "resource_requirement": {"resource_shape": "cpu.small"},
            }
            envs = [{"name": key, "value": value} for key, value in marks.items()]
            workspace.create_endpoint({"metadata": {"id": name, "labels": marks}, "spec": {**spec, "envs": envs}})
            names.add(name)
            job = f"evalx-{run_id}-t{number + 5}" if number % 2 else f"evalx-look-alike-job-{number}"
            container = {"image": "example.test/eval:1", "command": ["sleep", "600"]}
            workspace.create_job(
                {"metadata": {"id": job, "labels": marks}, "spec": {"resource_shape": "cpu.small", "container": container, "envs": envs}}
            )
            names.add(job)
        return names

    def test_a_foreign_endpoint_of_our_name_is_not_adopted(self, world: Worlds) -> None:
        here = world([server()])
        name = here.run.resource_name(here.run.plan.endpoints[0])
        spec = {"container": {"image": "example.test/vllm:1", "command": ["x"]}, "resource_requirement": {"resource_shape": "cpu.small"}}
        Workspace().create_endpoint({"metadata": {"id": name}, "spec": spec})
        with pytest.raises(EndpointFailed, match="exists already"):
            here.hooks.deploy(here.run.plan.endpoints[0])
        assert here.hooks.cleanup(EndpointHandle(here.run.plan.endpoints[0], name)) is True
        assert here.alive(name)

    def test_a_job_of_another_configuration_is_not_adopted(self, world: Worlds) -> None:
        task = program("import time; time.sleep(600)")
        here = world([server()], [task])
        endpoint = here.ready()
        here.submit(task, endpoint)
        with pytest.raises(TaskRefused, match="exists already"):
            here.again().submit(evolve(task, timeout=61.0), endpoint)


class TestStorage:
    def test_purge_removes_the_runs_folder_only(self, world: Worlds) -> None:
        task = question()
        here = world([server()], [task])
        here.result(here.submit(task, here.ready()))
        shared = here.emulator.state / "storage" / "node-nfs" / "lepton-shared-fs" / "shared" / "nemo-evaluator-launcher-workspace"
        (shared / "others").mkdir()
        assert (shared / here.run.run_id).is_dir()
        until(here.hooks.purge)
        assert [path.name for path in shared.iterdir()] == ["others"]


class TestExistingEndpoint:
    def test_it_is_asked_with_its_key_and_never_deleted(self, world: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
        owner = world([server()])
        served = owner.ready()
        monkeypatch.setenv("MY_KEY", owner.run.token("endpoint"))
        target = {"url": f"{served.url}/v1/chat/completions", "model_id": "stub", "api_key_name": "MY_KEY"}
        spec = EndpointSpec("model", 0, "none", "stub", {"deployment": {"type": "none"}, "target": target})
        code = question().options["params"]["command"]
        task = evolve(
            question(),
            options={
                **question().options,
                "params": {"command": [code[0], code[1], code[2].replace("API_KEY", "MY_KEY"), *code[3:]]},
                "api_key_name": "MY_KEY",
            },
        )
        here = world([spec], [task], emulator=owner.emulator)
        assert [finding for finding in here.hooks.preflight() if finding.level == "error"] == []
        handle = here.ready()
        assert handle.owned is False
        result = here.result(here.submit(task, handle))
        assert result.outcome is Outcome.PASSED, result.reason
        assert here.hooks.cleanup(handle) is True
        assert owner.alive(served.resource)
