"""The command line, killed at a chosen moment:   crash.py MODULE:CLASS.METHOD before|after HIT [evalx's arguments]

The process gets SIGKILL from itself right before or after the HIT-th call of the method (or function).
"""

import importlib
import itertools
import os
import signal
import sys
from functools import wraps
from typing import Any

from evalx.cli import main

place, moment, hit, *arguments = sys.argv[1:]
module, _, path = place.partition(":")
*owners, name = path.split(".")
owner: Any = importlib.import_module(module)
for step in owners:
    owner = getattr(owner, step)
function = getattr(owner, name)
calls = itertools.count(1)


@wraps(function)
def deadly(*args: Any, **kwargs: Any) -> Any:
    now = next(calls) == int(hit)
    if now and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = function(*args, **kwargs)
    if now:
        os.kill(os.getpid(), signal.SIGKILL)
    return result


setattr(owner, name, deadly)
main(arguments)
