from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import attrs
import pytest

from evalx.harnesses.api import HarnessCommand, ResultError, Target
from evalx.model import Metric, Outcome, Site, TaskResult, TaskSpec
from evalx.results import conclude
from evalx.results.judge import describe_exit

TASK = TaskSpec("quiz", 0, "any", "model", timeout=60)
SCORE = (Metric("score", 1.0),)


@attrs.frozen
class FileHarness:
    """Its result is valid if there is a file of that name."""

    evalx_api: tuple[int, int] = (1, 0)

    def command(self, task: TaskSpec, target: Target, site: Site) -> HarnessCommand:
        return HarnessCommand(("true",))

    def parse(self, task: TaskSpec, results: Path) -> tuple[Metric, ...]:
        if not (results / "good").exists():
            raise ResultError("no result file: good is missing")
        return SCORE


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "good").write_text("x")
    return tmp_path


def judge(directory: Path, **given: Any) -> TaskResult:
    return conclude(FileHarness(), TASK, directory, **given)


@pytest.mark.parametrize("exit_code", [0, None])
def test_a_valid_result_file_is_a_pass(good: Path, exit_code: int | None) -> None:
    result = judge(good, exit_code=exit_code, started=1.0, ended=2.0)
    assert (result.outcome, result.metrics, result.reason) == (Outcome.PASSED, SCORE, None)
    assert (result.started, result.ended, result.spec) == (1.0, 2.0, TASK)


@pytest.mark.parametrize("given", [{"exit_code": 0}, {"exit_code": None}, {"outcome": Outcome.PASSED}])
def test_no_result_file_is_never_a_pass(tmp_path: Path, given: dict[str, Any]) -> None:
    result = judge(tmp_path, **given)
    assert (result.outcome, result.metrics, result.reason) == (Outcome.NO_RESULT, (), "no result file: good is missing")


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.PASSED])
def test_what_the_executor_knows_wins_over_a_valid_file(good: Path, outcome: Outcome) -> None:
    result = judge(good, outcome=outcome, reason="because", exit_code=0)
    assert (result.outcome, result.metrics, result.reason) == (outcome, (), "because")
    assert judge(good, outcome=outcome).reason
    assert len(result.artifacts) == 1


def test_a_failed_command_has_no_scores_but_keeps_its_files(good: Path) -> None:
    (good / "output.log").write_text("one\n\x1b[31mboom\x1b[0m\n\n")
    result = judge(good, exit_code=3)
    assert (result.outcome, result.metrics) == (Outcome.FAILED, ())
    assert result.reason == "exit code 3; last log line: boom"
    assert [artifact.path for artifact in result.artifacts] == ["results/good"]


@pytest.mark.parametrize(
    ("exit_code", "elapsed", "outcome"),
    [
        (124, None, Outcome.TIMED_OUT),
        (124, 61, Outcome.TIMED_OUT),
        (137, 61, Outcome.TIMED_OUT),
        (-9, 61, Outcome.TIMED_OUT),
        (143, 61, Outcome.TIMED_OUT),
        (137, 5, Outcome.FAILED),
        (137, None, Outcome.FAILED),
        (1, 61, Outcome.FAILED),
    ],
)
def test_time_up_is_told_from_other_deaths(good: Path, exit_code: int, elapsed: float | None, outcome: Outcome) -> None:
    result = judge(
        good, exit_code=exit_code, started=None if elapsed is None else 100.0, ended=None if elapsed is None else 100.0 + elapsed
    )
    assert (result.outcome, result.metrics) == (outcome, ())


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "exit code 1"),
        (255, "exit code 255"),
        (-15, "killed by SIGTERM (exit code -15)"),
        (139, "killed by SIGSEGV (exit code 139)"),
        (137, "killed by SIGKILL (exit code 137), out of memory perhaps"),
    ],
)
def test_exit_codes_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


def test_artifacts_are_the_regular_files_below_results_and_nothing_else(good: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_text("s")
    (good / "results" / "deep").mkdir()
    (good / "results" / "deep" / "data").write_bytes(b"abc" * 1_000_000)
    (good / "results" / "link").symlink_to(outside / "secret")
    (good / "results" / "folder").symlink_to(outside)
    (good / "elsewhere.txt").write_text("not a result")
    os.mkfifo(good / "results" / "pipe")
    found = {artifact.path: artifact for artifact in judge(good, exit_code=0).artifacts}
    assert sorted(found) == ["results/deep/data", "results/good"]
    assert found["results/deep/data"].size == 3_000_000
    assert found["results/deep/data"].sha256 == hashlib.sha256(b"abc" * 1_000_000).hexdigest()


def test_results_that_are_a_link_are_none(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "file").write_text("s")
    (tmp_path / "results").symlink_to(outside)
    assert judge(tmp_path, exit_code=0).artifacts == ()


def test_file_names_that_are_no_text_are_shown_as_bytes(good: Path) -> None:
    Path(os.fsdecode(os.fsencode(good / "results") + b"/caf\xe9")).write_text("x")
    assert [artifact.path for artifact in judge(good, exit_code=0).artifacts] == ["results/caf\\xe9", "results/good"]


def test_a_flood_of_files_is_cut_and_said(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalx.results.files.MAX_ARTIFACTS", 3)
    for number in range(10):
        (good / "results" / f"f{number}").touch()
    result = judge(good, exit_code=0)
    assert len(result.artifacts) == 3 and result.outcome is Outcome.PASSED
    assert "only the first" in str(result.reason)


def test_a_file_that_cannot_be_read_is_said(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("evalx.results.files.open_regular", refuse)
    result = judge(good, exit_code=0)
    assert (result.outcome, result.artifacts) == (Outcome.PASSED, ())
    assert result.reason == "1 result files cannot be read (good: Permission denied)"
