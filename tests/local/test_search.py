"""What is found where no state knows of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evalx.model import EndpointHandle, EndpointSpec, Found
from evalx.testing.runs import make_run
from evalx_local.executor import LocalExecutor
from evalx_local.settings import LocalSettings

from .conftest import World, marked, server, until


def found_of(world: World) -> dict[str, Found]:
    return {one.resource: one for one in world.hooks.discover() if one.run_id == world.run.run_id}


def test_a_server_is_found_by_its_marks_and_deleted_by_its_name_alone(world: Callable[..., World], tmp_path: Path) -> None:
    here = world([server()])
    assert not found_of(here)
    handle = here.deploy()
    found = found_of(here)[handle.resource]
    assert (found.kind, found.mine, found.state) == ("endpoint", True, "running") and found.created

    elsewhere = make_run(tmp_path / "b", LocalExecutor(), name="local", settings=LocalSettings(type="local"), run_id=here.run.run_id)
    hooks = elsewhere.plugins.hooks(elsewhere)
    nameless = EndpointHandle(EndpointSpec(handle.resource, 0, "", ""), handle.resource)
    until(lambda: hooks.cleanup(nameless) or None)
    assert not marked(handle.resource) and not found_of(here)
    assert not list(elsewhere.directory.iterdir())
