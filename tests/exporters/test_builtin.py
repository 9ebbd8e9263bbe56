"""The exporters of the core pass the suite, and what they write is read back by those who read such files."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt

from evalx.display.text import line
from evalx.exporters.account import RunAccount
from evalx.exporters.csv_file import COLUMNS
from evalx.exporters.running import export
from evalx.model import Outcome
from evalx.testing import ExporterConformance
from evalx.testing.exporters import HOSTILE, Scores, example


class TestJson(ExporterConformance):
    exporter = "json"

    def scores(self, place: Path) -> Scores:
        document = json.loads((place / "results.json").read_text())
        return {(task["name"], metric["name"]): metric["value"] for task in document["tasks"] for metric in task["metrics"]}


class TestCsv(ExporterConformance):
    exporter = "csv"

    def scores(self, place: Path) -> Scores:
        with (place / "scores.csv").open(newline="", encoding="utf-8") as file:
            return {(row["task"], row["metric"]): float(row["value"]) for row in csv.DictReader(file) if row["value"]}

    def name(self, task: str) -> str:
        return f"'{task}" if task[0] in "=+-@" else task


class TestMarkdown(ExporterConformance):
    exporter = "markdown"

    def scores(self, place: Path) -> Scores:
        scores = rendered(place / "results.md")[0]
        return {(row[0], row[1]): float(row[2]) for row in scores}

    def name(self, task: str) -> str:
        return line(task)


class TestJunit(ExporterConformance):
    exporter = "junit"

    def scores(self, place: Path) -> Scores:
        return {
            (case.name, told.partition(" = ")[0]): float(told.partition(" = ")[2].split(" ")[0])
            for suite in JUnitXml.fromfile(str(place / "results.xml"))
            for case in suite
            if case.is_passed and case.system_out
            for told in case.system_out.splitlines()
        }

    def name(self, task: str) -> str:
        return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\N{REPLACEMENT CHARACTER}", task)


def rendered(page: Path) -> list[list[list[str]]]:
    """The rows of each table of a page as a reader sees them; nothing on the page may be HTML, a link or an image."""
    tables: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        assert token.type not in ("html_block", "html_inline")
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline":
            assert {child.type for child in token.children or []} <= {"text", "code_inline"}
            if token.level > 2:
                tables[-1][-1].append("".join(child.content for child in token.children or []))
    return [rows[1:] for rows in tables]


def written(exporter: str, run: RunAccount, folder: Path) -> Path:
    done = export(exporter, run, f"{folder}/", {})
    assert done.where is not None
    return Path(done.where)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_cell_of_the_table_is_a_formula(text: str, tmp_path: Path) -> None:
    run = example(tmp_path, outcomes=(Outcome.PASSED, Outcome.FAILED), names=(text, "two"), reason=text)
    with written("csv", run, tmp_path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [row[column] for row in rows for column in COLUMNS if column not in ("value", "stderr", "n", "seconds")]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))] == []
    assert {row["value"] for row in rows} == {"0.45", "-1.5", ""}


def test_the_table_of_failures_says_why(tmp_path: Path) -> None:
    run = example(tmp_path, outcomes=(Outcome.PASSED, Outcome.TIMED_OUT, None), reason="not done within 9 s", condition="partial")
    scores, failures = rendered(written("markdown", run, tmp_path))
    assert len(scores) == 2
    assert failures == [["task-1", "timed out", "not done within 9 s"], ["task-2", "not run", ""]]


def test_each_outcome_is_the_element_that_readers_know(tmp_path: Path) -> None:
    outcomes = (*Outcome, None)
    (suite,) = JUnitXml.fromfile(str(written("junit", example(tmp_path, outcomes=outcomes, condition="partial"), tmp_path)))
    found = [[type(one) for one in case.result] for case in suite]
    wanted = {Outcome.PASSED: [], Outcome.FAILED: [Failure], Outcome.SKIPPED: [Skipped], Outcome.CANCELLED: [Skipped], None: [Skipped]}
    assert found == [wanted.get(outcome, [Error]) for outcome in outcomes]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (8, 1, 3, 3)
    assert suite.time == pytest.approx(2.5 * 7)


@given(outcomes=st.lists(st.sampled_from([*Outcome, None]), max_size=4), condition=st.sampled_from(["running", "cancelled", "failed"]))
@settings(max_examples=60, deadline=None)
def test_a_junit_file_is_green_only_if_every_task_has_a_score(
    outcomes: list[Outcome | None], condition: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("junit")
    (suite,) = JUnitXml.fromfile(str(written("junit", example(folder, outcomes=outcomes, condition=condition), folder)))
    green = not any(isinstance(one, Failure | Error) for case in suite for one in case.result)
    assert green == (bool(outcomes) and all(outcome is Outcome.PASSED for outcome in outcomes))


def test_the_document_tells_what_was_asked_but_no_environment(tmp_path: Path) -> None:
    document = json.loads(written("json", example(tmp_path), tmp_path).read_text())
    task = document["tasks"][0]
    assert (task["harness"], task["params"], task["model"]) == ("lm_eval", {"limit": 40}, "org/tiny-1b")
    assert "HF_TOKEN" not in json.dumps(document)
