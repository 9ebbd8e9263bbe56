"""Servers and tasks as containers: real podman, and an image made from nothing that borrows this machine's `/usr`."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from evalx.errors import EndpointFailed
from evalx.model import EndpointSpec, Outcome, TaskSpec
from evalx.testing import ExecutorConformance
from evalx_local import containers, processes
from evalx_local.settings import ContainerSettings, HarnessSettings, LocalSettings

from .conftest import STUB, World, marked, program, question, server, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed (apt-get install podman runc)"),
]

CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
"""What podman needs where there is no systemd."""

MOUNTS = sorted({f"{folder}:{folder}:ro" for folder in ("/usr", sys.base_prefix, sys.prefix, str(STUB.parent))})

Make = Callable[..., World]


def podman(*arguments: str) -> str:
    return subprocess.run(["podman", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def existing(name: str) -> list[str]:
    """Ids of the containers of that name, running or not."""
    return podman("ps", "--all", "--quiet", "--filter", f"name=^{name}$").split()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with nothing but links into `/usr`, which is mounted when it runs, and an entrypoint that must not be used."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "containers.conf").write_text(CONTAINERS_CONF)
    root = folder / "root"
    for name in ("usr", "tmp", "etc", "workspace"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (folder / "Containerfile").write_text('FROM scratch\nCOPY root /\nENTRYPOINT ["/usr/bin/false"]\n')
    tag = f"localhost/evalx-test:{secrets.token_hex(4)}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
        podman("build", "--quiet", "--tag", tag, str(folder))
        yield tag
        podman("rmi", "--force", tag)


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stub does not listen to SIGTERM, and as a container's first process is not ended by it either."""
    monkeypatch.setattr(containers, "GRACE", 0.2)
    monkeypatch.setattr(processes, "GRACE", 0.2)


def _settings(image: str, **limits: Any) -> dict[str, Any]:
    mounts = [*MOUNTS, *limits.pop("mounts", [])]
    return {"runtime": "podman", "containers": ContainerSettings(mounts=mounts, **limits), "harnesses": _harness(image)}


def _harness(image: str) -> dict[str, Any]:
    return {"command": HarnessSettings(image=image)}


class TestPodman(ExecutorConformance):
    """The same suite, with containers."""

    plugin = "local"
    prompt = 30.0

    @pytest.fixture(autouse=True)
    def with_image(self, image: str) -> None:
        self.image = image

    def settings(self) -> LocalSettings:
        return LocalSettings(type="local", **_settings(self.image))

    def endpoint(self) -> EndpointSpec:
        return server(image=self.image)

    def broken_endpoint(self) -> EndpointSpec:
        return server("--no-such-option", name="broken", index=1, image=self.image)

    def task(self) -> TaskSpec:
        return question()

    def failing_task(self) -> TaskSpec:
        return program("raise SystemExit('it broke')", index=1)

    def endless_task(self) -> TaskSpec:
        return program("import time; time.sleep(3600)", index=2)

    def alive(self, resource: str) -> int:
        return min(len(marked(resource)) + len(existing(resource)), 1)


def test_a_task_has_its_folder_data_and_limits(world: Make, image: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows").write_text("7 rows")
    code = """
        import os, pathlib, sys
        print(os.getcwd(), sys.argv[1], pathlib.Path(sys.argv[1], "rows").read_text(), os.environ["LEVEL"])
        limits = [pathlib.Path("/sys/fs/cgroup", place) for place in ("pids.max", "pids/pids.max")]  # cgroups v2, v1
        print(next(limit.read_text().strip() for limit in limits if limit.exists()), flush=True)
        pathlib.Path("written").write_text("inside")
        pathlib.Path(sys.argv[1], "new").write_text("x")
    """
    task = program(code, "{dataset_dir}", dataset_dir=str(tmp_path / "data"), container=image, env={"LEVEL": 3})
    here = world([server(image=image)], [task], **_settings(image, pids=77, memory="64m", cpus=0.5))
    handle = here.submit(task, here.ready())
    result = here.result(handle)
    assert result.outcome is Outcome.FAILED
    log = (here.run.task_dir(task) / "output.log").read_text()
    assert "/workspace /datasets 7 rows 3\n77\n" in log
    assert "Read-only file system" in log
    assert (here.run.task_dir(task) / "written").read_text() == "inside"


def test_a_task_that_takes_more_memory_than_it_has_is_killed(world: Make, image: str) -> None:
    task = program("x = bytearray(300 * 2**20)")
    here = world([server(image=image)], [task], **_settings(image, memory="40m"))
    result = here.result(here.submit(task, here.ready()))
    assert result.outcome is Outcome.FAILED
    assert "137" in (result.reason or "")


def test_secrets_are_in_no_argument(world: Make, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "sk-canary")
    env = {"KEY": "host:CANARY", "HOME": "/inside"}
    task = program("import os, time; print(os.environ['KEY'][3:], os.environ['HOME'], flush=True); time.sleep(60)", env=env)
    here = world([server(image=image)], [task], **_settings(image))
    handle = here.submit(task, here.ready())
    log = here.run.task_dir(task) / "output.log"
    until(lambda: log.exists() and "canary /inside" in log.read_text())
    assert "sk-canary" not in podman("inspect", "--format", "{{.Config.CreateCommand}}", handle.resource)
    assert [word for process in marked(handle.resource) for word in process.cmdline() if "sk-canary" in word] == []


def test_a_container_of_that_name_that_is_not_ours_is_left_alone(world: Make, image: str) -> None:
    here = world([server(image=image)], **_settings(image))
    name = here.run.resource_name(here.run.plan.endpoints[0])
    theirs = podman("run", "--detach", "--name", name, "--volume", "/usr:/usr:ro", "--entrypoint", "sleep", image, "600")
    try:
        with pytest.raises(EndpointFailed, match=r"exited with code 125: .*already in use"):
            here.ready()
        here.remove(here.made[0])
        assert podman("inspect", "--format", "{{.State.Status}}", theirs) == "running"
    finally:
        podman("rm", "--force", "--time", "0", theirs)


def test_a_container_whose_client_was_killed_is_still_removed(world: Make, image: str) -> None:
    here = world([server(image=image)], **_settings(image))
    handle = here.ready()
    for process in marked(handle.resource):
        if process.name() == "podman":
            process.kill()
    os.kill(handle.data["pid"], 9)
    until(lambda: not any(process.name() == "podman" for process in marked(handle.resource)))
    assert existing(handle.resource)
    here.remove(handle)
    assert not existing(handle.resource)


def test_preflight_wants_images_and_says_which_will_be_pulled(world: Make, image: str) -> None:
    task = program("pass", container="localhost/evalx-absent:1")
    here = world([server()], [task], **_settings(image))
    findings = {finding.level: finding for finding in here.hooks.preflight()}
    assert "deployment command has no image" in findings["error"].message
    assert findings["warning"].hint == "podman pull localhost/evalx-absent:1"
    ready = world([evolve(server(image=image))], [question()], **_settings(image))
    assert ready.hooks.preflight() == []
