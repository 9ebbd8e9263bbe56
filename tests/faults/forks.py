"""Many processes of the command line for the price of one start: reads cases from stdin, forks for each, writes how it ended.

A case is a line of JSON: `id`, `argv`, `env`, `cwd`, and `tty` (a terminal to sit at) or `out` (a file for stdout and stderr).
Answers are lines of JSON: `id` and `pid` when it was started, `id` and `code` when it has ended.
"""

import json
import os
import select
import sys

import psutil  # noqa: F401 -- like the following: so that no child has to import it
from tests.faults import signal_cloud  # noqa: F401

import evalx.cli.cleanup
import evalx.cli.run
import evalx.cli.summary
import evalx.cli.terminal
import evalx.config
import evalx.display.choose
import evalx.display.live
import evalx.runs  # noqa: F401
from evalx.cli import main


def child(case: dict[str, str]) -> None:
    os.setsid()  # the terminal that is opened next is its own
    streams = os.open(case["tty"], os.O_RDWR) if "tty" in case else os.open(case["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (0, 1, 2):
        os.dup2(streams, number)
    os.closerange(3, 64)
    os.environ.update(case["env"])
    os.chdir(case["cwd"])
    sys.argv[1:] = case["argv"]
    main()


def answer(**what: object) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())


running: dict[int, str] = {}
orders = b""
while True:
    if select.select([0], [], [], 0.02)[0]:
        got = os.read(0, 65536)
        if not got:
            break
        *lines, orders = (orders + got).split(b"\n")
        for case in map(json.loads, lines):
            pid = os.fork()
            if not pid:
                child(case)
            running[pid] = case["id"]
            answer(id=case["id"], pid=pid)
    while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
        answer(id=running.pop(ended[0]), code=os.waitstatus_to_exitcode(ended[1]))
