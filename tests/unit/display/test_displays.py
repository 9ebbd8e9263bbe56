"""The displays: what a person or a program is shown of a run, and that nothing hostile or endless gets through."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from evalx.display.choose import choose
from evalx.display.live import FRAME, LiveDisplay, fitting
from evalx.display.model import Board
from evalx.display.plain import PlainDisplay
from evalx.manager import RunManager
from evalx.testing import InMemoryExecutor, World

METRICS = [{"name": "accuracy", "value": 0.45, "stderr": 0.079, "n": 40}]
HOSTILE = "\x1b]0;owned\x07[bold]not markup[/bold] [link=http://x]y[/link]\x1b[2J"


def story(say: Any, *names: str) -> list[Any]:
    """A short run, from start to end."""
    events = [say("run", state="active")]
    for name in names:
        events += [
            say("endpoint", name, "intent"),
            say("endpoint", name, "ready"),
            say("task", name, "submitted"),
            say("task", name, "running"),
        ]
        events += [say("progress", name, phase="running", done=7, total=40, subject="task"), say("task", name, "scored", metrics=METRICS)]
    return [*events, say("run", state="closed", outcome="succeeded", cleanliness="clean")]


def test_ctrl_c_is_not_promised_where_it_is_ignored(make_facts: Callable[..., Any], say: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with PlainDisplay() as display:
            display.on_event(make_facts("math"), say("run", state="active"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.splitlines()[2] == "Ctrl-C is ignored here; evalx cancel abcdefghijk ends the run"


def test_plain_writes_a_line_for_each_change(make_facts: Callable[..., Any], say: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_facts("math")
    with PlainDisplay() as display:
        for event in story(say, "math"):
            display.on_event(run, event)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "run abcdefghijk: 1 task, 1 endpoint, executor local"
    assert lines[1] == "directory /runs/abcdefghijk"
    assert lines[2] == "Ctrl-C stops the run and deletes 1 endpoint"
    assert any(text.endswith("math  endpoint ready") for text in lines)
    assert any(text.endswith("math  scored: accuracy 0.4500 ± 0.0790") for text in lines)
    assert len(lines) == len(set(lines))


def test_plain_does_not_repeat_itself_with_each_sample(
    make_facts: Callable[..., Any], say: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_facts("math")
    with PlainDisplay() as display:
        display.on_event(run, say("task", "math", "running"))
        for done in range(100):
            display.on_event(run, say("progress", "math", phase="running", done=done, total=100, subject="task"))
    assert capsys.readouterr().err.count("running") == 1


def test_plain_gives_a_sign_of_life(make_facts: Callable[..., Any], say: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_facts("math")
    display = PlainDisplay(heartbeat=0.01)
    with display:
        display.on_event(run, say("task", "math", "running"))
        display.on_event(run, say("progress", "math", phase="running", done=7, total=40, subject="task"))
        err = ""
        while "1 task: 1 running; math 7/40" not in err:
            err += capsys.readouterr().err
    assert not display._thread.is_alive()


def test_plain_disarms_hostile_text(make_facts: Callable[..., Any], say: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_facts("math")
    with PlainDisplay() as display:
        display.on_event(run, say("task", "math", "failed", HOSTILE))
        display.on_event(run, say("warning", "math", reason=HOSTILE))
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("[bold]not markup[/bold]") == 2


def test_a_suspected_leak_of_a_job_is_a_warning(make_facts: Callable[..., Any], say: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with PlainDisplay() as display:
        display.on_event(make_facts("math"), say("job", "math", "leak_suspected", "still there"))
    assert "warning: math: still there" in capsys.readouterr().err


def screen(display: LiveDisplay) -> list[str]:
    """The picture that the display would draw now, as lines."""
    paper = Console(file=io.StringIO(), width=display.console.width, height=display.console.height, color_system=None)
    paper.print(display.render())
    return paper.file.getvalue().splitlines()


def live(width: int = 80, height: int = 24) -> LiveDisplay:
    return LiveDisplay(console=Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None))


def test_live_shows_a_row_for_each_task(make_facts: Callable[..., Any], say: Any) -> None:
    display = live()
    with display:
        for event in story(say, "math", "code")[:8]:
            display.on_event(make_facts("math", "code"), event)
        lines = screen(display)
    assert lines[0].startswith("2 tasks: 1 waiting, 1 scored")
    assert lines[1].split() == ["task", "phase", "samples", "endpoint", "time"]
    assert lines[2].split()[:5] == ["math", "scored", "7/40", "ready", "5s"]
    assert "accuracy 0.4500 ± 0.0790" in lines[2]
    assert lines[3].split()[:2] == ["code", "deploying"]
    assert lines[4] == "Ctrl-C stops the run and deletes 2 endpoints"


@pytest.mark.parametrize("width", [80, 100, 200])
def test_live_fits_any_width(make_facts: Callable[..., Any], say: Any, width: int) -> None:
    names = ["a very long task name that goes on and on", "中" * 40]
    display = live(width)
    with display:
        for name in names:
            display.on_event(make_facts(*names), say("task", name, "failed", "because " * 40))
        assert all(len(text) <= width for text in screen(display))


def test_live_with_200_tasks_never_exceeds_the_terminal(make_facts: Callable[..., Any], say: Any) -> None:
    names = [f"task-{number:03d}" for number in range(200)]
    run = make_facts(*names, shared=True)
    display = live(height=24)
    with display:
        for name in names[:60]:
            display.on_event(run, say("task", name, "scored", metrics=METRICS))
        display.on_event(run, say("task", "task-150", "running"))
        display.on_event(run, say("task", "task-199", "failed", "no answer"))
        lines = screen(display)
    assert len(lines) < 24
    assert lines[0].startswith("200 tasks: 1 running, 138 waiting, 60 scored, 1 failed")
    assert any(text.startswith("task-150") for text in lines) and any(text.startswith("task-199") for text in lines)
    assert lines[-2] == f"… and {200 - (24 - FRAME)} more"


def test_rows_are_chosen_by_urgency_and_shown_in_order(make_facts: Callable[..., Any], say: Any) -> None:
    board = Board(make_facts("a", "b", "c", "d").plan)
    for event in (say("task", "a", "scored"), say("task", "c", "running"), say("task", "d", "failed")):
        board.apply(event)
    assert [task.name for task in fitting(board, 2)] == ["c", "d"]
    assert [task.name for task in fitting(board, 3)] == ["b", "c", "d"]


def test_live_takes_names_and_reasons_as_text(make_facts: Callable[..., Any], say: Any) -> None:
    name = "[red]task[/red]"
    display = live(width=200)
    with display:
        display.on_event(make_facts(name), say("task", name, "failed", HOSTILE))
        text = "\n".join(screen(display))
    assert "[red]task[/red]" in text and "[bold]not markup[/bold]" in text
    assert "\x1b]" not in text and "\x1b[2J" not in text


def test_json_lines_are_the_events(make_facts: Callable[..., Any], say: Any, capsys: pytest.CaptureFixture[str]) -> None:
    events = story(say, "math")
    with choose("jsonl") as display:
        for event in events:
            display.on_event(make_facts("math"), event)
    out, err = capsys.readouterr()
    lines = [json.loads(text) for text in out.splitlines()]
    assert err == ""
    assert [text["seq"] for text in lines] == [event.seq for event in events]
    assert {text["schema"] for text in lines} == {1}


def test_no_display_is_silent(make_facts: Callable[..., Any], say: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with choose("none") as display:
        for event in story(say, "math"):
            display.on_event(make_facts("math"), event)
    assert capsys.readouterr() == ("", "")


def test_what_happened_before_is_taken_in_without_a_word(
    make_facts: Callable[..., Any], say: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    events = story(say, "math", "code")
    with PlainDisplay(notice="the notice") as display:
        display.prime(make_facts("math", "code"), events[:7])
        display.on_event(make_facts("math", "code"), events[7])
    lines = capsys.readouterr().err.splitlines()
    assert lines[2] == "the notice"
    assert lines[3].endswith("2 tasks: 1 waiting, 1 scored")
    assert lines[4].endswith("code  endpoint deploying") and len(lines) == 5


def test_displays_are_observers_of_a_run(make_facts: Callable[..., Any], say: Any, capsys: pytest.CaptureFixture[str]) -> None:
    manager = RunManager(InMemoryExecutor(World()), "testing")
    with PlainDisplay() as display:
        manager.register(display, "display")
        for _, call in manager.call_each("on_event", run=make_facts("math"), event=say("task", "math", "running")):
            call()
    assert "math  running" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("terminal", "environment", "expected"),
    [
        (True, {"TERM": "xterm"}, "LiveDisplay"),
        (True, {"TERM": "xterm", "CI": "true"}, "PlainDisplay"),
        (True, {"TERM": "dumb"}, "PlainDisplay"),
        (False, {"TERM": "xterm"}, "PlainDisplay"),
    ],
)
def test_auto_fits_where_the_output_goes(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("CI", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert type(choose("auto")).__name__ == expected
