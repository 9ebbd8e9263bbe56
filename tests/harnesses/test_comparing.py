"""Real runs of a weak and a strong model, compared: NeMo Evaluator, the quickstart's questions and its two toy models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import QUICKSTART

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CONFIG = """\
defaults:
  - execution: local/default
  - deployment: command
  - _self_
execution:
  endpoints: shared
  harnesses:
    nemo_evaluator: {{venv: {venv}, env: {{PYTHONPATH: {folder}/harness}}}}
deployment:
  served_model_name: ???
  argv: ["{venv}/bin/python", "{folder}/server.py", "--path={folder}/models/tinyqa/{{model}}", "--model={{model}}", "--port={{port}}"]
evaluation:
  harness: nemo_evaluator
  nemo_evaluator_config: {{config: {{params: {{temperature: 0.0}}}}}}
  tasks:
    - name: arithmetic
    - name: capitals
"""


def evalx(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "evalx.cli", *args]
    return subprocess.run(argv, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=300)


def compared(folder: Path, a: str, b: str) -> Any:
    done = evalx(folder, "compare", a, b, "--json")
    return done.returncode, json.loads(done.stdout)


def test_a_strong_model_is_better_than_a_weak_one(nemo_venv: Path, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(CONFIG.format(venv=nemo_venv, folder=QUICKSTART))
    runs = []
    for model, *more in (
        ("weak",),
        ("strong",),
        ("strong", "evaluation.nemo_evaluator_config.config.params.temperature=0.5", "-tcapitals"),
    ):
        done = evalx(tmp_path, "run", "my.yaml", f"deployment.served_model_name={model}", "--json", *more)
        assert done.returncode == 0, done.stderr
        runs.append(json.loads(done.stdout)["run_id"])
    weak, strong, warm = runs

    code, found = compared(tmp_path, weak, strong)
    assert code == 0 and found["not_compared"] == []
    by_name = {(one["task"], one["metric"]): one for one in found["comparisons"]}
    assert len(by_name) == 4 and all(one["paired"] and one["questions"] == 24 for one in by_name.values())
    arithmetic = by_name["arithmetic", "pass@1/contains"]
    assert arithmetic["verdict"] == "better" and arithmetic["interval"][0] > 0

    code, found = compared(tmp_path, strong, f"evalx-runs/{strong}")
    assert code == 0 and {one["verdict"] for one in found["comparisons"]} == {"no difference shown"}

    code, found = compared(tmp_path, strong, warm)
    assert code == 2 and found["comparisons"] == []
    assert {one["task"]: one["reasons"] for one in found["not_compared"]} == {
        "arithmetic": ["B has no such task"],
        "capitals": ["other params.temperature: 0.0 in A, 0.5 in B"],
    }

    (tmp_path / "policy.yaml").write_text(f"baseline: {strong}\nrequire: [arithmetic, capitals]\nrules: [{{not_worse: true}}]\n")
    assert evalx(tmp_path, "gate", strong, "--policy", "policy.yaml").returncode == 0
    assert evalx(tmp_path, "gate", weak, "--policy", "policy.yaml").returncode == 3
