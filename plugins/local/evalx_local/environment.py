"""What a server or task is given of this machine: variables, with every reference replaced at the last moment, and paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evalx.config.env import parse_env
from evalx.errors import ConfigError
from evalx.model import EnvValue, Secret
from evalx.redaction import hold

if TYPE_CHECKING:
    from evalx.context import RunContext
    from evalx_local.settings import LocalSettings


def values(run: RunContext, env: Mapping[str, EnvValue]) -> dict[str, str]:
    """The variables with their values. Raises ConfigError for a reference that leads nowhere."""
    return {name: secret_value(run, value) if isinstance(value, Secret) else value for name, value in env.items()}


def secret_value(run: RunContext, secret: Secret) -> str:
    """The value of `host:NAME`, or of `secret:NAME`: here the platform's secrets are the files of `execution.secrets_dir`.

    Raises ConfigError if there is none.
    """
    if secret.source == "host":
        return run.secret(secret)
    folder = run.settings.secrets_dir
    if folder is None:
        raise ConfigError(
            f"there is no place to look for secret {secret.name!r}", "set execution.secrets_dir to a folder with a file for each secret"
        )
    path = Path(folder).expanduser() / secret.name
    try:
        value = path.read_text().removesuffix("\n")
    except OSError as error:
        raise ConfigError(
            f"secret {secret.name!r} cannot be read: {path}: {error.strerror}", f"write its value into {path}, mode 0600"
        ) from error
    hold(secret.name, value)
    return value


def harness_env(settings: LocalSettings, harness: str) -> dict[str, EnvValue]:
    """What `execution.harnesses.<name>` gives to every task of a harness: its variables, and its virtual environment first on PATH."""
    own = settings.harness(harness)
    venv = Path(own.venv).expanduser().absolute() if own.venv and settings.runtime == "process" else None
    return {**(venv_env(venv) if venv else {}), **parse_env(own.env)}


def venv_env(venv: Path) -> dict[str, EnvValue]:
    """What activating a virtual environment sets."""
    return {"VIRTUAL_ENV": str(venv), "PATH": os.pathsep.join((str(venv / "bin"), os.environ.get("PATH", os.defpath)))}


def absolute(path: str | None) -> str | None:
    """The full path of what a config names."""
    return str(Path(path).expanduser().absolute()) if path else None


def local_path(path: str | None) -> str | None:
    """The full path of what exists on this machine; None for anything else, such as the id of a model on a hub."""
    found = absolute(path)
    return found if found and Path(found).exists() else None
