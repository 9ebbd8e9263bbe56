"""The suite that every deployment variant passes, of every executor whose variants have the hook `server_spec`.

    class TestMyDeployment(DeploymentConformance):
        plugin = "mine"
        group = "evalx.local.deployments"

        def options(self) -> dict[str, Any]: ...

A config with these options is composed as a user's is, so what is tested is what a run would be given. Nothing is started, but for the
one test of a variant that says it is `startable`.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from evalx import catalog, config
from evalx.context import RunContext
from evalx.errors import ConfigError, ConfigErrors
from evalx.manager import RunManager
from evalx.model import EndpointSpec, Secret, ServerSpec
from evalx.plan import make_plan
from evalx.serial import from_json, to_json
from evalx.serving import ROUTES, Readiness, probe
from evalx.testing import common

REFUSALS = (ConfigError, ConfigErrors, ValueError)


class DeploymentConformance(ABC):
    """Tests of a deployment variant; subclass as the module's docstring shows.

    plugin, group: its entry point. deploys: False for a variant that only names an endpoint that exists. in_container: it needs an image,
    and a port that is known beforehand. startable: its command can be run where the tests run. patience: seconds until that server
    answers. sdk: modules that importing the plugin must not import.
    """

    plugin: str
    group: str
    deploys: bool = True
    in_container: bool = False
    startable: bool = False
    patience: float = 60.0
    sdk: tuple[str, ...] = ()

    # ------------------------------------------------------------------ what a subclass says

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Keys of `deployment` that make an endpoint, without `type`."""

    def target(self) -> dict[str, Any]:
        """`target.api_endpoint`, for a variant that needs it."""
        return {}

    # ------------------------------------------------------------------ the class

    def test_the_class_states_what_the_core_asks_for(self) -> None:
        variant = catalog.load(self.group, self.plugin)
        common.check_version(variant)
        assert attrs.has(variant.Options), "Options is an attrs class"
        assert variant.__eq__ is object.__eq__, "pluggy tells instances apart by identity: @define(eq=False)"

    def test_every_option_says_what_it_is_for(self) -> None:
        fields = attrs.fields_dict(catalog.load(self.group, self.plugin).Options)
        assert "type" not in fields, "`deployment.type` names the variant"
        assert [name for name, field in fields.items() if not field.metadata.get("help")] == [], "declare options with `setting(help=…)`"

    def test_loading_the_plugin_imports_no_sdk(self) -> None:
        common.check_imports(self.group, self.plugin, self.sdk)

    # ------------------------------------------------------------------ what it says of a server

    def test_it_says_what_to_start(self, tmp_path: Path) -> None:
        run, endpoint = self._run(tmp_path)
        server = self._server(run, endpoint)
        common.check_argv(server.argv)
        common.check_env(server.env)
        assert server.served_model == endpoint.model, "`served_model` is `endpoint.model`, the name that tasks ask for"
        assert server.health_path is None or server.health_path.startswith("/")
        assert [path for path in server.routes.values() if not path.startswith("/")] == [], "routes are paths"
        assert server.argv or server.image, "there is neither a command nor an image"
        self._knows_its_port(server)

    def _knows_its_port(self, server: ServerSpec) -> None:
        assert 0 <= server.port < 65536
        if self.in_container:
            assert server.image, "it needs an image"
            assert server.port, "it needs a port"
        elif not server.port:
            given = [*server.argv, *(value for value in server.env.values() if isinstance(value, str))]
            assert any("{port}" in text for text in given), "with port 0, `{port}` must reach the server by an argument or a variable"

    def test_an_endpoint_that_exists_has_no_server(self, tmp_path: Path) -> None:
        if self.deploys:
            pytest.skip("the variant deploys servers")
        assert self._spec(*self._run(tmp_path)) is None

    def test_it_says_the_same_each_time_and_changes_nothing(self, tmp_path: Path) -> None:
        run, endpoint = self._run(tmp_path)
        before = copy.deepcopy(to_json(endpoint))
        assert self._spec(run, endpoint) == self._spec(run, endpoint) == self._spec(self._context(tmp_path, run), endpoint)
        assert to_json(endpoint) == before

    def test_what_it_says_survives_json(self, tmp_path: Path) -> None:
        server = self._server(*self._run(tmp_path))
        assert from_json(ServerSpec, json.loads(json.dumps(to_json(server)))) == server

    def test_no_value_of_a_secret_is_in_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        common.plant_canaries(monkeypatch)
        options = self.options()
        keys = [key for key in ("env", "envs") if key in attrs.fields_dict(catalog.load(self.group, self.plugin).Options)]
        options.update({key: {**options.get(key, {}), common.KEY: f"host:{common.KEY}"} for key in keys})
        server = self._server(*self._run(tmp_path, options))
        assert common.CANARY not in json.dumps(to_json(server))
        if keys:
            assert server.env.get(common.KEY) == Secret(f"host:{common.KEY}"), f"{keys[0]} is for `evalx.config.env.parse_env`"

    def test_no_value_of_the_config_becomes_part_of_a_shell_script(self, tmp_path: Path) -> None:
        common.check_scripts(self._server(*self._run(tmp_path)).argv)
        for key in [key for key, value in self.options().items() if isinstance(value, str)]:
            try:
                run, endpoint = self._run(tmp_path, {**self.options(), key: common.HOSTILE})
                server = self._server(run, endpoint)
            except REFUSALS:
                continue
            common.check_scripts(server.argv)

    def test_its_server_comes_up_and_answers(self, tmp_path: Path) -> None:
        if not self.startable:
            pytest.skip("not `startable` here")
        run, endpoint = self._run(tmp_path)
        server = self._server(run, endpoint)
        port = server.port or _free_port()
        with _started(server, port, run, tmp_path / "server.log") as process:
            deadline = time.monotonic() + self.patience
            while not (answer := self._ask(server, port)).ready:
                said = (tmp_path / "server.log").read_text(errors="replace")[-2000:]
                assert process.poll() is None, f"it exited with code {process.returncode}: {said}"
                assert not answer.hopeless, answer.reason
                assert time.monotonic() < deadline, f"no answer in {self.patience:g} s (`patience`): {answer.reason}; {said}"
                time.sleep(0.1)

    # ------------------------------------------------------------------ helpers

    def _ask(self, server: ServerSpec, port: int) -> Readiness:
        kind = next(iter(server.routes), "chat")
        routes = server.routes or ROUTES
        return probe(f"http://127.0.0.1:{port}", model=server.served_model, kind=kind, routes=routes, health_path=server.health_path)

    def _run(self, folder: Path, options: dict[str, Any] | None = None) -> tuple[RunContext, EndpointSpec]:
        """A run of a config with these options, and its endpoint."""
        name, executor = common.executor_of(self.group)
        document = {
            "execution": {"type": name},
            "deployment": {"type": self.plugin, **(self.options() if options is None else options)},
            "target": {"api_endpoint": self.target()},
            "evaluation": {"harness": "command", "tasks": [{"name": "task", "harness_config": {"command": ["true"]}}]},
        }
        path = folder / "conformance.yaml"
        path.write_text(json.dumps(document))
        composed = config.load(path)
        plan = make_plan(composed)
        return self._context(folder, RunContext(plan, composed.execution, folder, RunManager(executor(), name))), plan.endpoints[0]

    def _context(self, folder: Path, run: RunContext) -> RunContext:
        """The run as a new process has it, the variant registered."""
        name, executor = common.executor_of(self.group)
        manager = RunManager(executor(), name)
        manager.register_from(self.group, self.plugin)
        return RunContext(run.plan, run.settings, folder, manager)

    def _spec(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec | None:
        answer = run.plugins.call("server_spec", run=run, endpoint=endpoint)
        assert answer is None or isinstance(answer, ServerSpec), f"server_spec returned a {type(answer).__name__}"
        return answer

    def _server(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec:
        if not self.deploys:
            pytest.skip("the variant deploys nothing")
        server = self._spec(run, endpoint)
        assert server is not None, "server_spec returned None, which means that the endpoint exists (`deploys = False`)"
        return server


@contextmanager
def _started(server: ServerSpec, port: int, run: RunContext, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server's processes, all of which are ended afterwards."""
    argv = [argument.replace("{port}", str(port)) for argument in server.argv]
    env = {name: value.replace("{port}", str(port)) for name, value in run.environment(server.env).items()}
    with log.open("wb") as output:
        process = subprocess.Popen(argv, env={**os.environ, **env}, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
