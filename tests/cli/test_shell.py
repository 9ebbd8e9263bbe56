"""The command line as such: help, usage, exit codes, errors, and what it costs to start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from evalx.cli.app import COMMANDS, MEANINGS, cli
from evalx.cli.errors import report
from evalx.cli.options import Asked
from evalx.errors import AuthError, ConfigError, ConfigErrors, ExitCode, PluginError, RunBusy
from evalx.redaction import redact

HEAVY = {"attr", "attrs", "cattrs", "hydra", "omegaconf", "platformdirs", "pluggy", "psutil", "rich", "sqlite3", "structlog", "yaml"}


def test_help_imports_click_and_the_standard_library_only() -> None:
    code = "import sys, contextlib\nfrom evalx.cli import main\nwith contextlib.suppress(SystemExit): main(['--help'])\n"
    done = subprocess.run([sys.executable, "-c", code + "print(*sys.modules, file=sys.stderr)"], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "click" in loaded
    assert not loaded & HEAVY
    foreign = loaded - set(sys.stdlib_module_names) - {"__main__", "click", "evalx"}
    assert not [name for name in foreign if not name.startswith(("_", "sitecustomize", "usercustomize"))]


def test_help_names_every_command_and_exit_code(evalx: Any) -> None:
    done = evalx("--help")
    assert done.code == 0 and done.err == ""
    assert all(f"  {name}" in done.out for name in COMMANDS)
    assert set(MEANINGS) == set(ExitCode)
    assert all(f"{int(code):>3}  {meaning}" in done.out for code, meaning in MEANINGS.items())


def every_command() -> list[list[str]]:
    with click.Context(cli) as ctx:
        found = {name: cli.get_command(ctx, name) for name in COMMANDS}
    groups = {name: list(command.commands) for name, command in found.items() if isinstance(command, click.Group)}
    return [[name, inner] for name, inners in groups.items() for inner in inners] + [[name] for name in found if name not in groups]


@pytest.mark.parametrize("args", every_command(), ids=" ".join)
def test_every_command_has_help_json_and_verbosity(evalx: Any, args: list[str]) -> None:
    done = evalx(*args, "--help")
    assert done.code == 0
    assert all(option in done.out for option in ("--json", "-v, --verbose", "-q, --quiet"))
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lines_of_the_list_are_the_commands_own(name: str) -> None:
    with click.Context(cli) as ctx:
        assert (cli.get_command(ctx, name) or cli).name == name


def test_version(evalx: Any) -> None:
    import evalx as package

    assert evalx("--version").out == f"evalx {package.__version__}\n"


def test_an_unknown_command_is_a_usage_error_with_a_guess(evalx: Any) -> None:
    done = evalx("statsu")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: No such command 'statsu'. Did you mean 'status'?\n hint: ")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["run"], "evalx run quickstart"),
        (["run", "a.yaml", "--config-name", "b"], "Two configs"),
        (["run", "a.yaml", "b.yaml"], "not an override"),
        (["run", "a.yaml", "--max-duration", "soon"], "is not a duration"),
        (["run", "a.yaml", "--json", "--display", "jsonl"], "both want stdout"),
        (["cleanup"], "--all-runs"),
        (["cleanup", "last", "--all-runs"], "--all-runs"),
        (["cleanup", "last", "--apply"], "--apply goes with"),
        (["logs", "last", "--json", "-f"], "do not go together"),
        (["status", "--frobnicate"], "--frobnicate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_2(evalx: Any, config: Any, args: list[str], said: str) -> None:
    config("a.yaml", first=["1"])
    done = evalx(*args)
    assert done.code == 2
    assert said in done.err + done.out
    assert "Traceback" not in done.err


def test_wrong_usage_with_json_is_json(evalx: Any) -> None:
    done = evalx("cleanup", "--json")
    assert done.code == 2 and done.err == ""
    assert done.json["schema"] == 1 and done.json["error"]["exit_code"] == 2


def test_all_mistakes_of_a_config_are_shown_with_place_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    errors = [
        ConfigError("unknown key", "did you mean 'port'?", "my.yaml:4 deployment.prot"),
        ConfigError("must be a number", where="my.yaml:9 x"),
    ]
    assert report(ConfigErrors(errors), Asked()) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: my.yaml:4 deployment.prot: unknown key",
        " hint: did you mean 'port'?",
        "error: my.yaml:9 x: must be a number",
        f" hint: {ConfigError.usual_hint}",
    ]
    assert report(ConfigErrors(errors), Asked(json=True)) == 2
    found = json.loads(capsys.readouterr().out)["error"]
    assert [error["where"] for error in found["errors"]] == ["my.yaml:4 deployment.prot", "my.yaml:9 x"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthError("no"), 4),
        (RunBusy("no"), 75),
        (PluginError("no"), 2),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (SystemExit(3), 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_codes_come_from_the_error(error: BaseException, code: int) -> None:
    assert report(error, Asked()) == code


def test_a_hint_that_several_errors_share_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    errors = [ConfigError("a is missing", "make it"), ConfigError("b is missing", "make it"), ConfigError("c is wrong", "mend it")]
    report(ConfigErrors(errors), Asked())
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["error: a is missing", "error: b is missing", " hint: make it", "error: c is wrong", " hint: mend it"]


def test_notes_of_an_error_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    error = PluginError("it is broken", "mend it")
    error.add_note("raised by plugin x (dist 1.0) in hook deploy")
    report(error, Asked())
    assert capsys.readouterr().err == "error: it is broken\n note: raised by plugin x (dist 1.0) in hook deploy\n hint: mend it\n"


def test_an_unexpected_error_leaves_its_traceback_in_a_private_file(capsys: pytest.CaptureFixture[str], evalx_home: Path) -> None:
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as error:
        assert report(error, Asked()) == 70
    err = capsys.readouterr().err
    (kept,) = (evalx_home / "crashes").iterdir()
    assert err.startswith("error: internal error: ZeroDivisionError: by zero\n") and str(kept) in err
    assert "Traceback" not in err and "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_verbose_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    report(AuthError("refused"), Asked(verbosity=1))
    assert "AuthError: refused" in capsys.readouterr().err


def test_values_of_secrets_are_not_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, evalx_home: Path) -> None:
    monkeypatch.setenv("MY_TOKEN", "canary-4711-canary")
    assert redact("bearer canary-4711-canary!") == "bearer <MY_TOKEN>!"
    error = AuthError("refused: canary-4711-canary", "not canary-4711-canary")
    error.add_note("header canary-4711-canary")
    for asked in (Asked(verbosity=1), Asked(json=True)):
        report(error, asked)
        report(ValueError("canary-4711-canary"), asked)
    shown = "".join(capsys.readouterr()) + "".join(path.read_text() for path in (evalx_home / "crashes").iterdir())
    assert "MY_TOKEN" in shown and "canary-4711-canary" not in shown


def test_terminal_escapes_in_errors_are_taken_out(capsys: pytest.CaptureFixture[str]) -> None:
    report(AuthError("\x1b]0;owned\x07refused\x1b[2J", "log in\x1b[8m"), Asked())
    assert capsys.readouterr().err == "error: refused\n hint: log in\n"


def test_a_reader_that_leaves_is_no_error(environment: dict[str, str]) -> None:
    pipe = f"{sys.executable} -m evalx.cli tasks ls --json | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {pipe}"], env=environment, capture_output=True, text=True, timeout=30)
    assert done.stderr == "" and done.stdout == "{\n"
    assert done.returncode in (0, 141), "0: everything had been written before the reader left"
