"""What the suites have in common: secrets that must not show, values that a shell would act on, and what a subclass loads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from evalx import catalog
from evalx.hookspecs import API_VERSION
from evalx.model import Secret

KEY = "EVALX_CONFORMANCE_KEY"
CANARY = "canary-5f1d0c9e7a-do-not-show"
USUAL = ("HF_TOKEN", "NGC_API_KEY", "OPENAI_API_KEY", "API_KEY", "WANDB_API_KEY", "LEPTON_WORKSPACE_TOKEN")
"""Variables that hold secrets on the machines of those who run evaluations."""

HOSTILE = "$(touch evalx-was-here); `id` 'a b' | x"
"""Text that is nothing special as an argument, and a command in a shell."""

SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh"})


def plant_canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every variable that usually holds a secret one value, which then must not be found anywhere."""
    for name in (KEY, *USUAL):
        monkeypatch.setenv(name, CANARY)


def check_argv(argv: Sequence[str]) -> None:
    """Fails unless it is a command as a list of arguments, or empty."""
    assert isinstance(argv, tuple), f"argv is a {type(argv).__name__}, not a tuple of arguments"
    assert [item for item in argv if not isinstance(item, str)] == [], "every argument is a text"
    assert not argv or (argv[0] and not any(character.isspace() for character in argv[0])), f"{argv[:1]} is a line, not a program"


def check_scripts(argv: Sequence[str]) -> None:
    """Fails if `HOSTILE` is in a script that a shell is given."""
    assert [script for script in scripts(argv) if HOSTILE in script] == [], "a shell is given values of the config as part of its script"


def scripts(argv: Sequence[str]) -> list[str]:
    """Arguments that a shell among them takes for a script."""
    found = []
    for index, item in enumerate(argv[:-1]):
        program = any(earlier.rpartition("/")[2] in SHELLS for earlier in argv[:index])
        if program and item.startswith("-") and not item.startswith("--") and item.endswith("c"):
            found.append(argv[index + 1])
    return found


def check_env(env: Mapping[str, Any]) -> None:
    """Fails unless it maps names to texts and references."""
    wrong = {name: type(value).__name__ for name, value in env.items() if not isinstance(value, str | Secret)}
    assert wrong == {}, "variables are texts or references (evalx.model.Secret)"


def check_version(plugin: Any) -> None:
    """Fails unless the class states a version of the plugin interface that this evalx has."""
    major, minor = plugin.evalx_api
    assert major == API_VERSION[0]
    assert minor <= API_VERSION[1]


def check_imports(group: str, plugin: str, modules: Sequence[str]) -> None:
    """Fails if loading the plugin, and making one, imports any of these modules."""
    code = (
        "import sys; from evalx import catalog; catalog.load(*sys.argv[1:3])();"
        "found = [name for name in sys.argv[3:] if name in sys.modules]; sys.exit(' '.join(found) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, group, plugin, *modules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"imported with the plugin: {done.stderr}"


def executor_of(group: str) -> tuple[str, Any]:
    """The installed executor, by name, whose deployment variants are in that group. Fails if there is none."""
    for info in catalog.plugins("evalx.executors"):
        executor = catalog.load(info.group, info.name)
        if executor.deployments == group:
            return info.name, executor
    raise AssertionError(f"no installed executor has its deployment variants in {group}")
