"""Emulated workspaces, and the real SDK to look at them with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import pytest
import requests
from leptonai.api.v2.client import APIClient
from leptonai.api.v2.types.common import Metadata
from leptonai.api.v2.types.deployment import (
    ContainerPort,
    EnvVar,
    LeptonContainer,
    LeptonDeployment,
    LeptonDeploymentUserSpec,
    ResourceRequirement,
    TokenVar,
)
from leptonai.api.v2.types.job import LeptonJob, LeptonJobUserSpec

from evalx_lepton.emulator import Emulator
from evalx_lepton.emulator.settings import parse

T = TypeVar("T")
PATIENCE = 30.0
PORT = 8000
TOKEN = "token-of-the-endpoint"

SERVER = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.answer({"path": self.path, "env": dict(os.environ)})
    def do_POST(self):
        self.answer({"echo": self.rfile.read(int(self.headers["Content-Length"])).decode()})
    def answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

print("serving", flush=True)
HTTPServer(("127.0.0.1", int(os.environ["SERVER_PORT"])), Handler).serve_forever()
"""

Emulate = Callable[..., Emulator]


@pytest.fixture
def emulate() -> Iterator[Emulate]:
    """Starts emulators; its arguments are settings, as in the file."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Emulator(parse(settings)))


def sdk(emulator: Emulator, token: str | None = None) -> APIClient:
    """The real SDK's client of an emulator."""
    return APIClient(emulator.workspace_id, token or emulator.token, emulator.url)


def endpoint(name: str = "model", *argv: str, image: str = "python:3.11", **spec: Any) -> LeptonDeployment:
    """An endpoint whose container is a small HTTP server, or `argv`; further keys go into its spec."""
    container = LeptonContainer(image=image, command=list(argv) or ["python3", "-c", SERVER], ports=[ContainerPort(container_port=PORT)])
    envs = [EnvVar(name="SERVER_PORT", value=str(PORT)), *spec.pop("envs", [])]
    place = ResourceRequirement(resource_shape=spec.pop("shape", "cpu.small"), min_replicas=spec.pop("replicas", 1))
    user_spec = LeptonDeploymentUserSpec(
        **{"container": container, "resource_requirement": place, "envs": envs, "api_tokens": [TokenVar(value=TOKEN)], **spec}
    )
    return LeptonDeployment(metadata=Metadata(id=name, name=name), spec=user_spec)


def job(script: str, name: str = "task", labels: dict[str, str] | None = None, image: str = "busybox:1", **spec: Any) -> LeptonJob:
    """A job that runs a script in a shell; further keys go into its spec."""
    container = LeptonContainer(image=image, command=["/bin/sh", "-c", script])
    user_spec = LeptonJobUserSpec(**{"resource_shape": "cpu.small", "container": container, **spec})
    return LeptonJob(metadata=Metadata(id=name, name=name, labels=labels), spec=user_spec)


def until(look: Callable[[], T], what: str = "it") -> T:
    """Look again and again until the answer is true; returns that."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen in {PATIENCE:g} s")


def state_of(client: APIClient, name: str) -> str:
    """The state of an endpoint, Stopping and Stopped told apart."""
    status = client.deployment.get(name).status
    return str((status.phase or status.state).value)


def until_state(client: APIClient, name: str, *states: str) -> str:
    """Wait for an endpoint to be in one of these states."""
    return until(lambda: (found := state_of(client, name)) in states and found, f"{name} {states}")


def until_job(client: APIClient, job_id: str, *states: str) -> Any:
    """Wait for a job to be in one of these states; returns it."""
    return until(lambda: (found := client.job.get(job_id)).status.state.value in states and found, f"{job_id} {states}")


def call(url: str, token: str | None = TOKEN, **options: Any) -> requests.Response:
    """GET of an endpoint, with its token."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(url, headers=headers, timeout=20, **options)


def url_of(client: APIClient, name: str = "model") -> str:
    """The endpoint's address."""
    return str(client.deployment.get(name).status.endpoint.external_endpoint)


def log_text(client: APIClient, job_id: str) -> str:
    """All that a job wrote, from the log store."""
    answer = client.log.get_log(name_or_job=job_id, start="1", end=str(1 << 62), direction="forward")
    return "\n".join(line for stream in answer["data"]["result"] for _, line in stream["values"])
