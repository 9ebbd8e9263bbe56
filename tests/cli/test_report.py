"""`evalx report` as a user types it."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from evalx.model import Metric
from evalx.store.states import Cleanliness, ResourceState, RunOutcome

from .conftest import Command, StoredRun

Stored = Callable[..., StoredRun]


def finished(stored: Stored) -> StoredRun:
    run = stored("first", "second")
    for index in (0, 1):
        run.submit(index)
    run.score(0, Metric("accuracy", 0.4567, 0.0789, 40))
    run.log(1, "one\n\x1b[31mout of memory\n")
    run.fail(1, "exit code 137")
    run.close(RunOutcome.PARTIAL, exit_code=1)
    return run


def test_into_the_run_directory_by_default(evalx: Command, stored: Stored) -> None:
    run = finished(stored)
    done = evalx("report")
    path = run.directory / "report.html"
    assert (done.code, done.out, done.err) == (0, f"{path}\n", "")
    page = path.read_text()
    for said in ("0.4567", "± 0.0789", "1 of 2 tasks scored", "exit code 137", "one\nout of memory", "nothing left alive"):
        assert said in page
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert evalx("report", run.run_id[:5]).code == 0, "again, over itself"


def test_json_says_where(evalx: Command, stored: Stored, tmp_path: Path) -> None:
    run = finished(stored)
    done = evalx("report", "last", "--json", "--output", "page.html")
    path = tmp_path / "page.html"
    assert done.json == {"schema": 1, "run_id": run.run_id, "condition": "partial", "report": str(path), "bytes": path.stat().st_size}


def test_a_run_whose_directory_is_gone(evalx: Command, stored: Stored, tmp_path: Path) -> None:
    run = finished(stored)
    shutil.rmtree(run.directory)
    done = evalx("report")
    assert done.code == 70 and "is gone" in done.err and "--output FILE" in done.err and not run.directory.exists()
    assert evalx("report", "last", "-o", "page.html").code == 0 and "0.4567" in (tmp_path / "page.html").read_text()


def test_into_a_folder(evalx: Command, stored: Stored, tmp_path: Path) -> None:
    run = finished(stored)
    assert evalx("report", "last", "-o", "pages/").out == f"pages/report-{run.run_id}.html\n"
    assert evalx("report", "last", "-o", "pages").code == 0
    assert [path.name for path in (tmp_path / "pages").iterdir()] == [f"report-{run.run_id}.html"]


def test_to_stdout(evalx: Command, stored: Stored) -> None:
    run = finished(stored)
    done = evalx("report", "last", "-o", "-")
    assert done.out.startswith("<!doctype html>") and done.out.endswith("</html>\n") and not (run.directory / "report.html").exists()
    assert evalx("report", "last", "-o", "-", "--json").code == 2


def test_a_copied_directory_on_another_machine(evalx: Command, stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished(stored)
    shutil.copytree(run.directory, tmp_path / "copy")
    monkeypatch.setenv("EVALX_STATE_DIR", str(tmp_path / "other"))
    done = evalx("report", "copy")
    page = (tmp_path / "copy" / "report.html").read_text()
    assert done.code == 0 and "0.4567" in page and "exit code 137" in page and "partial" in page
    assert not (run.directory / "report.html").exists()


def test_the_directory_of_a_run_that_is_known_here_is_told_by_the_store(evalx: Command, stored: Stored) -> None:
    run = finished(stored)
    (run.directory / "events.jsonl").unlink()
    assert evalx("report", str(run.directory)).code == 0
    assert "0.4567" in (run.directory / "report.html").read_text()


def test_a_run_that_goes_on(evalx: Command, stored: Stored) -> None:
    run = stored("first", "second")
    run.submit(0)
    done = evalx("report", "last", "--json")
    assert done.code == 0 and done.json["condition"] in ("running", "interrupted")
    run.abandon()
    assert "is interrupted: this is how it stands now" in evalx("report").err
    page = (run.directory / "report.html").read_text()
    assert "was interrupted" in page and "Something may be alive" in page and f"evalx-{run.run_id}-e0" in page


def test_a_leak_is_at_the_top(evalx: Command, stored: Stored) -> None:
    run = stored("first")
    run.submit(0)
    run.fail(0, "no")
    run.endpoint(0, ResourceState.LEAK_SUSPECTED, "still there")
    run.close(RunOutcome.FAILED, Cleanliness.DIRTY, 7)
    evalx("report")
    page = (run.directory / "report.html").read_text()
    assert page.index("Something may be alive") < page.index("<main>") and "still there" in page


def test_what_is_no_report_is_not_overwritten(evalx: Command, stored: Stored, tmp_path: Path) -> None:
    finished(stored)
    (tmp_path / "thesis.html").write_text("years of work")
    done = evalx("report", "last", "-o", "thesis.html")
    assert done.code == 2 and "not a report" in done.err and "hint: " in done.err
    assert (tmp_path / "thesis.html").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["no-such-run"], 2, "no run"),
        (["./nowhere"], 2, "no plan.json"),
        (["/dev/null/run"], 2, "no plan.json"),
        (["last", "-o", "/dev/null/report.html"], 70, "cannot be written"),
    ],
)
def test_mistakes(evalx: Command, stored: Stored, arguments: list[str], code: int, said: str) -> None:
    finished(stored)
    done = evalx("report", *arguments)
    assert done.code == code and said in done.err and "hint: " in done.err and "Traceback" not in done.err


def test_a_damaged_directory(evalx: Command, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"run_id": 7}))
    done = evalx("report", f"{tmp_path}")
    assert done.code == 2 and "damaged" in done.err and "Traceback" not in done.err


def test_a_real_run(evalx_process: Command, config: Callable[..., str]) -> None:
    done = evalx_process("run", config(good=[]), "--json")
    directory = Path(done.json["directory"])
    assert done.code == 0, done.err
    assert evalx_process("report", str(directory)).code == 0
    page = (directory / "report.html").read_text()
    assert "succeeded" in page and 'class="running"' in page and 'class="ready"' in page and "git_commit" not in page
