"""`evalx lepton`: tools around the Lepton platform. `evalx lepton emulate` runs an emulated workspace until it is told to end."""

from __future__ import annotations

import json
import shlex
import signal
import threading
from pathlib import Path

import click

from evalx.cli.options import asked, common_options

MISSING = "the emulated workspace needs starlette and uvicorn"
INSTALL = "pip install 'evalx[lepton]'"


@click.group("lepton")
def command() -> None:
    """An emulated workspace of DGX Cloud Lepton: no account needed."""


@command.command("emulate")
@click.option("--port", type=click.IntRange(0, 65535), metavar="PORT", default=0, help="Port on 127.0.0.1; a free one by default.")
@click.option(
    "--settings", "path", type=click.Path(path_type=Path), metavar="FILE", help="YAML: shapes, secrets, delays and faults of the workspace."
)
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="Folder for storage and logs; kept afterwards.")
@common_options
def emulate(port: int, path: Path | None, state: Path | None, as_json: bool) -> None:
    """Run an emulated workspace until Ctrl-C or SIGTERM.

    It prints the variables with which the Lepton SDK, `lep` and evalx find it. Endpoints and jobs are processes of this machine, and
    end with it.
    """
    from evalx.errors import ConfigError, PluginError
    from evalx_lepton.emulator.settings import EmulatorSettings, load

    settings = load(path) if path else EmulatorSettings()
    try:
        from evalx_lepton.emulator.server import Emulator
    except ImportError as error:
        raise PluginError(f"{MISSING}: {error}", INSTALL) from error
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: over.set())
    try:
        with Emulator(settings, state=state, port=port) as emulator:
            emulator.write_address()
            if as_json or asked().verbosity >= 0:
                click.echo(json.dumps(emulator.address()) if as_json else _greeting(emulator.url, emulator.environment()))
            over.wait()
    except OSError as error:
        raise ConfigError(f"cannot listen on 127.0.0.1:{port}: {error.strerror}", "choose another --port, or none") from error


def _greeting(url: str, environment: dict[str, str]) -> str:
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())
    return f"# An emulated Lepton workspace, not the platform, at\n# {url}\n{exports}"
