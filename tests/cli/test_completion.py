"""Completion: what is offered where, in real bash, zsh and fish, and what it costs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest
from click.shell_completion import ShellComplete

from evalx.cli.app import COMMANDS, cli
from evalx.cli.completion import VARIABLE, script
from evalx.config.search import shipped_configs

WITHIN = 60.0
HEAVY = {"cattrs", "hydra", "omegaconf", "rich", "psutil", "structlog", "pluggy", "asyncio", "evalx_local", "evalx_lepton", "leptonai"}


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """What is offered for the last word of a line, with the words about it, to a shell in the test's folder."""
    monkeypatch.chdir(tmp_path)

    def offer(line: str, shell: str = "bash") -> dict[str, str]:
        monkeypatch.setenv(VARIABLE, f"{shell}_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        _, *words = line.split(" ")
        items = ShellComplete(cli, {}, "evalx", VARIABLE).get_completions(words[:-1], words[-1])
        return {item.value: item.help or "" for item in items if item.type == "plain"}

    return offer


def test_commands_come_with_their_help_lines(offered: Any) -> None:
    assert offered("evalx ") == {**COMMANDS, **{name: line for name, line in offered("evalx ").items() if name not in COMMANDS}}
    assert offered("evalx comple") == {"completion": COMMANDS["completion"]}
    assert "--version" in offered("evalx --v")


def test_options_of_commands(offered: Any) -> None:
    assert {"--executor", "--max-duration"} <= set(offered("evalx run --"))
    assert set(offered("evalx config s")) == {"show", "schema"}


def test_runs_by_id_with_what_became_of_them(offered: Any, stored: Any) -> None:
    assert offered("evalx status ") == {}, "there is no store yet"
    run, other = stored("first", "second"), stored("third")
    run.close()
    about = {other.run_id: "active, on local", run.run_id: "succeeded, on local", "last": "the newest run"}
    for command in ("status", "watch", "logs", "results", "resume", "cancel", "cleanup", "export", "report", "compare"):
        assert offered(f"evalx {command} ") == about
    assert list(offered(f"evalx status {run.run_id[:4]}")) == [run.run_id]
    assert set(offered(f"evalx logs {run.run_id[:6]} ")) == {"first", "second"}
    assert set(offered("evalx logs last ")) == {"third"}
    assert offered("evalx logs nosuch ") == {}


def test_configs_and_their_tasks_and_keys(offered: Any, config: Any) -> None:
    config("mine.yaml", one=["1"], two=["1"])
    for command in ("run", "plan", "config show"):
        found = offered(f"evalx {command} ")
        assert {file.stem for file in shipped_configs().glob("*.yaml")} | {"mine.yaml"} == set(found)
    assert "toy model" in offered("evalx run quickstart-t")["quickstart-tinyqa"]
    assert set(offered("evalx run mine.yaml -t ")) == set(offered("evalx run -t one mine.yaml --task ")) == {"one", "two"}
    assert set(offered("evalx run quickstart-tinyqa -t ")) == {"arithmetic", "capitals", "everyday_facts"}
    assert offered("evalx run mine.yaml deployment.served")["deployment.served_model_name="] == "now tiny"
    assert "execution.runtime=" in offered("evalx plan mine.yaml execution.max_tasks=1 execution.r"), "of the config group"
    assert {"deployment=none", "deployment=vllm"} <= set(offered("evalx run mine.yaml deployment="))
    assert "execution=local/default" in offered("evalx run mine.yaml execution=lo")
    assert offered("evalx run mine.yaml execution.runtime=") == {}, "no other key in the place of a value"
    assert offered("evalx run mine.yaml exec", "zsh") == {}
    assert offered("evalx run nosuch.yaml exec") == {}


def test_config_files_in_folders(offered: Any, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.yaml").write_text("{}")
    assert set(offered("evalx run sub/")) == {"sub/x.yaml"}


def test_tasks_of_the_catalogue(offered: Any) -> None:
    found = offered("evalx tasks show ifeval")
    assert "," in found["ifeval"], "its suites"
    one = found["ifeval"].partition(",")[0]
    assert f"{one}.ifeval" in offered(f"evalx tasks show {one}.if")
    assert "gpqa_diamond" in offered("evalx init -t gpqa")


def test_plugins(offered: Any) -> None:
    assert set(offered("evalx run quickstart --executor l")) == {"local", "lepton"}
    assert set(offered("evalx init --deployment ")) == {"command", "none", "vllm"}, "of the default executor"
    assert "nim" in offered("evalx init --executor lepton --deployment ")
    assert {"command", "nim"} <= set(offered("evalx config schema --deployment "))
    assert "lm_eval" in offered("evalx plugins show l")


# ---------------------------------------------------------------------- what it costs

LINES = ["evalx ", "evalx sta", "evalx status ", "evalx logs last ", "evalx run q", "evalx run quickstart exec", "evalx tasks show if"]


@pytest.mark.parametrize("line", [*LINES, "evalx run --executor ", "evalx init --deployment ", "evalx run quickstart -t "])
def test_nothing_heavy_is_imported_for_a_key_press(line: str, environment: dict[str, str], stored: Any, tmp_path: Path) -> None:
    stored("first")
    code = "import contextlib, json, sys\nfrom evalx.cli import main\nwith contextlib.suppress(SystemExit): main([])\n"
    environment |= {VARIABLE: "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    argv = [sys.executable, "-c", code + "print(json.dumps(list(sys.modules)), file=sys.stderr)"]
    done = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=WITHIN)
    assert done.stdout.startswith("plain,")
    assert {name.partition(".")[0] for name in json.loads(done.stderr)} & HEAVY == set()


# ---------------------------------------------------------------------- in real shells


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The scripts in files; and a folder with two configs."""
    for shell in ("bash", "zsh", "fish"):
        (tmp_path / f"evalx.{shell}").write_text(script(shell))
    (tmp_path / "mine-one.yaml").write_text("execution: {output_dir: there}\n")
    return tmp_path


def completes(shell: str, arguments: list[str], setup: str, scripts: Path, environment: dict[str, str], typed: str, expected: str) -> None:
    """Type into a real shell on a terminal, press Tab, and see the line completed."""
    env = {**environment, "PS1": "ready> ", "PROMPT": "ready> ", "TERM": "dumb", "HOME": str(scripts)}
    child = pexpect.spawn(shell, arguments, env=env, cwd=str(scripts), encoding="utf-8", timeout=WITHIN, dimensions=(24, 200))
    try:
        child.expect_exact("ready> ")
        child.sendline(f"{setup}; echo set-$((40+2))")
        child.expect_exact("set-42")
        child.send(f"{typed}\t")
        seen, deadline = "", time.monotonic() + WITHIN
        while expected not in seen and time.monotonic() < deadline:
            try:
                seen += child.read_nonblocking(size=1000, timeout=1)
                seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x08 ?|\r", "", seen)
            except pexpect.TIMEOUT:
                continue
        assert expected in seen
    finally:
        child.close(force=True)


CASES = [
    ("evalx comple", "evalx completion "),
    ("evalx plan mine", "evalx plan mine-one.yaml "),
    ("evalx run --execu", "evalx run --executor "),
]
KEYS = [
    ("evalx run mine-one.yaml execution.outp", "execution.output_dir="),
    ("evalx run mine-one.yaml deployment=no", "deployment=none "),
]


@pytest.mark.parametrize(("typed", "expected"), [*CASES, *KEYS])
def test_bash(scripts: Path, environment: dict[str, str], typed: str, expected: str) -> None:
    completes("bash", ["--norc", "--noprofile", "-i"], "source evalx.bash", scripts, environment, typed, expected)


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
@pytest.mark.parametrize(("typed", "expected"), CASES)
def test_zsh(scripts: Path, environment: dict[str, str], typed: str, expected: str) -> None:
    setup = "autoload -Uz compinit && compinit -u -D && source ./evalx.zsh"
    completes("zsh", ["-f", "-i"], setup, scripts, environment, typed, expected)


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
@pytest.mark.parametrize(("typed", "expected"), [(typed, expected.split(" ")[-2]) for typed, expected in CASES])
def test_fish(scripts: Path, environment: dict[str, str], typed: str, expected: str) -> None:
    """fish completes without a terminal, as its own `complete -C` does."""
    argv = ["fish", "--no-config", "-c", f"source evalx.fish; complete -C '{typed}'"]
    env = {**environment, "HOME": str(scripts), "XDG_CONFIG_HOME": str(scripts)}
    done = subprocess.run(argv, cwd=scripts, env=env, capture_output=True, text=True, timeout=WITHIN)
    assert expected in [line.split("\t")[0] for line in done.stdout.splitlines()], done.stderr


def test_the_script_is_printed_for_the_shells_there_are(evalx: Any) -> None:
    assert evalx("completion", "fish").out.strip() == script("fish").strip()
    assert evalx("completion", "zsh", "--json").json["script"] == script("zsh")
    done = evalx("completion", "tcsh")
    assert done.code == 2 and "'bash', 'zsh', 'fish'" in done.err
