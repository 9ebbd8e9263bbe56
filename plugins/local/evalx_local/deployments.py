"""The deployment variants of the local executor: what a model server is made of, without starting it.

A variant is a class with `evalx_api`, the attrs class `Options` (the keys of `deployment` beside `type`) and the hook `server_spec`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from evalx.config.env import parse_env
from evalx.config.settings import a_port, setting
from evalx.hookspecs import hookimpl, hookspec
from evalx.model import EndpointSpec, ServerSpec
from evalx.serial import from_json
from evalx.serving import VllmOptions, server_routes, vllm_server
from evalx_local.environment import local_path, venv_env
from evalx_local.ports import HOST

if TYPE_CHECKING:
    from evalx.context import RunContext


class LocalHooks:
    """The hook that the local executor adds for its variants."""

    @hookspec(firstresult=True)
    def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec | None:
        """The server to start for an endpoint; None: there is one already, at the config's `target.api_endpoint.url`.

        With port 0 the executor reserves a free one. `{port}` in arguments and environment stands for the port in any case.
        """


@frozen(kw_only=True)
class NoOptions:
    """`none` has no keys of its own: the endpoint is `target.api_endpoint`."""


class NoDeployment:
    """An endpoint that exists. It is checked like any other, and never deleted."""

    evalx_api = (1, 0)
    Options = NoOptions

    @hookimpl
    def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec | None:  # noqa: ARG002
        return None


@frozen(kw_only=True)
class LocalVllmOptions(VllmOptions):
    """vLLM's keys, and where it is installed."""

    venv: str | None = setting(None, help="Virtual environment with vLLM; by default the `vllm` on PATH.")


class VllmDeployment:
    """`vllm serve`, from PATH or a virtual environment; with `runtime: podman` or `docker`, from its image."""

    evalx_api = (1, 0)
    Options = LocalVllmOptions

    @hookimpl
    def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec | None:
        options = from_json(LocalVllmOptions, endpoint.options["deployment"])
        options = evolve(options, checkpoint_path=local_path(options.checkpoint_path) or options.checkpoint_path)
        server = vllm_server(options, endpoint.model, host=HOST, port=options.port or 0)
        if options.venv is None or run.settings.containerised:
            return server
        return evolve(server, env={**venv_env(Path(options.venv).expanduser().absolute()), **server.env})


@frozen(kw_only=True)
class CommandOptions:
    """Any server that speaks OpenAI's protocol."""

    argv: list[str] = setting(
        help="The command: `{port}` and `{model}` stand for the port and the served model name.",
        example=["llama-server", "--model", "/models/model.gguf", "--port", "{port}", "--alias", "{model}"],
    )
    served_model_name: str | None = setting(None, help="Name under which the model is served.", example="my-model")
    port: int | None = setting(None, help="TCP port; by default one that is free.", validator=a_port)
    health_path: str | None = setting("/health", help="Path that answers 200 once the model is loaded; null where there is none.")
    routes: Mapping[str, str] = setting(factory=dict, help="Endpoint type → path, where the server differs from OpenAI.")
    env: Mapping[str, Any] = setting(factory=dict, help="Variables: host:NAME, lit:TEXT or plain values; `{port}` as in `argv`.")
    workdir: str | None = setting(None, help="Folder in which it runs; by default the endpoint's folder in the run directory.")
    image: str | None = setting(None, help="Image, for the runtimes with containers.")
    pre_cmd: str | None = setting(None, help="Shell commands before the server; run only if commands are trusted.")


class CommandDeployment:
    """Any command that starts a server."""

    evalx_api = (1, 0)
    Options = CommandOptions

    @hookimpl
    def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec | None:  # noqa: ARG002
        options = from_json(CommandOptions, endpoint.options["deployment"])
        return ServerSpec(
            image=options.image,
            argv=tuple(argument.replace("{model}", endpoint.model) for argument in options.argv),
            port=options.port or 0,
            served_model=endpoint.model,
            health_path=options.health_path,
            routes=server_routes(options.routes),
            env=parse_env(options.env),
            pre_cmd=options.pre_cmd,
        )
