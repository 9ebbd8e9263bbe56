"""Where the text of an export goes: a file, complete or not at all, or standard output."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from attrs import frozen

from evalx.errors import ConfigError


@frozen
class Destination:
    """path: the file to be written; None: standard output, or nothing where the exporter writes no file."""

    path: Path | None = None

    @classmethod
    def at(cls, output: str | Path, file_name: str) -> Destination:
        """The destination that a user names: a file, or a folder (one that is there, or ends with `/`) for a file of that name."""
        path = Path(output).expanduser().absolute()
        return cls(path / file_name if path.is_dir() or str(output).endswith(os.sep) else path)

    def write(self, text: str) -> None:
        """Write all of it. A file that was there is replaced in one step; folders that are missing are made.

        Raises ConfigError if the file cannot be written.
        """
        data = text.encode("utf-8", "backslashreplace")
        if self.path is None:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        try:
            _replace(self.path, data)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error.strerror or error}", "name another file with --output") from error


def _replace(path: Path, data: bytes) -> None:
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():  # a pipe or /dev/stdout, say, which must not be replaced by a file
        target.write_bytes(data)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), _mode(target))
        os.replace(partial, target)  # noqa: PTH105 -- both are paths as text
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _mode(target: Path) -> int:
    """The permissions of the file that is replaced, or those that a new one gets."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
