"""A long run of short tasks, and what it holds on to: `python tests/benchmarks/soak.py [--tasks 2000] [--lepton]`.

One run with so many tasks on one shared endpoint; the tasks only write their score. It prints, for each tenth of the run, what the evalx
process has: CPU seconds of its own, resident memory, threads, open files, and the run's calls to the platform; then how it ended. What
grows with the number of tasks that are over is a leak. On this machine by default; --lepton: in an emulated workspace.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import psutil
from lepton_run import RESULTS, SERVER, workspace

from evalx_lepton.emulator import Emulator

TASK = ["sh", "-c", f"mkdir -p {{results}}; echo '{RESULTS.format()}' > {{results}}/results.json"]
LINE = "{:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--lepton", action="store_true", help="in an emulated workspace")
    chosen = parser.parse_args()
    print(LINE.format("scored", "s", "cpu s", "MB", "threads", "files", "calls"))
    with tempfile.TemporaryDirectory() as folder, workspace() if chosen.lepton else nullcontext() as emulator:
        watch(Path(folder), chosen.tasks, emulator)


def watch(folder: Path, tasks: int, emulator: Emulator | None) -> None:
    (folder / "run.yaml").write_text(json.dumps(config(folder, tasks, lepton=emulator is not None)))
    env = {**os.environ, "EVALX_STATE_DIR": str(folder / "state"), **(emulator.environment() if emulator else {})}
    argv = [sys.executable, "-m", "evalx.cli", "run", str(folder / "run.yaml"), "--display", "none", "--json"]
    started, told = time.perf_counter(), 0
    with (folder / "out").open("wb") as out, subprocess.Popen(argv, env=env, stdout=out, stderr=subprocess.STDOUT) as child:
        looked = psutil.Process(child.pid)
        while child.poll() is None:
            scored = count_scored(folder / "runs")
            if scored * 10 // tasks > told:
                told = scored * 10 // tasks
                with suppress(psutil.Error):
                    show(looked, scored, time.perf_counter() - started, sum(emulator.calls.values()) if emulator else 0)
            time.sleep(0.2)
    ended = json.loads((folder / "out").read_text())
    if "results" not in ended:
        raise SystemExit(json.dumps(ended, indent=2))
    scored = sum(result["outcome"] == "passed" for result in ended["results"])
    print(f"exit code {child.returncode}, {scored} of {tasks} scored, {time.perf_counter() - started:.0f} s")


def show(process: psutil.Process, scored: int, seconds: float, calls: int) -> None:
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_info().rss / 2**20
        held = (process.num_threads(), process.num_fds())
    print(LINE.format(scored, f"{seconds:.0f}", f"{times.user + times.system:.1f}", f"{memory:.0f}", *held, calls or "-"), flush=True)


def count_scored(runs: Path) -> int:
    return sum(
        text.count('"state": "scored"') + text.count('"state":"scored"') for text in (p.read_text() for p in runs.glob("*/events.jsonl"))
    )


def config(folder: Path, tasks: int, lepton: bool) -> dict[str, Any]:
    server: dict[str, Any] = {"argv": [sys.executable, "-I", "-S", str(SERVER), "{port}", "m"], "served_model_name": "m", "type": "command"}
    if lepton:
        shape = {"resource_shape": "cpu.small"}
        server = {"type": "vllm", "image": "server:1", "checkpoint_path": "none", "served_model_name": "m", "lepton_config": shape}
    task = {"harness": "command", "container": "job:1" if lepton else None, "harness_config": {"command": TASK}}
    kept = {key: value for key, value in task.items() if value is not None}
    return {
        "defaults": [{"execution": "lepton/default" if lepton else "local/default"}, "_self_"],
        "execution": {"output_dir": str(folder / "runs"), "endpoints": "shared"},
        "deployment": server,
        "evaluation": {"tasks": [{"name": f"task{index}", **kept} for index in range(tasks)]},
    }


if __name__ == "__main__":
    main()
