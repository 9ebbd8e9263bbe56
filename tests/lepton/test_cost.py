"""Runs on the emulated workspace that have prices: what they cost is told, and capped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.lepton.conftest import SERVER, server

from evalx.errors import ExitCode
from evalx.model import Billing, EndpointSpec
from evalx.testing.runs import make_run
from evalx_lepton.executor import LeptonExecutor, billing_of
from evalx_lepton.settings import LeptonSettings

pytestmark = pytest.mark.enable_socket

PRICES = {"gpu.2xh200": 3600.0, "cpu.small": 360.0}
PER_SECOND = 1.1


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An endpoint and a task that never ends, on a workspace of the run's own."""
    argv = [sys.executable, str(SERVER), "--port", "{port}", "--model", "{served_model_name}"]
    images = [{"match": "example.test/vllm*", "command": argv}, {"match": "example.test/eval*"}]
    tree = {
        "defaults": [{"execution": "lepton/default"}, {"deployment": "vllm"}, "_self_"],
        "execution": {
            "output_dir": str(tmp_path / "out"),
            "lepton_platform": {"workspace": "emulated", "emulator": {"settings": {"images": images, "provisioning": 0.1}}},
            "currency": "EUR",
            "prices": PRICES,
        },
        "deployment": {
            "image": "example.test/vllm:1",
            "checkpoint_path": "example/stub",
            "served_model_name": "stub",
            "lepton_config": {"resource_shape": "gpu.2xh200"},
        },
        "evaluation": {
            "harness": "command",
            "tasks": [{"name": "endless", "container": "example.test/eval:1", "harness_config": {"command": ["sleep", "600"]}}],
        },
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def evalx(state: Path, *args: str) -> Any:
    env = {**os.environ, "EVALX_STATE_DIR": str(state)}
    return subprocess.run([sys.executable, "-m", "evalx.cli", *args], env=env, capture_output=True, text=True, timeout=120)


def test_a_cost_cap_ends_the_run(config: Path, evalx_home: Path, tmp_path: Path) -> None:
    limit = 4.0
    done = evalx(evalx_home, "run", str(config), "--max-cost", str(limit), "--json")
    told = json.loads(done.stdout)
    assert done.returncode == ExitCode.DEADLINE and told["reason"] == "max_cost of 4.00 EUR reached" and told["may_be_alive"] == []
    events = [json.loads(line) for path in (tmp_path / "out").glob("*/events.jsonl") for line in path.read_text().splitlines()]
    gone = max(event["time"] for event in events if event["state"] == "gone")
    stopped = next(event["time"] for event in events if event["state"] == "cancelling")
    cost = told["cost"]
    assert limit <= cost["amount"] <= limit + PER_SECOND * (gone - stopped + 1.0), "never more than one look and one delete above it"
    assert (cost["currency"], cost["unpriced"]) == ("EUR", []) and cost["gpu_hours"] == pytest.approx(2 * cost["endpoint_hours"])
    status = evalx(evalx_home, "status", "last").stdout
    assert f"cost       {cost['amount']:.2f} EUR, " in status and "GPU hours" in status
    assert f"cost: {cost['amount']:.2f} EUR" in evalx(evalx_home, "results", "last").stderr
    spent = evalx(evalx_home, "resume", "last")
    assert spent.returncode == ExitCode.DEADLINE and "has cost its max_cost of 4.00 EUR" in spent.stderr


def test_a_cap_that_cannot_be_kept_is_refused(config: Path, evalx_home: Path, tmp_path: Path) -> None:
    args = (str(config), "~execution.prices")
    refused = evalx(evalx_home, "run", *args, "--max-cost", "4", "--json")
    assert refused.returncode == ExitCode.USAGE
    assert "there is no price for gpu.2xh200, cpu.small" in json.loads(refused.stdout)["error"]["message"]
    assert not (tmp_path / "out").exists()
    planned = evalx(evalx_home, "plan", *args)
    assert planned.returncode == 0 and "cost       unknown (no price for gpu.2xh200, cpu.small)" in planned.stdout
    priced = evalx(evalx_home, "plan", str(config), "execution.max_cost=4")
    assert "cost       3960.00 EUR per hour while all of it exists, at most " in priced.stdout and "max cost   4.00 EUR" in priced.stdout


@pytest.mark.parametrize(("shape", "accelerators"), [("gpu.8xH100-80gb", 8), ("gpu.a10", 1), ("cpu.small", 0), ("tpu.v5", None)])
def test_accelerators_of_a_shape(shape: str, accelerators: float | None) -> None:
    assert billing_of(shape, 3) == Billing(shape, 3, accelerators)


def billed(tmp_path: Path, endpoint: EndpointSpec) -> Billing | None:
    run = make_run(tmp_path, LeptonExecutor(), endpoints=(endpoint,), settings=LeptonSettings(type="lepton"))
    return run.plugins.hooks(run).billing(endpoint)


def test_replicas_that_may_be_there_are_billed(tmp_path: Path) -> None:
    endpoint = server(lepton_config={"resource_shape": "gpu.1xh200", "min_replicas": 1, "max_replicas": 3})
    assert billed(tmp_path, endpoint) == Billing("gpu.1xh200", 3, 1.0)


def test_an_endpoint_that_exists_is_not_billed(tmp_path: Path) -> None:
    target = {"url": "https://example.test/v1/chat/completions"}
    assert billed(tmp_path, EndpointSpec("b", 0, "none", "m", {"deployment": {"type": "none"}, "target": target})) == Billing()
