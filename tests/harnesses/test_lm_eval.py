"""The real lm-evaluation-harness, with the quickstart's questions in a task file of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import fmean

import pytest

from evalx.harnesses.lm_eval import LmEvalHarness
from evalx.model import Outcome

from .conftest import QUICKSTART, Start, model_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TASK = Path(__file__).parent / "lm_eval_tasks" / "arithmetic.yaml"
QUESTIONS = QUICKSTART / "harness" / "core_evals" / "evalx_quickstart" / "arithmetic.jsonl"


@pytest.fixture
def task_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my tasks"
    folder.mkdir()
    shutil.copy(TASK, folder)
    shutil.copy(QUESTIONS, folder)
    return folder


def test_a_task_file_in_a_dataset_dir_is_scored(lm_eval_venv: Path, start: Start, task_folder: Path) -> None:
    env = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(task_folder.parent / "hf")}
    params = {"include_path": ".", "num_concurrent": 4, "limit": 20, "gen_kwargs": {"max_gen_toks": 8}}
    with model_server(lm_eval_venv, "strong") as url:
        task = start(LmEvalHarness(), lm_eval_venv, url, 1, task="evalx_arithmetic", params=params, dataset_dir=task_folder, env=env)
        result = task.result()
    assert result.outcome is Outcome.PASSED, result.reason
    (metric,) = result.metrics
    assert (metric.name, metric.n) == ("exact_match/strict", 20)
    assert 0 < metric.value <= 1 and metric.stderr is not None
    assert any("samples_" in artifact.path for artifact in result.artifacts)
    details = LmEvalHarness().details(task.task, Path(task.site.results))
    assert fmean(sample.scores[metric.name] for sample in details.samples) == pytest.approx(metric.value)
    assert len({sample.question for sample in details.samples}) == 20 and all(sample.prompt for sample in details.samples)
    assert details.facts["config.limit"] == 20 and details.facts["lm_eval_version"]


def test_an_unknown_task_fails_with_its_last_words(lm_eval_venv: Path, start: Start, task_folder: Path) -> None:
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(task_folder.parent / "hf")}
    result = start(LmEvalHarness(), lm_eval_venv, "http://127.0.0.1:9", 1, task="evalx_nothing", params={}, env=env).result()
    assert (result.outcome, result.metrics) == (Outcome.FAILED, ())
    assert "exit code 1" in str(result.reason) and "evalx_nothing" in str(result.reason)
