"""The exporters' suite can fail: each of these exporters has one fault, and the test that guards against it notices."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalx.exporters import Destination, NoOptions, RunAccount
from evalx.testing import ExporterConformance
from evalx.testing.exporters import Scores


class Sound:
    """A line per score, as text that Python reads back."""

    evalx_api = (1, 0)
    Options = NoOptions
    file_name = "scores.txt"

    def lines(self, run: RunAccount) -> list[str]:
        return [repr((task.name, metric.name, metric.value)) for task, metric in run.scores()]

    def export(self, run: RunAccount, destination: Destination, options: NoOptions) -> None:
        destination.write("\n".join(self.lines(run)))


class InPlace(Sound):
    def export(self, run: RunAccount, destination: Destination, options: NoOptions) -> None:
        assert destination.path
        destination.path.parent.mkdir(parents=True, exist_ok=True)
        destination.path.write_text("\n".join(self.lines(run)))


class Dated(Sound):
    def lines(self, run: RunAccount) -> list[str]:
        return [*super().lines(run), f"# {time.time_ns()}"]


class FailedIsZero(Sound):
    def lines(self, run: RunAccount) -> list[str]:
        return [*super().lines(run), *(repr((task.name, "accuracy", 0.0)) for task, result in run.tasks() if result and not result.metrics)]


class WithLogs(Sound):
    def lines(self, run: RunAccount) -> list[str]:
        return [*super().lines(run), *(f"# {path.read_text()}" for path in run.directory.rglob("*.log"))]


class FileForEachTask(Sound):
    def export(self, run: RunAccount, destination: Destination, options: NoOptions) -> None:
        super().export(run, destination, options)
        for task, _ in run.tasks():
            assert destination.path
            (destination.path.parent / task.name.replace("\x00", "")[:20]).touch()


class IntoTheRun(Sound):
    def export(self, run: RunAccount, destination: Destination, options: NoOptions) -> None:
        super().export(run, destination, options)
        (run.directory / "exported").touch()


class Appending(Sound):
    def export(self, run: RunAccount, destination: Destination, options: NoOptions) -> None:
        assert destination.path
        before = destination.path.read_text() + "\n" if destination.path.exists() else ""
        destination.write(before + "\n".join(self.lines(run)))


class NeedsResults(Sound):
    def lines(self, run: RunAccount) -> list[str]:
        max(run.results, key=lambda result: result.ended or 0)
        return super().lines(run)


class Suite(ExporterConformance):
    exporter = "any"

    def scores(self, place: Path) -> Scores:
        lines = (place / "scores.txt").read_text(encoding="utf-8").splitlines()
        rows = [eval(line) for line in lines if line.startswith("(")]
        return {(task, metric): value for task, metric, value in rows}


Call = Callable[[type, str], None]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Runs one test of the suite with an exporter."""

    def call(exporter: type, test: str, **more: Any) -> None:
        for module in ("evalx.exporters.running", "evalx.testing.exporters"):
            monkeypatch.setattr(f"{module}.load_exporter", lambda name: exporter)
        place = tmp_path / "outside" / "place"
        place.mkdir(parents=True)
        method = getattr(Suite(), test)
        given = {"tmp_path": tmp_path, "place": place, "monkeypatch": monkeypatch, "capfd": capfd, "text": "../escape"}
        method(**{name: given[name] for name in method.__code__.co_varnames[1 : method.__code__.co_argcount]})

    return call


CASES = [
    (InPlace, "test_a_reader_sees_the_old_file_or_the_new_one"),
    (Dated, "test_exporting_twice_leaves_the_same_as_once"),
    (Appending, "test_exporting_twice_leaves_the_same_as_once"),
    (FailedIsZero, "test_a_task_without_score_has_none_in_the_export"),
    (WithLogs, "test_no_secret_leaves"),
    (FileForEachTask, "test_hostile_text_stays_text"),
    (IntoTheRun, "test_the_run_is_left_as_it_was"),
    (NeedsResults, "test_a_run_without_any_result_is_exported"),
]


@pytest.mark.parametrize(("exporter", "test"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_fault_is_noticed(exporter: type, test: str, call: Call) -> None:
    with pytest.raises(Exception):  # noqa: B017 -- an assertion, or what the exporter stumbled over
        call(exporter, test)


@pytest.mark.parametrize("test", sorted({test for _, test in CASES}))
def test_a_sound_exporter_passes(test: str, call: Call) -> None:
    call(Sound, test)
