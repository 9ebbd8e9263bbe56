"""The hooks over real processes: what the conformance suite does not ask."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from attrs import evolve

from evalx.context import RunContext
from evalx.errors import AuthError, ConfigError, EndpointFailed, TaskRefused
from evalx.hookspecs import hookimpl
from evalx.logtimes import note
from evalx.model import EndpointHandle, EndpointSpec, Outcome, ServerSpec
from evalx.testing.runs import make_run
from evalx_local.executor import LocalExecutor
from evalx_local.settings import HarnessSettings

from .conftest import World, external, marked, program, question, server, until

Make = Callable[..., World]

DUMP = """
    import json, os, pathlib, sys
    pathlib.Path("seen.json").write_text(json.dumps([dict(os.environ), sys.argv]))
    raise SystemExit(1)
"""


def _seen(world: World, task_index: int = 0) -> dict[str, str]:
    task = world.run.plan.tasks[task_index]
    environment: dict[str, str] = json.loads((world.run.task_dir(task) / "seen.json").read_text())[0]
    return environment


# ---------------------------------------------------------------------- endpoints


def test_a_slow_start_is_reported_until_the_model_answers(world: Make) -> None:
    here = world([server("--ready-after", "0.6", "--fail-first", "2")])
    handle, said = here.deploy(), []

    def look() -> EndpointHandle | None:
        answer = here.hooks.wait_ready(handle)
        report = here.run.last_report(handle.spec)
        said.append(report and report.reason)
        return answer

    until(look)
    assert "/health answers 503" in said
    assert "/v1/chat/completions answers 500: not yet" in said


def test_a_server_that_ends_says_why(world: Make) -> None:
    here = world([server("--no-such-option")])
    with pytest.raises(EndpointFailed, match=r"exited with code 2: .*unrecognized arguments: --no-such-option") as caught:
        here.ready()
    assert caught.value.hint == f"its log: evalx logs {here.run.run_id} --endpoint model"


def test_a_server_that_was_killed_says_so(world: Make) -> None:
    here = world([server()])
    handle = here.ready()
    os.kill(handle.data["pid"], signal.SIGKILL)
    with pytest.raises(EndpointFailed, match="the model server is gone"):
        until(lambda: here.hooks.wait_ready(handle) and None)
    here.remove(handle)
    assert not marked(handle.resource)


def test_a_program_that_does_not_exist_says_so(world: Make) -> None:
    spec = server()
    here = world([evolve(spec, options={"deployment": {"type": "command", "argv": ["no-such-server"]}})])
    with pytest.raises(EndpointFailed, match=r"exited with code 127: .*no-such-server"):
        here.ready()


def test_a_model_that_is_not_served_fails_at_once(world: Make) -> None:
    here = world([server("--model", "another")])
    with pytest.raises(EndpointFailed, match="serves no model 'stub', only 'another'"):
        here.ready()


def test_the_route_that_the_tasks_ask_must_answer(world: Make) -> None:
    only = server("--only", "/v1/completions")
    assert world([only], [question(endpoint_type="completions")]).ready().url
    with pytest.raises(EndpointFailed, match="has no /v1/chat/completions"):
        world([only], [question(endpoint_type="chat")]).ready()


def test_a_server_gets_its_variables_port_and_folder(world: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "sk-canary")
    monkeypatch.setenv("INHERITED", "yes")
    code = "import os, json, pathlib; pathlib.Path('seen').write_text(json.dumps([dict(os.environ), os.getcwd()]))"
    env = {"A": "host:CANARY", "B": "lit:host:x", "ADDRESS": "localhost:{port}", "N": 3}
    spec = server(workdir=str(tmp_path), env=env)
    here = world([evolve(spec, options={"deployment": {**spec.options["deployment"], "argv": [sys.executable, "-c", code]}})])
    handle = here.deploy()
    until(lambda: (tmp_path / "seen").exists() and (tmp_path / "seen").read_text())
    seen, folder = json.loads((tmp_path / "seen").read_text())
    assert folder == str(tmp_path)
    assert {name: seen[name] for name in env} == {"A": "sk-canary", "B": "host:x", "ADDRESS": f"localhost:{handle.data['port']}", "N": "3"}
    assert seen["INHERITED"] == "yes"
    assert {name: seen[name] for name in here.run.labels(handle.spec)} == here.run.labels(handle.spec)
    assert "sk-canary" not in json.dumps(handle.data) + str(list(here.run.directory.rglob("*")))


def test_a_fixed_port_is_used_and_one_in_use_is_refused(world: Make) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        number = listener.getsockname()[1]
        with pytest.raises(EndpointFailed, match=f"port {number} is in use by process {os.getpid()}"):
            world([server(port=number)]).deploy()
    assert world([server(port=number)]).ready().url == f"http://127.0.0.1:{number}"


def test_the_same_name_for_another_configuration_is_refused(world: Make) -> None:
    here = world([server()])
    here.deploy()
    with pytest.raises(EndpointFailed, match="exists already, for another configuration"):
        here.hooks.deploy(server("--delay", "1"))


def test_a_deploy_whose_answer_was_lost_is_adopted_with_its_port(world: Make) -> None:
    here = world([server()])
    lost = here.deploy()
    found = here.again().deploy()
    assert found == lost
    assert until(lambda: here.hooks.wait_ready(found)).url == f"http://127.0.0.1:{lost.data['port']}"


def test_shell_commands_of_the_config_need_trust(world: Make) -> None:
    spec = server(pre_cmd="export CANARY=from-pre-cmd; echo prepared", argv_note=None)
    options = {key: value for key, value in spec.options["deployment"].items() if key != "argv_note"}
    argv = [*options["argv"], "--echo-env", "CANARY"]
    spec = evolve(spec, options={"deployment": {**options, "argv": argv}})
    with pytest.raises(ConfigError, match=r"deployment\.pre_cmd"):
        world([spec]).deploy()
    here = world([spec], trust_commands=True)
    handle = here.ready()
    log = here.hooks.read_logs(handle, follow=False)
    assert log is not None
    assert list(log)[:2] == ["prepared", "variable: from-pre-cmd"]


def test_a_pre_cmd_that_fails_starts_no_server(world: Make) -> None:
    here = world([server(pre_cmd="echo broken; exit 6")], trust_commands=True)
    with pytest.raises(EndpointFailed, match="exited with code 6: broken"):
        here.ready()


def test_another_plugin_may_change_what_every_variant_starts(tmp_path: Path) -> None:
    class Loud:
        @hookimpl(wrapper=True)
        def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> Generator[None, ServerSpec | None, ServerSpec | None]:
            server = yield
            script = 'echo "team $TEAM: $*"; exit 3'
            return server and evolve(server, argv=("sh", "-c", script, "sh", *server.argv), labels={"TEAM": "blue"})

    run = make_run(tmp_path, LocalExecutor(), [server()], name="local", plugins=[("loud", Loud())])
    here = World(run, tmp_path)
    handle = here.deploy()
    try:
        with pytest.raises(EndpointFailed, match=r"code 3: team blue: .*stub_server\.py --port"):
            until(lambda: here.hooks.wait_ready(handle))
    finally:
        here.remove(handle)


@pytest.mark.parametrize("kind", ["endpoint", "task"])
def test_what_cannot_be_written_refuses_the_start_and_leaves_nothing(world: Make, kind: str) -> None:
    task = program("pass")
    here = world([server()], [task])
    endpoint = here.ready() if kind == "task" else EndpointHandle(here.run.plan.endpoints[0], "")
    folder = here.run.task_dir(task) if kind == "task" else here.run.endpoint_dir(endpoint)
    (folder / "started").mkdir()  # in the way, as a full disk would be
    with pytest.raises(TaskRefused if kind == "task" else EndpointFailed, match=r"cannot be started: .*started"):
        here.submit(task, endpoint) if kind == "task" else here.deploy()
    assert marked(here.run.resource_name(task if kind == "task" else endpoint.spec)) == []


# ---------------------------------------------------------------------- endpoints that exist


def test_an_endpoint_that_exists_is_asked_and_left_alone(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_KEY", "right")
    theirs = world([server("--api-key", "right")])
    started = theirs.deploy()
    url = f"http://127.0.0.1:{started.data['port']}/v1/chat/completions"
    here = world([external(url, api_key_name="STUB_KEY")])
    ready = here.ready()
    assert (ready.url, ready.owned) == (url, False)
    assert here.hooks.cleanup(ready) is True
    assert here.hooks.wait_ready(ready) is not None


@pytest.mark.parametrize(("target", "said"), [({"api_key_name": "STUB_KEY"}, "refuses the API key"), ({}, "wants an API key")])
def test_a_wrong_key_ends_the_wait(world: Make, monkeypatch: pytest.MonkeyPatch, target: dict[str, str], said: str) -> None:
    monkeypatch.setenv("STUB_KEY", "sk-wrong")
    theirs = world([server("--api-key", "right")])
    here = world([external(f"http://127.0.0.1:{theirs.deploy().data['port']}/v1?token=sk-url", **target)])
    with pytest.raises(AuthError, match=said) as caught:
        here.ready()
    assert "sk-" not in str(caught.value)


def test_a_dead_url_is_waited_for(world: Make) -> None:
    here = world([external("http://127.0.0.1:1/v1")])
    handle = here.deploy()
    assert here.hooks.wait_ready(handle) is None
    report = here.run.last_report(handle.spec)
    assert report is not None
    assert (report.phase, report.reason) == ("waiting", "nothing listens there yet")


# ---------------------------------------------------------------------- tasks


def test_tasks_side_by_side_have_adapter_ports_of_their_own(world: Make) -> None:
    code = "import os, time; print(os.environ['ADAPTER_PORT'], flush=True); time.sleep(60)"
    tasks = [program(code, index=index, env={"ADAPTER_PORT": "lit:0"}) for index in range(6)]
    here = world([server()], tasks)
    endpoint = here.ready()
    handles = [here.submit(task, endpoint) for task in tasks]
    assert len({handle.data["port"] for handle in [*handles, endpoint]}) == 7


def test_a_harness_gets_its_environment(world: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "sk-canary")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "stored").write_text("stored\n")
    env = {"KEY": "host:CANARY", "FILE": {"value_from": {"secret_name_ref": "stored"}}, "LEVEL": "task"}
    task = program(DUMP, env={**env, "with.dots-too": "kept"})
    own = HarnessSettings(venv=str(tmp_path / "venv"), env={"LEVEL": "harness", "MORE": "lit:x"})
    here = world([server()], [task], harnesses={"command": own}, secrets_dir=str(tmp_path / "secrets"))
    handle = here.submit(task, here.ready())
    assert here.result(handle).outcome is Outcome.FAILED
    seen = _seen(here)
    assert {name: seen[name] for name in ("KEY", "FILE", "LEVEL", "MORE")} == {
        "KEY": "sk-canary",
        "FILE": "stored",
        "LEVEL": "task",
        "MORE": "x",
    }
    assert seen["with.dots-too"] == "kept"
    assert seen["PATH"].split(os.pathsep)[0] == str(tmp_path / "venv" / "bin")
    assert seen["VIRTUAL_ENV"] == str(tmp_path / "venv")
    kept = "".join(path.read_text() for path in here.run.directory.rglob("*") if path.is_file() and path.name != "seen.json")
    assert "sk-" not in kept + json.dumps(handle.data)


@pytest.mark.parametrize("settings", [{}, {"secrets_dir": "/nonexistent"}])
def test_a_secret_that_is_not_there_is_named(world: Make, settings: dict[str, str]) -> None:
    task = program("pass", env={"KEY": {"value_from": {"secret_name_ref": "absent"}}})
    here = world([server()], [task], **settings)
    with pytest.raises(ConfigError, match="secret 'absent'"):
        here.submit(task, here.ready())


def test_progress_of_the_harness_is_reported(world: Make) -> None:
    task = program("import time; print('3 of 20', flush=True); time.sleep(60)")
    here = world([server()], [task])
    harness = here.run.plugins.harness("command")
    harness.progress = lambda lines: (3, 20) if "3 of 20" in lines else None  # type: ignore[attr-defined]
    handle = here.submit(task, here.ready())

    def done() -> tuple[int | None, int | None] | None:
        assert here.hooks.collect(handle) is None
        report = here.run.last_report(task)
        return (report.done, report.total) if report and report.total else None

    assert until(done) == (3, 20)


def test_a_task_sees_its_dataset(world: Make, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows").write_text("7 rows")
    code = "import sys, pathlib; sys.exit(pathlib.Path(sys.argv[1], 'rows').read_text())"
    task = program(code, "{dataset_dir}", dataset_dir=str(tmp_path / "data"))
    here = world([server()], [task])
    assert "7 rows" in (here.result(here.submit(task, here.ready())).reason or "")


def test_a_task_that_is_over_is_not_run_again(world: Make) -> None:
    task = program("open('runs', 'a').write('x')")
    here = world([server()], [task])
    endpoint = here.ready()
    here.result(here.submit(task, endpoint))
    again = here.again()
    handle = again.submit(task, endpoint)
    assert again.result(handle).started is not None
    assert (here.run.task_dir(task) / "runs").read_text() == "x"


def test_a_task_is_not_mistaken_for_another(world: Make) -> None:
    task = program("pass")
    here = world([server()], [task])
    endpoint = here.ready()
    here.result(here.submit(task, endpoint))
    with pytest.raises(TaskRefused, match="another configuration"):
        here.hooks.run_task(program("print('changed')"), endpoint)


def test_a_task_whose_process_disappears_is_lost(world: Make) -> None:
    task = program("import time; time.sleep(60)")
    here = world([server()], [task])
    handle = here.submit(task, here.ready())
    os.kill(handle.data["pid"], signal.SIGKILL)
    result = here.result(handle)
    assert result.outcome is Outcome.LOST
    assert "no exit code" in (result.reason or "")


def test_a_task_has_no_longer_than_its_timeout(world: Make) -> None:
    task = program("import time; time.sleep(60)", timeout=1.0)
    here = world([server()], [task])
    result = here.result(here.submit(task, here.ready()))
    assert result.outcome is Outcome.TIMED_OUT
    assert result.started is not None
    assert result.ended is not None
    assert 0.5 <= result.ended - result.started <= 20


def test_logs_are_followed_to_the_end(world: Make) -> None:
    code = "import time\nfor n in range(3): print('line', n, flush=True); time.sleep(0.3)\nprint('last', end='')"
    task = program(code)
    here = world([server()], [task])
    lines = here.hooks.read_logs(here.submit(task, here.ready()), follow=True)
    assert lines is not None
    assert list(lines) == ["line 0", "line 1", "line 2", "last"]


def test_logs_begin_at_a_time(world: Make) -> None:
    task = program("print('one'); print('two')")
    here = world([server()], [task])
    here.result(handle := here.submit(task, here.ready()))
    log = here.run.task_dir(task) / "output.log"
    note(log, [(100.0, log.read_bytes().index(b"two"))])
    assert list(here.hooks.read_logs(handle, follow=False, since=200.0) or ()) == ["two"]
    assert list(here.hooks.read_logs(handle, follow=False, since=50.0) or ()) == ["one", "two"]


def test_hooks_do_not_wait_for_a_server_that_hangs_once_the_run_is_stopped(world: Make) -> None:
    here = world([server("--delay", "3600")])
    handle = here.deploy()
    until(lambda: (report := here.run.last_report(handle.spec)) or here.hooks.wait_ready(handle) or report)
    here.run.stopping.set()
    begun = time.monotonic()
    assert here.hooks.wait_ready(handle) is None
    assert time.monotonic() - begun < 20


def test_vllm_runs_from_its_virtual_environment(world: Make, tmp_path: Path) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "checkpoint").mkdir()
    program_file = tmp_path / "venv" / "bin" / "vllm"
    program_file.write_text('#!/bin/sh\necho "$@"\nexit 1\n')
    program_file.chmod(0o755)
    deployment = {"type": "vllm", "checkpoint_path": str(tmp_path / "checkpoint"), "venv": str(tmp_path / "venv"), "extra_args": "--seed 1"}
    here = world([EndpointSpec("model", 0, "vllm", "served", {"deployment": deployment})])
    handle = here.deploy()
    with pytest.raises(EndpointFailed) as caught:
        until(lambda: here.hooks.wait_ready(handle))
    port = handle.data["port"]
    start = f"serve {tmp_path / 'checkpoint'} --host 127.0.0.1 --port {port} --served-model-name served"
    assert start in str(caught.value)
    assert str(caught.value).endswith("--data-parallel-size=1 --seed 1")
