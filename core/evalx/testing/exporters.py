"""The suite that every exporter passes.

Subclass it in your tests, and say how to read back what your exporter has left:

    class TestLines(ExporterConformance):
        exporter = "lines"

        def scores(self, place):
            lines = [line.split() for line in (place / "scores.txt").read_text().splitlines()]
            return {(task, metric): float(value) for task, metric, value in lines}

An exporter that sends results to a service says in `options` how it finds one that belongs to the test: a server on a free port, a
database in the folder `place`.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest

from evalx.errors import ConfigErrors, EvalxError
from evalx.exporters.account import RunAccount, account_of
from evalx.exporters.loading import load_exporter
from evalx.exporters.running import export
from evalx.hookspecs import API_VERSION
from evalx.model import EndpointSpec, Metric, Outcome, RunPlan, TaskResult, TaskSpec
from evalx.redaction import looks_secret
from evalx.serial import to_json

Scores = Mapping[tuple[str, str], float]
"""The value of each score, by the names of its task and its metric."""

CANARY = "c4n4ry/Value+of=a secret&42"
RUN_ID = "abcdefgh234"
CREATED = 1_750_000_000.0

HOSTILE = (
    "=HYPERLINK(1)",
    "../../../escape",
    "<script>alert(1)</script> & ]]>",
    "a|b`c*d_e[f](http://g)",
    "quote \" comma , semicolon ; apostrophe '",
    "line\nbreak\r\ttab",
    "bell \x07 escape \x1b[31m null \x00 noncharacter \uffff",
    "bytes \udcff that are no text",
    "Ünïcödé 漢字 🦙 \u202eright-to-left",
    "-1+1",
    "%s {0} ${HOME} $(id)",
)
"""Names that a task may have, and what its log may say."""


class ExporterConformance(ABC):
    """Tests of an exporter; subclass as the module's docstring shows.

    exporter: its name in the entry-point group `evalx.exporters`.
    """

    exporter: str

    # ------------------------------------------------------------------ what a subclass says

    @abstractmethod
    def scores(self, place: Path) -> Scores:
        """What somebody who reads the export finds: every score in it, and no other."""

    def options(self, run: RunAccount, place: Path) -> Mapping[str, Any]:  # noqa: ARG002
        """Options to export a run with. place: a folder of the test's own."""
        return {}

    def expected(self, run: RunAccount) -> Scores:
        """The scores that belong into the export of a run; all, unless you override this."""
        return {(self.name(task.name), metric.name): metric.value for task, metric in run.scores()}

    def name(self, task: str) -> str:
        """A task's name as `scores` finds it; override this if your format has to change some characters."""
        return task

    def contents(self, place: Path) -> Any:
        """All that an export has left, in a form that can be compared; the files, unless you override this."""
        return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}

    # ------------------------------------------------------------------ the workbench

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """The folder that exports go to."""
        folder = tmp_path / "outside" / "place"
        folder.mkdir(parents=True)
        return folder

    def send(self, run: RunAccount, place: Path) -> None:
        """Export a run as the command line does."""
        writes = load_exporter(self.exporter).file_name is not None
        export(self.exporter, run, f"{place}/" if writes else None, self.options(run, place))

    def _scores_are_right(self, run: RunAccount, place: Path) -> None:
        assert dict(self.scores(place)) == dict(self.expected(run))

    # ------------------------------------------------------------------ the class

    def test_the_class_states_what_the_core_asks_for(self) -> None:
        exporter = load_exporter(self.exporter)
        major, minor = exporter.evalx_api
        assert major == API_VERSION[0]
        assert minor <= API_VERSION[1]
        assert exporter.file_name is None or Path(exporter.file_name).name == exporter.file_name
        assert attrs.has(exporter.Options)
        for field in attrs.fields(exporter.Options):
            assert field.metadata.get("help"), f"option {field.name} says nothing of what it is for: make it with evalx.config.setting"
            assert not looks_secret(field.name), f"option {field.name} would hold a secret, and options are stored"

    def test_loading_it_imports_no_library_of_its_own(self) -> None:
        code = (
            "import sys; from evalx.exporters.loading import load_exporter; load_exporter(sys.argv[1])();"
            "sys.exit(' '.join(name for name in sys.argv[2:] if name in sys.modules) or 0)"
        )
        needs = getattr(load_exporter(self.exporter), "requires", {})
        done = subprocess.run([sys.executable, "-c", code, self.exporter, *needs], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"imported with the exporter: {done.stderr}"

    def test_an_unknown_option_is_refused(self, tmp_path: Path, place: Path) -> None:
        run = example(tmp_path)
        with pytest.raises(ConfigErrors, match="unknown key"):
            export(self.exporter, run, None, {**self.options(run, place), "no_such_option": 1})

    # ------------------------------------------------------------------ what is exported

    def test_scores_arrive_as_they_are(self, tmp_path: Path, place: Path) -> None:
        run = example(tmp_path)
        self.send(run, place)
        self._scores_are_right(run, place)

    def test_a_task_without_score_has_none_in_the_export(self, tmp_path: Path, place: Path) -> None:
        run = example(tmp_path, outcomes=tuple(Outcome), condition="partial")
        self.send(run, place)
        self._scores_are_right(run, place)

    def test_a_run_without_any_result_is_exported(self, tmp_path: Path, place: Path) -> None:
        run = example(tmp_path, outcomes=(None, None), condition="running")
        self.send(run, place)
        assert dict(self.scores(place)) == {}

    def test_a_run_without_tasks_is_exported(self, tmp_path: Path, place: Path) -> None:
        self.send(example(tmp_path, outcomes=(), condition="failed"), place)
        assert dict(self.scores(place)) == {}

    def test_a_run_whose_folder_is_gone_is_exported(self, tmp_path: Path, place: Path) -> None:
        run = attrs.evolve(example(tmp_path), directory=tmp_path / "deleted")
        self.send(run, place)
        self._scores_are_right(run, place)

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_hostile_text_stays_text(self, text: str, tmp_path: Path, place: Path) -> None:
        run = example(tmp_path, outcomes=(Outcome.PASSED, Outcome.FAILED), names=(text, f"{text} two"), reason=text)
        self.send(run, place)
        self._scores_are_right(run, place)
        assert [path for path in place.parent.iterdir() if path != place] == [], "something was written beside the export's own folder"

    # ------------------------------------------------------------------ how it is exported

    def test_exporting_twice_leaves_the_same_as_once(self, tmp_path: Path, place: Path) -> None:
        run = example(tmp_path, outcomes=(Outcome.PASSED, Outcome.FAILED), condition="partial")
        self.send(run, place)
        once = self.contents(place)
        self.send(run, place)
        assert self.contents(place) == once

    def test_a_run_that_went_on_is_exported_anew(self, tmp_path: Path, place: Path) -> None:
        self.send(example(tmp_path, outcomes=(Outcome.PASSED, Outcome.FAILED), condition="partial"), place)
        run = example(tmp_path, outcomes=(Outcome.PASSED, Outcome.PASSED))
        self.send(run, place)
        self._scores_are_right(run, place)

    def test_the_run_is_left_as_it_was(self, tmp_path: Path, place: Path) -> None:
        run = example(tmp_path)
        before, plan = _files(run.directory), to_json(run.plan)
        self.send(run, place)
        assert _files(run.directory) == before
        assert to_json(run.plan) == plan

    def test_no_secret_leaves(
        self, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("EVALX_CANARY_TOKEN", CANARY)
        run = example(tmp_path, outcomes=(Outcome.PASSED, Outcome.FAILED), reason=f"refused: {CANARY} {quote(CANARY, safe='')}")
        (run.directory / "tasks" / "000-log").mkdir(parents=True)
        (run.directory / "tasks" / "000-log" / "output.log").write_text(CANARY)
        self.send(run, place)
        assert self.contents(place)  # which waits for what is written a moment later
        told = capfd.readouterr()
        everything = b"\n".join([path.read_bytes() for path in place.rglob("*") if path.is_file()]) + (told.out + told.err).encode()
        forms = (CANARY, quote(CANARY, safe=""), base64.b64encode(CANARY.encode()).decode().rstrip("="))
        assert [form for form in forms if form.encode() in everything] == []

    def test_a_reader_sees_the_old_file_or_the_new_one(self, tmp_path: Path, place: Path) -> None:
        file_name = load_exporter(self.exporter).file_name
        if file_name is None:
            pytest.skip("the exporter writes no file")
        (place / file_name).write_text("before")
        with (place / file_name).open() as reader:
            self.send(example(tmp_path), place)
            assert reader.read() == "before", "the file was written over in place: write it by destination.write"
        assert [path.name for path in place.iterdir()] == [file_name]

    def test_a_place_that_cannot_be_written_is_an_error_with_a_hint(self, tmp_path: Path, place: Path) -> None:
        if load_exporter(self.exporter).file_name is None:
            pytest.skip("the exporter writes no file")
        (place / "file").write_text("in the way")
        run = example(tmp_path)
        with pytest.raises(EvalxError) as caught:
            export(self.exporter, run, place / "file" / "below", self.options(run, place))
        assert caught.value.hint


def example(
    folder: Path,
    *,
    outcomes: Sequence[Outcome | None] = (Outcome.PASSED, Outcome.PASSED),
    names: Sequence[str] = (),
    reason: str = "exit code 1; last log line: out of memory",
    condition: str = "succeeded",
) -> RunAccount:
    """The account of a run for tests, always the same. outcomes: of each task, None for one that has not ended. names: of the tasks."""
    tasks = tuple(_task(index, names[index] if names else f"task-{index}") for index in range(len(outcomes)))
    plan = RunPlan(RUN_ID, "local", (EndpointSpec("model", 0, "vllm", "org/tiny-1b"),), tasks, created=CREATED)
    directory = folder / RUN_ID
    directory.mkdir(parents=True, exist_ok=True)
    results = [_result(task, outcome, reason) for task, outcome in zip(tasks, outcomes, strict=True) if outcome is not None]
    return account_of(plan, directory, results, condition)


def _task(index: int, name: str) -> TaskSpec:
    env = {"HF_TOKEN": "host:HF_TOKEN"}
    return TaskSpec(name, index, "lm_eval", "model", {"task": name, "endpoint_type": "chat", "params": {"limit": 40}, "env": env})


def _result(task: TaskSpec, outcome: Outcome, reason: str) -> TaskResult:
    started = CREATED + 10 * task.index
    if outcome is not Outcome.PASSED:
        return TaskResult(task, outcome, reason=reason, started=started, ended=started + 2.5)
    metrics = (Metric("accuracy", 0.45 + task.index, 0.079, 40), Metric("f1/macro", -1.5, None, None))
    return TaskResult(task, outcome, metrics, started=started, ended=started + 2.5)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
