"""What goes wrong while a run goes on: endpoints that refuse, servers that die, tasks that fail."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

from tests.cli.conftest import HERE
from tests.cli.gallery.stage import CANARY, LOCAL, TASKS, Stage, situation

ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}]}


def existing(stage: Stage, url: str, tasks: str = TASKS, *, wait: float = 0.1, key: str = "") -> Any:
    target = f"target: {{api_endpoint: {{url: '{url}', model_id: tiny{key}}}}}\n"
    return stage.run(f"{LOCAL}execution: {{endpoint_readiness_timeout: {wait}}}\n{target}{tasks}")


@situation
def endpoint_that_wants_a_key(stage: Stage) -> Any:
    with stage.endpoint(401, {"error": {"message": "no key"}}) as url:
        return existing(stage, url)


@situation
def endpoint_that_refuses_the_key(stage: Stage) -> Any:
    stage.monkeypatch.setenv("MY_KEY", CANARY)
    with stage.endpoint(403, {"error": {"message": f"key {CANARY} is disabled"}}) as url:
        return existing(stage, url, key=", api_key_name: MY_KEY")


@situation
def endpoint_without_the_route(stage: Stage) -> Any:
    with stage.endpoint(404, {}) as url:
        return existing(stage, url)


@situation
def endpoint_with_another_model(stage: Stage) -> Any:
    with stage.endpoint(404, {}, models=["llama-3.1-8b", "qwen3-8b"]) as url:
        return existing(stage, url)


@situation
def endpoint_with_the_model_and_without_the_route(stage: Stage) -> Any:
    with stage.endpoint(404, {}, models=["tiny"]) as url:
        return existing(stage, url)


@situation
def endpoint_that_is_too_busy(stage: Stage) -> Any:
    with stage.endpoint(429, {"error": {"message": "rate limit of 10 requests a minute"}}) as url:
        return existing(stage, url)


@situation
def endpoint_that_refuses_the_question(stage: Stage) -> Any:
    with stage.endpoint(400, {"error": {"message": "max_tokens must be at least 16"}}) as url:
        return existing(stage, url)


@situation
def endpoint_with_an_inner_error(stage: Stage) -> Any:
    with stage.endpoint(500, "Internal Server Error") as url:
        return existing(stage, url)


@situation
def endpoint_that_is_a_web_page(stage: Stage) -> Any:
    with stage.endpoint(200, "<html>Welcome to nginx</html>") as url:
        return existing(stage, url)


@situation
def endpoint_where_nothing_listens(stage: Stage) -> Any:
    return existing(stage, "http://127.0.0.1:1/v1")


@situation
def endpoint_on_a_host_that_is_not_there(stage: Stage) -> Any:
    """Nobody is asked, since where there is no network that may take long."""

    def unknown(*_args: Any, **_more: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    stage.monkeypatch.setattr("socket.getaddrinfo", unknown)
    return existing(stage, "http://no-such-host.invalid/v1")


def own(stage: Stage, script: str, **more: Any) -> Any:
    """A run with a server that is a shell script."""
    deployment = json.dumps({"argv": ["sh", "-c", script], "served_model_name": "tiny", **more})
    head = "defaults: [{execution: local/default}, {deployment: command}, _self_]\nexecution: {endpoint_readiness_timeout: 0.5}\n"
    return stage.run(f"{head}deployment: {deployment}\n{TASKS}")


@situation
def server_that_dies(stage: Stage) -> Any:
    return own(stage, "echo loading weights; echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 14.96 GiB' >&2; exit 3")


@situation
def server_that_never_answers(stage: Stage) -> Any:
    return own(stage, "echo loading weights; exec sleep 60")


def task(stage: Stage, *command: str) -> Any:
    with stage.endpoint(200, ANSWER) as url:
        entry = json.dumps({"name": "one", "harness_config": {"command": list(command)}})
        return existing(stage, url, f"evaluation: {{harness: command, tasks: [{entry}]}}\n", wait=10)


@situation
def resume_of_a_run_that_is_over(stage: Stage) -> Any:
    task(stage, sys.executable, str(HERE / "tiny_eval.py"), "{url}", "{results}", "1")
    return stage.evalx("resume", "last", "--display", "none")


@situation
def task_that_fails(stage: Stage) -> Any:
    return task(stage, sys.executable, str(HERE / "tiny_eval.py"), "{url}", "{results}", "fail")


@situation
def task_that_leaves_no_result(stage: Stage) -> Any:
    return task(stage, "sh", "-c", "echo all is well")


@situation
def task_that_leaves_a_damaged_result(stage: Stage) -> Any:
    return writes(stage, "{")


@situation
def task_that_leaves_a_wrong_result(stage: Stage) -> Any:
    return writes(stage, '{"accuracy": 0.5}')


def writes(stage: Stage, text: str) -> Any:
    """A task that leaves this as its results file."""
    return task(stage, "sh", "-c", f'mkdir -p "$0"; cp {stage.write("left.json", text)} "$0/results.json"', "{results}")


@situation
def task_that_is_killed(stage: Stage) -> Any:
    return task(stage, "sh", "-c", "kill -9 $$")


@situation
def task_with_a_place_that_does_not_exist(stage: Stage) -> Any:
    return task(stage, "my-eval", "{endpoint}")
