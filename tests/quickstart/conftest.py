"""The quickstart's parts as they are used: its server as a process, its models from the package."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from attrs import define

from evalx_quickstart import paths
from evalx_quickstart.numpy_server.weights import Model, load


@define
class Running:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def post(self, path: str, **body: Any) -> tuple[int, Any]:
        return self.request("POST", path, json.dumps(body).encode())

    def chat(self, text: str, **body: Any) -> dict[str, Any]:
        """The only choice of a chat of one message, greedy unless told."""
        asked = {"temperature": 0, "max_tokens": 8, "messages": [{"role": "user", "content": text}], **body}
        status, answer = self.post("/v1/chat/completions", **asked)
        assert status == 200, answer
        (choice,) = answer["choices"]
        return choice

    def say(self, text: str, **body: Any) -> str:
        return str(self.chat(text, **body)["message"]["content"])


def start(arguments: Sequence[str], **env: str) -> subprocess.Popen[str]:
    """The server with these arguments, in this interpreter but without evalx's packages on its path."""
    argv = [sys.executable, str(paths.SERVER), *arguments]
    return subprocess.Popen(argv, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def serving(model: str, *arguments: str, **env: str) -> Iterator[Running]:
    process = start([f"--path={paths.TOY_MODELS[model]}", f"--model={model}", "--port=0", *arguments], **env)
    with process:
        try:
            assert process.stdout
            found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert found, process.stderr and process.stderr.read()
            yield Running(process, int(found[1]))
        finally:
            process.kill()


@pytest.fixture(scope="session")
def strong() -> Iterator[Running]:
    with serving("tinyqa-strong") as server:
        yield server


@pytest.fixture(scope="session")
def model() -> Model:
    """tinyqa-strong, loaded in this process."""
    return load(paths.TOY_MODELS["tinyqa-strong"])
