"""A task's result as a file of its own, so that a run directory can be read anywhere, without evalx's database."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from evalx.errors import RunDamaged, StoreError
from evalx.model import TaskResult
from evalx.redaction import without_literals
from evalx.results.files import artifact

RESULT_FILE = "result.json"
SCHEMA = 1


def write_result(directory: Path, result: TaskResult) -> None:
    """Writes `directory/result.json`: complete or not at all, and on disk when this returns. Raises StoreError."""
    from evalx.serial import to_json

    text = json.dumps({"schema": SCHEMA, "result": to_json(result)}, indent=1, ensure_ascii=False, allow_nan=False)
    temporary = directory / f".{RESULT_FILE}.{os.getpid()}.tmp"
    try:
        _write(temporary, without_literals(text))
        temporary.replace(directory / RESULT_FILE)
        _sync_folder(directory)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"the result of {result.spec.name} cannot be written to {directory}: {error.strerror or error}") from error


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_result(directory: Path) -> TaskResult:
    """The result that `write_result` wrote. Raises StoreError if there is none or it is not what that wrote."""
    from evalx.serial import from_json

    path = directory / RESULT_FILE
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise StoreError(f"{path} has schema {document['schema']}; this evalx reads {SCHEMA}", "read it with the evalx that wrote it")
        return from_json(TaskResult, document["result"])
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    except StoreError:
        raise
    except Exception as error:
        # Whatever a damaged file makes json or cattrs raise.
        raise damaged(path, error) from error


def damaged(path: Path | str, error: Exception) -> RunDamaged:
    """What to raise for a file of a run directory that json or cattrs cannot read."""
    import cattrs

    said = "; ".join(cattrs.transform_error(error)[:3]) if isinstance(error, cattrs.BaseValidationError) else str(error)
    said = f"it has no {said}" if isinstance(error, KeyError) else said
    hint = "if the directory is a copy, copy it again; on the machine of the run, its state has the scores, too: evalx results RUN"
    return RunDamaged(f"{path} is damaged: {' '.join(said.split())[:200]}", hint)


def changed_artifacts(directory: Path, result: TaskResult) -> list[str]:
    """Paths of artifacts that are missing or whose content is not what was hashed when the task ended."""
    return [kept.path for kept in result.artifacts if _now(directory, kept.path) != (kept.size, kept.sha256)]


def _now(directory: Path, name: str) -> tuple[int, str] | None:
    try:
        found = artifact(directory, directory / name)
    except OSError:
        return None
    return found.size, found.sha256
