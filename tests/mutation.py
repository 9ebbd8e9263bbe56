"""Mutation testing: small mistakes are put into a module, one at a time, and the tests must notice each.

    python -m tests.mutation              # everything, hours
    python -m tests.mutation frames       # one group

mutmut wants packages beside each other at the root and finds no test otherwise. So a group is tested in `build/mutation/GROUP`, a
folder of links to the packages. Processes that the tests start get the mutated code too, by `PYTHONPATH`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import chdir
from pathlib import Path

import click
from attrs import frozen

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"evalx": "core/evalx", "evalx_lepton": "plugins/lepton/evalx_lepton", "tests": "tests", "configs": "configs"}


@frozen
class Group:
    """Modules, and the tests that have to notice their mutants. tests: what pytest is given."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


_FRAMES, _STORE, _CONFIG = "tests/lepton/test_frames.py", "tests/unit/store", "tests/unit/config"
_EVENT_FILE = tuple(
    f"{_STORE}/test_crash.py::test_{what}"
    for what in (
        "the_event_file_is_mended_on_opening",
        "events_that_the_database_has_forgotten_are_kept",
        "a_run_whose_directory_was_deleted_can_still_be_opened",
        "a_run_directory_that_cannot_be_written_does_not_stop_the_run",
    )
)

GROUPS = {
    "frames": Group(("evalx_lepton/frames.py",), (f"{_FRAMES}::TestReading", f"{_FRAMES}::TestUnpacking")),
    "ledger": Group(("evalx/ledger.py", "evalx/commits.py"), ("tests/unit/test_ledger.py",)),
    "lease": Group(("evalx/store/lease.py",), (f"{_STORE}/test_lease.py",)),
    "journal": Group(
        ("evalx/store/journal.py",),
        (f"{_STORE}/test_journal.py", f"{_STORE}/test_lease.py::TestAnotherMachine", *_EVENT_FILE),
    ),
    "redaction": Group(("evalx/redaction.py",), ("tests/unit/test_redaction.py",)),
    "naming": Group(("evalx/context.py", "evalx/store/key.py"), ("tests/unit/test_context.py",)),
    "secrets": Group(("evalx/config/secrets.py", "evalx/config/env.py"), (f"{_CONFIG}/test_checks.py", f"{_CONFIG}/test_env.py")),
    "run-secrets": Group(("evalx_lepton/secrets.py",), ("tests/lepton/test_run_secrets.py",)),
    "store": Group(
        tuple(f"evalx/store/{module}.py" for module in ("database", "eventlog", "records", "states", "store")),
        (f"{_STORE}/test_store.py", f"{_STORE}/test_journal.py", *_EVENT_FILE),
    ),
    "calls": Group(("evalx/calls.py", "evalx/patience.py"), ("tests/unit/test_calls.py", "tests/unit/test_patience.py")),
    "driver": Group(
        ("evalx/driver.py", "evalx/lifecycle.py"), tuple(f"tests/unit/test_{name}.py" for name in ("driver_times", "patience"))
    ),
}


def stage(name: str) -> Path:
    """A new folder in which mutmut can test the group."""
    folder = ROOT / "build" / "mutation" / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "mutants").mkdir(parents=True)  # now, because Python remembers of a folder on its path that it was missing
    for link, target in {**PACKAGES, "pyproject.toml": "pyproject.toml"}.items():
        (folder / link).symlink_to(ROOT / target)
    group = GROUPS[name]
    settings = {
        "source_paths": sorted({module.partition("/")[0] for module in group.modules}),
        "only_mutate": group.modules,
        "pytest_add_cli_args_test_selection": group.tests,
        "pytest_add_cli_args": ("-m", "not slow"),
    }
    lines = [f"{key} =\n" + "".join(f"    {value}\n" for value in values) for key, values in settings.items()]
    (folder / "setup.cfg").write_text("[mutmut]\ntimeout_multiplier = 6\ntrack_dependencies = false\n" + "".join(lines))
    return folder


def mutate(folder: Path) -> None:
    """Let mutmut test the folder, in one process that stands back behind all others."""
    command = ["nice", "-n", "19", sys.executable, "-c", "from mutmut.__main__ import cli; cli()", "run", "--max-children", "1"]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder / "mutants")}, check=True)


def show(folder: Path) -> None:
    """Print what was not noticed, as diffs, and the figures by module."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code

    with chdir(folder):
        for meta in sorted(Path("mutants").rglob("*.meta")):
            module = meta.relative_to("mutants").with_suffix("")
            verdicts = {name: status_by_exit_code[code] for name, code in json.loads(meta.read_text())["exit_code_by_key"].items()}
            for name, verdict in verdicts.items():
                if verdict != "killed":
                    click.echo(f"{name}: {verdict}\n{get_diff_for_mutant(name, path=module)}\n")
            if verdicts:
                figures = ", ".join(f"{count} {verdict}" for verdict, count in Counter(verdicts.values()).items())
                click.echo(f"{module}: {len(verdicts)} mutants, {figures}")


@click.command()
@click.argument("groups", nargs=-1, type=click.Choice(list(GROUPS)))
def main(groups: tuple[str, ...]) -> None:
    """Test the GROUPS, or all; prints each mutant that was not noticed, and the figures by module."""
    for name in groups or GROUPS:
        folder = stage(name)
        mutate(folder)
        show(folder)


if __name__ == "__main__":
    main()
