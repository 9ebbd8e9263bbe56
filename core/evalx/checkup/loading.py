"""Importing what is to be checked, and saying in words why that does not work."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evalx import catalog
from evalx.checkup.candidates import Candidate, Problem, installed


@contextmanager
def imported_from(roots: Sequence[Path]) -> Iterator[None]:
    """Within this, modules of these folders win over installed ones; afterwards they are forgotten."""
    before, modules = list(sys.path), dict(sys.modules)
    sys.path[:0] = map(str, roots)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
        for name in [name for name, module in sys.modules.items() if name not in modules and _below(module, roots)]:
            del sys.modules[name]


def load(candidate: Candidate) -> tuple[Any, Problem | None]:
    """The object behind the entry point, or what is wrong with it."""
    module_name, _, attribute = candidate.entry.value.partition(":")
    try:
        module = importlib.import_module(module_name.strip())
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever a module raises that is imported
        return None, _import_problem(candidate, module_name.strip(), error)
    loaded: Any = module
    for part in filter(None, attribute.partition("[")[0].strip().split(".")):
        if not hasattr(loaded, part):
            guess = catalog.suggestion(part, [name for name in vars(loaded) if not name.startswith("_")])
            return None, Problem(candidate.where, f"{module_name} has no '{part}'.{guess}", f'{candidate.name} = "{module_name}:Class"')
        loaded = getattr(loaded, part)
    return loaded, None


def groups_known(candidates: Sequence[Candidate]) -> list[str]:
    """The groups that evalx and executors look into: its own, and those of deployment variants that executors name."""
    executors = [one for one in [*candidates, *installed(None).candidates] if one.group == "evalx.executors"]
    named = [getattr(load(one)[0], "deployments", None) for one in executors]
    return sorted({*catalog.GROUPS, *(group for group in named if isinstance(group, str))})


def place(thing: Any, member: str | None = None) -> str:
    """File and line of a class or module, or of a member of it."""
    try:
        path = inspect.getsourcefile(thing) or ""
        lines, start = inspect.getsourcelines(thing)
    except (TypeError, OSError):
        return str(getattr(thing, "__module__", thing))
    for offset, line in enumerate(lines):
        if member and line.strip().startswith((f"def {member}(", f"async def {member}(", f"{member}:", f"{member} =", f"class {member}")):
            return f"{_shown(path)}:{max(start, 1) + offset}"
    return f"{_shown(path)}:{max(start, 1)}"


def _import_problem(candidate: Candidate, module: str, error: BaseException) -> Problem:
    if isinstance(error, ModuleNotFoundError) and error.name and (module == error.name or module.startswith(f"{error.name}.")):
        hint = f'an entry point is "package.module:Class"; is the package installed, and the name right in {candidate.entry.value!r}?'
        return Problem(candidate.where, f"there is no module {error.name}", hint)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    where = f"{_shown(frames[-1].filename)}:{frames[-1].lineno}" if frames else candidate.where
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{_shown(error.filename)}:{error.lineno}"
    detail = (str(error).splitlines() or [""])[0]
    hint = f"pip install what provides {error.name}" if isinstance(error, ModuleNotFoundError) else f"python -c 'import {module}'"
    return Problem(where, f"{module} cannot be imported: {type(error).__name__}: {detail}", hint)


def _below(module: Any, roots: Sequence[Path]) -> bool:
    path = getattr(module, "__file__", None)
    return path is not None and any(Path(path).is_relative_to(root) for root in roots)


def _shown(path: str) -> str:
    """The path as short as it can be said from here."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
