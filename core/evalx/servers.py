"""What model servers other than vLLM are: SGLang's flags, and NVIDIA NIM, which is told everything by its environment.

Facts and pure functions, for every executor; vLLM and the question whether a server answers are in `evalx.serving`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from evalx.config.env import parse_env
from evalx.config.settings import a_port, at_least, setting
from evalx.model import ServerSpec
from evalx.serving import server_routes

NIM_HEALTH = "/v1/health/ready"
NIM_CACHE = "/opt/nim/.cache"
"""Where a NIM container keeps the weights that it downloads."""


@frozen(kw_only=True)
class SglangOptions:
    """The keys of `deployment` for SGLang, the same on every executor."""

    checkpoint_path: str = setting(
        help="Folder of the checkpoint, or a model id of the Hugging Face hub.", example="Qwen/Qwen2.5-0.5B-Instruct"
    )
    image: str = setting("lmsysorg/sglang:latest", help="Container image, where servers run in containers.")
    served_model_name: str | None = setting(None, help="Name under which the model is served.", example="my-model")
    port: int | None = setting(None, help="TCP port; by default one that is free.", validator=a_port)
    tensor_parallel_size: int = setting(1, help="GPUs that share each layer.", validator=at_least(1))
    pipeline_parallel_size: int = setting(1, help="GPUs, or groups of them, that split the layers.", validator=at_least(1))
    data_parallel_size: int = setting(1, help="Copies of the model behind the one port.", validator=at_least(1))
    extra_args: str = setting("", help="Further arguments of `sglang.launch_server`, split as a shell would.")
    endpoints: Mapping[str, str] = setting(factory=dict, help="Paths: chat, completions, health.")
    envs: Mapping[str, Any] = setting(factory=dict, help="Environment: host:NAME, lit:value or plain values.")
    pre_cmd: str | None = setting(None, help="Shell commands before the server; run only if commands are trusted.")


def sglang_server(options: SglangOptions, model: str, *, host: str = "0.0.0.0", port: int = 0) -> ServerSpec:  # noqa: S104
    """The server that SGLang's options describe. With port 0 the arguments say `{port}`, for whoever picks one.

    Raises ConfigError if `envs` is not well formed, ValueError if `extra_args` has an open quote.
    """
    argv = (
        *("python3", "-m", "sglang.launch_server", "--model-path", options.checkpoint_path),
        *("--host", host, "--port", str(port) if port else "{port}", "--served-model-name", model),
        *("--tp-size", str(options.tensor_parallel_size), "--pp-size", str(options.pipeline_parallel_size)),
        *("--dp-size", str(options.data_parallel_size), *shlex.split(options.extra_args)),
    )
    return ServerSpec(
        image=options.image,
        argv=argv,
        port=port,
        served_model=model,
        health_path=options.endpoints.get("health", "/health"),
        routes=server_routes(options.endpoints),
        env=parse_env(options.envs),
        pre_cmd=options.pre_cmd,
    )


@frozen(kw_only=True)
class NimOptions:
    """The keys of `deployment` for a NIM container, the same on every executor."""

    image: str = setting(help="The NIM, as nvcr.io/nim/…:TAG or …@sha256:DIGEST.", example="nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.6")
    served_model_name: str | None = setting(None, help="Name under which the model is served.", example="my-model")
    port: int | None = setting(None, help="TCP port on which the container listens; 8000 unless it is told otherwise.", validator=a_port)
    endpoints: Mapping[str, str] = setting(factory=dict, help="Paths: chat, completions, health.")
    envs: Mapping[str, Any] = setting(
        factory=dict,
        help="Environment: host:NAME, lit:value or plain values; NIM wants NGC_API_KEY.",
        example={"NGC_API_KEY": "host:NGC_API_KEY"},
    )


def nim_server(options: NimOptions, model: str, *, port: int = 8000) -> ServerSpec:
    """The server that a NIM's options describe: the image's own entrypoint. Raises ConfigError if `envs` is not well formed."""
    return ServerSpec(
        image=options.image,
        argv=(),
        port=port,
        served_model=model,
        health_path=options.endpoints.get("health", NIM_HEALTH),
        routes=server_routes(options.endpoints),
        env=parse_env(options.envs),
    )
