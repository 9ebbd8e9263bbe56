"""Endpoints that are kept when the tasks are over: reachable, looked after, and gone in time, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from evalx.processes import birth

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def config(lab: Any) -> str:
    return str(lab.config(lab.task("one")))


def answer(endpoint: dict[str, Any], key: str = "") -> str:
    """What a kept endpoint says to a sum."""
    body = {"model": endpoint["model"], "messages": [{"role": "user", "content": "2 + 3"}]}
    request = urllib.request.Request(
        f"{endpoint['base_url']}/chat/completions", json.dumps(body).encode(), {"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(json.load(reply)["choices"][0]["message"]["content"])


def status(lab: Any) -> Any:
    return lab.evalx("status", "last", "--json").json


def keeper(lab: Any) -> int:
    return int(status(lab)["kept"]["keeper"])


def kill(lab: Any, pid: int) -> None:
    """Kill a process, and wait until it is gone, or a zombie for want of a parent who cares."""
    os.kill(pid, signal.SIGKILL)
    lab.until(lambda: birth(pid) is None)


def let_expire(lab: Any) -> None:
    """As if the time for which the run keeps endpoints had passed while nobody looked after them."""
    with closing(sqlite3.connect(lab.state / "evalx.db")) as db, db:
        db.execute("UPDATE events SET data = json_set(data, '$.until', 1.0) WHERE state = 'keeping'")


def states(lab: Any, kind: str, name: str = "") -> list[str]:
    return [event["state"] for event in lab.events() if (event["kind"], event["name"]) == (kind, name)]


def test_a_kept_endpoint_answers_until_it_is_cleaned_up(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.environment["STUB_KEY"] = "canary-of-a-key"
    target = ["target.api_endpoint.api_key_name=STUB_KEY"]
    name = lab.config(lab.task("one"), server=("--api-key", "canary-of-a-key"))
    done = lab.evalx("run", name, "--keep-endpoints", "1h", "--json", *target)
    assert done.code == 0, done.err
    (endpoint,) = done.json["kept"]["endpoints"]
    assert answer(endpoint, "canary-of-a-key") == "5"
    assert (endpoint["key_variable"], endpoint["key_file"], endpoint["model"]) == ("STUB_KEY", None, "stub")
    assert done.json["may_be_alive"] == []
    again = lab.config(lab.task("other"), name="other.yaml")
    onto = ["deployment=none", f"target.api_endpoint.url={endpoint['base_url']}", "target.api_endpoint.model_id=stub", *target]
    other = lab.evalx("run", again, "--json", "execution.output_dir=elsewhere/deep", *onto)
    assert other.code == 0, other.err
    assert "the endpoint was there before the run" in lab.evalx("logs", other.json["run_id"], "--endpoint").err
    run = done.json["run_id"]
    shown = lab.evalx("status", run, "--exit-status")
    assert shown.code == 0 and "succeeded, 1 endpoint kept until" in shown.out and endpoint["base_url"] in shown.out
    assert re.search(rf"^{run}  succeeded +1/1 +until \d\d:\d\d", lab.evalx("ls").out, re.MULTILINE)
    assert lab.evalx("watch", run).code == 0
    busy = lab.evalx("cleanup", "--all-runs")
    assert busy.code == 0, "it is in good hands"
    gone = lab.evalx("cleanup", run)
    assert gone.code == 0 and f"gone: {endpoint['resource']}" in gone.err
    assert not lab.alive()
    after = lab.evalx("status", run, "--json", "--exit-status")
    assert (after.code, after.json["kept"], after.json["holder"], after.json["outcome"]) == (0, None, None, "succeeded")
    assert "canary-of-a-key" not in "".join(each.out + each.err for each in (done, shown, gone, after))


def test_it_goes_when_its_time_is_over_and_not_before(lab: Any, config: str) -> None:
    done = lab.evalx("run", config, "--keep-endpoints", "2s", "--max-cost", "5")
    assert done.code == 0 and "1 endpoint kept until" in done.err
    lab.until_event("closed")
    assert states(lab, "endpoint", "model") == ["intent", "created", "ready", "kept", "deleting", "gone"]
    assert states(lab, "run") == ["planned", "active", "keeping", "keeping", "closed"]
    events = lab.events()
    until = next(event["data"]["until"] for event in events if event["state"] == "keeping")
    assert next(event["time"] for event in events if (event["kind"], event["state"]) == ("endpoint", "deleting")) >= until
    assert not lab.alive()
    assert lab.evalx("status", "last", "--exit-status").code == 0


def test_a_run_without_keeper_gets_one_by_the_next_command(lab: Any, config: str) -> None:
    lab.crash("run.closed:1", "run", config, "--keep-endpoints", "1h")  # after it has written that it keeps it, before there is a keeper
    server = lab.server()
    dry = lab.evalx("cleanup", "--all-runs")
    assert dry.code == 7 and "kept" in dry.out, "nobody looks after it"
    told = lab.evalx("ls")
    assert f"run {lab.run_id}: nobody looked after the endpoints that it keeps" in told.err
    second = keeper(lab)
    assert lab.server() == server
    kill(lab, second)
    let_expire(lab)
    told = lab.evalx("ls", env={**lab.environment, "EVALX_FAILPOINT": "delete.before:1:kill"})
    third = int(re.findall(r"process (\d+) does so now", told.err)[0])
    lab.until(lambda: birth(third) is None)
    assert states(lab, "endpoint", "model")[-1] == "deleting"
    assert lab.evalx("results").code == 0
    lab.until_event("closed")
    assert not lab.alive() and states(lab, "endpoint", "model")[-1] == "gone"
    assert lab.evalx("status", "last", "--exit-status").code == 0


def test_a_run_that_was_stopped_keeps_nothing(lab: Any) -> None:
    process = lab.start("run", lab.config(lab.task("first"), lab.task("endless", str(lab.gate))), "--keep-endpoints", "1h")
    lab.until_event("running", "endless")
    process.send_signal(signal.SIGINT)
    done = lab.end(process)
    assert done.code == 130 and "nothing left alive" in done.err
    assert not lab.alive() and "kept" not in states(lab, "endpoint", "model")


def test_an_endpoint_that_died_is_not_kept(lab: Any) -> None:
    """It answers when it is asked whether it is ready, and never again."""
    done = lab.evalx("run", lab.config(lab.task("one"), server=("--die-after", "1")), "--keep-endpoints", "1h", "--json")
    assert done.code == 0 and done.json["kept"] is None
    assert any("is not kept" in (event["reason"] or "") for event in lab.events() if event["kind"] == "warning")
    assert not lab.alive() and states(lab, "run")[-1] == "closed"


def test_resume_runs_what_has_no_score_on_the_kept_endpoint(lab: Any) -> None:
    mended = lab.folder / "mended"
    script = f'[ -e {mended} ] && mkdir -p "$1" && cp {mended} "$1/results.json"'
    done = lab.evalx("run", lab.config(lab.task("good"), lab.shell("bad", script)), "--keep-endpoints", "1h")
    assert done.code == 1 and "1 endpoint kept until" in done.err
    assert lab.evalx("status", "last", "--exit-status").code == 1
    first, server = keeper(lab), lab.server()
    mended.write_text('{"schema": 1, "metrics": [{"name": "a", "value": 1.0}]}')
    resumed = lab.evalx("resume", "last", "--json")
    assert resumed.code == 0 and resumed.json["kept"]["keeper"] != first, resumed.err
    assert lab.server() == server and lab.begun() == ["good"]
    second = lab.evalx("resume", "last", "--json")
    assert second.code == 0 and second.json["kept"]["keeper"] == resumed.json["kept"]["keeper"], "there is nothing to resume"
    assert lab.evalx("cancel", "last").code == 0 and not lab.alive()


def test_a_resume_that_is_refused_leaves_a_keeper(lab: Any) -> None:
    lab.evalx("run", lab.config(lab.task("good"), lab.task("bad", "", "1")), "--keep-endpoints", "1h")
    first = keeper(lab)
    refused = lab.evalx("resume", "last", "--max-duration", "0s")
    assert refused.code == 7 and "max_duration" in refused.err
    state = status(lab)
    assert state["kept"]["keeper"] not in (None, first) and state["outcome"] == "partial"
    assert lab.evalx("cleanup", "last").code == 0 and not lab.alive()
    assert status(lab)["outcome"] == "partial"


def test_a_detached_run_hands_its_endpoints_to_a_keeper(lab: Any, config: str) -> None:
    started = lab.evalx("run", config, "--keep-endpoints", "1h", "--detach", "--json").json
    assert lab.evalx("watch", started["run_id"]).code == 0
    lab.until(lambda: keeper(lab) != started["supervisor"])
    log = Path(started["log"])
    assert lab.evalx("cancel", "last").code == 0 and not lab.alive()
    assert "Traceback" not in log.read_text()


def test_what_no_keeper_can_be_started_for_is_not_kept(lab: Any, config: str) -> None:
    broken = "import sys; from evalx import runs, cli; sys.executable = '/bin/false'; cli.main(sys.argv[1:])"
    server = f"deployment.argv=[python,{lab.stub},--port,'{{port}}']"
    done = lab.evalx("run", config, "--keep-endpoints", "1h", server, argv=("-c", broken))
    assert done.code == 0 and "no process looks after what run" in done.err and "nothing left alive" in done.err, done.err
    assert not lab.alive() and states(lab, "run")[-1] == "closed"


def test_from_python_it_outlives_the_program(lab: Any, config: str) -> None:
    program = (
        "import evalx, sys; run = evalx.run(sys.argv[1], keep_endpoints=3600); done = run.wait();"
        "print(int(done.exit_code), done.kept.endpoints[0].base_url, len(run.status().kept.endpoints))"
    )
    done = lab.end(lab.start(config, argv=("-c", program)))
    code, url, count = done.out.split()
    assert (code, count) == ("0", "1"), done.err
    assert answer({"base_url": url, "model": "stub"}) == "5"
    ended = lab.end(lab.start(argv=("-c", "import evalx; run = evalx.open_run(); print(run.wait().kept.until > 0, run.cancel().left)")))
    assert ended.out.strip() == "True ()", ended.err
    assert not lab.alive()
