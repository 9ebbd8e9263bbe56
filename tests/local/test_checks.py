"""What preflight finds before anything is started."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from evalx.model import EndpointSpec, Finding, TaskSpec
from evalx_local.settings import HarnessSettings

from .conftest import World, external, program, question, server

Make = Callable[..., World]


def _command(*argv: str, **deployment: object) -> EndpointSpec:
    return EndpointSpec("model", 0, "command", "m", {"deployment": {"type": "command", "argv": list(argv), **deployment}})


def _only(here: World) -> Finding:
    findings = here.hooks.preflight()
    assert [finding.level for finding in findings] == ["error"], findings
    return findings[0]


def test_what_is_right_gives_no_finding_and_leaves_no_trace(world: Make) -> None:
    here = world([server()], [question()])
    assert here.hooks.preflight() == []
    assert list(here.run.directory.iterdir()) == []


def test_a_server_program_that_is_not_there(world: Make) -> None:
    found = _only(world([_command("no-such-server")]))
    assert found.message == "deployment command: program 'no-such-server' is not found"


def test_a_program_is_looked_for_on_the_path_it_will_have(world: Make, tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(sys.executable)
    assert world([_command("mine", env={"PATH": str(tmp_path)})]).hooks.preflight() == []
    assert world([_command("./mine", workdir=str(tmp_path))]).hooks.preflight() == []
    assert "'mine'" in _only(world([_command("mine")])).message


def test_vllm_that_is_not_installed_says_how_to_get_it(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    here = world([EndpointSpec("model", 0, "vllm", "m", {"deployment": {"type": "vllm", "checkpoint_path": "org/model"}})])
    assert "vllm" in (_only(here).hint or "")


def test_arguments_that_cannot_be_split(world: Make) -> None:
    deployment = {"type": "vllm", "checkpoint_path": "org/model", "extra_args": "--x 'open"}
    assert "No closing quotation" in _only(world([EndpointSpec("model", 0, "vllm", "m", {"deployment": deployment})])).message


def test_a_workdir_that_is_no_folder(world: Make) -> None:
    assert "workdir" in _only(world([server(workdir="/nonexistent")])).message


def test_a_port_in_use_names_its_user_unless_it_is_our_own_server(world: Make) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        number = listener.getsockname()[1]
        assert f"port {number} is in use by process {os.getpid()}" in _only(world([server(port=number)])).message
    here = world([server(port=number)])
    here.ready()
    assert here.again().hooks.preflight() == []


def test_endpoints_cannot_share_a_port(world: Make) -> None:
    here = world([server(port=8000), server(port=8000, index=1, name="second")])
    assert _only(here).message == "2 endpoints cannot share port 8000"


def test_each_thing_is_said_once(world: Make) -> None:
    tasks = [program("pass", index=index, env={"KEY": "host:EVALX_TEST_ABSENT"}) for index in range(3)]
    assert _only(world([server()], tasks)).message == "environment variable EVALX_TEST_ABSENT is not set"


@pytest.mark.parametrize("env", [{"KEY": "host:EVALX_TEST_ABSENT"}, {"KEY": {"value_from": {"secret_name_ref": "absent"}}}])
def test_references_of_the_server_that_lead_nowhere(world: Make, env: dict[str, object]) -> None:
    assert "bsent" in _only(world([server(env=env)])).message.replace("ABSENT", "absent")


def test_a_key_that_is_not_set(world: Make) -> None:
    assert "EVALX_TEST_ABSENT" in _only(world([external("http://127.0.0.1:1/v1", api_key_name="EVALX_TEST_ABSENT")])).message


def test_an_endpoint_that_exists_needs_a_url(world: Make) -> None:
    assert "target.api_endpoint.url" in (_only(world([external("")])).hint or "")


def test_commands_that_are_not_trusted(world: Make) -> None:
    tasks = [question(pre_cmd="true"), question(1, post_cmd="true")]
    here = world([server(pre_cmd="true")], tasks)
    assert [finding.level for finding in here.hooks.preflight()] == ["error"] * 3
    assert world([server(pre_cmd="true")], tasks, trust_commands=True).hooks.preflight() == []


def test_a_harness_that_is_not_installed(world: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    task = TaskSpec("t", 0, "command", "model", {"params": {"command": ["no-such-harness"]}})
    found = _only(world([server()], [task]))
    assert (found.message, "execution.harnesses.command.venv" in (found.hint or "")) == (
        "harness command: program 'no-such-harness' is not found",
        True,
    )
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/true", tmp_path / "bin" / "no-such-harness")
    assert world([server()], [task], harnesses={"command": HarnessSettings(venv=str(tmp_path))}).hooks.preflight() == []


def test_a_virtual_environment_that_is_not_there(world: Make) -> None:
    here = world([server()], [question()], harnesses={"command": HarnessSettings(venv="/nonexistent")})
    assert _only(here).hint == "python3 -m venv /nonexistent"


def test_a_dataset_that_is_not_there(world: Make) -> None:
    assert "dataset_dir is no folder: /nonexistent" in _only(world([server()], [question(dataset_dir="/nonexistent")])).message


def test_settings_that_the_harness_refuses(world: Make) -> None:
    task = evolve(question(), options={"params": {"comand": []}})
    assert "task task-0: " in _only(world([server()], [task])).message


def test_a_container_program_that_is_not_installed(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert _only(world([server()], [question()], runtime="docker")).hint == "install docker, or set execution.runtime: process"
