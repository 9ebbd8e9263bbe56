from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalx.errors import ConfigError
from evalx.harnesses.build import KILL_AFTER, MAX_ARGUMENT, task_command
from evalx.model import EndpointHandle, Secret, Site, TaskCommand

from .conftest import ENDPOINT, AnyCommand, Run, make_task

SHOW = (
    sys.executable,
    "-c",
    "import sys; sys.stdout.buffer.write(b'\\0'.join(a.encode('utf-8', 'surrogateescape') for a in sys.argv[1:]))",
)


def build(harness: Any, site: Site, endpoint: EndpointHandle = ENDPOINT, trusted: bool = False, **options: Any) -> TaskCommand:
    return task_command(harness, make_task(**options), endpoint, site, trusted=trusted)


def test_a_plain_command_needs_no_shell(site: Site) -> None:
    assert build(AnyCommand(("eval", "a b")), site).argv == ("timeout", "-k", "30", "60", "eval", "a b")


def test_container_and_data_set_are_passed_on(site: Site) -> None:
    command = build(AnyCommand(), attrs.evolve(site, dataset_dir="/datasets"), container="img@sha256:1", dataset_dir="/home/me/data")
    assert (command.image, command.dataset_dir) == ("img@sha256:1", "/home/me/data")
    assert command.env["NEMO_EVALUATOR_DATASET_DIR"] == "/datasets"


def test_variables_of_the_user_win_over_the_harness(site: Site) -> None:
    env = {"A": "user", "TOKEN": "host:MY_TOKEN", "C": "lit:host:x"}
    command = build(AnyCommand(env={"A": "harness", "B": "harness"}), site, env=env)
    assert command.env == {"A": "user", "B": "harness", "TOKEN": Secret("host:MY_TOKEN"), "C": "host:x"}


@pytest.mark.parametrize("options", [{"pre_cmd": "true"}, {"post_cmd": "true"}])
def test_shell_commands_of_the_config_need_trust(site: Site, options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))) as caught:
        build(AnyCommand(), site, **options)
    assert "--trust-commands" in str(caught.value.hint) and "EVALX_TRUST_PRE_CMD=1" in str(caught.value.hint)
    assert build(AnyCommand(), site, trusted=True, **options)
    monkeypatch.setenv("EVALX_TRUST_PRE_CMD", "1")
    assert build(AnyCommand(), site, **options)


def test_settings_that_a_harness_hands_to_a_shell_need_trust(site: Site) -> None:
    harness = AnyCommand(shell_settings=("config.params.extra.args",))
    with pytest.raises(ConfigError, match=r"config\.params\.extra\.args"):
        build(harness, site)
    assert build(harness, site, trusted=True)


@pytest.mark.parametrize(
    ("harness", "complaint"),
    [
        (AnyCommand(("x", "a" * (MAX_ARGUMENT + 1))), "argument 5 .*131,072 bytes"),
        (AnyCommand(("x", "é" * (MAX_ARGUMENT // 2 + 1))), "argument 5"),
        (AnyCommand(env={"BIG": "a" * MAX_ARGUMENT}), "environment variable BIG"),
        (AnyCommand(tuple("a" * 100_000 for _ in range(11))), "put together|have 1,1"),
        (AnyCommand(("x", "a\0b")), "NUL"),
        (AnyCommand(("x", "\ud800")), "surrogate"),
        (AnyCommand(env={"1X": ""}), "1X"),
        (AnyCommand(files={"../escape": ""}), "outside"),
        (AnyCommand(files={"/etc/x": ""}), "outside"),
    ],
    ids=["argument", "bytes not characters", "variable", "total", "nul", "surrogate", "name", "dots", "absolute"],
)
def test_what_no_process_can_be_given_is_refused_before_the_run(site: Site, harness: AnyCommand, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build(harness, site)


def test_the_largest_argument_and_variable_really_pass(run: Run) -> None:
    script = "import os, sys; print(len(sys.argv[1]), len(os.environ['BIG']))"
    done = run(AnyCommand((sys.executable, "-c", script, "a" * MAX_ARGUMENT), env={"BIG": "b" * (MAX_ARGUMENT - 4)}), pre_cmd="true")
    assert done.stdout.split() == [str(MAX_ARGUMENT), str(MAX_ARGUMENT - 4)]


# --- pre_cmd and post_cmd ---


def test_pre_harness_and_post_run_in_order_in_the_same_folder(run: Run, site: Site) -> None:
    done = run(AnyCommand(("sh", "-c", "pwd; echo harness $X")), pre_cmd="export X=7\necho pre", post_cmd="pwd; echo post $X")
    assert done.stdout.split() == ["pre", site.workdir, "harness", "7", site.workdir, "post", "7"]
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("pre", "code"),
    [("exit 3", 3), ("false", 1), ("false\necho on", 1), ("(exit 9); true", 9), ("exit 0", 1), ("if then", 2), ("nosuchprogram", 127)],
)
def test_when_pre_cmd_fails_the_harness_is_not_started(run: Run, pre: str, code: int) -> None:
    done = run(AnyCommand(("echo", "started")), pre_cmd=pre, post_cmd="echo post")
    assert done.returncode == code
    assert "started" not in done.stdout and "post" not in done.stdout
    assert f"evalx: pre_cmd failed with exit code {code}; the harness was not started" in done.stderr.splitlines()


def test_pre_cmd_may_leave_the_shell_in_any_mood(run: Run) -> None:
    done = run(
        AnyCommand(("sh", "-c", "exit 4")), pre_cmd="set -euo pipefail; set -- x y; status=0; argv=z; trap - TERM", post_cmd="echo post"
    )
    assert (done.returncode, done.stdout.strip()) == (4, "post")


@pytest.mark.parametrize(("harness", "post", "code"), [(0, 5, 5), (4, 5, 4), (4, 0, 4), (0, 0, 0)])
def test_post_cmd_runs_whatever_the_harness_did_and_its_failure_counts(run: Run, harness: int, post: int, code: int) -> None:
    done = run(AnyCommand(("sh", "-c", f"exit {harness}")), post_cmd=f"echo post; exit {post}; echo no")
    assert (done.returncode, done.stdout.strip()) == (code, "post")
    assert ("evalx: post_cmd failed with exit code 5" in done.stderr) == bool(post)


# --- time and signals ---

TREE = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); time.sleep(600)"
STUBBORN = "import signal, time, os; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)"


def alive(pid: str) -> bool:
    """Whether a process runs; a zombie that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: str) -> bool:
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


@pytest.mark.parametrize("post", [None, "echo post"])
def test_when_the_time_is_up_every_process_of_the_task_ends(run: Run, post: str | None) -> None:
    done = run(AnyCommand((sys.executable, "-c", TREE)), timeout=1, post_cmd=post)
    assert done.returncode == 124
    child, *rest = done.stdout.split()
    assert gone(child)
    assert rest == (["post"] if post else [])


def test_what_ignores_the_signal_is_killed(run: Run) -> None:
    def hurry(command: TaskCommand) -> TaskCommand:
        assert command.argv[2] == str(KILL_AFTER)
        return attrs.evolve(command, argv=("timeout", "-k", "1", *command.argv[3:]))

    done = run(AnyCommand((sys.executable, "-c", STUBBORN)), timeout=1, post_cmd="echo post", edit=hurry)
    assert done.returncode in (-signal.SIGKILL, 137)
    assert gone(done.stdout.split()[0])


@pytest.mark.parametrize("options", [{}, {"pre_cmd": "true"}, {"post_cmd": "true"}])
def test_sigterm_to_the_group_ends_everything(site: Site, options: dict[str, str]) -> None:
    command = build(AnyCommand((sys.executable, "-c", TREE)), site, trusted=True, **options)
    with subprocess.Popen(command.argv, cwd=site.workdir, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        child = process.stdout.readline().strip()
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(20) != 0
    assert gone(child)


def test_a_signal_during_pre_cmd_keeps_the_harness_from_starting(site: Site) -> None:
    Path(site.workdir, "wait.py").write_text(TREE)
    command = build(AnyCommand(("echo", "started")), site, trusted=True, pre_cmd=f"{sys.executable} wait.py || true")
    with subprocess.Popen(command.argv, cwd=site.workdir, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        child = process.stdout.readline().strip()
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(20) != 0
        assert "started" not in process.stdout.read()
    assert gone(child)


# --- shell safety ---

NASTY = (
    *(
        "",
        " ",
        "'",
        '"',
        "\\",
        "`touch PWNED`",
        "$(touch PWNED)",
        "; touch PWNED",
        "& touch PWNED &",
        "| touch PWNED",
        "\n",
        "\ntouch PWNED\n",
    ),
    *(
        "> PWNED",
        "-rf",
        "--",
        "--help",
        "-c",
        "${IFS}",
        "$HOME",
        "$0",
        "$@",
        "!!",
        "*",
        "?",
        "[a-z]",
        "~",
        "#",
        "a\rb",
        "\x1b[31m",
        "\x7f",
        "é",
    ),
    *(
        "日本",
        "🔥",
        "\u202e",
        "\u2028",
        "' ; touch PWNED ; '",
        '" ; touch PWNED ; "',
        "'\"'\"'",
        "$'\\n'",
        "{a,b}",
        "{{x}}",
        "{%x%}",
        "%s%n",
    ),
    *("x=y", "PATH=", "\\$(touch PWNED)", "EOF", "<<EOF", "$((1+1))", "() { :;}; touch PWNED", "a\tb", "\udc80"),
)


def hostile_strings(count: int) -> list[str]:
    """Every nasty piece alone, then seeded mixtures of them, and one of 100 KiB."""
    mix = random.Random(20)
    mixed = ["".join(mix.choices(NASTY, k=mix.randint(2, 12))) for _ in range(count - len(NASTY) - 1)]
    return [*NASTY, *mixed, ("$(touch PWNED)'\"`\n" * 6400)[: 100 * 1024]]


@pytest.mark.parametrize("options", [{}, {"pre_cmd": "true", "post_cmd": "true"}], ids=["plain", "through bash"])
def test_a_thousand_hostile_strings_arrive_as_they_were_sent(run: Run, site: Site, options: dict[str, str]) -> None:
    strings = hostile_strings(1100)
    assert len(strings) >= 1000
    for start in range(0, len(strings), 100):
        batch = strings[start : start + 100]
        done = run(AnyCommand((*SHOW, *batch)), **options)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "\0".join(batch)
    assert not list(Path(site.workdir).iterdir())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=50))
def test_any_text_arrives_as_it_was_sent(run: Run, strings: list[str]) -> None:
    done = run(AnyCommand((*SHOW, *strings)), pre_cmd="true")
    assert done.stdout == "\0".join(strings)


def test_no_user_data_is_in_a_script(site: Site) -> None:
    one = build(AnyCommand(("a",)), site, trusted=True, pre_cmd="echo 1", post_cmd="echo 2").argv
    two = build(AnyCommand(("b",)), site, trusted=True, pre_cmd="$(x)", post_cmd="'").argv
    assert one[:8] == two[:8] and one[4:6] == ("bash", "-c")
