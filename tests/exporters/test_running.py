"""What an exporter may do, and what evalx does about it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalx.errors import EvalxError, ExportFailed, PluginError
from evalx.exporters import Destination, NoOptions, RunAccount
from evalx.exporters.running import export, export_planned
from evalx.model import ExportSpec, Outcome
from evalx.testing.exporters import example

Install = Callable[[Callable[[Destination], Any]], None]


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes a function the work of every exporter."""

    def install(work: Callable[[Destination], Any]) -> None:
        class Exporter:
            evalx_api = (1, 0)
            Options = NoOptions
            file_name = "out.txt"

            def export(self, run: RunAccount, destination: Destination, options: NoOptions) -> Any:
                return work(destination)

        monkeypatch.setattr("evalx.exporters.running.load_exporter", lambda name: Exporter)

    return install


def raising(error: BaseException) -> Callable[[Destination], Any]:
    def work(destination: Destination) -> Any:
        raise error

    return work


@pytest.mark.parametrize("error", [RuntimeError("no\nsecond line"), SystemExit(3), OSError(28, "No space left")])
def test_whatever_an_exporter_raises_becomes_an_error_that_names_it(error: BaseException, exporter: Install, tmp_path: Path) -> None:
    exporter(raising(error))
    with pytest.raises(ExportFailed, match="export to any failed") as caught:
        export("any", example(tmp_path), tmp_path / "x", {})
    assert "second line" not in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(3), KeyboardInterrupt(), PluginError("lost", "find it")])
def test_a_planned_export_never_raises(error: BaseException, exporter: Install, tmp_path: Path) -> None:
    exporter(raising(error))
    run = example(tmp_path)
    done = export_planned(ExportSpec("any"), run)
    assert done.error
    assert f"evalx export {run.run_id}" in str(done.hint)


def test_secrets_in_an_exporters_error_are_not_told(exporter: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_PASSWORD", "correct-horse-battery")
    exporter(raising(RuntimeError("401 for correct-horse-battery")))
    done = export_planned(ExportSpec("any"), example(tmp_path))
    assert done.error == "export to any failed: RuntimeError: 401 for <SERVICE_PASSWORD>"


def test_an_exporter_that_hangs_is_left_behind_and_takes_no_stream_with_it(
    exporter: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go_on = threading.Event()
    exporter(lambda destination: go_on.wait(60))
    done = export_planned(ExportSpec("any"), example(tmp_path), patience=0.2)
    print("still stdout")
    go_on.set()
    assert done.error == "the export to any was not done within 0.2 s"
    assert capsys.readouterr().out == "still stdout\n"


def test_an_exporters_chatter_goes_to_stderr_and_its_questions_to_nobody(
    exporter: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(destination: Destination) -> str:
        print("chatter")
        with pytest.raises(EOFError):
            input("password? ")
        return "there"

    exporter(work)
    done = export_planned(ExportSpec("any"), example(tmp_path))
    assert (done.where, done.error) == ("there", None)
    told = capsys.readouterr()
    assert (told.out, "chatter" in told.err) == ("", True)


def test_a_file_that_cannot_be_finished_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "scores.csv").write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EvalxError, match="No space left"):
        Destination(tmp_path / "scores.csv").write("after")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"scores.csv": "before"}


def test_a_file_keeps_its_permissions_and_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("before")
    target.chmod(0o640)
    link.symlink_to(target)
    Destination(link).write("after")
    assert (link.is_symlink(), target.read_text(), stat.S_IMODE(target.stat().st_mode)) == (True, "after", 0o640)


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = "import sys; sys.stdout.write(open(sys.argv[1]).read())"
    with subprocess.Popen([sys.executable, "-c", code, str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        Destination(pipe).write("through")
        assert reader.communicate(timeout=60)[0] == "through"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_account_tells_how_far_a_run_is(tmp_path: Path) -> None:
    run = example(tmp_path, outcomes=(Outcome.PASSED, Outcome.FAILED, None), condition="running")
    assert (run.over, run.complete) == (False, False)
    assert [result.outcome if result else None for _, result in run.tasks()] == [Outcome.PASSED, Outcome.FAILED, None]
    assert {task.name for task, _ in run.scores()} == {"task-0"}
    assert example(tmp_path).complete
    assert not example(tmp_path, outcomes=()).complete
