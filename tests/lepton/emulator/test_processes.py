"""Nothing that the emulator starts outlives what it was started for, nor the emulator."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from leptonai.api.v2.client import APIClient
from tests.lepton.emulator.conftest import Emulate, job, log_text, sdk, until, until_job

from evalx.processes import identity
from evalx_lepton.emulator import Emulator
from evalx_lepton.emulator.processes import Launch, Processes

FAMILY = """
sleep 600 &
setsid sleep 601 &
(setsid sh -c 'sleep 602 & wait' &)
trap '' TERM
echo started
sleep 603
"""
"""A child in the group, one in a session of its own, orphans, and a leader that does not mind SIGTERM."""


def marked(name: str) -> list[psutil.Process]:
    """Live processes that belong to a job, by the variable that the platform sets."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LEPTON_JOB_NAME") == name and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def start_family(client: APIClient) -> str:
    """A job with children of all kinds, all of them running."""
    name = client.job.create(job(FAMILY)).metadata.id_
    until(lambda: "started" in log_text(client, name) and len(marked(name)) >= 5, "the family")
    return str(name)


def test_a_deleted_job_takes_its_whole_family_along(emulate: Emulate) -> None:
    client = sdk(emulate(grace=0.3))
    name = start_family(client)
    client.job.delete(name)
    until(lambda: not client.job.list_all())
    assert marked(name) == []


def test_a_job_that_ends_takes_its_background_processes_along(emulate: Emulate) -> None:
    client = sdk(emulate())
    name = client.job.create(job("sleep 600 & (setsid sleep 601 &) ; exit 0")).metadata.id_
    until_job(client, name, "Completed")
    assert marked(name) == []


def test_sigterm_gives_time_to_finish(emulate: Emulate) -> None:
    client = sdk(emulate(grace=20.0))
    script = "trap 'echo saved; exit 0' TERM; echo started; while true; do sleep 0.1; done"
    name = client.job.create(job(script)).metadata.id_
    until(lambda: log_text(client, name))
    client.job.update(name, {"spec": {"stopped": True}})
    until_job(client, name, "Stopped")
    assert log_text(client, name).splitlines()[-1] == "saved"


def test_a_command_that_does_not_exist_says_so(emulate: Emulate) -> None:
    client = sdk(emulate())
    wanted = job("")
    wanted.spec.container.command = ["/no/such/program"]
    name = client.job.create(wanted).metadata.id_
    until_job(client, name, "Failed")
    assert "cannot start /no/such/program" in log_text(client, name)


def test_nothing_outlives_the_emulator() -> None:
    with Emulator() as emulator:
        name = start_family(sdk(emulator))
        state = emulator.state
    assert marked(name) == [] and not state.exists()
    assert not [thread for thread in psutil.Process().threads() if thread.id == getattr(emulator._thread, "native_id", None)]


@pytest.fixture
def separate(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """An emulator as a process of its own, and its address."""
    argv = [sys.executable, "-m", "evalx_lepton.emulator", "--state", str(tmp_path / "emulator"), "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
        process.kill()


def client_of(address: dict[str, Any]) -> APIClient:
    return APIClient(address["workspace"], address["token"], address["url"])


def test_sigterm_ends_the_emulator_and_all_it_started(separate: Any, tmp_path: Path) -> None:
    process, address = separate
    file = tmp_path / "emulator" / "address.json"
    assert json.loads(file.read_text()) == address and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (address["pid"], address["birth"]) == (process.pid, identity(process.pid))
    name = start_family(client_of(address))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert marked(name) == [] and not file.exists()


def test_what_an_emulator_started_ends_even_if_it_is_killed(separate: Any) -> None:
    process, address = separate
    name = start_family(client_of(address))
    process.kill()
    until(lambda: not marked(name), "the end of all processes")


def test_a_state_folder_can_be_used_again(tmp_path: Path) -> None:
    with Emulator(state=tmp_path) as first:
        token = first.token
        sdk(first).job.create(job("sleep 60"))
        (tmp_path / "storage" / "file").write_text("kept")
    with Emulator(state=tmp_path) as second:
        assert second.token == token and second.alive() == []
        assert (tmp_path / "storage" / "file").read_text() == "kept"
        assert sdk(second).job.list_all() == []


def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with Emulator() as first:
        with pytest.raises(OSError, match="in use"), Emulator(port=first.port):
            pass
        argv = [sys.executable, "-m", "evalx_lepton.emulator", "--port", str(first.port), "--state", str(tmp_path)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "cannot listen" in done.stderr and "Traceback" not in done.stderr


def test_it_listens_on_loopback_only(emulate: Emulate) -> None:
    emulator = emulate()
    sockets = [found for found in psutil.Process(os.getpid()).net_connections("tcp") if found.status == psutil.CONN_LISTEN]
    assert emulator.port in {found.laddr.port for found in sockets}
    assert {found.laddr.ip for found in sockets} == {"127.0.0.1"}


def test_a_family_that_is_ended_while_it_grows_leaves_nothing(tmp_path: Path) -> None:
    left: list[str] = []

    async def start_and_stop_many() -> None:
        processes, ended = Processes(), asyncio.Semaphore(0)
        await processes.open(tmp_path / "scratch")

        def look(name: str) -> None:
            left.extend(f"{name}: {process}" for process in marked(name))
            ended.release()

        for number in range(30):
            name = f"family-{number}"
            env = {"PATH": os.environ["PATH"], "LEPTON_JOB_NAME": name}
            launch = Launch(["/bin/sh", "-c", FAMILY], env, tmp_path, tmp_path / "log")
            processes.launch(name, launch, lambda _code, name=name: look(name))
            await asyncio.sleep(number * 0.001)
            processes.stop(name, 0.005)
        for _ in range(30):
            await ended.acquire()
        await processes.close()

    asyncio.run(start_and_stop_many())
    assert left == []
