"""The command: trials by their numbers, in some processes side by side; the last line sums them up."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.faults.seeds import broken, forks, plans
from tests.faults.seeds.grounds import Ground, LeptonGround, LocalGround
from tests.faults.seeds.trial import Trial

COMMAND = "python -m tests.faults.seeds"


def main() -> int:
    asked = _asked()
    forks.preload()
    scratch = Path(asked.keep or tempfile.mkdtemp(prefix="evalx-seeds-")).absolute()
    scratch.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    numbers = [number for number in range(asked.first, asked.first + asked.seeds) if asked.executor in (None, plans.make(number).executor)]
    reports: list[dict[str, Any]] = []
    with suppress(KeyboardInterrupt):
        reports.extend(_told(json.loads(line)) for line in _workers(numbers, asked, scratch))
    if not asked.keep:
        shutil.rmtree(scratch, ignore_errors=True)
    bad = [report for report in reports if report["problems"]]
    hits = {
        executor: Counter(hit for report in reports if report["executor"] == executor for hit in report["hits"])
        for executor in plans.EXECUTORS
    }
    summary = {
        "seeds": len(reports),
        "bad": len(bad),
        "seconds": round(time.monotonic() - began, 1),
        "processor_seconds": round(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]), 1),
        "longest": sorted(((round(report["seconds"], 1), report["number"]) for report in reports), reverse=True)[:5],
        "hits": hits,
        "missed": {executor: sorted(set(plans.points(executor)) - set(hits[executor])) for executor in plans.EXECUTORS},
    }
    print(json.dumps(summary))
    return int(bool(bad) or len(reports) != len(numbers))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first one")
    parser.add_argument("--workers", type=int, default=10, help="trials at a time; they mostly wait")
    parser.add_argument("--executor", choices=plans.EXECUTORS, help="only the trials of this one")
    parser.add_argument("--mistake", choices=sorted(broken.MISTAKES), help="break evalx first, to see that the trials notice")
    parser.add_argument("--keep", metavar="FOLDER", help="keep everything there, to look at")
    return parser.parse_args()


def _told(report: dict[str, Any]) -> dict[str, Any]:
    for problem in report["problems"]:
        print(f"seed {report['number']}: {problem}", flush=True)
    if report["problems"]:
        print(f"    {COMMAND} --from {report['number']} --seeds 1 --keep DIR   # {report['plan']}", flush=True)
    return report


def _workers(numbers: list[int], asked: argparse.Namespace, scratch: Path) -> Any:
    """Lines of JSON, one for each trial."""
    reader, writer = os.pipe()
    count = min(asked.workers, len(numbers)) or 1
    children = []
    for worker in range(count):
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            try:
                _work(numbers[worker::count], asked, scratch / f"worker-{worker}", writer)
            except BaseException as error:  # noqa: BLE001 -- a report that is missing is noticed; this says why
                print(f"worker {worker}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            finally:
                os._exit(0)
        children.append(pid)
    os.close(writer)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended early, it tells what it has
    with os.fdopen(reader) as lines:
        yield from lines
    for pid in children:
        os.waitpid(pid, 0)


def _work(numbers: list[int], asked: argparse.Namespace, scratch: Path, writer: int) -> None:
    scratch.mkdir(parents=True, exist_ok=True)
    grounds: dict[str, Ground] = {}
    for number in numbers:
        plan = plans.make(number)
        if plan.executor not in grounds:
            grounds[plan.executor] = LocalGround() if plan.executor == "local" else LeptonGround(scratch / "emulator", number)
        folder = scratch / f"seed-{number}"
        folder.mkdir()
        began = time.monotonic()
        trial = Trial(plan, grounds[plan.executor], folder, *([broken.MISTAKES[asked.mistake]] if asked.mistake else []))
        trial.run()
        report = {
            "number": number,
            "executor": plan.executor,
            "problems": trial.problems,
            "hits": trial.hits,
            "plan": str(plan),
            "seconds": time.monotonic() - began,
        }
        os.write(writer, (json.dumps(report) + "\n").encode())
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    for ground in grounds.values():
        ground.close()


if __name__ == "__main__":
    sys.exit(main())
