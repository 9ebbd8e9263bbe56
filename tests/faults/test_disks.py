"""Disks that are full or read-only: one error that says which, the right exit code, and nothing left alive."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.disks.__main__ import COMPILER, ROOT

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def small_disk(lab: Any) -> Iterator[Path]:
    """A disk of one MiB, where the tests may mount one."""
    folder = lab.folder / "small disk"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0 and not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", folder], capture_output=True).returncode
    )
    if not mounted:
        pytest.skip("only root may mount a disk")
    yield folder
    lab.close()
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, room: int = 0) -> None:
    """Leave so many bytes free, and no more."""
    free = shutil.disk_usage(disk).free
    with (disk / "ballast").open("wb") as file:
        file.write(bytes(max(free - room, 0)))


def errors(done: Any) -> list[str]:
    return [line for line in done.err.splitlines() if line.startswith("error:")]


def test_no_room_for_the_run_directory(lab: Any, small_disk: Path) -> None:
    fill(small_disk)
    done = lab.evalx("run", lab.config(lab.task("first"), output_dir=str(small_disk / "runs")))
    assert done.code == 70 and len(errors(done)) == 1
    assert "No space left on device" in done.err and "hint:" in done.err
    assert not lab.alive() and not lab.begun()
    assert "no runs yet" in lab.evalx("status", "last").err


def test_no_room_for_the_state(lab: Any, small_disk: Path) -> None:
    fill(small_disk)
    done = lab.evalx("run", lab.config(lab.task("first")), env={**lab.environment, "EVALX_STATE_DIR": str(small_disk / "state")})
    assert done.code == 70 and len(errors(done)) == 1
    assert str(small_disk) in done.err and "hint:" in done.err
    assert not lab.alive() and not lab.begun()


def test_the_run_directory_fills_up(lab: Any, small_disk: Path) -> None:
    """The task that fills the disk has no score, what was scored before keeps it, and everything is deleted."""
    flood = lab.shell("flood", f"head -c 2000000 /dev/zero > '{small_disk}/ballast'; exit 1")
    name = lab.config(lab.task("first"), flood, lab.task("after"), max_tasks=1, output_dir=str(small_disk / "runs"))
    done = lab.evalx("run", name, "--display", "none")
    assert done.code not in (0, 7), done.err
    assert "No space left on device" in done.err and not lab.alive()
    flooded = next(event for event in lab.events_of("flood") if event["state"] == "failed")
    assert flooded["reason"].startswith("exit code 1") and "no room left on the disk" in flooded["reason"]
    (small_disk / "ballast").unlink()
    assert lab.evalx("results", "last").out.splitlines()[1].startswith("first  accuracy")
    resumed = lab.evalx("resume", "last", "--display", "none")
    (small_disk / "ballast").unlink(missing_ok=True)
    assert not lab.alive() and lab.begun().count("first") == 1, resumed.err


def test_the_state_fills_up(lab: Any, small_disk: Path) -> None:
    """What cannot be written down is not created; what was created is deleted; later the run can be resumed."""
    lab.environment["EVALX_STATE_DIR"] = str(small_disk / "state")
    lab.state = small_disk / "state"
    name = lab.config(lab.task("first"), lab.task("second", str(lab.gate)), lab.task("third"), max_tasks=1)
    process = lab.start("run", name, "--display", "none")
    lab.until_event("running", "second")
    fill(small_disk)
    lab.gate.touch()
    done = lab.end(process)
    assert done.code == 70 and "the disk is full" in done.err, done.err
    assert not lab.alive() and lab.begun() == ["first", "second"]
    (small_disk / "ballast").unlink()
    resumed = lab.evalx("resume", "last", "--display", "none")
    assert resumed.code == 0 and not lab.alive(), resumed.err
    assert lab.begun().count("first") == 1


def test_files_may_not_grow(lab: Any) -> None:
    """A limit on the size of files acts like a full disk for whoever may not mount one."""
    done = lab.evalx("run", lab.config(lab.task("first")), preexec_fn=lambda: limit_files(40_000))
    assert done.code in (70, 1, 5) and not lab.alive(), done.err
    assert errors(done) or "may be alive" not in done.err


def limit_files(size: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("which", ["state", "runs"])
def test_a_folder_that_cannot_be_made(lab: Any, which: str) -> None:
    """Under a regular file no folder can be made, whoever tries."""
    (lab.folder / "file").touch()
    place = str(lab.folder / "file" / which)
    more = {"env": {**lab.environment, "EVALX_STATE_DIR": place}} if which == "state" else {}
    done = lab.evalx("run", lab.config(lab.task("first"), **{} if which == "state" else {"output_dir": place}), **more)
    assert done.code == 70 and len(errors(done)) == 1 and place.rpartition("/")[0] in done.err and "hint:" in done.err
    assert not lab.alive() and not lab.begun()


def test_state_that_is_read_only(lab: Any, small_disk: Path) -> None:
    shutil.rmtree(small_disk / "state", ignore_errors=True)
    lab.environment["EVALX_STATE_DIR"] = str(small_disk / "state")
    lab.state = small_disk / "state"
    name = lab.config(lab.task("first"))
    assert lab.evalx("run", name, "--display", "none").code == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = lab.evalx("run", name)
    assert done.code == 70 and len(errors(done)) == 1 and "hint:" in done.err
    assert lab.begun() == ["first"] and not lab.alive()


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="what makes writes fail is in C, and there is no compiler")
def test_writes_that_fail_in_their_turn() -> None:
    """A sample. All of them: python -m tests.faults.disks"""
    command = [sys.executable, "-m", "tests.faults.disks", "--every", "53", "--kind", "full", "--kind", "once"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["bad"] == 0 and summary["struck"] >= 10, done.stdout
