"""What goes wrong for users, on real processes: one clear error, the documented exit code, no traceback, nothing left alive."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.enable_socket


def run(lab: Any, *args: str, **options: Any) -> Any:
    done = lab.evalx("run", *args, "--display", "none", **options)
    assert not lab.alive()
    return done


def errors(done: Any) -> list[str]:
    return [line for line in done.err.splitlines() if line.startswith("error:")]


# ---------------------------------------------------------------------- before anything is created


def test_a_misspelt_key(lab: Any) -> None:
    done = run(lab, lab.config(lab.task("first"), deployment={"helth_path": "/"}))
    assert done.code == 2 and len(errors(done)) == 1
    assert "c.yaml:" in done.err and "deployment.helth_path: unknown key" in done.err and "hint: did you mean 'health_path'?" in done.err
    assert not (lab.folder / "evalx-runs").exists()


def test_all_mistakes_at_once(lab: Any) -> None:
    done = run(lab, lab.config(lab.task("first"), deployment={"helth_path": "/"}, outputdir="x", max_tasks="many"))
    assert done.code == 2 and len(errors(done)) == 3


def test_an_unknown_task(lab: Any) -> None:
    done = run(lab, lab.config({"name": "mmlu_proo"}), "~evaluation.harness")
    assert done.code == 2 and len(errors(done)) == 1
    assert "mmlu_proo" in done.err and "mmlu_pro" in done.err.partition("hint:")[2]


def test_an_unknown_task_on_the_command_line(lab: Any) -> None:
    done = run(lab, lab.config(lab.task("first"), lab.task("second")), "-t", "secnod")
    assert done.code == 2 and "secnod" in done.err and "second" in done.err.partition("hint:")[2]


@pytest.mark.parametrize("subject", ["missing.yaml", "a_folder", "empty.yaml", "noise.bin", "list.yaml", "open.yaml", "looping.yaml"])
def test_what_is_no_config(lab: Any, subject: str) -> None:
    (lab.folder / "a_folder").mkdir()
    (lab.folder / "empty.yaml").touch()
    (lab.folder / "noise.bin").write_bytes(bytes(range(256)) * 8)
    (lab.folder / "list.yaml").write_text("- one\n- two\n")
    (lab.folder / "open.yaml").write_text("execution: {type: local\n")
    (lab.folder / "looping.yaml").symlink_to("looping.yaml")
    done = run(lab, subject)
    assert done.code == 2 and len(errors(done)) >= 1 and "internal error" not in done.err
    assert subject.partition(".")[0] in done.err or subject == "empty.yaml"


def test_a_home_that_nobody_has(lab: Any) -> None:
    name = lab.config(lab.task("first", dataset_dir="~nobody-of-that-name/x"), output_dir="~nobody-of-that-name/y")
    done = run(lab, name)
    assert done.code == 2 and len(errors(done)) == 2 and "there is no home folder for '~nobody-of-that-name/y'" in done.err
    done = lab.evalx("ls", env={**lab.environment, "EVALX_STATE_DIR": "~nobody-of-that-name/z"})
    assert done.code == 70 and len(errors(done)) == 1 and "EVALX_STATE_DIR" in done.err


def test_a_missing_host_variable(lab: Any) -> None:
    done = run(lab, lab.config(lab.task("first", env_vars={"HF_TOKEN": "host:NO_SUCH_VARIABLE"})))
    assert done.code == 2 and errors(done) == ["error: environment variable NO_SUCH_VARIABLE is not set"]
    assert "hint: export NO_SUCH_VARIABLE=" in done.err and not lab.begun()


@pytest.mark.parametrize("where", ["task", "server"])
def test_commands_that_are_not_trusted(lab: Any, where: str) -> None:
    harmful = {"pre_cmd": f"touch {lab.folder}/ran"}
    name = lab.config(lab.task("first", **harmful if where == "task" else {}), deployment=harmful if where == "server" else {})
    done = run(lab, name)
    assert done.code == 2 and len(errors(done)) == 1 and "pre_cmd" in done.err and "--trust-commands" in done.err
    assert not (lab.folder / "ran").exists() and not lab.begun()
    assert run(lab, name, "--trust-commands").code == 0 and (lab.folder / "ran").exists()


def test_a_port_in_use(lab: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(lab, lab.config(lab.task("first"), deployment={"port": port}))
    assert done.code == 2 and len(errors(done)) == 1
    assert f"port {port} is in use by process {os.getpid()}" in done.err and "hint: remove deployment.port" in done.err


def test_numbers_that_nothing_can_be(lab: Any) -> None:
    impossible = ["deployment.port=65536", "execution.max_cost=inf", "execution.task_timeout=nan"]
    done = run(lab, lab.config(lab.task("first")), *impossible)
    assert done.code == 2 and len(errors(done)) == len(impossible), done.err
    assert "deployment.port: must be a TCP port, from 1 to 65535, not 65536" in done.err
    late = run(lab, "c.yaml", "execution.endpoint_readiness_timeout=-5")
    assert late.code == 2 and "must be at least 0, not -5" in late.err


def test_a_program_that_is_not_there(lab: Any) -> None:
    done = run(lab, lab.config(lab.task("first"), deployment={"argv": ["no-such-server"]}))
    assert done.code == 2 and errors(done) == ["error: deployment command: program 'no-such-server' is not found"]


# ---------------------------------------------------------------------- the server


def test_a_missing_model(lab: Any) -> None:
    done = run(lab, lab.config(lab.task("first"), deployment={"served_model_name": "another"}))
    assert done.code == 5 and "serves no model 'another', only 'stub'" in done.err and not lab.begun()


def test_a_server_that_never_answers(lab: Any) -> None:
    name = lab.config(lab.task("first"), server=("--ready-after", "-1"), endpoint_readiness_timeout=2)
    done = run(lab, name)
    assert done.code == 5 and "not over in time; last seen: starting" in done.err and "503" in done.err and not lab.begun()


def test_a_server_that_accepts_and_says_nothing(lab: Any) -> None:
    mute = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
    name = lab.config(lab.task("first"), deployment={"argv": [sys.executable, "-c", mute, "{port}"]}, endpoint_readiness_timeout=2)
    done = run(lab, name)
    assert done.code == 5 and not lab.begun()


def test_a_server_that_dies_at_the_start(lab: Any) -> None:
    script = "echo loading; echo 'CUDA error: no device' >&2; exit 9"
    done = run(lab, lab.config(lab.task("first"), deployment={"argv": ["sh", "-c", script]}))
    assert (
        done.code == 5
        and "the model server exited with code 9: CUDA error: no device" in done.err
        and f"evalx logs {lab.run_id} --endpoint model" in done.err
    )


def test_a_server_that_dies_in_the_middle(lab: Any) -> None:
    script = 'while [ ! -e "$0" ]; do sleep 0.1; done; exit 1'
    slow = {"name": "slow", "harness_config": {"command": ["sh", "-c", script, str(lab.gate)]}}
    process = lab.start("run", lab.config(slow, lab.task("after"), max_tasks=1), "--display", "none")
    lab.until_event("running", "slow")
    os.kill(lab.server(), signal.SIGKILL)
    lab.gate.touch()
    done = lab.end(process)
    assert done.code == 1 and not lab.alive()
    assert "endpoint model: the model server exited with code 137" in done.err, done.err
    assert not lab.begun(), "a task of a dead endpoint is skipped"


def test_a_wrong_key(lab: Any) -> None:
    name = lab.config(lab.task("first"), server=("--api-key", "the-right-key-4711"))
    given = {**lab.environment, "MY_KEY": "a-wrong-key-0815"}
    done = run(lab, name, "+target.api_endpoint.api_key_name=MY_KEY", env=given)
    assert done.code == 4 and not lab.begun()
    assert "a-wrong-key-0815" not in done.err + done.out
    kept = [path for path in lab.folder.rglob("*") if path.is_file() and b"a-wrong-key-0815" in path.read_bytes()]
    assert not kept, "the server quotes the key, evalx must not keep it"


def test_a_url_where_nobody_listens(lab: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    name = lab.config(lab.task("first"))
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    done = run(
        lab, name, "deployment=none", f"+target.api_endpoint={{url: '{url}', model_id: stub}}", "+execution.endpoint_readiness_timeout=2"
    )
    assert done.code == 5, done.err
    assert "nothing listens there" in done.err


# ---------------------------------------------------------------------- the task


def test_a_harness_that_fails(lab: Any) -> None:
    done = run(lab, lab.config(lab.shell("broken", "echo 'no such dataset: x' >&2; exit 3"), lab.task("sound")))
    assert done.code == 1
    assert "broken: failed" in done.err and "exit code 3; last log line: no such dataset: x" in done.err
    assert [row.split()[:2] for row in done.out.splitlines()[1:]] == [["broken", "failed"], ["sound", "accuracy"]]


def test_a_harness_without_results(lab: Any) -> None:
    done = run(lab, lab.config(lab.shell("empty", "echo all is well")))
    assert done.code == 1 and "empty: no result" in done.err and "results.json is missing" in done.err


def test_a_harness_that_fails_fast(lab: Any) -> None:
    done = run(lab, lab.config(lab.shell("broken", "exit 3"), lab.task("after"), max_tasks=1), "--fail-fast")
    assert done.code == 1 and not lab.begun()


def test_a_task_that_takes_too_long(lab: Any) -> None:
    done = run(lab, lab.config(lab.shell("slow", "sleep 600"), task_timeout=1))
    assert done.code == 1 and "not done within 1 s" in done.err and "slow  timed out" in done.out


def test_a_run_that_takes_too_long(lab: Any) -> None:
    done = run(lab, lab.config(lab.task("first"), lab.task("endless", str(lab.gate)), max_duration=4))
    assert done.code == 6 and "max_duration of 4 s reached" in done.err
    assert [row.split()[:2] for row in done.out.splitlines()[1:]] == [["first", "accuracy"], ["endless", "cancelled"]]
    lab.gate.touch()
    spent = lab.evalx("resume", "last")
    assert spent.code == 6 and f"run {lab.run_id} has had its max_duration of 4 s" in spent.err
    assert lab.evalx("resume", "last", "--max-duration", "10m").code == 0


def test_a_task_that_scatters_processes(lab: Any) -> None:
    """What a task leaves running in sessions of its own goes with it."""
    done = run(lab, lab.config(lab.shell("messy", "setsid sleep 600 & nohup sleep 601 & exit 1")))
    assert done.code == 1
