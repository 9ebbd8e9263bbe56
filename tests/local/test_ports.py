"""Ports that belong to one job alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evalx_local import ports


@pytest.fixture(autouse=True)
def few_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that collisions are certain, if they are possible; other ones for each process of tests that run side by side."""
    first = 30000 + 32 * (os.getpid() % 64)
    monkeypatch.setattr(ports, "RANGE", range(first, first + 32))
    monkeypatch.setattr(ports, "TRIES", 32)


def test_no_port_is_given_twice() -> None:
    with ThreadPoolExecutor(8) as pool:
        reserved = list(pool.map(lambda _: ports.reserve(), range(20)))
    numbers = [port.number for port in reserved]
    for port in reserved:
        with port:
            pass
    assert len(set(numbers)) == 20


def test_another_process_cannot_take_a_reserved_port_and_can_afterwards() -> None:
    code = "import sys; from evalx_local import ports; ports.reserve(int(sys.argv[1])); print('taken')"

    def other(number: int) -> str:
        done = subprocess.run([sys.executable, "-c", code, str(number)], capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.stderr.splitlines()[-1]

    with ports.reserve() as port:
        assert other(port.number) == f"evalx_local.ports.PortTaken: port {port.number} is in use"
    assert other(port.number) == "taken"


def test_a_reservation_lives_as_long_as_the_process_that_inherited_it() -> None:
    with ports.reserve() as port:
        heir = subprocess.Popen(["sleep", "60"], pass_fds=[port.lock])
    try:
        with pytest.raises(OSError, match="in use"):
            ports.reserve(port.number)
    finally:
        heir.kill()
        heir.wait()
    with ports.reserve(port.number) as again:
        assert again.number == port.number


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_names_its_user(host: str) -> None:
    with socket.socket() as listener:
        listener.bind((host, 0))
        listener.listen()
        number = listener.getsockname()[1]
        with pytest.raises(OSError, match=rf"port {number} is in use by process {os.getpid()} \(.+\)"):
            ports.reserve(number)


def test_when_none_is_free_it_says_so() -> None:
    held = [ports.reserve() for _ in ports.RANGE]
    try:
        with pytest.raises(OSError, match=f"no free port found in {ports.RANGE.start}-{ports.RANGE.stop - 1}"):
            ports.reserve()
    finally:
        for port in held:
            os.close(port.lock)


def test_locks_are_not_taken_in_a_folder_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / f"evalx-ports-{os.getuid()}").symlink_to("/")
    with pytest.raises(OSError, match="not a folder of ours"):
        ports.reserve()
