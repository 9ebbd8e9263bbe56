from __future__ import annotations

import json
import stat
from pathlib import Path

import attrs
import pytest

from evalx.errors import StoreError
from evalx.model import Artifact, Metric, Outcome, TaskResult, TaskSpec
from evalx.results import RESULT_FILE, changed_artifacts, read_result, write_result
from evalx.results.files import artifacts

SPEC = TaskSpec("quiz", 0, "command", "model", {"params": {"command": ["x", 1, None]}, "env": {"A": "host:B"}}, 60.0)
RESULT = TaskResult(
    SPEC, Outcome.PASSED, (Metric("a/b", 0.5, 0.1, 4), Metric("c", 1.0)), (Artifact("results/é", 1, "0" * 64),), None, 1.5, 2.5
)


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT)
    assert read_result(tmp_path) == RESULT
    assert [path.name for path in tmp_path.iterdir()] == [RESULT_FILE]
    assert stat.S_IMODE((tmp_path / RESULT_FILE).stat().st_mode) == 0o600


def test_a_later_result_replaces_the_earlier_one_whole(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT)
    later = attrs.evolve(RESULT, outcome=Outcome.FAILED, metrics=(), reason="x" * 10_000)
    write_result(tmp_path, later)
    assert read_result(tmp_path) == later


def test_when_it_cannot_be_written_the_earlier_one_stays(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT)
    (tmp_path / RESULT_FILE).rename(tmp_path / "kept")
    (tmp_path / RESULT_FILE).mkdir()
    with pytest.raises(StoreError, match="quiz"):
        write_result(tmp_path, RESULT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", RESULT_FILE]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "damaged"),
        ("{}", "damaged"),
        ('{"schema": 2, "result": {}}', "schema 2"),
        ('{"schema": 1, "result": {"outcome": "splendid"}}', "damaged"),
        ('{"schema": 1}', "damaged"),
    ],
)
def test_a_damaged_or_newer_file_is_reported(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / RESULT_FILE).write_text(content)
    with pytest.raises(StoreError, match=complaint):
        read_result(tmp_path)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        read_result(tmp_path)


def test_the_schema_version_is_in_the_file(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT)
    assert json.loads((tmp_path / RESULT_FILE).read_text())["schema"] == 1


def test_changed_and_missing_artifacts_are_found(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for name in ("same", "changed", "missing"):
        (tmp_path / "results" / name).write_text(name)
    result = attrs.evolve(RESULT, artifacts=artifacts(tmp_path)[0])
    assert changed_artifacts(tmp_path, result) == []
    (tmp_path / "results" / "changed").write_text("CHANGED")
    (tmp_path / "results" / "missing").unlink()
    assert changed_artifacts(tmp_path, result) == ["results/changed", "results/missing"]
