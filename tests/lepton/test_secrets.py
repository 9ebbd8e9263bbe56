"""Secrets on their way to a workspace: on the wire only where they must be, and in nothing that evalx writes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.faults.canaries import TALKATIVE, canary, files, leaks

from evalx import redaction
from evalx.cli import main
from evalx_lepton.emulator import Emulator

NAMES = ("PLAIN_NAME", "HF_TOKEN", "NGC_API_KEY", "LEPTON_WORKSPACE_TOKEN", "ENDPOINT", "API_KEY")


class Wire:
    """What the SDK sends. secrets: values of the secrets that it creates. rest: all else, but for the header that holds its own token."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.secrets: dict[str, str] = {}
        self.rest: list[tuple[str, bytes]] = []
        send = requests.Session.send

        def watched(session: Any, request: Any, **options: Any) -> Any:
            body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
            headers = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
            what = f"{request.method} {request.url}"
            if body and "/usersecrets" in request.url:
                self.secrets |= {entry["name"]: entry["value"] for entry in json.loads(body)}
                body = b""
            if request.method == "POST" and request.url.endswith("/deployments"):
                # The platform knows no references to secrets here: the endpoint's own token must be in the call that creates it.
                spec = json.loads(body)["spec"]
                spec.pop("api_tokens")
                body = json.dumps(spec).encode()
            self.rest.append((what, f"{what} {headers} ".encode() + body))
            return send(session, request, **options)

        monkeypatch.setattr(requests.Session, "send", watched)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


@pytest.fixture
def written(
    tmp_path: Path, workspace: Callable[..., Emulator], wire: Wire, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[str, str], list[tuple[str, bytes]]]]:
    """Runs an evaluation whose server and tasks tell all they know, and returns the secrets and everything that was written."""

    def run() -> tuple[dict[str, str], list[tuple[str, bytes]]]:
        emulator = workspace(provisioning=0.05)
        canaries = {name: canary(name) for name in ("PLAIN_NAME", "HF_TOKEN", "NGC_API_KEY")}
        for name, value in canaries.items():
            monkeypatch.setenv(name, value)
        folder = tmp_path / "here"
        folder.mkdir()
        monkeypatch.chdir(folder)
        (folder / "c.yaml").write_text(yaml.safe_dump(_config()))
        seen = list(_commands(capsys))
        assert any("-ENDPOINT_TOKEN" in name for name in wire.secrets) and set(canaries.values()) <= set(wire.secrets.values())
        canaries |= {name: value for name, value in wire.secrets.items() if value not in canaries.values()}
        canaries["login"] = emulator.token
        return canaries, [*seen, *wire.rest, *files(folder), *files(tmp_path / "state")]

    return run


def _config() -> dict[str, Any]:
    result = json.dumps({"schema": 1, "metrics": [{"name": "accuracy", "value": 0.5, "n": 4}]})
    endings = {"good": f"open(sys.argv[2] + '/results.json', 'w').write({result!r})", "bad": "sys.exit(3)"}
    tasks = []
    for name, ending in endings.items():
        code = f"{TALKATIVE}\n{ending}".replace("{", "{{").replace("}", "}}")
        command = [sys.executable, "-c", code, ",".join(NAMES), "{results}"]
        tasks.append({"name": name, "container": "example.test/eval:1", "harness_config": {"command": command}})
    return {
        "defaults": [{"execution": "lepton/default"}, {"deployment": "vllm"}, "_self_"],
        "execution": {
            "endpoints": "shared",
            "env_var_names": ["NGC_API_KEY"],
            "lepton_platform": {"tasks": {"env_vars": {"HF_TOKEN": "host:HF_TOKEN"}}},
        },
        "deployment": {
            "image": "example.test/vllm:1",
            "checkpoint_path": "example/stub",
            "served_model_name": "stub",
            "envs": {"PLAIN_NAME": "host:PLAIN_NAME"},
            "lepton_config": {"resource_shape": "gpu.small"},
        },
        "evaluation": {"harness": "command", "env_vars": {"PLAIN_NAME": "host:PLAIN_NAME"}, "tasks": tasks},
    }


def _commands(capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[str, bytes]]:
    looks = ("run c.yaml --display plain -vv", "logs last", "status last --json", "report last -o r.html", "plan c.yaml --json")
    for look in (*looks, "export last --to json", "resume last -vv --display jsonl", "cleanup last"):
        redaction.forget()  # as in a new process
        with pytest.raises(SystemExit):
            main(look.split())
        for name, text in zip(("stdout", "stderr"), capsys.readouterr(), strict=True):
            yield f"{name} of {look}", text.encode()


def test_only_the_calls_that_create_secrets_hold_them(written: Any) -> None:
    canaries, texts = written()
    assert len(canaries) >= 5
    assert list(leaks(canaries, texts)) == []
    logs = [data for name, data in texts if "/tasks/" in name and name.endswith("output.log")]
    assert len(logs) >= 2 and all(b"PLAIN_NAME" in data and b"***" in data for data in logs)
    assert not any(b"IN ARGV" in data for data in logs)


def test_the_search_finds_what_is_not_taken_out(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with a mistake in evalx."""
    monkeypatch.setattr(redaction, "_secrets", list)
    canaries, texts = written()
    found = list(leaks(canaries, texts))
    for place in ("output.log", "evalx.db", "stdout of logs", "r.html", "stderr of run"):
        assert any(place in leak for leak in found), place
