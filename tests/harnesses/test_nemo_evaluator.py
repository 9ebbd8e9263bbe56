"""The real NeMo Evaluator, with the quickstart's questions."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from evalx.harnesses.nemo_evaluator import NemoEvaluatorHarness
from evalx.model import Outcome, TaskResult

from .conftest import QUICKSTART, Start, model_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OPTIONS = {"task": "arithmetic", "suite": "evalx_quickstart", "env": {"PYTHONPATH": str(QUICKSTART / "harness"), "HF_HUB_OFFLINE": "1"}}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def value(result: TaskResult, name: str) -> float:
    assert result.outcome is Outcome.PASSED, result.reason
    (metric,) = [metric for metric in result.metrics if metric.name == name]
    assert metric.n == 24 and metric.stderr is not None
    return metric.value


def test_two_runs_that_start_together_report_their_own_models_scores(nemo_venv: Path, start: Start) -> None:
    """NeMo Evaluator left alone shares one adapter between them, and each reports what the other's model said."""
    with model_server(nemo_venv, "weak") as weak_url, model_server(nemo_venv, "strong") as strong_url:
        weak = start(NemoEvaluatorHarness(), nemo_venv, weak_url, free_port(), **OPTIONS)
        strong = start(NemoEvaluatorHarness(), nemo_venv, strong_url, free_port(), **OPTIONS)
        weak_score, strong_score = value(weak.result(), "pass@1/exact"), value(strong.result(), "pass@1/exact")
        assert 0 < weak_score < strong_score
        again = start(NemoEvaluatorHarness(), nemo_venv, weak_url, free_port(), **OPTIONS).result()
        assert value(again, "pass@1/exact") == weak_score
    assert {"results/results.yml", "results/run_config.yml"} <= {artifact.path for artifact in again.artifacts}


def test_params_reach_the_benchmark(nemo_venv: Path, start: Start) -> None:
    with model_server(nemo_venv, "strong") as url:
        params = {"config": {"params": {"limit_samples": 3}}}
        result = start(NemoEvaluatorHarness(), nemo_venv, url, free_port(), params=params, **OPTIONS).result()
    assert {metric.n for metric in result.metrics} == {3}


def test_a_model_that_cannot_be_reached_is_no_score(nemo_venv: Path, start: Start) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    params = {"config": {"params": {"max_retries": 1, "limit_samples": 2}}}
    result = start(NemoEvaluatorHarness(), nemo_venv, url, free_port(), params=params, **OPTIONS).result()
    assert result.outcome in (Outcome.FAILED, Outcome.NO_RESULT)
    assert result.metrics == () and result.reason


@pytest.fixture
def silent_server() -> Iterator[tuple[str, threading.Event]]:
    """An endpoint that takes requests and never answers. Yields its URL, and an event set by the first request."""
    asked, over = threading.Event(), threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.set()
            over.wait(100)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_sigterm_ends_every_process_and_is_no_pass(nemo_venv: Path, start: Start, silent_server: tuple[str, threading.Event]) -> None:
    url, asked = silent_server
    started = start(NemoEvaluatorHarness(), nemo_venv, url, free_port(), **OPTIONS)
    assert asked.wait(60)
    family = psutil.Process(started.process.pid).children(recursive=True)
    os.killpg(started.process.pid, signal.SIGTERM)
    result = started.result()
    assert result.outcome is not Outcome.PASSED and result.metrics == ()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_when_the_time_is_up_it_is_a_timeout(nemo_venv: Path, start: Start, silent_server: tuple[str, threading.Event]) -> None:
    before = time.time()
    result = start(NemoEvaluatorHarness(), nemo_venv, silent_server[0], free_port(), timeout=8, **OPTIONS).result()
    assert result.outcome is Outcome.TIMED_OUT
    assert time.time() - before >= 8
