"""Names, values and output that mean harm, or just mean something to a shell, a file system or a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.enable_socket

METACHARACTERS = [
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned #",
    "a b\tc",
    "-rf",
    "../../escape",
    "..",
    "🦉 日本",
    "'\"\\",
    "x" * 300,
]


def test_names_of_tasks_are_only_names(lab: Any) -> None:
    done = lab.evalx("run", lab.config(*(lab.task(name) for name in METACHARACTERS)), "--display", "plain")
    assert done.code == 0, done.err
    assert lab.begun() == sorted(METACHARACTERS)
    assert not list(lab.folder.rglob("pwned")) and not (lab.folder / "escape").exists()
    assert {path.name for path in lab.folder.iterdir()} == {"c.yaml", "evalx-runs", "starts", "state"}
    folders = {path.name for path in (lab.folder / "evalx-runs" / lab.run_id / "tasks").iterdir()}
    assert len(folders) == len(METACHARACTERS)
    assert lab.evalx("logs", "last", "--", METACHARACTERS[0]).code == 0
    assert not lab.alive()


@pytest.mark.parametrize("folder", ["a b", 'it\'s "quoted"', "日本 ü", "$(touch pwned)", "-dash"])
def test_output_goes_into_any_folder(lab: Any, folder: str) -> None:
    name = lab.config(lab.task("first"), output_dir=str(lab.folder / folder))
    done = lab.evalx("run", name)
    assert done.code == 0 and (lab.folder / folder / lab.run_id / "plan.json").exists()
    assert not list(lab.folder.rglob("pwned")) and not lab.alive()


def test_values_of_variables_arrive_as_they_are(lab: Any) -> None:
    values = {
        "PLAIN": "a'b\"c`d$e\\f",
        "LINES": "one\ntwo\n",
        "EMPTY": "",
        "SPACES": "  x  ",
        "OWL": "🦉",
        "SHELL_LIKE": "$(touch pwned); {url}",
    }
    script = "import json, os, sys; print(json.dumps({name: os.environ.get(name) for name in sys.argv[1:]}))"
    command = ["python3", "-c", script.replace("{", "{{").replace("}", "}}"), *values]
    task = {"name": "first", "harness_config": {"command": command}, "env_vars": {name: f"lit:{value}" for name, value in values.items()}}
    lab.evalx("run", lab.config(task))
    logs = list(lab.folder.glob("evalx-runs/*/tasks/*/output.log"))
    assert json.loads(logs[0].read_text()) == values
    assert not list(lab.folder.rglob("pwned"))


def test_terminal_escapes_in_logs_do_not_reach_the_terminal(lab: Any) -> None:
    evil = "\\033]0;owned\\007\\033[31mred\\033[2J\\r\\233\\302\\233 \\342\\200\\256gnp"
    task = lab.shell("evil", f"printf '{evil}\\n'; exit 1")
    done = lab.evalx("run", lab.config(task), "--display", "plain")
    shown = [done.out, done.err]
    for command in (["logs", "last", "evil"], ["status", "last"], ["results", "last"], ["resume", "last"]):
        answer = lab.evalx(*command)
        shown += [answer.out, answer.err]
    for text in shown:
        assert not set(text) & {"\x1b", "\x07", "\x9b", "\r", "\u202e"}
    assert "red" in "".join(shown) or "gnp" in "".join(shown)


def test_a_server_that_talks_in_escapes(lab: Any) -> None:
    done = lab.evalx("run", lab.config(lab.task("first"), deployment={"argv": ["sh", "-c", "printf '\\033[31mdead\\033[0m\\n'; exit 9"]}))
    assert done.code == 5 and "exited with code 9: dead" in done.err and "\x1b" not in done.err + done.out


@pytest.mark.parametrize(
    "left",
    [
        "mkfifo $1/results.json",
        "ln -s /etc/passwd $1/results.json",
        "mkdir $1/results.json",
        "head -c 20000000 /dev/zero > $1/results.json",
    ],
)
def test_results_that_are_no_files(lab: Any, left: str) -> None:
    done = lab.evalx("run", lab.config(lab.shell("odd", f"mkdir -p $1; {left}")))
    assert done.code == 1 and "odd: no result" in done.err and "root:" not in done.err
    assert not lab.alive()
