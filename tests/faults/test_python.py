"""Runs from Python: in this process beside whatever else it does, and in programs that end before their runs do."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import evalx

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def here(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The laboratory's folder as this process's own."""
    monkeypatch.chdir(lab.folder)
    monkeypatch.setenv("EVALX_STATE_DIR", str(lab.state))
    return Path(lab.folder)


def program(lab: Any, *lines: str, **options: Any) -> subprocess.Popen[str]:
    """A Python program with these lines, in the laboratory."""
    (lab.folder / "program.py").write_text("\n".join(["import evalx, os, signal, sys, threading, time", *lines]) + "\n")
    return lab.start(argv=("program.py",), **options)  # type: ignore[no-any-return]


# ---------------------------------------------------------------------- in this process


def test_a_run_and_what_can_be_read_of_it(lab: Any, here: Path) -> None:
    config = json.loads(Path(lab.config(lab.task("first"), lab.task("second"))).read_text())
    run = evalx.run(config, overrides=["execution.max_tasks=1"], tasks=["second"])
    summary = run.wait(timeout=60)
    assert (summary.exit_code, summary.tasks, summary.left) == (0, 1, ())
    assert [(result.spec.name, result.metrics[0].value) for result in run.results()] == [("second", 0.5)]
    status = run.status()
    assert (status.condition, status.running, status.may_be_alive) == ("succeeded", False, ())
    assert [(task.name, task.state, task.phase) for task in status.tasks] == [("second", "scored", "scored")]
    assert (run.logs("second") == [] and "POST" in "\n".join(run.logs("second", endpoint=True))) or run.logs("model")
    assert [event.state for event in run.events() if event.kind == "run"] == ["planned", "active", "closed"]
    assert run.directory == here / "evalx-runs" / run.id and (run.directory / "plan.json").exists()
    assert [other.id for other in evalx.list_runs()] == [run.id] == [evalx.open_run().id]
    assert evalx.open_run(run.id[:5]).wait().results == summary.results
    assert run.cancel() == evalx.open_run(run.id).cancel(), "over already"
    assert not lab.alive()


def test_what_is_wrong_is_raised_at_once_and_nothing_is_stored(lab: Any, here: Path) -> None:
    with pytest.raises(evalx.ConfigError, match=r"\(config\) execution.typ: unknown key"):
        evalx.run({"execution": {"type": "local", "typ": 1}})
    with pytest.raises(evalx.ConfigError, match="not plain data"):
        evalx.run({"execution": {"type": object()}})
    name = lab.config(lab.task("first"), deployment={"argv": ["no-such-program", "{port}"]})
    with pytest.raises(evalx.ConfigError, match="no-such-program"):
        evalx.run(name)
    assert evalx.list_runs() == []
    with pytest.raises(evalx.EvalxError):
        evalx.open_run()


def test_a_config_that_is_loaded_already_and_limits(lab: Any, here: Path) -> None:
    from evalx.config import load

    name = lab.config(lab.task("endless", str(lab.gate)))
    with pytest.raises(evalx.ConfigError, match="loaded already"):
        evalx.run(load(name), max_duration=3)
    summary = evalx.run(load(name, overrides=["execution.max_duration=0.5"])).wait()
    assert (summary.exit_code, summary.outcome) == (6, "timed_out")
    assert evalx.run(name, max_duration=0.5).wait().exit_code == 6
    lab.gate.touch()
    assert evalx.resume(max_duration=1000).wait().exit_code == 0 and not lab.alive()


def test_two_runs_side_by_side_under_a_running_event_loop(lab: Any, here: Path) -> None:
    names = [lab.config(lab.task(name), name=f"{name}.yaml") for name in ("one", "two")]

    async def notebook() -> list[evalx.RunSummary]:
        runs = [evalx.run(name) for name in names]
        ticks = asyncio.create_task(asyncio.sleep(0))
        summaries = await asyncio.gather(*(asyncio.to_thread(run.wait) for run in runs))
        await ticks
        return summaries

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    summaries = asyncio.run(notebook())
    assert [(summary.exit_code, summary.results[0].spec.name) for summary in summaries] == [(0, "one"), (0, "two")]
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert not lab.alive()


@pytest.mark.parametrize("now", [False, True])
def test_cancel_keeps_what_is_finished(lab: Any, here: Path, now: bool) -> None:
    run = evalx.run(lab.config(lab.task("first"), lab.task("endless", str(lab.gate)), max_tasks=1))
    lab.until(lambda: len(lab.begun()) == 2)
    with pytest.raises(TimeoutError):
        run.wait(timeout=0.1)
    assert run.status().running
    summary = evalx.open_run(run.id).cancel(now=now)
    assert [result.outcome for result in summary.results] == ["passed", "cancelled"]
    assert (summary.outcome, summary.reason, summary.left) == ("cancelled", "cancelled", ())
    assert run.wait() == summary and not lab.alive()


def test_leaving_a_block_waits_and_an_exception_in_it_cancels(lab: Any, here: Path) -> None:
    with evalx.run(lab.config(lab.task("first"))) as run:
        pass
    assert run.status().condition == "succeeded"
    with pytest.raises(ZeroDivisionError), evalx.run(lab.config(lab.task("endless", str(lab.gate)))) as run:
        raise ZeroDivisionError
    assert run.status().condition == "cancelled" and not lab.alive()


def test_an_observer_and_a_display(lab: Any, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from evalx.hookspecs import hookimpl

    seen = []

    class Observer:
        @hookimpl
        def on_event(self, run: Any, event: Any) -> None:
            seen.append((event.name, event.state))

    evalx.run(lab.config(lab.task("first")), observers=[Observer()], display="plain").wait()
    assert ("first", "scored") in seen
    assert "first" in capfd.readouterr().err


# ---------------------------------------------------------------------- another process's run


def test_a_run_of_another_process(lab: Any, here: Path) -> None:
    process = lab.start("run", lab.config(lab.task("first", str(lab.gate))), "--display", "none")
    lab.until_event("running", "first")
    run = evalx.open_run()
    with pytest.raises(TimeoutError, match="still running"):
        run.wait(timeout=0)
    process.kill()
    process.wait()
    with pytest.raises(evalx.RunInterrupted) as raised:
        run.wait()
    assert raised.value.exit_code == 7 and run.status().may_be_alive
    lab.gate.touch()
    summary = evalx.resume(run.id).wait()
    assert summary.exit_code == 0 and lab.begun() == ["first"]
    assert evalx.open_run(run.id).wait().outcome == "succeeded" and not lab.alive()


def test_cancel_ends_the_process_that_drives_a_run(lab: Any, here: Path) -> None:
    process = lab.start("run", lab.config(lab.task("first", str(lab.gate))), "--display", "none")
    lab.until_event("running", "first")
    assert evalx.open_run().cancel().left == ()
    assert lab.end(process).code == 143 and not lab.alive()


# ---------------------------------------------------------------------- programs that end


ENDINGS = {
    "its last line": ("", 0),
    "sys.exit": ("sys.exit(5)", 5),
    "an exception": ("sys.excepthook = lambda *error: None; raise ValueError", 1),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_end_of_the_program_ends_the_run(lab: Any, ending: str) -> None:
    name = lab.config(lab.task("first"), lab.task("endless", str(lab.gate)), max_tasks=1)
    second = "run.status().tasks[1].state"
    started = f"run = evalx.run({name!r})\nwhile {second} != 'running': time.sleep(0.05)"
    line, code = ENDINGS[ending]
    done = lab.end(program(lab, started, line))
    assert done.code == code
    assert f"evalx: the program ends, and run {lab.run_id} with it" in done.err
    states = {event["name"]: event["state"] for event in lab.events() if event["kind"] == "task"}
    assert states == {"first": "scored", "endless": "cancelled"}
    assert lab.events()[-1]["reason"] == "the program ended"
    assert not lab.alive()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 3)])
def test_a_signal_while_the_program_waits_ends_the_run_and_then_the_program(lab: Any, number: signal.Signals, code: int) -> None:
    name = lab.config(lab.task("endless", str(lab.gate)))
    process = program(lab, "try:", f"    evalx.run({name!r}).wait()", "except KeyboardInterrupt:", "    sys.exit(3)")
    lab.until_event("running", "endless")
    process.send_signal(number)
    assert lab.end(process).code == code
    assert lab.events()[-1]["state"] == "closed" and lab.events()[-1]["reason"].startswith("interrupted by")
    assert not lab.alive()


def test_a_program_that_is_killed_while_it_ends_leaves_the_rest_to_another_process(lab: Any) -> None:
    """As a notebook server does it: SIGTERM soon after the request, SIGKILL soon after that."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    name = lab.config(lab.task("first"), deployment={"argv": [sys.executable, "-c", deaf], "health_path": None})
    process = program(lab, f"run = evalx.run({name!r})", "input()", stdin=subprocess.PIPE)
    lab.until(lambda: any("deaf" in path.read_text() for path in lab.folder.glob("evalx-runs/*/endpoints/*/output.log")))
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    lab.until_event("deleting", "model")
    process.send_signal(signal.SIGTERM)
    lab.until(lambda: any({b"cancel", lab.run_id.encode()} <= set(command) for command in _commands()))
    process.kill()
    process.communicate(timeout=60)
    lab.until(lambda: lab.events()[-1]["state"] == "closed" and not lab.alive())


def _commands() -> Iterator[list[bytes]]:
    """Command lines of all processes that name the program's interpreter."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = file.read_bytes().split(b"\0")
            if command[0] == sys.executable.encode():
                yield command


def test_handlers_of_the_program_are_its_own_affair(lab: Any) -> None:
    name = lab.config(lab.task("first", str(lab.gate)))
    lines = [
        "signal.signal(signal.SIGTERM, lambda *_: print('mine', flush=True))",
        f"run = evalx.run({name!r})",
        "print(run.wait().outcome)",
    ]
    process = program(lab, *lines)
    lab.until_event("running", "first")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None and process.stdout.readline() == "mine\n"
    lab.gate.touch()
    assert lab.end(process).out == "succeeded\n"


def test_a_child_of_the_program_leaves_the_run_alone(lab: Any) -> None:
    name = lab.config(lab.task("first", str(lab.gate)))
    child = ["import multiprocessing, warnings", "warnings.simplefilter('ignore')", "context = multiprocessing.get_context('fork')"]
    child += ["child = context.Process(target=print, args=('child',), kwargs={'flush': True})", "child.start()", "child.join()"]
    process = program(lab, f"run = evalx.run({name!r})", *child, f"open({str(lab.gate)!r}, 'w').close()", "print(run.wait().outcome)")
    done = lab.end(process)
    assert (done.out, done.err) == ("child\nsucceeded\n", "")


# ---------------------------------------------------------------------- what an import costs


def test_importing_evalx_costs_nothing_until_it_is_used() -> None:
    code = "import sys; before = set(sys.modules); import evalx; assert 'run' in dir(evalx); print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names} == {"evalx"}
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        evalx.nonsense  # noqa: B018
    assert all(getattr(evalx, name) is not None for name in evalx.__all__)
