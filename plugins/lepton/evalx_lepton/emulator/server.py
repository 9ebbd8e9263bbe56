"""The emulator: a workspace behind an HTTP server of 127.0.0.1, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn

from evalx.processes import identity
from evalx_lepton.emulator.app import PREFIX, make_app
from evalx_lepton.emulator.containers import WORKSPACE
from evalx_lepton.emulator.faults import CallFaults
from evalx_lepton.emulator.guard import Connections
from evalx_lepton.emulator.settings import EmulatorSettings, Fault
from evalx_lepton.emulator.workspace import Workspace, new_token

ADDRESS_FILE = "address.json"
TOKEN_FILE = "token"  # noqa: S105 -- a file's name
START_PATIENCE = 30.0
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept, as gateways do; uvicorn's five are shorter than a client's polling interval may be."""


class Emulator:
    """An emulated workspace, as long as the `with` statement lasts. All processes of its endpoints and jobs end with it.

    state: the folder for storage, logs and the address file; one that ends with the emulator if there is none. Where it was used
    before, storage and token are those of then; endpoints and jobs are not. port: 0 for a free one. Raises OSError if it is taken.
    """

    workspace_id = WORKSPACE

    def __init__(self, settings: EmulatorSettings | None = None, *, state: Path | None = None, port: int = 0) -> None:
        self.settings = settings or EmulatorSettings()
        self._given_state, self._asked_port = state, port
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self.state = (self._given_state or Path(tempfile.mkdtemp(prefix="evalx-emulator-"))).absolute()
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.token = self._find_token()
        self._socket = _listen(self._asked_port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}{PREFIX}"
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evalx-emulator", daemon=True)
        self._thread.start()
        self._await_start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop()
        if self._given_state is None:
            shutil.rmtree(self.state, ignore_errors=True)

    @property
    def calls(self) -> Counter[str]:
        """How often each route was called: `GET /jobs/{name}` and so on, relative to the workspace."""
        return self._workspace.calls

    @property
    def history(self) -> list[str]:
        """What was created, changed and deleted, by whom, in order: `<account> create endpoint/<name>` and so on."""
        return self._workspace.history

    def fail(self, *faults: Fault) -> None:
        """From now on calls go wrong like this, instead of as the settings say."""
        self._workspace.call_faults = CallFaults(faults, random.Random(self.settings.seed))  # noqa: S311 -- to be the same every time

    def alive(self) -> list[str]:
        """What exists: `endpoint/<name>`, `job/<id>`, `secret/<name>`, in order. Finished jobs exist until deleted or archived."""
        return self._workspace.alive()

    def processes(self) -> list[int]:
        """Process ids of what runs for endpoints and jobs."""
        return sorted(self._workspace.processes.pids.values())

    def environment(self) -> dict[str, str]:
        """The variables that lead the SDK and `lep` here."""
        cache = self.state / "lepton-cache"
        cache.mkdir(exist_ok=True)
        # `lep` asks a package index for its newest version unless it has done so lately.
        (cache / "latest_version_check").write_text(str(int(time.time()) + 10 * 365 * 24 * 3600))
        return {
            "LEPTON_WORKSPACE_ID": self.workspace_id,
            "LEPTON_WORKSPACE_TOKEN": self.token,
            "LEPTON_WORKSPACE_URL": self.url,
            "LEPTON_CACHE_DIR": str(cache),
        }

    def address(self) -> dict[str, Any]:
        """What the address file holds: url, workspace, token, and the process by its id and birth."""
        birth = identity(os.getpid())
        return {"url": self.url, "workspace": WORKSPACE, "token": self.token, "pid": os.getpid(), "birth": birth}

    def write_address(self) -> Path:
        """Write the address file, which others wait for; it goes when the emulator ends in order."""
        path = self.state / ADDRESS_FILE
        _write_private(path, json.dumps(self.address()))
        return path

    def _find_token(self) -> str:
        path = self.state / TOKEN_FILE
        if not path.exists():
            _write_private(path, new_token())
        return path.read_text()

    def _await_start(self) -> None:
        started = self._ready.wait(START_PATIENCE)
        if self._error is not None or not started:
            self._stop()
            raise RuntimeError(f"the emulated workspace did not start: {self._error or 'no answer in time'}") from self._error

    def _stop(self) -> None:
        with suppress(FileNotFoundError):
            (self.state / ADDRESS_FILE).unlink()
        if server := getattr(self, "_server", None):
            server.should_exit = True
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 -- told by the thread that started this one
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._workspace = Workspace(self.settings, self.state, self.token)
        await self._workspace.open()
        time_passes = asyncio.create_task(self._workspace.run())
        try:
            await self._serve_http()
        finally:
            time_passes.cancel()
            await self._workspace.close()

    async def _serve_http(self) -> None:
        config = uvicorn.Config(
            make_app(self._workspace),
            http=Connections,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            backlog=1024,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.005)
        self._ready.set()
        await serving


def _listen(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off where the protocol is named, and each answer would wait 40 ms with it.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


def _write_private(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    part.rename(path)
