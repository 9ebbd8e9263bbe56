"""Where the quickstart keeps its things, and how configs refer to them: `${quickstart:python}`, `${quickstart:model,smollm2}`."""

from __future__ import annotations

import os
from pathlib import Path

from evalx.errors import ConfigError

HERE = Path(__file__).resolve().parent
SERVER = HERE / "server.py"
HARNESS = HERE / "harness"
TOY_MODELS = {f"tinyqa-{name}": HERE / "models" / "tinyqa" / name for name in ("strong", "weak")}
WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
PREPARE = "python -m evalx_quickstart"


def home() -> Path:
    """The folder of what `python -m evalx_quickstart` prepares: `$EVALX_QUICKSTART_DIR`, or one in the user's data folder."""
    if chosen := os.environ.get("EVALX_QUICKSTART_DIR"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("evalx") / "quickstart"


def venv() -> Path:
    """The environment with NumPy and the harness."""
    return home() / "venv"


def python() -> Path:
    """Its interpreter."""
    return venv() / "bin" / "python"


def venv_marker() -> Path:
    """Written when the environment is complete; holds what was installed."""
    return venv() / "evalx-quickstart.txt"


def weights() -> Path:
    """The weights of SmolLM2."""
    return home() / "models" / WEIGHTS_FILE


def model_path(name: str) -> Path:
    """The file or folder of a model: `smollm2`, `tinyqa-strong` or `tinyqa-weak`. Raises ConfigError."""
    known = {"smollm2": weights(), **TOY_MODELS}
    if name not in known:
        raise ConfigError(f"the quickstart has no model {name!r}", f"it has {', '.join(known)}")
    if not known[name].exists():
        raise ConfigError(f"the weights of {name} are not here yet: {known[name]}", f"run: {PREPARE}")
    return known[name]


def resolve(what: str, *arguments: str) -> str:
    """The path that `${quickstart:what,…}` stands for: python, venv, server, harness or model,NAME.

    Raises ConfigError, with the command to run, for what is not prepared.
    """
    if what == "model" and len(arguments) == 1:
        return str(model_path(arguments[0]))
    fixed = {"server": SERVER, "harness": HARNESS}
    prepared = {"python": python(), "venv": venv()}
    if arguments or what not in fixed | prepared:
        asked = ",".join((what, *arguments))
        raise ConfigError(f"${{quickstart:{asked}}} means nothing", "there are python, venv, server, harness and model,NAME")
    if what in prepared and not (venv_marker().exists() and python().exists()):
        raise ConfigError(f"the quickstart is not prepared: there is no environment in {home()}", f"run: {PREPARE}")
    return str((fixed | prepared)[what])
