"""What a model server is: the flags of vLLM, the routes of an OpenAI-compatible API, and how to find out that one really answers.

Facts and pure functions, for every executor. `probe` is the only one that talks to anybody: first the health path, then one real
request for one token, since servers say "healthy" before they can generate, and under names nobody asked for.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import selectors
import shlex
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from attrs import field, frozen

from evalx.config.env import parse_env
from evalx.config.settings import a_port, at_least, setting
from evalx.harnesses.target import DEFAULT_ROUTES, route_url
from evalx.model import EndpointSpec, Json, RunPlan, ServerSpec

ROUTES: Mapping[str, str] = DEFAULT_ROUTES
"""Endpoint type → path, where a server follows OpenAI."""

CONNECT_TIMEOUT = 3.0
HEALTH_TIMEOUT = 5.0
ANSWER_TIMEOUT = 30.0
"""Seconds for the one-token request: a first request may have to warm up the model."""

BODY_LIMIT = 65536
STOP_CHECK = 0.1


@frozen
class Readiness:
    """Whether a server answers; if not, the reason in words. hopeless: asking again will not help. unauthorised: our key was refused. hint:
    what mends it, if it is an endpoint that the config names."""

    ready: bool
    reason: str = ""
    hopeless: bool = False
    unauthorised: bool = False
    hint: str | None = field(default=None, eq=False)

    def told(self, url: str) -> str:
        """The reason as what is to be said of the server at that URL."""
        return f"{shown_url(url)}{':' if self.reason.startswith('/') else ''} {self.reason}"


# ---------------------------------------------------------------------- vLLM


@frozen(kw_only=True)
class VllmOptions:
    """The keys of `deployment` for vLLM, the same on every executor."""

    checkpoint_path: str = setting(
        help="Folder of the checkpoint, or a model id of the Hugging Face hub.", example="Qwen/Qwen2.5-0.5B-Instruct"
    )
    image: str = setting("vllm/vllm-openai:latest", help="Container image, where servers run in containers.")
    served_model_name: str | None = setting(None, help="Name under which the model is served.", example="my-model")
    port: int | None = setting(None, help="TCP port; by default one that is free.", validator=a_port)
    tensor_parallel_size: int = setting(1, help="GPUs that share each layer.", validator=at_least(1))
    pipeline_parallel_size: int = setting(1, help="GPUs, or groups of them, that split the layers.", validator=at_least(1))
    data_parallel_size: int = setting(1, help="Copies of the model behind the one port.", validator=at_least(1))
    extra_args: str = setting("", help="Further arguments of `vllm serve`, split as a shell would.")
    endpoints: Mapping[str, str] = setting(factory=dict, help="Paths: chat, completions, health.")
    envs: Mapping[str, Any] = setting(factory=dict, help="Environment: host:NAME, lit:value or plain values.")
    pre_cmd: str | None = setting(None, help="Shell commands before the server; run only if commands are trusted.")


def vllm_server(options: VllmOptions, model: str, *, host: str = "0.0.0.0", port: int = 0) -> ServerSpec:  # noqa: S104
    """The server that vLLM's options describe. With port 0 the arguments say `{port}`, for whoever picks one.

    Raises ConfigError if `envs` is not well formed, ValueError if `extra_args` has an open quote.
    """
    parallel = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    argv = (
        *("vllm", "serve", options.checkpoint_path, "--host", host, "--port", str(port) if port else "{port}"),
        *("--served-model-name", model),
        *(f"--{name.replace('_', '-')}={getattr(options, name)}" for name in parallel),
        *shlex.split(options.extra_args),
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


def server_routes(endpoints: Mapping[str, str]) -> dict[str, str]:
    """Endpoint type → path: OpenAI's, changed by what the config says (`health` is not a route)."""
    return {**ROUTES, **{kind: path for kind, path in endpoints.items() if kind != "health"}}


# ---------------------------------------------------------------------- does it answer?


def probe(
    url: str,
    *,
    model: str,
    kind: str = "chat",
    routes: Mapping[str, str] = ROUTES,
    health_path: str | None = None,
    api_key: str | None = None,
    timeout: float = ANSWER_TIMEOUT,
    stopping: threading.Event | None = None,
) -> Readiness:
    """Ask a server whether it is ready; takes a few seconds longer than `timeout` at most, and ends at once when `stopping` is set.

    url: the server, its base URL, or the full URL of a route. kind: the endpoint type whose route is asked for one token. routes:
    endpoint type → path. health_path: asked first, if there is one. Nothing a server does raises, and no key shows in the reason.
    """
    full, base = route_url(url, kind, routes)
    server = _Server(full, base, model, _Client(api_key, stopping or threading.Event()))
    try:
        if health_path is not None and (status := server.health(health_path)) != 200:
            return Readiness(False, f"{health_path} answers {status}")
        return server.judge(timeout)
    except (OSError, http.client.HTTPException) as error:
        return Readiness(False, server.client.hide(_in_words(error)))


@frozen
class _Server:
    """What is asked of one server. url: of the route. base: of the API, its version included."""

    url: str
    base: str
    model: str
    client: _Client

    @property
    def route(self) -> str:
        return urlsplit(self.url).path

    def health(self, path: str) -> int:
        """The status with which the health path answers; it belongs to the server, not to a version of its API."""
        return self.client.ask("GET", re.sub(r"/v\d+$", "", self.base) + path, timeout=HEALTH_TIMEOUT)[0]

    def judge(self, timeout: float) -> Readiness:
        """Ask for one token."""
        status, body = self.client.ask("POST", self.url, _one_token(self.url, self.model), timeout)
        if status == 200:
            return self._judge_content(_json(body))
        if status in {401, 403}:
            said = "refuses the API key" if self.client.has_key else "wants an API key"
            key = "target.api_endpoint.api_key_name"
            hint = (
                f"the variable that {key} names must hold a key of this endpoint" if self.client.has_key else f"{key}=NAME of the variable"
            )
            return Readiness(False, f"{said} (HTTP {status})", hopeless=True, unauthorised=True, hint=hint)
        if status == 404:
            return self._explain_404()
        said = f"{self.route} answers {status}: {self.client.hide(_message(body))}".rstrip(": ")
        hopeless = status in {400, 405, 422}
        return Readiness(False, said, hopeless=hopeless, hint="is it the right endpoint_type, and the right model?" if hopeless else None)

    def _judge_content(self, answer: Any) -> Readiness:
        if isinstance(answer, dict) and ("choices" in answer or "data" in answer):
            return Readiness(True)
        return Readiness(False, f"{self.route} answers, but not as an OpenAI-compatible server does")

    def _explain_404(self) -> Readiness:
        names = self._served_models()
        if not names:
            return Readiness(False, f"{self.route} answers 404")
        if self.model not in names:
            said = f"serves no model {self.model!r}, only {', '.join(map(repr, names))}"
            return Readiness(False, said, hopeless=True, hint=f"target.api_endpoint.model_id={names[0]}")
        hint = "target.api_endpoint.url=URL with the full path of its route, or another endpoint_type of the task"
        return Readiness(False, f"serves {self.model!r}, but has no {self.route}", hopeless=True, hint=hint)

    def _served_models(self) -> list[str]:
        status, body = self.client.ask("GET", f"{self.base}/models", timeout=HEALTH_TIMEOUT)
        listing = _json(body) if status == 200 else None
        models = listing.get("data") if isinstance(listing, dict) else None
        return [str(entry["id"]) for entry in models or [] if isinstance(entry, dict) and "id" in entry]


def _one_token(url: str, model: str) -> dict[str, Any]:
    path = urlsplit(url).path
    if path.endswith("/embeddings"):
        return {"model": model, "input": "Hi"}
    question = {"messages": [{"role": "user", "content": "Hi"}]} if path.endswith("/chat/completions") else {"prompt": "Hi"}
    return {"model": model, "max_tokens": 1, "temperature": 0, **question}


class _Client:
    """One question at a time, with bounded waits. http.client, since urllib cannot be interrupted while it waits for an answer."""

    def __init__(self, api_key: str | None, stopping: threading.Event) -> None:
        self._key = api_key
        self._stopping = stopping

    @property
    def has_key(self) -> bool:
        return bool(self._key)

    def hide(self, text: str) -> str:
        """The text without the key, which some servers repeat in their errors."""
        return text.replace(self._key, "***") if self._key else text

    def ask(self, method: str, url: str, body: Any = None, timeout: float = ANSWER_TIMEOUT) -> tuple[int, bytes]:
        """Status and the beginning of the body. Raises OSError or HTTPException."""
        parts = urlsplit(url)
        connection, target = _connect(parts)
        headers = {"Content-Type": "application/json", "Connection": "close", "User-Agent": "evalx"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            self._await_answer(connection, timeout)
            with connection.getresponse() as response:
                return response.status, response.read(BODY_LIMIT)
        finally:
            connection.close()

    def _await_answer(self, connection: http.client.HTTPConnection, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(connection.sock, selectors.EVENT_READ)
            while not selector.select(STOP_CHECK):
                if self._stopping.is_set():
                    raise InterruptedError("the run is being stopped")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no answer in {timeout:g} s")
        connection.sock.settimeout(max(deadline - time.monotonic(), 1.0))


def _connect(parts: SplitResult) -> tuple[http.client.HTTPConnection, str]:
    """A connection for the URL, through the proxy of the environment if there is one, and what to ask for on it."""
    host, path = parts.hostname or "", (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    secure = parts.scheme == "https"
    proxy = None if _is_loopback(host) or proxy_bypass(host) else getproxies().get(parts.scheme)
    if proxy is None:
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(host, parts.port, timeout=CONNECT_TIMEOUT), path
    via = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    if not secure:
        return http.client.HTTPConnection(via.hostname or "", via.port, timeout=CONNECT_TIMEOUT), f"http://{parts.netloc}{path}"
    tunnel = http.client.HTTPSConnection(via.hostname or "", via.port, timeout=CONNECT_TIMEOUT)
    tunnel.set_tunnel(host, parts.port)
    return tunnel, path


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _in_words(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there yet"
    if isinstance(error, TimeoutError):
        return str(error) or "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its host name cannot be looked up"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(body: bytes) -> str:
    """The error message of an answer, on one line."""
    content = _json(body)
    error = content.get("error", content) if isinstance(content, dict) else body.decode(errors="replace")
    text = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(text).split())[:300]


# ---------------------------------------------------------------------- what a plan says of an endpoint


def target_of(endpoint: EndpointSpec) -> Json:
    """`target.api_endpoint` of the config: url, model_id, api_key_name; empty if it says nothing."""
    return endpoint.options.get("target") or {}


def api_key_data(endpoint: EndpointSpec) -> dict[str, str]:
    """What a handle's data say of the key that the config names for the endpoint; empty if it names none."""
    name = target_of(endpoint).get("api_key_name")
    return {"api_key": f"host:{name}"} if name else {}


def asked_type(plan: RunPlan, endpoint: EndpointSpec) -> str:
    """The endpoint type that the endpoint's tasks ask for: that route must answer before it is ready."""
    kinds = [task.options.get("endpoint_type") for task in plan.tasks if task.endpoint == endpoint.name]
    return next((kind for kind in kinds if kind), "chat")


def shown_url(url: str) -> str:
    """A URL as messages show it: without credentials and query."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
