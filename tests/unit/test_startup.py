"""What commands import, which is what starting them costs. A stopwatch would lie; the set of modules does not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

WATCH = """
import json, os, sys
before = set(sys.modules)
from evalx.cli import main
report = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
new = {name for name in set(sys.modules) - before if name.partition(".")[0] not in sys.stdlib_module_names}
os.write(report, json.dumps({"code": code, "modules": sorted(new)}).encode())
"""
HEAVY = {"hydra", "omegaconf", "cattrs", "yaml", "rich", "psutil", "structlog", "jinja2"}


def imported(*arguments: str) -> tuple[int, set[str]]:
    """The exit code of a command, and the modules beside the standard library that it has imported."""
    done = subprocess.run([sys.executable, "-c", WATCH, *arguments], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return found["code"], set(found["modules"])


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["-h"], 0), (["--version"], 0), ([], 2), (["rnu"], 2), (["--no-such-option"], 2)]
)
def test_help_version_and_slips_cost_click_alone(arguments: list[str], code: int) -> None:
    ended, modules = imported(*arguments)
    assert ended == code
    assert packages(modules) <= {"evalx", "click"}
    assert modules & {"evalx.model", "evalx.config", "evalx.catalog", "evalx.runs"} == set()


@pytest.mark.parametrize(
    "name", ["run", "plan", "status", "watch", "logs", "ls", "results", "report", "resume", "cancel", "cleanup", "tasks"]
)
def test_the_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    code, modules = imported(name, "--help")
    assert code == 0
    assert packages(modules) & HEAVY == set()


def test_listing_plugins_imports_none_of_them() -> None:
    code, modules = imported("plugins", "ls", "--json")
    assert code == 0
    assert packages(modules) & {"evalx_exporters", "evalx_local", "evalx_quickstart", "hydra", "omegaconf", "yaml"} == set()
    assert {module for module in modules if module.startswith(("evalx.harnesses", "evalx.exporters"))} == set()


def test_the_catalogue_of_tasks_needs_no_configuration() -> None:
    code, modules = imported("tasks", "ls", "ifeval", "--json")
    assert code == 0
    assert packages(modules) & {"hydra", "omegaconf", "yaml", "evalx_local"} == set()


def test_looking_at_runs_composes_nothing_and_loads_no_plugin() -> None:
    code, modules = imported("ls", "--json")
    assert code == 0
    assert packages(modules) & {"hydra", "omegaconf", "evalx_local"} == set()


def test_the_testing_kit_is_imported_by_nothing_else() -> None:
    code, modules = imported("plugins", "show", "local", "--json")
    assert code == 0
    assert {module for module in modules if module.startswith(("evalx.testing", "pytest"))} == set()
