"""Secrets that an evaluation is given, searched for in everything that evalx writes, while servers and tasks tell all they know."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.faults.canaries import TALKATIVE, canary, files, forms, leaks

from evalx import redaction
from evalx.cli import main

pytestmark = pytest.mark.enable_socket

SERVER = Path(__file__).parents[1] / "local" / "stub_server.py"

ENVIRONMENT = ("HF_TOKEN", "NGC_API_KEY", "PLAIN_NAME", "DB_PASSWORD", "LEPTON_WORKSPACE_TOKEN", "MODEL_KEY", "WANDB_API_KEY")
"""Variables of evalx's own process. PLAIN_NAME says nothing of a secret: only `host:` in the config does."""


class Watched:
    """The command line in this process; what it writes is kept under the command's name."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.written: list[tuple[str, bytes]] = []
        self._capsys = capsys

    def __call__(self, *args: str) -> int:
        redaction.forget()  # as in a new process
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(args)
        out, err = self._capsys.readouterr()
        name = " ".join(args[:3])
        self.written += [(f"stdout of {name}", out.encode()), (f"stderr of {name}", err.encode())]
        return int(ended.value.code or 0)

    def everything(self) -> Iterator[tuple[str, bytes]]:
        yield from self.written
        yield from files(self.folder)


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """In the variables, in a URL that is in one, and in a file of `execution.secrets_dir`."""
    found = {name: canary(name) for name in (*ENVIRONMENT, "URL", "VAULT")}
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, found[name])
    monkeypatch.setenv("SOME_PROXY", f"http://me:{quote(found['URL'], safe='')}@proxy.test:3128")
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / "vault").write_text(found["VAULT"])
    return found


@pytest.fixture
def evalx(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.chdir(tmp_path)
    return Watched(tmp_path, capsys)


def config(folder: Path, **more: Any) -> str:
    """A server and two tasks that tell every secret they have, one of which fails."""
    tell = TALKATIVE.replace("{", "{{").replace("}", "}}")
    names = ",".join((*ENVIRONMENT, "SOME_PROXY", "A", "B", "VAULT"))
    result = json.dumps({"schema": 1, "metrics": [{"name": "accuracy", "value": 0.5, "n": 4}]})
    good = f"{TALKATIVE}\nos.makedirs(sys.argv[2])\nopen(sys.argv[2] + '/results.json', 'w').write({result!r})"
    bad = f"{TALKATIVE}\nsys.exit(3)"
    env = {"A": "host:PLAIN_NAME", "B": "host:MODEL_KEY", "VAULT": {"value_from": {"secret_name_ref": "vault"}}}
    start = 'trap "" INT; "$0" -c "$1" "$2"; exec "$0" "$3" --port "$4"'
    tree = {
        "defaults": [{"execution": "local/default"}, {"deployment": "command"}, "_self_"],
        "execution": {"endpoints": "shared", "secrets_dir": str(folder / "vault"), "env_var_names": ["NGC_API_KEY"]},
        "deployment": {
            "argv": ["sh", "-c", start, sys.executable, tell, names, str(SERVER), "{port}"],
            "served_model_name": "stub",
            "env": {"A": "host:PLAIN_NAME"},
        },
        "target": {"api_endpoint": {"api_key_name": "MODEL_KEY"}},
        "evaluation": {
            "harness": "command",
            "env_vars": env,
            "tasks": [task("good", good, names), task("bad", bad, names)],
        },
        **more,
    }
    (folder / "c.yaml").write_text(json.dumps(tree, indent=1))
    return "c.yaml"


def task(name: str, code: str, *arguments: str) -> dict[str, Any]:
    argv = [sys.executable, "-c", code.replace("{", "{{").replace("}", "}}"), *arguments, "{results}"]
    return {"name": name, "harness_config": {"command": argv}}


PLACES = ("output.log", "evalx.db", "events.jsonl", "result.json", "stdout of logs last", "report.html", "stderr of run")

LOOKS = (
    "status last",
    "status last --json",
    "results last --json",
    "logs last",
    "logs last --json",
    "logs last --endpoint",
    "report last -o report.html",
    "export last --to json",
    "export last --to csv",
    "export last --to markdown",
    "export last --to junit",
    "plan c.yaml",
    "plan c.yaml --json",
    "config show c.yaml",
    "ls --json",
    "gate last --policy policy.yaml",
    "compare last last",
    "resume last -v --display jsonl",
    "cleanup last",
)


def test_nothing_that_evalx_writes_holds_a_secret(evalx: Watched, canaries: dict[str, str], tmp_path: Path) -> None:
    """Not even the logs of servers and tasks that print all they are given; a few lines of them are there to be read all the same."""
    (tmp_path / "policy.yaml").write_text("scores:\n  good: {accuracy: {min: 0.1}}\n")
    codes = {look: evalx(*look.split()) for look in (f"run {config(tmp_path)} --display plain -vv", *LOOKS)}
    (tmp_path / "vault" / "vault").unlink()
    assert list(leaks(canaries, evalx.everything())) == []
    logs = [data for name, data in evalx.everything() if name.endswith("output.log")]
    assert len(logs) >= 4 and all(data.count(b"***") > 50 and b"Authorization: Bearer" in data for data in logs)
    assert not any(b"IN ARGV" in data for data in logs)
    assert codes["logs last"] == codes["status last"] == codes["report last -o report.html"] == codes["export last --to json"] == 0, codes


def test_a_secret_that_a_config_holds_itself(evalx: Watched, tmp_path: Path) -> None:
    """`lit:` says that it is meant so. It is in the user's config, and in the database, from which a run is resumed; nowhere else."""
    (tmp_path / "policy.yaml").write_text("scores:\n  good: {accuracy: {min: 0.1}}\n")
    found = {name: canary(name) for name in ("MY_TOKEN", "MY_KEY", "MY_PASSWORD", "MY_SECRET")}
    config(tmp_path, execution={"endpoints": "shared"}, target={})
    tree = json.loads((tmp_path / "c.yaml").read_text())
    argv = tree["deployment"]["argv"]
    tree["evaluation"]["env_vars"] = {name: f"lit:{value}" for name, value in found.items()}
    tree["deployment"] |= {"env": tree["evaluation"]["env_vars"], "argv": [*argv[:5], ",".join(found), *argv[6:]]}
    for each in tree["evaluation"]["tasks"]:
        each["harness_config"]["command"][3] = ",".join(found)
    (tmp_path / "c.yaml").write_text(json.dumps(tree))
    codes = {look: evalx(*look.split()) for look in ("run c.yaml --display plain -vv", *LOOKS)}
    texts = [(name, data) for name, data in evalx.everything() if name != "c.yaml" and not name.startswith("state/evalx.db")]
    assert list(leaks(found, texts)) == []
    written = {name.rpartition("/")[2]: data for name, data in texts}
    assert b"<MY_TOKEN>" in written["plan.json"] and b"<MY_TOKEN>" in written["config.yaml"]
    assert b"***" in written["output.log"] and b"not set" not in written["output.log"]
    assert codes["logs last"] == codes["report last -o report.html"] == codes["compare last last"] == 0, codes


def test_the_search_finds_what_is_not_taken_out(
    evalx: Watched, canaries: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with a mistake in evalx."""
    monkeypatch.setattr(redaction, "_secrets", list)
    for look in (f"run {config(tmp_path)} -vv", "logs last", "logs last --json", "report last -o report.html", "status last"):
        evalx(*look.split())
    (tmp_path / "vault" / "vault").unlink()
    found = list(leaks(canaries, evalx.everything()))
    for name in canaries:
        assert any(leak.startswith(f"{name} (") for leak in found), name
    for place in (
        "output.log",
        "evalx.db",
        "events.jsonl",
        "result.json",
        "stdout of logs last:",
        "stdout of logs last --json",
        "report.html",
        "stderr of run",
    ):
        assert any(place in leak for leak in found), place


@pytest.mark.parametrize("form", forms("a"))
def test_the_search_knows_the_form(form: str) -> None:
    value = canary("X")
    assert any(f"X ({form}) in here" in leak for leak in leaks({"X": value}, [("here", b"a" + forms(value)[form] + b"b")]))


REFUSED = {
    "a password in a URL": ["target.api_endpoint.url=http://user:{}@127.0.0.1:1/v1", "deployment=none"],
    "a literal in a secret field": ["+evaluation.env_vars.MY_API_KEY={}"],
    "a key for its name": ["target.api_endpoint.api_key_name={}"],
    "a value for a name": ["execution.env_var_names=[{}]"],
    "a value of the wrong type": ["+deployment.env.TOKEN={{{}: 1}}"],
    "a reference that leads nowhere": ["+evaluation.env_vars.X=host:{}"],
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("mode", [["-vv"], ["--json"]])
def test_refusals_do_not_repeat_a_secret(what: str, mode: list[str], evalx: Watched, canaries: dict[str, str], tmp_path: Path) -> None:
    name = config(tmp_path)
    overrides = [override.format("sk-Cn4LiteralZq7Secret0123456789") for override in REFUSED[what]]
    assert evalx("run", name, *overrides, *mode) == 2, evalx.written
    assert not any(b"Cn4Literal" in data for _, data in evalx.written), evalx.written


def test_a_fault_that_quotes_a_secret(evalx: Watched, canaries: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a message, in the exception that it came from, and in the notes; on the screen and in the file of the crash."""

    def fail(*_: object) -> None:
        try:
            raise OSError(f"GET https://user:{quote(os.environ['DB_PASSWORD'])}@example.test/")
        except OSError as error:
            error.add_note(repr({"Authorization": f"Bearer {os.environ['MODEL_KEY']}"}))
            raise RuntimeError(json.dumps(dict(os.environ))) from error

    monkeypatch.setattr("evalx.runs.make_plan", fail)
    name = config(tmp_path)
    assert evalx("run", name, "-vv") == evalx("run", name, "--json") == 70
    (tmp_path / "vault" / "vault").unlink()
    assert list((tmp_path / "state" / "crashes").iterdir())
    assert list(leaks(canaries, evalx.everything())) == []
