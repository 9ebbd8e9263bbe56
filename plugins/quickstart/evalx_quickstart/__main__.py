"""`python -m evalx_quickstart`: prepares the first run. Progress and errors go to stderr, the next command to stdout."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from evalx_quickstart import paths
from evalx_quickstart.prepare import PrepareError, prepare

CONFIGS = {"smollm2": "quickstart", "tinyqa": "quickstart-tinyqa"}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """0: ready; 1: not, the reason is on stderr; 130: interrupted."""
    parser = argparse.ArgumentParser(
        prog=paths.PREPARE,
        description="Prepare the first run of evalx: an environment with a model server and a harness, and a small model.",
        epilog=f"Everything goes into one folder, {paths.home()}; EVALX_QUICKSTART_DIR chooses another. Delete it to undo.",
    )
    parser.add_argument(
        "--model",
        choices=CONFIGS,
        default="smollm2",
        help="smollm2 (default): a real model of 135 million parameters, a download of 93 MB; tinyqa: a toy that comes with evalx",
    )
    model = parser.parse_args(argv).model
    try:
        prepare(model == "smollm2", say)
    except PrepareError as error:
        say(f"error: {error.message}\n hint: {error.hint}")
        if model == "smollm2" and paths.venv_marker().exists():
            say(f" hint: {paths.PREPARE} --model tinyqa   needs no weights")
        return 1
    except KeyboardInterrupt:
        say("interrupted; run it again to go on")
        return 130
    say("ready; now run:")
    print(f"{_evalx()} run {CONFIGS[model]}")
    return 0


def _evalx() -> str:
    """The command evalx as it can be typed here: by its path if its virtual environment is not activated."""
    path = Path(sys.executable).with_name("evalx")
    if shutil.which("evalx") or not path.is_file():
        return "evalx"
    return shlex.quote(str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path))


if __name__ == "__main__":
    sys.exit(main())
