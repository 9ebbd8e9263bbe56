"""What the emulated workspace is and offers: the SDK's models accept it, and only the token opens it."""

from __future__ import annotations

import pytest
import requests
from leptonai.api.v2.api_resource import ClientError
from leptonai.api.v2.types.secret import SecretItem
from leptonai.api.v2.utils import WorkspaceUnauthorizedError
from tests.lepton.emulator.conftest import Emulate, endpoint, job, sdk, until, until_job

GROUPS = [{"id": "ng-1", "name": "big", "shapes": ["cpu.small"], "nodes": 2}, {"id": "ng-2", "name": "small"}]


def test_the_workspace_says_that_it_is_emulated(emulate: Emulate) -> None:
    emulator = emulate(new_endpoints=True, secure_defaults=True)
    client = sdk(emulator)
    info = client.info()
    assert (info.workspace_name, info.workspace_tier, info.workspace_state.value) == ("emulated", "Emulated", "normal")
    assert info.features.enable_new_deployment_api is True and info.features.enable_secure_endpoint_defaults is True
    assert client.version() is not None
    headers = {"Authorization": f"Bearer {emulator.token}"}
    assert "not DGX Cloud" in requests.get(emulator.url, headers=headers, timeout=10).json()["display_name"]


@pytest.mark.parametrize("token", ["wrong", "Bearer"])
def test_only_the_token_opens_it(emulate: Emulate, token: str) -> None:
    client = sdk(emulate(), token)
    with pytest.raises(WorkspaceUnauthorizedError):
        client.info()
    with pytest.raises(ClientError, match="401"):
        client.job.list_all()


def test_what_runs_counts(emulate: Emulate) -> None:
    client = sdk(emulate())
    client.deployment.create(endpoint(shape="gpu.1xh200"))
    name = client.job.create(job("sleep 30")).metadata.id_
    until_job(client, name, "Running")
    info = client.info()
    assert (info.workloads.num_deployments, info.workloads.num_jobs) == (1, 1)
    assert (info.resource_quota.used.accelerator_num, info.resource_quota.used.cpu) == (1.0, 21.0)
    (node,) = client.nodegroup.list_nodes("emulated-ng-0001")
    assert {workload.type_ for workload in node.status.workloads} == {"deployment", "job"}
    assert client.nodegroup.list_idle_nodes("emulated-ng-0001") == []


def test_node_groups_have_ids_names_shapes_and_nodes(emulate: Emulate) -> None:
    client = sdk(emulate(node_groups=GROUPS))
    assert [(group.metadata.id_, group.metadata.name) for group in client.nodegroup.list_all()] == [("ng-1", "big"), ("ng-2", "small")]
    assert client.nodegroup.get("ng-1").spec.volumes[0].name == "lepton-shared-fs"
    assert (len(client.nodegroup.list_nodes("ng-1")), client.nodegroup.list_reservations("ng-1")) == (2, [])
    assert client.nodegroup.list_machines("ng-1") == [] and client.nodegroup.list_storage_data_sources("ng-1") == []
    assert [shape.spec.name for shape in client.shapes.list_shapes("ng-1", "job")] == ["cpu.small"]
    with pytest.raises(ClientError, match="404"):
        client.nodegroup.get("big")


@pytest.mark.parametrize(("group", "shape", "said"), [("big", "cpu.small", "an id is wanted"), ("ng-1", "cpu.large", "not offered")])
def test_affinity_takes_ids_and_offered_shapes(emulate: Emulate, group: str, shape: str, said: str) -> None:
    client = sdk(emulate(node_groups=GROUPS))
    with pytest.raises(ClientError, match=said):
        client.job.create(job("true", resource_shape=shape, affinity={"allowed_dedicated_node_groups": [group]}))
    assert client.job.create(job("true", affinity={"allowed_dedicated_node_groups": ["ng-1"]}))
    assert len(client.job.list_all(node_groups=["ng-1"])) == 1 and client.job.list_all(node_groups=["ng-2"]) == []


def test_secrets_are_written_and_never_read(emulate: Emulate) -> None:
    emulator = emulate()
    client = sdk(emulator)
    client.secret.create([SecretItem(name="A", value="value-a", tags=["t"]), SecretItem(name="B", value="b", visibility="private")])
    found = {secret.name: secret for secret in client.secret.list_all()}
    assert set(found) == {"A", "B"} and all(secret.value is None for secret in found.values())
    assert (found["A"].tags, found["B"].visibility.value) == (["t"], "private")
    headers = {"Authorization": f"Bearer {emulator.token}"}
    assert "value-a" not in requests.get(emulator.url + "/usersecrets", headers=headers, timeout=10).text
    client.secret.delete("A")
    with pytest.raises(ClientError, match="404"):
        client.secret.delete("A")
    assert emulator.alive() == ["secret/B"]
    assert not [path for path in emulator.state.rglob("*") if path.is_file() and b"value-a" in path.read_bytes()]


@pytest.mark.parametrize("body", ["[{}]", '{"name": "x"}', '[{"name": "a b"}]', "{", '["x"]'])
def test_wrong_secrets_are_refused(emulate: Emulate, body: str) -> None:
    emulator = emulate()
    answer = requests.post(emulator.url + "/usersecrets", data=body, headers={"Authorization": f"Bearer {emulator.token}"}, timeout=10)
    assert answer.status_code == 400 and {"code", "message"} <= set(answer.json())


def test_lists_may_lag_behind_what_single_calls_know(emulate: Emulate) -> None:
    client = sdk(emulate(list_lag=1.0))
    name = client.job.create(job("true")).metadata.id_
    client.deployment.create(endpoint())
    client.secret.create([SecretItem(name="S", value="v")])
    assert (client.job.list_all(), client.deployment.list_all(), client.secret.list_all()) == ([], [], [])
    assert client.job.get(name) and client.deployment.get("model")
    until(lambda: client.job.list_all() and client.deployment.list_all() and client.secret.list_all())
    client.job.delete(name)
    client.secret.delete("S")
    with pytest.raises(ClientError, match="404"):
        client.job.get(name, job_query_mode="alive_only")
    assert client.job.list_all() and client.secret.list_all()
    until(lambda: not client.job.list_all() and not client.secret.list_all())


def test_calls_are_counted_by_route(emulate: Emulate) -> None:
    emulator = emulate()
    client = sdk(emulator)
    name = client.job.create(job("true")).metadata.id_
    client.job.get(name)
    client.job.get(name)
    assert emulator.calls == {"POST /jobs": 1, "GET /jobs/{name}": 2}


def test_unknown_routes_are_told_apart_from_missing_resources(emulate: Emulate) -> None:
    emulator = emulate()
    headers = {"Authorization": f"Bearer {emulator.token}"}
    assert requests.get(emulator.url + "/photons", headers=headers, timeout=10).json()["code"] == "RouteNotFound"
    assert requests.get(emulator.url + "/jobs/x", headers=headers, timeout=10).json()["code"] == "ResourceNotFound"
