"""200 short tasks on one shared endpoint: all are scored, with a bounded number of threads, files and bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pytest
from attrs import frozen

pytestmark = [pytest.mark.enable_socket, pytest.mark.slow, pytest.mark.timeout(600)]

TASKS = 200


@frozen
class Sample:
    """One look at the evalx process. processor: seconds of its own. memory: resident, in MiB."""

    done: int
    processor: float
    memory: float
    threads: int
    files: int


def watch(process: Any, done: Callable[[], int]) -> list[Sample]:
    """Samples until the process ends."""
    looked = psutil.Process(process.pid)
    samples: list[Sample] = []
    while process.poll() is None:
        try:
            with looked.oneshot():
                times, memory = looked.cpu_times(), looked.memory_info().rss / 2**20
                samples.append(Sample(done(), times.user + times.system, memory, looked.num_threads(), looked.num_fds()))
            looked.wait(0.2)
        except psutil.TimeoutExpired:
            continue
        except psutil.Error:
            break
    return samples


def test_many_short_tasks_on_one_endpoint(lab: Any) -> None:
    name = lab.config(*(lab.task(f"task{number:03d}") for number in range(TASKS)))
    with (lab.folder / "out").open("w") as out, (lab.folder / "err").open("w") as err:
        process = lab.start("run", name, "--display", "plain", stdout=out, stderr=err)
        samples = watch(process, lambda: len(lab.begun()))
        assert process.wait(timeout=10) == 0, (lab.folder / "err").read_text()
    assert lab.begun() == [f"task{number:03d}" for number in range(TASKS)]
    rows = (lab.folder / "out").read_text().splitlines()[1:]
    assert len(rows) == TASKS and all("0.5000" in row for row in rows)
    assert not lab.alive()
    settled = [sample for sample in samples if sample.done >= TASKS // 10]
    print(f"samples after 20 tasks, at 100, at the end: {settled[0]}, {settled[len(settled) // 2]}, {settled[-1]}")
    assert max(sample.threads for sample in samples) < 30
    assert max(sample.files for sample in settled) - settled[0].files < 30
    assert max(sample.memory for sample in settled) - settled[0].memory < 40
