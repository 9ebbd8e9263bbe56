"""`evalx init`: what it writes can be planned as it stands, for every executor and deployment that comes with evalx."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from evalx import catalog
from evalx.config import load
from evalx.config.json_schema import config_schema
from evalx.config.sections import EXECUTORS
from evalx.plan import make_plan

EXECUTOR_NAMES = [info.name for info in catalog.plugins(EXECUTORS) if info.distribution == "evalx"]
PAIRS = [
    (executor, info.name)
    for executor in EXECUTOR_NAMES
    for info in catalog.plugins(catalog.load(EXECUTORS, executor).deployments)
    if info.distribution == "evalx"
]


@pytest.mark.parametrize(("executor", "deployment"), PAIRS)
def test_what_it_writes_is_a_config(evalx: Any, executor: str, deployment: str) -> None:
    done = evalx("init", "mine", "--executor", executor, "--deployment", deployment, "-t", "ifeval", "-t", "gpqa_diamond")
    assert (done.code, done.out) == (0, "mine.yaml\n")
    plan = make_plan(load("mine.yaml"))
    assert (plan.executor, plan.endpoints[0].variant) == (executor, deployment)
    assert [task.name for task in plan.tasks] == ["ifeval", "gpqa_diamond"]
    text = Path("mine.yaml").read_text()
    assert "???" not in text and max(map(len, text.splitlines())) <= 140
    validator = Draft202012Validator(config_schema(executor, deployment))
    assert list(validator.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(("executor", "deployment"), PAIRS)
def test_what_stands_in_comments_is_the_default(evalx: Any, executor: str, deployment: str) -> None:
    evalx("init", "mine", "--executor", executor, "--deployment", deployment)
    before = load("mine.yaml")
    lines = Path("mine.yaml").read_text().splitlines()
    commented = [line for line in lines if re.match(r"  +# [a-z_]+:( |$)", line)]
    assert commented
    Path("mine.yaml").write_text("\n".join(re.sub(r"^( +)# (?=[a-z_]+:( |$)|  )", r"\1", line) for line in lines))
    after = load("mine.yaml")
    assert len(yaml.safe_load(after.text)["execution"]) > len(yaml.safe_load(before.text)["execution"])
    assert (after.execution, after.target) == (before.execution, before.target)
    assert after.deployment == before.deployment or deployment in ("vllm", "sglang", "nim"), "their config groups say more than the classes"


def test_a_file_that_is_there_is_left_alone(evalx: Any) -> None:
    Path("mine.yaml").write_text("mine")
    done = evalx("init", "mine.yaml")
    assert done.code == 2 and "is there already" in done.err
    assert Path("mine.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--executor", "locla"], 'Did you mean "local"?'),
        (["--deployment", "vlm"], 'Did you mean "vllm"?'),
        (["-t", "ifevall"], "did you mean ifeval or"),
        (["no/such/folder/x"], "No such file or directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_slip_writes_nothing(evalx: Any, args: list[str], said: str) -> None:
    done = evalx("init", *args)
    assert done.code == 2 and said in done.err
    assert not list(Path().glob("*.yaml"))


def test_as_json(evalx: Any, tmp_path: Path) -> None:
    assert evalx("init", "--json").json == {
        "schema": 1,
        "path": str(tmp_path / "evalx.yaml"),
        "executor": "local",
        "deployment": "none",
    }
