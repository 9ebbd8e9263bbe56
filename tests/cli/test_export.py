"""`evalx export`, the config's `export` section, and an exporter of somebody else's."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from evalx.store import Store

MODULE = '''
from attrs import frozen

from evalx.config import setting


@frozen(kw_only=True)
class Options:
    greeting: str = setting("hello", help="What the first line says.")
    fail: bool = setting(False, help="Raise instead.")


class LinesExporter:
    """A line per score."""

    evalx_api = (1, 0)
    Options = Options
    file_name = "scores.txt"

    def export(self, run, destination, options):
        if options.fail:
            raise RuntimeError("the service said no")
        destination.write("".join([options.greeting + "\\n", *(f"{task.name} {metric.value}\\n" for task, metric in run.scores())]))


class Hungry(LinesExporter):
    """Needs what is not there."""

    requires = {"no_such_library": "lines[hungry]"}


class Future(LinesExporter):
    """Of another time."""

    evalx_api = (99, 0)
'''
ENTRIES = (
    "[evalx.exporters]\nlines = linesfile:LinesExporter\nhungry = linesfile:Hungry\nfuture = linesfile:Future\nbroken = no_such_module:X\n"
)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with an installed distribution that has exporters."""
    site = tmp_path / "site"
    (site / "linesfile-1.2.dist-info").mkdir(parents=True)
    (site / "linesfile.py").write_text(MODULE)
    (site / "linesfile-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: linesfile\nVersion: 1.2\n")
    (site / "linesfile-1.2.dist-info" / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(site))
    return str(site)


def test_text_goes_to_stdout_or_into_a_file_or_a_folder(evalx: Any, stored: Any, tmp_path: Path) -> None:
    run = stored("mmlu", "ifeval")
    run.score(0)
    run.fail(1, "exit code 1")
    run.close(exit_code=1)
    shown = evalx("export", run.run_id[:5], "--to", "csv")
    assert shown.code == 0
    rows = list(csv.DictReader(shown.out.splitlines()))
    assert [(row["task"], row["outcome"], row["value"]) for row in rows] == [("mmlu", "passed", "0.45"), ("ifeval", "failed", "")]
    assert evalx("export", "last", "--to", "csv", "-o", "new/table.csv").out == ""
    assert (tmp_path / "new" / "table.csv").read_text() == shown.out
    told = evalx("export", "--to", "csv", "--output", "new", "--json").json
    assert told["exports"] == [{"exporter": "csv", "where": str(tmp_path / "new" / "scores.csv"), "error": None, "hint": None}]
    assert evalx("export", "nosuchrun", "--to", "csv").code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--to", "cvs"), 2, 'Did you mean "csv"?'),
        ((), 2, "asks for no export"),
        (("--to", "csv", "colour=red"), 2, "colour: unknown key"),
        (("--to", "csv", "colour"), 2, "'colour' is not an option"),
        (("--to", "csv", "a=[1"), 2, "cannot be read"),
        (("--to", "csv", "--json"), 2, "--output"),
        (("--to", "csv", "-o", "/dev/null/x.csv"), 2, "cannot be written"),
        (("--to", "hungry"), 2, "pip install 'lines[hungry]'"),
        (("--to", "future"), 2, "99.0"),
        (("--to", "broken"), 2, "linesfile 1.2"),
        (("--to", "lines", "greeting=3"), 2, "put it in quotes"),
        (("--to", "lines", "fail=true"), 70, "RuntimeError: the service said no"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], code: int, said: str, evalx: Any, stored: Any, plugin: str) -> None:
    stored("mmlu").close()
    done = evalx("export", "last", *arguments)
    assert done.code == code
    assert said in " ".join((done.err + done.out).split())
    assert "Traceback" not in done.err


def test_an_exporter_of_another_distribution_is_listed_shown_and_used(evalx: Any, stored: Any, plugin: str) -> None:
    run = stored("mmlu")
    run.score(0)
    run.close()
    listed = evalx("plugins", "ls", "--group", "evalx.exporters", "--json").json["plugins"]
    assert {"csv", "json", "junit", "markdown", "lines", "broken"} <= {plugin["name"] for plugin in listed}
    shown = evalx("plugins", "show", "lines", "--json").json
    assert (shown["summary"], [setting["key"] for setting in shown["settings"]]) == ("A line per score.", ["greeting", "fail"])
    assert evalx("export", "last", "--to", "lines", "greeting=good day").out == "good day\nmmlu 0.45\n"


def test_a_running_run_is_exported_as_far_as_it_is(evalx: Any, stored: Any) -> None:
    run = stored("mmlu", "ifeval")
    run.score(0)
    run.submit(1)
    document = evalx("export", "--to", "json").json
    assert document["condition"] == "running"
    assert [task["outcome"] for task in document["tasks"]] == ["passed", "not_run"]


@pytest.mark.enable_socket
def test_a_run_exports_when_it_is_over_and_a_failing_exporter_changes_nothing(
    evalx_process: Any, evalx: Any, config: Any, tmp_path: Path, plugin: str
) -> None:
    text = (tmp_path / config(add=["5"])).read_text()
    (tmp_path / "tiny.yaml").write_text(text + "export:\n  junit:\n  lines: {output: out/, fail: true}\n  csv: {output: out/scores.csv}\n")
    assert f"exports    junit, lines to {tmp_path}/out/, csv to {tmp_path}/out/scores.csv\n" in evalx("plan", "tiny.yaml").out
    done = evalx_process("run", "tiny.yaml", "--json", PYTHONPATH=plugin)
    assert done.code == 0, done.err
    summary = done.json
    folder = Path(summary["directory"])
    assert [(one["exporter"], one["where"], one["error"]) for one in summary["exports"]] == [
        ("junit", str(folder / "exports" / "results.xml"), None),
        ("lines", None, "export to lines failed: RuntimeError: the service said no"),
        ("csv", str(tmp_path / "out" / "scores.csv"), None),
    ]
    assert summary["results"][0]["outcome"] == "passed"
    assert "add" in (tmp_path / "out" / "scores.csv").read_text()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert ("lines", "linesfile") in [(one["name"], one["distribution"]) for one in manifest["plugins"]]
    with Store() as store:
        warnings = [event.reason for event in store.events(summary["run_id"]) if event.kind == "warning"]
    assert warnings == ["export to lines failed: RuntimeError: the service said no"]
    (tmp_path / "out" / "scores.csv").unlink()
    again = evalx("export")
    assert again.code == 70
    assert f"exported to csv: {tmp_path}/out/scores.csv" in again.err
    assert f"evalx export {summary['run_id']}" in again.err
    assert (tmp_path / "out" / "scores.csv").exists()
    assert evalx("results", "--json").json["exit_code"] == 0


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("export: csv", "expected a mapping of exporters"),
        ("export: {cvs: {}}", 'Did you mean "csv"?'),
        ("export: {csv: here.csv}", "expected a mapping of keys to values"),
        ("export: {csv: {output: 3}}", "expected text"),
        ("export: {csv: {output: '~nobody-here/x.csv'}}", "no home folder"),
        ("export: {lines: {greetings: hi}}", "did you mean 'greeting'?"),
        ("export: {hungry: {}}", "pip install 'lines[hungry]'"),
        ("export: {lines: {greeting: x, api_key: canary-secret}}", "a secret must not be written into a config"),
    ],
)
def test_an_export_that_cannot_work_is_told_before_anything_is_created(
    section: str, said: str, evalx: Any, config: Any, tmp_path: Path, plugin: str
) -> None:
    (tmp_path / "tiny.yaml").write_text((tmp_path / config(add=["5"])).read_text() + section + "\n")
    done = evalx("plan", "tiny.yaml")
    assert done.code == 2
    assert said in done.err
    assert "tiny.yaml:" in done.err
    assert "canary-secret" not in done.err
