"""Endpoints of the emulated workspace, through the real SDK, in both forms of the protocol."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import requests
from leptonai.api.v2.api_resource import ClientError
from leptonai.api.v2.types.deployment import (
    AutoScaler,
    EnvValue,
    EnvVar,
    LeptonDeployment,
    LeptonDeploymentUserSpec,
    Mount,
    ResourceRequirement,
    ScaleDown,
    TokenValue,
    TokenVar,
)
from leptonai.api.v2.types.secret import SecretItem
from tests.lepton.emulator.conftest import TOKEN, Emulate, call, endpoint, sdk, state_of, until, until_state, url_of

FORMS = pytest.mark.parametrize("new", [False, True], ids=["deployments", "endpoints"])


@FORMS
def test_an_endpoint_lives_from_create_to_delete(emulate: Emulate, new: bool) -> None:
    emulator = emulate(new_endpoints=new)
    client = sdk(emulator)
    created = client.deployment.create_with_response(endpoint())
    assert created.metadata.name == "model"
    assert state_of(client, "model") in ("Starting", "Ready")
    until_state(client, "model", "Ready")
    assert [found.metadata.name for found in client.deployment.list_all()] == ["model"]
    assert call(url_of(client) + "/v1/models?x=1").json()["path"] == "/v1/models?x=1"
    assert emulator.alive() == ["endpoint/model"] and len(emulator.processes()) == 1
    client.deployment.delete("model")
    until(lambda: not client.deployment.list_all())
    with pytest.raises(ClientError, match="404") as gone:
        client.deployment.get("model")
    assert gone.value.response.json()["code"] == "ResourceNotFound"
    assert emulator.alive() == [] and emulator.processes() == []


@FORMS
def test_the_other_form_is_refused(emulate: Emulate, new: bool) -> None:
    emulator = emulate(new_endpoints=new)
    other = "/deployments" if new else "/endpoints"
    for method, path in (("GET", other), ("POST", other), ("DELETE", f"{other}/model/x")):
        answer = requests.request(method, emulator.url + path, headers={"Authorization": f"Bearer {emulator.token}"}, timeout=10)
        assert answer.status_code == 400
        assert {"code", "message"} <= set(answer.json())


@FORMS
def test_only_its_token_opens_an_endpoint(emulate: Emulate, new: bool) -> None:
    emulator = emulate(new_endpoints=new)
    client = sdk(emulator)
    client.deployment.create(endpoint())
    until_state(client, "model", "Ready")
    url = url_of(client)
    assert [call(url, token).status_code for token in (TOKEN, None, "wrong", emulator.token)] == [200, 401, 401, 401]
    assert requests.post(url, data=b"x" * 500_000, timeout=20).status_code == 401


def test_a_token_may_be_a_secret(emulate: Emulate) -> None:
    client = sdk(emulate())
    client.secret.create([SecretItem(name="KEY", value="from-a-secret")])
    client.deployment.create(endpoint(api_tokens=[TokenVar(value_from=TokenValue(token_name_ref="KEY"))]))
    client.deployment.create(endpoint("lost", api_tokens=[TokenVar(value_from=TokenValue(token_name_ref="NO_SUCH"))]))
    until_state(client, "model", "Ready")
    assert call(url_of(client), "from-a-secret").status_code == 200
    assert call(url_of(client, "lost"), "").status_code == 401


def test_bodies_pass_in_both_directions(emulate: Emulate) -> None:
    client = sdk(emulate())
    client.deployment.create(endpoint())
    until_state(client, "model", "Ready")
    text = "ä" * 300_000
    answer = requests.post(url_of(client), data=text.encode(), headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20)
    assert answer.json()["echo"] == text


def test_the_container_sees_its_variables_secrets_mounts_and_nothing_of_the_host(emulate: Emulate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_ONLY", "1")
    emulator = emulate()
    client = sdk(emulator)
    client.secret.create([SecretItem(name="S", value="value-of-s")])
    envs = [EnvVar(name="PLAIN", value="p"), EnvVar(name="SECRET", value_from=EnvValue(secret_name_ref="S"))]
    client.deployment.create(endpoint(envs=envs, shape="gpu.1xh200"))
    until_state(client, "model", "Ready")
    env = call(url_of(client)).json()["env"]
    assert (env["PLAIN"], env["SECRET"], env["LEPTON_DEPLOYMENT_NAME"]) == ("p", "value-of-s", "model")
    assert (env["LEPTON_RESOURCE_ACCELERATOR_NUM"], env["LEPTON_WORKSPACE_ID"]) == ("1", "emulated")
    assert "HOST_ONLY" not in env


@FORMS
def test_a_name_is_taken_until_its_endpoint_is_gone(emulate: Emulate, new: bool) -> None:
    client = sdk(emulate(new_endpoints=new, deletion=0.5))
    client.deployment.create(endpoint())
    with pytest.raises(ClientError, match="409"):
        client.deployment.create(endpoint())
    client.deployment.delete("model")
    assert state_of(client, "model") == "Deleting"
    with pytest.raises(ClientError, match="409"):
        client.deployment.create(endpoint())
    client.deployment.delete("model")
    until(lambda: not client.deployment.list_all())
    assert client.deployment.create(endpoint())


@FORMS
def test_an_endpoint_can_be_stopped_and_started_again(emulate: Emulate, new: bool) -> None:
    emulator = emulate(new_endpoints=new)
    client = sdk(emulator)
    client.deployment.create(endpoint())
    until_state(client, "model", "Ready")
    client.deployment.stop("model")
    until_state(client, "model", "Stopped")
    assert client.deployment.get("model").status.state.value == "Not Ready"
    assert emulator.processes() == [] and call(url_of(client)).status_code == 503
    again = LeptonDeployment(spec=LeptonDeploymentUserSpec(resource_requirement=ResourceRequirement(min_replicas=1)))
    client.deployment.update("model", again)
    until_state(client, "model", "Ready")
    assert call(url_of(client)).status_code == 200


def test_a_change_of_tokens_leaves_the_server_running(emulate: Emulate) -> None:
    emulator = emulate()
    client = sdk(emulator)
    client.deployment.create(endpoint())
    until_state(client, "model", "Ready")
    before = emulator.processes()
    client.deployment.update("model", LeptonDeployment(spec=LeptonDeploymentUserSpec(api_tokens=[TokenVar(value="new")])))
    assert emulator.processes() == before
    assert [call(url_of(client), token).status_code for token in (TOKEN, "new")] == [401, 200]


def test_another_command_means_another_process(emulate: Emulate) -> None:
    emulator = emulate()
    client = sdk(emulator)
    client.deployment.create(endpoint())
    until_state(client, "model", "Ready")
    before = emulator.processes()
    client.deployment.update(
        "model", LeptonDeployment(spec=LeptonDeploymentUserSpec(envs=[*endpoint().spec.envs, EnvVar(name="A", value="b")]))
    )
    assert state_of(client, "model") == "Updating"
    until_state(client, "model", "Ready")
    assert call(url_of(client)).json()["env"]["A"] == "b"
    assert not set(before) & set(emulator.processes())
    client.deployment.restart("model")
    assert state_of(client, "model") == "Restarting"
    until_state(client, "model", "Ready")


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"spec": {}}, "no valid field"),
        ({"spec": {"api_tokens": [{"value": "***"}]}}, "shown"),
        ({"spec": {"api_tokens": []}}, "allow_unauthenticated_access"),
        ({"spec": {"resource_requirement": {"resource_shape": "gpu.none"}}}, "shape"),
        ([], "object"),
    ],
)
def test_wrong_changes_are_refused(emulate: Emulate, patch: Any, said: str) -> None:
    emulator = emulate()
    client = sdk(emulator)
    client.deployment.create(endpoint())
    headers = {"Authorization": f"Bearer {emulator.token}"}
    answer = requests.patch(emulator.url + "/deployments/model", json=patch, headers=headers, timeout=10)
    assert answer.status_code == 400 and said in answer.json()["message"]


def test_a_dry_run_changes_nothing(emulate: Emulate) -> None:
    client = sdk(emulate())
    client.deployment.create(endpoint())
    stop = LeptonDeployment(spec=LeptonDeploymentUserSpec(resource_requirement=ResourceRequirement(min_replicas=0)))
    assert client.deployment.update("model", stop, dryrun=True).spec.resource_requirement.min_replicas == 0
    assert client.deployment.get("model").spec.resource_requirement.min_replicas == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (endpoint("Model"), "invalid name"),
        (endpoint("m" * 37), "invalid name"),
        (endpoint(shape="gpu.none"), "resource shape"),
        (endpoint(envs=[EnvVar(name="LEPTON_DEPLOYMENT_NAME", value="x")]), "environment variable"),
        (endpoint(mounts=[Mount(**{"from": "lepton-shared-fs", "mount_path": "/w"})]), "mount"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_endpoints_are_refused(emulate: Emulate, wrong: LeptonDeployment, said: str) -> None:
    emulator = emulate()
    with pytest.raises(ClientError, match="400") as refused:
        sdk(emulator).deployment.create(wrong)
    assert said in refused.value.response.json()["message"] and emulator.alive() == []


def test_a_server_that_crashes_is_started_again_and_leaves_its_exit_code(emulate: Emulate) -> None:
    emulator = emulate(restart_backoff=0.3)
    client = sdk(emulator)
    client.deployment.create(endpoint())
    until_state(client, "model", "Ready")
    os.kill(emulator.processes()[0], signal.SIGKILL)
    until_state(client, "model", "Not Ready")
    ((issue,),) = client.deployment.get_readiness("model").root.values()
    assert issue.reason.value in ("SystemError", "InProgress")
    until_state(client, "model", "Ready")
    ((ended,),) = client.deployment.get_termination("model").root.values()
    assert ended.exit_code == 128 + signal.SIGKILL
    assert "BackOff" in [event.reason for event in client.deployment.get_events("model")]


def test_an_image_without_a_rule_is_refused_with_advice(emulate: Emulate) -> None:
    client = sdk(emulate())
    client.deployment.create(endpoint(image="registry.example/team/model-server:1.2@sha256:00"))
    until_state(client, "model", "Not Ready")
    ((issue,),) = client.deployment.get_readiness("model").root.values()
    assert issue.reason.value == "ConfigError"
    assert 'images: [{match: "*model-server*"' in issue.message
    (event,) = [event for event in client.deployment.get_events("model") if event.reason == "ErrImagePull"]
    assert event.type_ == "Warning" and "images:" in event.regarding["message"]


def test_a_missing_secret_is_a_config_error(emulate: Emulate) -> None:
    client = sdk(emulate())
    client.deployment.create(endpoint(envs=[EnvVar(name="X", value_from=EnvValue(secret_name_ref="NO_SUCH"))]))
    until_state(client, "model", "Not Ready")
    ((issue,),) = client.deployment.get_readiness("model").root.values()
    assert (issue.reason.value, "NO_SUCH" in issue.message) == ("ConfigError", True)


@FORMS
def test_a_secure_workspace_makes_a_token_and_shows_it_once(emulate: Emulate, new: bool) -> None:
    client = sdk(emulate(new_endpoints=new, secure_defaults=True))
    created = client.deployment.create_with_response(endpoint(api_tokens=None))
    (token,) = created.spec.api_tokens
    until_state(client, "model", "Ready")
    assert [call(url_of(client), given).status_code for given in (token.value, None)] == [200, 401]
    assert client.deployment.get("model").spec.api_tokens[0].value == "***"
    open_to_all = client.deployment.create_with_response(endpoint("open", api_tokens=None, allow_unauthenticated_access=True))
    assert not open_to_all.spec.api_tokens


def test_an_idle_endpoint_is_scaled_to_zero_and_does_not_come_back(emulate: Emulate) -> None:
    emulator = emulate()
    client = sdk(emulator)
    client.deployment.create(endpoint(auto_scaler=AutoScaler(scale_down=ScaleDown(no_traffic_timeout=1))))
    until_state(client, "model", "Ready")
    until_state(client, "model", "Stopped")
    assert call(url_of(client)).status_code == 503 and emulator.processes() == []


def test_replicas_share_the_requests(emulate: Emulate) -> None:
    client = sdk(emulate())
    client.deployment.create(endpoint(replicas=2))
    until_state(client, "model", "Ready")
    answered = {call(url_of(client)).json()["env"]["LEPTON_REPLICA_ID"] for _ in range(4)}
    assert answered == {replica.metadata.id_ for replica in client.deployment.get_replicas("model")} and len(answered) == 2


@FORMS
def test_the_live_log_of_a_replica(emulate: Emulate, new: bool) -> None:
    client = sdk(emulate(new_endpoints=new))
    client.deployment.create(endpoint())
    until_state(client, "model", "Ready")
    (replica,) = client.deployment.get_replicas("model")
    assert next(client.deployment.get_log("model", replica, timeout=10)).startswith("serving")
    until(lambda: client.log.get_log(name_or_deployment="model")["data"]["result"])


@pytest.mark.parametrize(
    ("kind", "state", "reason"),
    [
        ("stuck", "Starting", "InProgress"),
        ("no_capacity", "Starting", "NoCapacity"),
        ("image_pull", "Not Ready", "ConfigError"),
        ("config_error", "Not Ready", "ConfigError"),
        ("crash", "Not Ready", "SystemError"),
    ],
)
def test_endpoint_faults(emulate: Emulate, kind: str, state: str, reason: str) -> None:
    emulator = emulate(endpoint_faults=[{"kind": kind, "name": "mod*"}], restart_backoff=5.0)
    client = sdk(emulator)
    client.deployment.create(endpoint())
    client.deployment.create(endpoint("other"))
    until_state(client, "other", "Ready")
    until_state(client, "model", state)
    ((issue,),) = client.deployment.get_readiness("model").root.values()
    assert issue.reason.value == reason
    client.deployment.delete("model")
    until(lambda: emulator.alive() == ["endpoint/other"])


def test_a_ready_endpoint_may_never_answer_or_crash_later(emulate: Emulate) -> None:
    faults = [{"kind": "never_healthy", "name": "mute"}, {"kind": "crash", "name": "weak", "after": 0.3, "times": 1}]
    client = sdk(emulate(endpoint_faults=faults, restart_backoff=0.2))
    client.deployment.create(endpoint("mute"))
    client.deployment.create(endpoint("weak"))
    until_state(client, "mute", "Ready")
    assert call(url_of(client, "mute")).status_code == 503
    until_state(client, "weak", "Not Ready")
    until_state(client, "weak", "Ready")
