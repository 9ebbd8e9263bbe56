"""How fast, and how cheap, a Lepton run is: `python tests/benchmarks/lepton_run.py [--tasks 1 8 32 128] [--shared]`.

A real `evalx run` against the emulated workspace: 20 ms for each call, 5 s of provisioning, tasks of 2 s. It prints, for each number of
tasks, the seconds from the run's first event until all tasks are scored, alone and over the ideal (provisioning + task + the calls that
must follow one another), until all is proven gone, and of the whole process, start-up included; CPU seconds and peak memory of evalx;
list calls a second, calls in all; the median time from Ready to the job's creation; the CPU seconds that the emulator, its model
servers and its jobs took of the same cores; and how the seconds until all tasks are scored compare with those of a bare script on the SDK
(bare_sdk.py, in a workspace like it, right after it), which says what these cores can do with so many real processes.

An endpoint is a process of its own, but a cheap one: a shell, for which one server answers (small_server.py). So what is measured is
evalx and the platform, and not how long an interpreter takes to start. A job is evalx's real script around the shell's `sleep`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from small_server import CLIENT

from evalx_lepton.emulator import Emulator, EmulatorSettings
from evalx_lepton.emulator.settings import ImageRule, NodeGroup, Shape

LATENCY, PROVISIONING, TASK = 0.02, 5.0, 2.0
CALLS_IN_A_ROW = 12
"""workspace, node groups, shapes, secrets; secret, create endpoint; list, health, token; create job; list, logs."""

SERVER, BARE = (Path(__file__).with_name(name) for name in ("small_server.py", "bare_sdk.py"))
RESULTS = '{{{{"schema": 1, "metrics": [{{{{"name": "x", "value": 1}}}}]}}}}'
WORK = f"sleep {TASK}; mkdir -p {{results}}; echo '{RESULTS.format()}' > {{results}}/results.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--shared", action="store_true", help="one endpoint for all tasks")
    chosen = parser.parse_args()
    head = (
        "tasks",
        "scored s",
        "/ ideal",
        "gone s",
        "process s",
        "cpu s",
        "MB",
        "lists/s",
        "calls",
        "Ready→job s",
        "others cpu s",
        "/ bare",
    )
    print("  ".join(f"{name:>11}" for name in head))
    for tasks in chosen.tasks:
        row = measure(tasks, chosen.shared)
        print("  ".join(f"{value:>11}" for value in row), flush=True)


def measure(tasks: int, shared: bool) -> tuple[str, ...]:
    before = sum(os.times()[:4])
    with tempfile.TemporaryDirectory() as folder:
        with workspace() as emulator:
            wall, usage, run = evalx(Path(folder), tasks, shared, emulator)
            calls = emulator.calls
        others = sum(os.times()[:4]) - before - usage.ru_utime - usage.ru_stime
        with workspace() as emulator:
            bare = bare_script(tasks, 1 if shared else tasks, emulator)
        events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    cpu = usage.ru_utime + usage.ru_stime
    lists = sum(count for route, count in calls.items() if route in ("GET /deployments", "GET /jobs"))
    begun, ended = events[0]["time"], events[-1]["time"]
    makespan = max(event["time"] for event in events if event["state"] == "scored") - begun
    ideal = PROVISIONING + TASK + CALLS_IN_A_ROW * LATENCY
    return (
        str(tasks),
        f"{makespan:.2f}",
        f"{makespan / ideal:.2f}",
        f"{ended - begun:.2f}",
        f"{wall:.2f}",
        f"{cpu:.2f}",
        f"{usage.ru_maxrss / 1024:.0f}",
        f"{lists / (ended - begun):.2f}",
        str(sum(calls.values())),
        f"{statistics.median(ready_to_job(events)):.2f}",
        f"{others:.1f}",
        f"{makespan / bare:.2f}",
    )


def bare_script(tasks: int, endpoints: int, emulator: Emulator) -> float:
    """Seconds that the bare script takes until all jobs are over."""
    argv = [sys.executable, str(BARE), str(tasks), str(endpoints)]
    done = subprocess.run(argv, env={**os.environ, **emulator.environment()}, stdout=subprocess.PIPE, check=True)
    seconds: float = json.loads(done.stdout)["seconds"]
    return seconds


@contextmanager
def workspace() -> Iterator[Emulator]:
    """An emulated workspace, with a host for its model servers."""
    with tempfile.TemporaryDirectory() as folder, model_servers(folder), Emulator(settings(folder)) as emulator:
        yield emulator


@contextmanager
def model_servers(folder: str) -> Iterator[None]:
    """The host that answers for endpoints, from when it is ready."""
    with subprocess.Popen([sys.executable, "-I", "-S", str(SERVER), folder], stdout=subprocess.PIPE) as host:
        try:
            assert host.stdout is not None and host.stdout.readline(), "the host of the model servers did not start"
            yield
        finally:
            host.kill()


def settings(servers: str) -> EmulatorSettings:
    """servers: the folder of the host that answers for endpoints."""
    shape = Shape("cpu.small", 1, 4096)
    return EmulatorSettings(
        images=(
            ImageRule("server*", command=(*CLIENT, servers, "{port}", "{served_model_name}")),
            ImageRule("job*"),
        ),
        node_groups=(NodeGroup("ng", "ng"),),
        shapes=(shape,),
        latency=LATENCY,
        provisioning=PROVISIONING,
    )


def evalx(folder: Path, tasks: int, shared: bool, emulator: Emulator) -> tuple[float, resource.struct_rusage, Path]:
    """Run it; seconds, its resource usage, and the run's directory. Raises RuntimeError if it fails."""
    (folder / "run.yaml").write_text(json.dumps(config(folder, tasks, shared)))
    env = {**os.environ, **emulator.environment(), "EVALX_STATE_DIR": str(folder / "state")}
    argv = [sys.executable, "-m", "evalx.cli", "run", str(folder / "run.yaml"), "--display", "none", "--json"]
    started = time.perf_counter()
    with (folder / "out").open("wb") as out:
        child = subprocess.Popen(argv, env=env, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(_complaint((folder / "out").read_text()))
    return time.perf_counter() - started, usage, next((folder / "runs").iterdir())


def _complaint(output: str) -> str:
    """The reasons in what a run that failed has printed."""
    try:
        return "; ".join(f"{result['task']}: {result['reason']}" for result in json.loads(output)["results"] if result["reason"])
    except (ValueError, KeyError):
        return output[-3000:]


def config(folder: Path, tasks: int, shared: bool) -> dict[str, Any]:
    command = ["sh", "-c", WORK]
    task = {"harness": "command", "container": "job:1", "harness_config": {"command": command}}
    return {
        "defaults": [{"execution": "lepton/default"}, "_self_"],
        "execution": {"output_dir": str(folder / "runs"), "endpoints": "shared" if shared else "per_task"},
        "deployment": {
            "type": "vllm",
            "image": "server:1",
            "checkpoint_path": "none",
            "served_model_name": "m",
            "lepton_config": {"resource_shape": "cpu.small"},
        },
        "evaluation": {"tasks": [{"name": f"task{index}", **task} for index in range(tasks)]},
    }


def ready_to_job(events: list[dict[str, Any]]) -> list[float]:
    """Seconds from the moment an endpoint may be ready (created + provisioning) to the creation of each of its jobs."""
    created = {event["name"]: event["time"] for event in events if (event["kind"], event["state"]) == ("endpoint", "created")}
    endpoint_of = {event["name"]: event["data"]["endpoint"] for event in events if event["kind"] == "task"}
    jobs = {event["name"]: event["time"] for event in events if (event["kind"], event["state"]) == ("job", "created")}
    return [time - created[endpoint_of[name]] - PROVISIONING for name, time in jobs.items()]


if __name__ == "__main__":
    main()
