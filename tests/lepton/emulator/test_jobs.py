"""Jobs of the emulated workspace, through the real SDK."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from leptonai.api.v2.api_resource import ClientError
from leptonai.api.v2.types.deployment import EnvValue, EnvVar, Mount
from leptonai.api.v2.types.job import LeptonJobTimeSchedule
from leptonai.api.v2.types.secret import SecretItem
from tests.lepton.emulator.conftest import Emulate, job, log_text, sdk, until, until_job

SHOW = "echo $LEPTON_JOB_NAME $LEPTON_WORKER_ID $LEPTON_JOB_WORKER_INDEX/$LEPTON_JOB_TOTAL_WORKERS $SECRET"


def ids(jobs: list[Any]) -> set[str]:
    return {found.metadata.id_ for found in jobs}


def test_a_job_runs_to_its_end_and_is_remembered(emulate: Emulate) -> None:
    emulator = emulate()
    client = sdk(emulator)
    client.secret.create([SecretItem(name="S", value="hidden")])
    created = client.job.create(job(SHOW, envs=[EnvVar(name="SECRET", value_from=EnvValue(secret_name_ref="S"))]))
    name = created.metadata.id_
    assert created.metadata.name == "task" and name.startswith("task-")
    done = until_job(client, name, "Completed")
    assert (done.status.succeeded, done.status.failed, done.status.ready) == (1, 0, 0)
    assert done.status.completion_time >= done.status.creation_time > 1e12
    (replica,) = client.job.get_replicas(name)
    assert until(lambda: log_text(client, name)) == f"{name} {replica.metadata.id_} 0/1 hidden"
    assert emulator.alive() == [f"job/{name}", "secret/S"] and emulator.processes() == []
    assert [event.reason for event in client.job.get_events(name)] == ["Started", "Completed"]


def test_several_jobs_may_share_a_name(emulate: Emulate) -> None:
    client = sdk(emulate())
    both = {client.job.create(job("true")).metadata.id_ for _ in range(2)}
    assert len(both) == 2 and ids(client.job.list_all(q="tas")) == both
    assert client.job.list_all(q="other") == []


def test_a_job_that_fails(emulate: Emulate) -> None:
    client = sdk(emulate())
    name = client.job.create(job("exit 7")).metadata.id_
    failed = until_job(client, name, "Failed")
    assert (failed.status.failed, failed.status.succeeded) == (1, 0)
    assert "exit code 7" in str(client.job.get_events(name))


def test_a_failed_worker_is_started_again(emulate: Emulate) -> None:
    client = sdk(emulate())
    script = "echo attempt $LEPTON_JOB_FAILURE_COUNT; test $LEPTON_JOB_FAILURE_COUNT = 2"
    name = client.job.create(job(script, max_failure_retry=2)).metadata.id_
    done = until_job(client, name, "Completed", "Failed")
    assert (done.status.state.value, done.status.failed, len(client.job.get_replicas(name))) == ("Completed", 2, 3)
    assert log_text(client, name).split("\n") == ["attempt 0", "attempt 1", "attempt 2"]


def test_a_failed_job_is_started_again_and_keeps_its_history(emulate: Emulate) -> None:
    client = sdk(emulate())
    name = client.job.create(job("exit 1", max_job_failure_retry=1)).metadata.id_
    until_job(client, name, "Failed")
    status = until(lambda: (found := client.job.get(name).status).job_history and found.state.value == "Failed" and found)
    (first,) = status.job_history
    assert first.state.value == "Failed" and first.job_name != status.job_name
    assert client.log.get_log(job_history_name=first.job_name)["data"]["result"] == []


def test_workers_work_together_and_fail_together(emulate: Emulate) -> None:
    emulator = emulate(grace=0.5)
    client = sdk(emulator)
    good = client.job.create(job("sleep 0.3", completions=3, parallelism=3)).metadata.id_
    assert until_job(client, good, "Running").status.ready == 3
    assert until_job(client, good, "Completed").status.succeeded == 3
    bad = client.job.create(job('test "$LEPTON_JOB_WORKER_INDEX" = 0 || sleep 60; exit 1', completions=2, parallelism=2)).metadata.id_
    until_job(client, bad, "Failed")
    assert emulator.processes() == []


def test_a_stopped_job_can_be_started_again(emulate: Emulate) -> None:
    emulator = emulate()
    client = sdk(emulator)
    name = client.job.create(job("sleep 60")).metadata.id_
    until_job(client, name, "Running")
    client.job.update(name, {"spec": {"stopped": True}})
    until_job(client, name, "Stopped")
    client.job.update(name, {"spec": {"stopped": True}})
    assert emulator.processes() == []
    client.job.update(name, {"spec": {"stopped": False}})
    again = until_job(client, name, "Running")
    assert [past.state.value for past in again.status.job_history] == ["Stopped"]


def test_a_deleted_job_leaves_the_alive_lists(emulate: Emulate) -> None:
    emulator = emulate()
    client = sdk(emulator)
    name = client.job.create(job("sleep 60")).metadata.id_
    until_job(client, name, "Running")
    client.job.delete(name)
    until(lambda: not client.job.list_all())
    with pytest.raises(ClientError, match="404"):
        client.job.get(name, job_query_mode="alive_only")
    with pytest.raises(ClientError, match="404"):
        client.job.delete(name)
    assert client.job.get(name).status.state.value == "Deleted"
    assert emulator.alive() == [] and emulator.processes() == []


@pytest.mark.parametrize(("setting", "state"), [("Archived", "Archived"), ("final", "Completed")])
def test_a_finished_job_is_archived_after_its_time(emulate: Emulate, setting: str, state: str) -> None:
    emulator = emulate(archive_state=setting)
    client = sdk(emulator)
    name = client.job.create(job("echo result", ttl_seconds_after_finished=0)).metadata.id_
    until(lambda: not client.job.list_all(page=1, page_size=10))
    archived = client.job.get(name)
    assert (archived.status.state.value, archived.status.succeeded) == (state, 1)
    assert log_text(client, name) == "result"
    assert ids(client.job.list_all(job_query_mode="archive_only")) == ids(client.job.list_all(job_query_mode="alive_and_archive")) == {name}
    (replica,) = client.job.get_replicas(name)
    with pytest.raises(RuntimeError, match="404"):
        next(client.job.get_log(name, replica))
    client.job.delete(name, job_query_mode="alive_and_archive")
    with pytest.raises(ClientError, match="404"):
        client.job.get(name)


def test_lists_have_filters_and_pages(emulate: Emulate) -> None:
    client = sdk(emulate())
    names = [client.job.create(job("true", labels={"run": str(number % 2)})).metadata.id_ for number in range(5)]
    for name in names:
        until_job(client, name, "Completed")
    assert ids(client.job.list_all(query="run=1")) == {names[1], names[3]}
    assert ids(client.job.list_all(status=["Completed"])) == set(names) and client.job.list_all(status=["Failed", "Running"]) == []
    pages = [client.job.list_all(page=number, page_size=2) for number in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [2, 2, 1, 0] and set().union(*map(ids, pages)) == set(names)
    assert client.job.get(names[0]).metadata.labels == {"run": "0"}


def test_a_workspace_may_keep_no_labels(emulate: Emulate) -> None:
    client = sdk(emulate(keep_labels=False))
    name = client.job.create(job("true", labels={"a": "b"})).metadata.id_
    assert client.job.get(name).metadata.labels is None


@pytest.mark.parametrize("mounts", ["auto", "substitute"])
def test_mounts_are_folders_that_jobs_share(emulate: Emulate, mounts: str) -> None:
    emulator = emulate(mounts=mounts)
    client = sdk(emulator)

    def mounted(read_only: bool) -> Mount:
        options = {"mount_options": {"read_only": read_only}}
        return Mount(**{"from": "node-nfs:fs", "path": "/shared/run", "mount_path": "/workspace-of-test/deep", **options})

    writes = "mkdir -p $OUT && echo data > $OUT/file && cat /workspace-of-test/deep/out/file"
    out = [EnvVar(name="OUT", value="/workspace-of-test/deep/out")]
    first = client.job.create(job(writes, mounts=[mounted(False)], envs=out)).metadata.id_
    until_job(client, first, "Completed")
    assert log_text(client, first) == "data"
    assert (emulator.state / "storage/node-nfs/fs/shared/run/out/file").read_text() == "data\n"
    second = client.job.create(job("cat $OUT/file", mounts=[mounted(False)], envs=out)).metadata.id_
    until_job(client, second, "Completed")
    assert log_text(client, second) == "data"


def test_a_mount_may_be_read_only(emulate: Emulate) -> None:
    client = sdk(emulate())
    mount = Mount(**{"from": "node-nfs:fs", "path": "/", "mount_path": "/workspace-of-test", "mount_options": {"read_only": True}})
    name = client.job.create(job("touch /workspace-of-test/file", mounts=[mount])).metadata.id_
    until_job(client, name, "Failed")
    assert "Read-only" in log_text(client, name)


def test_a_mount_cannot_leave_the_storage(emulate: Emulate) -> None:
    emulator = emulate()
    client = sdk(emulator)
    mount = Mount(**{"from": "node-nfs:../../x", "path": "/../../../up", "mount_path": "/workspace-of-test"})
    name = client.job.create(job("touch /workspace-of-test/file", mounts=[mount])).metadata.id_
    until_job(client, name, "Completed")
    (found,) = (emulator.state / "storage").rglob("file")
    assert found.parent.name == "up"


def test_an_image_without_a_rule_fails_the_job_and_says_why(emulate: Emulate) -> None:
    client = sdk(emulate())
    name = client.job.create(job("true", image="registry.example/suite:1")).metadata.id_
    until_job(client, name, "Failed")
    assert 'match: "*suite*"' in log_text(client, name)
    assert client.job.get_events(name)[0].reason == "ErrImagePull"


def test_a_job_waits_for_its_time(emulate: Emulate) -> None:
    client = sdk(emulate())
    name = client.job.create(job("true", time_schedule=LeptonJobTimeSchedule(start_at=4_000_000_000))).metadata.id_
    assert client.job.get(name).status.state.value == "Awaiting"
    client.job.delete(name)
    until(lambda: not client.job.list_all())


@pytest.mark.parametrize(
    ("spec", "said"),
    [({}, "invalid spec"), ({"container": {"image": "x"}, "resource_shape": "none"}, "resource shape"), ([], "invalid spec")],
)
def test_wrong_jobs_are_refused(emulate: Emulate, spec: Any, said: str) -> None:
    emulator = emulate()
    headers = {"Authorization": f"Bearer {emulator.token}"}
    answer = requests.post(emulator.url + "/jobs", json={"metadata": {"name": "x"}, "spec": spec}, headers=headers, timeout=10)
    assert answer.status_code == 400 and said in answer.json()["message"]


@pytest.mark.parametrize(
    ("kind", "states"),
    [("fail", {"Failed"}), ("preempt", {"Stopped"}), ("image_pull", {"Failed"}), ("stuck", {"Starting"}), ("no_capacity", {"Queueing"})],
)
def test_job_faults(emulate: Emulate, kind: str, states: set[str]) -> None:
    emulator = emulate(job_faults=[{"kind": kind, "name": "task*"}])
    client = sdk(emulator)
    name = client.job.create(job("sleep 60")).metadata.id_
    until_job(client, name, *states)
    client.job.delete(name)
    until(lambda: emulator.alive() == [] and emulator.processes() == [])


def test_a_job_may_vanish_or_be_in_no_known_state(emulate: Emulate) -> None:
    client = sdk(emulate(job_faults=[{"kind": "vanish", "name": "lost", "after": 0.2}, {"kind": "unknown", "name": "odd"}]))
    lost = client.job.create(job("sleep 60", "lost")).metadata.id_
    odd = client.job.create(job("sleep 0.5", "odd")).metadata.id_
    until_job(client, odd, "UNK")
    until_job(client, odd, "Completed")
    until(lambda: lost not in ids(client.job.list_all(job_query_mode="alive_and_archive")))
    with pytest.raises(ClientError, match="404"):
        client.job.get(lost)


def test_what_finds_no_capacity_waits_its_turn(emulate: Emulate) -> None:
    client = sdk(emulate(capacity={"cpu.*": 2}))
    names = [client.job.create(job("sleep 0.5", f"j{number}")).metadata.id_ for number in range(3)]
    waiting = until_job(client, names[2], "Queueing")
    assert "2 of 2 in use" in str(client.job.get_events(names[2])) and waiting.status.ready == 0
    client.job.delete(names[1])
    for name in (names[0], names[2]):
        until_job(client, name, "Completed")
