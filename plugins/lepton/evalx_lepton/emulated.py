"""The emulated workspace of a run: a process of its own, found again by any later process of the run, ended with the run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalx.errors import ConfigError, EvalxError
from evalx.processes import identity
from evalx_lepton.sdk import Credentials

if TYPE_CHECKING:
    import psutil

START_PATIENCE, STOP_PATIENCE = 60.0, 30.0


def emulator_folder(run_directory: Path) -> Path:
    """Where a run's emulator keeps its storage, logs and address."""
    return run_directory / "emulator"


def credentials(run_directory: Path, settings: Any) -> Credentials:
    """Of the run's emulator, which is started if it does not run. settings: path of its settings, or a mapping. Raises EvalxError."""
    folder = emulator_folder(run_directory)
    address = _address(folder) or _start(folder, settings)
    return Credentials(address["workspace"], address["token"], address["url"])


def runs(run_directory: Path) -> bool:
    """Whether the run's emulator is there."""
    return _address(emulator_folder(run_directory)) is not None


def purge(run_directory: Path) -> bool:
    """Remove the emulator's storage, once it has ended."""
    ended = stop(run_directory)
    if ended:
        shutil.rmtree(emulator_folder(run_directory) / "storage", ignore_errors=True)
    return ended


def check_settings(settings: Any) -> None:
    """Raises ConfigError if the settings of the emulator are wrong."""
    from evalx_lepton.emulator.settings import load, parse

    if isinstance(settings, Mapping):
        parse(settings, "execution.lepton_platform.emulator.settings")
    elif settings is not None:
        load(Path(str(settings)).expanduser())


def stop(run_directory: Path) -> bool:
    """End the run's emulator and all its processes; whether there is none any more."""
    import psutil

    process = _process(_address(emulator_folder(run_directory)))
    if process is None:
        return True
    try:
        process.terminate()
        process.wait(STOP_PATIENCE)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        process.kill()  # what it started notices, and ends
        return False
    return True


def _address(folder: Path) -> dict[str, Any] | None:
    """The address of an emulator that lives."""
    try:
        found: dict[str, Any] = json.loads((folder / "address.json").read_text())
    except (OSError, ValueError):
        return None
    return found if _process(found) is not None else None


def _process(address: dict[str, Any] | None) -> psutil.Process | None:
    """The process that an address names, if it lives."""
    import psutil

    try:
        process = psutil.Process(address["pid"]) if address else None
        if process is None or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process if identity(process.pid) == (address or {})["birth"] else None
    except (psutil.NoSuchProcess, KeyError):
        return None


def _start(folder: Path, settings: Any) -> dict[str, Any]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "evalx_lepton.emulator", "--state", str(folder)]
    if path := _settings_file(folder, settings):
        argv += ["--settings", str(path)]
    with (folder / "emulator.log").open("ab") as log:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + START_PATIENCE
    while (address := _address(folder)) is None:
        if child.poll() is not None or time.monotonic() > deadline:
            raise EvalxError("the emulated workspace did not start", f"its log: {folder / 'emulator.log'}")
        time.sleep(0.05)
    _outlives(child)
    return address


def _outlives(child: subprocess.Popen[bytes]) -> None:
    """It is meant to outlive this object, of which subprocess would otherwise complain."""
    child.returncode = 0


def _settings_file(folder: Path, settings: Any) -> Path | None:
    if settings is None:
        return None
    if not isinstance(settings, Mapping):
        path = Path(str(settings)).expanduser().absolute()
        if not path.is_file():
            raise ConfigError(
                f"execution.lepton_platform.emulator.settings: there is no file {path}",
                "a relative path is looked for where evalx is started",
            )
        return path
    path = folder / "settings.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path
