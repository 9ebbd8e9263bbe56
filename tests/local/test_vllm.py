"""A real vLLM, run by hand: `EVALX_TEST_VLLM=<venv> EVALX_TEST_MODEL=<checkpoint folder> pytest -m manual tests/local/test_vllm.py`."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from evalx.errors import EndpointFailed
from evalx.model import EndpointSpec, Outcome

from . import conftest
from .conftest import World, marked, question, until

Make = Callable[..., World]

CPU = {"HF_HUB_OFFLINE": 1, "VLLM_CPU_KVCACHE_SPACE": 1, "VLLM_NO_USAGE_STATS": 1, "DO_NOT_TRACK": 1}
SMALL = "--max-model-len 1024 --dtype float32 --enforce-eager --max-num-seqs 8"

pytestmark = [
    pytest.mark.manual,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not {"EVALX_TEST_VLLM", "EVALX_TEST_MODEL"} <= set(os.environ), reason="EVALX_TEST_VLLM, EVALX_TEST_MODEL not set"),
]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "PATIENCE", 600.0)


def _vllm(extra_args: str = SMALL) -> EndpointSpec:
    deployment = {"checkpoint_path": os.environ["EVALX_TEST_MODEL"], "venv": os.environ["EVALX_TEST_VLLM"], "envs": CPU}
    return EndpointSpec("model", 0, "vllm", "tiny", {"deployment": {"type": "vllm", "extra_args": extra_args, **deployment}})


def test_vllm_serves_answers_a_task_and_leaves_nothing(world: Make) -> None:
    here = world([_vllm()], [question()])
    assert here.hooks.preflight() == []
    ready = here.ready()
    task = here.run.plan.tasks[0]
    result = here.result(here.submit(task, ready))
    assert result.outcome is Outcome.PASSED, result.reason
    here.remove(ready)
    assert marked(ready.resource) == []


def test_vllm_that_is_started_wrongly_says_why(world: Make) -> None:
    here = world([_vllm("--dtype nonsense")])
    handle = here.deploy()
    with pytest.raises(EndpointFailed, match="exited with code"):
        until(lambda: here.hooks.wait_ready(handle))
