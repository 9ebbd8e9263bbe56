"""Where the situations of the gallery are set up, and how what the command says becomes a page that is the same on every machine: as it is
seen on a terminal of 80 columns, where paths are as short as on the page."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from evalx import __version__
from evalx.config.search import shipped_configs

CANARY = "sk-canary-0123456789abcdef"
"""A secret's value: no page shows it."""

LOCAL = "defaults: [{execution: local/default}, {deployment: none}, _self_]\n"

TASKS = """\
evaluation:
  harness: command
  tasks:
    - {name: one, harness_config: {command: [sh, -c, "exit 1"]}}
"""

TARGET = "target: {api_endpoint: {url: http://127.0.0.1:1/v1, model_id: tiny}}\n"

GOOD = LOCAL + TARGET + TASKS
"""A config in which nothing is wrong."""

Play = Callable[["Stage"], Any]

SITUATIONS: dict[str, Play] = {}


def situation(play: Play) -> Play:
    """Put a situation into the gallery, under its function's name."""
    name = getattr(play, "__name__", "")
    assert name not in SITUATIONS, f"two situations are called {name}"
    SITUATIONS[name] = play
    return play


@define
class Stage:
    """A folder of its own with the command line in it. evalx: calls it in this process and returns what it did; the last call is the page.
    stored: makes runs in the store."""

    folder: Path
    state: Path
    evalx: Callable[..., Any]
    stored: Callable[..., Any]
    monkeypatch: pytest.MonkeyPatch
    request: pytest.FixtureRequest
    ports: list[int] = field(factory=list)
    run_ids: set[str] = field(factory=set)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def run(self, text: str, *args: str) -> Any:
        """`evalx run my.yaml` with a config; without the lines of its progress, since how many there are is a matter of time."""
        self.write("my.yaml", text)
        return self.evalx("run", "my.yaml", "--display", "none", *args)

    def install(self, name: str, module: str, entry_points: str, version: str = "1.2") -> None:
        """A distribution with one module, found as an installed one is."""
        site = self.folder / "site"
        self.write(f"site/{name}.py", module)
        self.write(f"site/{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        self.write(f"site/{name}-{version}.dist-info/entry_points.txt", entry_points)
        self.monkeypatch.syspath_prepend(str(site))
        self.monkeypatch.delitem(sys.modules, name, raising=False)
        self.request.addfinalizer(lambda: sys.modules.pop(name, None))

    @contextmanager
    def endpoint(self, status: int = 200, body: Any = None, models: list[str] | None = None) -> Iterator[str]:
        """An endpoint that exists and always answers so; its URL. models: what it lists under /models."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = models is not None and self.path.endswith("/models")
                self.answer(200 if found else 404, {"data": [{"id": name} for name in models or []]} if found else {})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.answer(status, body)

            def answer(self, status: int, body: Any) -> None:
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_args: object) -> None:
                """Keep quiet."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            self.ports.append(server.server_port)
            try:
                yield f"http://127.0.0.1:{server.server_port}/v1"
            finally:
                server.shutdown()
                thread.join()

    def page(self, done: Any) -> str:
        """What a user sees, without what differs from machine to machine and run to run."""
        parts = [f"exit code {done.code}\n"]
        if done.out:
            parts.append(f"--- stdout\n{done.out}")
        parts.append(f"--- stderr\n{done.err}")
        return self.same_everywhere("".join(parts))

    def same_everywhere(self, text: str) -> str:
        """The text without what differs."""
        self.run_ids.update(RUN_ID.findall(text))
        for run_id in {*self.run_ids, *(path.name for path in self.folder.iterdir() if RUN_NAME.fullmatch(path.name))}:
            text = text.replace(run_id, "RUN")
        for place, word in ((self.state, "STATE"), (self.folder, "FOLDER"), (sys.executable, "PYTHON"), (shipped_configs(), "CONFIGS")):
            text = text.replace(str(place), word)
        for port in self.ports:
            text = text.replace(str(port), "PORT")
        for pattern, word in VOLATILE:
            text = pattern.sub(word, text)
        return text


RUN_ID = re.compile(r"(?:\brun |runs/|evalx-)([a-z2-7]{11})\b")

RUN_NAME = re.compile(r"[a-z2-7]{11}")

VOLATILE = [
    (re.compile(r"\(python[0-9.]*\)"), "(python)"),
    (re.compile(r"\bprocess \d+"), "process PID"),
    (re.compile(r"line 4: +\d+ Killed +"), "line 4: PID Killed "),
    (re.compile(r"\d{8}T\d{6}[.\d-]*\d"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, \d+s ago"), "WHEN"),
    (re.compile(r" +\d+s$", re.MULTILINE), "  SECONDS"),
    (re.compile(r"\d+\.\d+ (?=(endpoint|GPU) hours)"), "N "),
    (re.compile(re.escape(__version__)), "VERSION"),
]
"""Process ids, times and versions."""
