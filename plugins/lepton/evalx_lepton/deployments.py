"""The deployment variants of the Lepton executor, and the hooks that make a variant.

A variant is a class with `evalx_api`, the attrs class `Options` (the keys of `deployment` beside `type`) and the hook `server_spec`; the
other two hooks have defaults. A plugin of the group `evalx.plugins` may wrap any of them (`@hookimpl(wrapper=True)`) for all variants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from evalx.config.env import parse_env
from evalx.config.settings import at_least, setting
from evalx.errors import ConfigError
from evalx.hookspecs import hookimpl, hookspec
from evalx.model import EndpointSpec, ServerSpec
from evalx.serial import from_json
from evalx.servers import NimOptions, SglangOptions, nim_server, sglang_server
from evalx.serving import Readiness, VllmOptions, vllm_server
from evalx_lepton.settings import mount_problem

if TYPE_CHECKING:
    from evalx.context import RunContext

PORT = 8000

PUBLISHED_MOUNT_KEYS = frozenset({"enabled", "cache_path", "mount_path", "from"})


class LeptonHooks:
    """The hooks that the Lepton executor adds for its variants."""

    @hookspec(firstresult=True)
    def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec | None:
        """The server to deploy; None: there is an endpoint already, at the config's `target.api_endpoint.url`."""

    @hookspec(firstresult=True)
    def lepton_endpoint(self, run: RunContext, endpoint: EndpointSpec, server: ServerSpec) -> dict[str, Any] | None:
        """The spec of the Lepton endpoint (`LeptonDeploymentUserSpec` as JSON), where it is not `evalx_lepton.bodies.endpoint_spec`.

        The platform defaults are merged under it; marks, token, node group and time limits are added by the executor.
        """

    @hookspec(firstresult=True)
    def ready_probe(
        self, run: RunContext, endpoint: EndpointSpec, url: str, server: ServerSpec | None, api_key: str | None
    ) -> Readiness | None:
        """Whether the server answers, where that is not found out by its health path and one token of `evalx.serving.probe`."""


# ---------------------------------------------------------------------- lepton_config


def _check_mounts(_instance: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        _check_published_mount(value, attribute)
        return
    for mount in value or ():
        problem = mount_problem(mount) if isinstance(mount, Mapping) else "a mount is a mapping with from, path and mount_path"
        if problem:
            raise ValueError(problem, attribute)


def _check_published_mount(mount: Mapping[str, Any], attribute: Any) -> None:
    if unknown := sorted(set(mount) - PUBLISHED_MOUNT_KEYS):
        raise ValueError(f"there is no key '{unknown[0]}', only {', '.join(sorted(PUBLISHED_MOUNT_KEYS))}", attribute)
    if mount.get("enabled", True) and not (mount.get("cache_path") and mount.get("mount_path")):
        raise ValueError("needs 'cache_path' and 'mount_path'", attribute)


def _check_tokens(_instance: Any, attribute: Any, value: Any) -> None:
    for entry in value:
        given, source = entry.get("value"), entry.get("value_from")
        by_name = isinstance(source, Mapping) and set(source) == {"token_name_ref"}
        if set(entry) == {"value_from"} and by_name:
            continue
        if set(entry) != {"value"} or not isinstance(given, str) or not given.startswith(("host:", "lit:")):
            raise ValueError(
                "a token must not be written into a config: write {value: host:MY_TOKEN}, and export MY_TOKEN=… where evalx runs; or "
                "{value_from: {token_name_ref: NAME}}, NAME being a secret of the workspace. evalx adds a token of its own anyway",
                attribute,
            )


@frozen(kw_only=True)
class LeptonConfig:
    """`deployment.lepton_config`: how Lepton runs the endpoint."""

    resource_shape: str = setting(help="Shape of each replica: gpu.1xh200, gpu.8xh100, …", example="gpu.1xh200")
    min_replicas: int = setting(1, help="Replicas that always run.", validator=at_least(1))
    max_replicas: int | None = setting(
        None, help="Replicas that may run under load; by default as many as always run.", validator=at_least(1)
    )
    auto_scaler: Mapping[str, Any] = setting(
        factory=dict, help="When replicas are added and removed, as Lepton writes it. Without `no_traffic_timeout` evalx sets one."
    )
    envs: Mapping[str, Any] = setting(
        factory=dict, help="Environment: host:NAME, lit:TEXT, plain values or {value_from: {secret_name_ref: NAME}}."
    )
    api_tokens: list[Mapping[str, Any]] = setting(
        factory=list,
        help="Tokens beside the run's own, as {value: host:NAME} or {value_from: {token_name_ref: NAME}}.",
        validator=_check_tokens,
    )
    mounts: Any = setting(
        None, help="A list of `from`, `path`, `mount_path`; or {enabled, cache_path, mount_path, from}.", validator=_check_mounts
    )
    health: Mapping[str, Any] = setting(factory=dict, help="`readiness` and `liveness`, as Lepton writes them.")
    image_pull_secrets: list[str] = setting(factory=list, help="Names of the registry secrets with which the image is pulled.")
    endpoint_name: str | None = setting(
        None, help="A name of your own, kept with the endpoint as EVALX_NAME; the endpoint's name is evalx's, and leads back to the run."
    )

    def __attrs_post_init__(self) -> None:
        if self.max_replicas is not None and self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is less than min_replicas ({self.min_replicas})")


_CONFIG_HELP = "How Lepton runs the endpoint."


# ---------------------------------------------------------------------- the variants


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
class LeptonVllmOptions(VllmOptions):
    """vLLM's keys, and Lepton's."""

    lepton_config: LeptonConfig = setting(help=_CONFIG_HELP)


class VllmDeployment:
    """`vllm serve`, in its image."""

    evalx_api = (1, 0)
    Options = LeptonVllmOptions

    @hookimpl
    def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec | None:  # noqa: ARG002
        options = from_json(LeptonVllmOptions, endpoint.options["deployment"])
        return vllm_server(options, endpoint.model, port=options.port or PORT)


@frozen(kw_only=True)
class LeptonSglangOptions(SglangOptions):
    """SGLang's keys, and Lepton's."""

    lepton_config: LeptonConfig = setting(help=_CONFIG_HELP)


class SglangDeployment:
    """`sglang.launch_server`, in its image."""

    evalx_api = (1, 0)
    Options = LeptonSglangOptions

    @hookimpl
    def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec | None:  # noqa: ARG002
        options = from_json(LeptonSglangOptions, endpoint.options["deployment"])
        return sglang_server(options, endpoint.model, port=options.port or PORT)


@frozen(kw_only=True)
class LeptonNimOptions(NimOptions):
    """NIM's keys, and Lepton's."""

    lepton_config: LeptonConfig = setting(help=_CONFIG_HELP)


class NimDeployment:
    """A NIM container with its own entrypoint. Its NGC key is `lepton_config.envs.NGC_API_KEY`, its cache `lepton_config.mounts`."""

    evalx_api = (1, 0)
    Options = LeptonNimOptions

    @hookimpl
    def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec | None:  # noqa: ARG002
        options = from_json(LeptonNimOptions, endpoint.options["deployment"])
        _check_key(options)
        return nim_server(options, endpoint.model, port=options.port or PORT)


def _check_key(options: LeptonNimOptions) -> None:
    """Raises ConfigError: a NIM without its key starts, and ends a minute later with a message about something else."""
    if "NGC_API_KEY" not in parse_env({**options.envs, **options.lepton_config.envs}):
        hint = "deployment.lepton_config.envs.NGC_API_KEY: {value_from: {secret_name_ref: NAME}}, or host:NGC_API_KEY"
        raise ConfigError("a NIM needs NGC_API_KEY, which the deployment does not give it", hint)
