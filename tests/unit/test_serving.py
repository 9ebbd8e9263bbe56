"""What a model server is, and whether one answers: asked of real servers on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from attrs import define, field

from evalx.model import Secret
from evalx.serving import Readiness, VllmOptions, probe, vllm_server

CHAT = {"choices": [{"message": {"role": "assistant", "content": "x"}}]}
MODELS = {"data": [{"id": "m"}, {"id": "other"}]}


@define(eq=False)
class Server:
    """Answers by path with (status, JSON or text); remembers what it was asked. `hold` lets it wait before each answer."""

    answers: dict[str, tuple[int, Any]]
    url: str = ""
    asked: list[tuple[str, str, dict[str, str], Any]] = field(factory=list)
    hold: threading.Event = field(factory=threading.Event)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else None
        self.asked.append((handler.command, handler.path, dict(handler.headers), body))
        self.hold.wait()
        status, content = self.answers.get(handler.path, (404, {}))
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers: `serve({path: (status, content)})`."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread, Server]] = []

    def start(answers: dict[str, tuple[int, Any]], *, held: bool = False) -> Server:
        server = Server(answers)
        if not held:
            server.hold.set()
        answer = server.answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        running.append((listener, thread, server))
        return server

    yield start
    for listener, thread, server in running:
        server.hold.set()
        listener.shutdown()
        thread.join()
        listener.server_close()


# ---------------------------------------------------------------------- vLLM


def test_vllm_is_started_with_the_config_s_facts() -> None:
    options = VllmOptions(
        checkpoint_path="org/model",
        tensor_parallel_size=4,
        extra_args="--max-model-len 1024 --chat-template 'my template.jinja'",
        envs={"HF_TOKEN": "host:HF_TOKEN", "LEVEL": 1},
        endpoints={"chat": "/api/chat", "health": "/ready"},
    )
    server = vllm_server(options, "served", host="127.0.0.1", port=8123)
    assert server.argv == (
        *("vllm", "serve", "org/model", "--host", "127.0.0.1", "--port", "8123", "--served-model-name", "served"),
        *("--tensor-parallel-size=4", "--pipeline-parallel-size=1", "--data-parallel-size=1"),
        *("--max-model-len", "1024", "--chat-template", "my template.jinja"),
    )
    assert server.env == {"HF_TOKEN": Secret("host:HF_TOKEN"), "LEVEL": "1"}
    assert (server.health_path, server.routes["chat"], server.routes["completions"]) == ("/ready", "/api/chat", "/v1/completions")
    assert "health" not in server.routes


def test_vllm_without_a_port_leaves_a_place_for_it() -> None:
    assert "{port}" in vllm_server(VllmOptions(checkpoint_path="x"), "m").argv


def test_vllm_refuses_sizes_below_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        VllmOptions(checkpoint_path="x", tensor_parallel_size=0)


# ---------------------------------------------------------------------- does it answer?


def test_a_server_is_ready_when_it_has_given_one_token(serve: Callable[..., Server]) -> None:
    server = serve({"/health": (200, ""), "/v1/chat/completions": (200, CHAT)})
    assert probe(server.url, model="m", health_path="/health", api_key="key") == Readiness(True)
    (_, health, _, _), (method, path, headers, body) = server.asked
    assert (health, method, path) == ("/health", "POST", "/v1/chat/completions")
    assert body == {"model": "m", "max_tokens": 1, "temperature": 0, "messages": [{"role": "user", "content": "Hi"}]}
    assert headers["Authorization"] == "Bearer key"


@pytest.mark.parametrize(
    ("kind", "path", "asked"),
    [("completions", "/v1/completions", "prompt"), ("embedding", "/v1/embeddings", "input"), ("vlm", "/v1/chat/completions", "messages")],
)
def test_each_kind_of_endpoint_is_asked_on_its_own_route(serve: Callable[..., Server], kind: str, path: str, asked: str) -> None:
    server = serve({path: (200, {"data": []})})
    assert probe(server.url, model="m", kind=kind).ready
    assert asked in server.asked[0][3]


@pytest.mark.parametrize("form", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_any_form_of_url_leads_to_the_same_places(serve: Callable[..., Server], form: str) -> None:
    server = serve({"/health": (200, ""), "/v1/chat/completions": (404, {}), "/v1/models": (200, MODELS)})
    probe(server.url + form, model="absent", health_path="/health")
    assert [path for _, path, _, _ in server.asked] == ["/health", "/v1/chat/completions", "/v1/models"]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_an_error_that_may_pass_is_not_the_end(serve: Callable[..., Server], status: int) -> None:
    server = serve({"/v1/chat/completions": (status, {"error": {"message": "warming\nup"}})})
    assert probe(server.url, model="m") == Readiness(False, f"/v1/chat/completions answers {status}: warming up")


def test_a_health_path_that_refuses_is_enough(serve: Callable[..., Server]) -> None:
    server = serve({"/health": (503, ""), "/v1/chat/completions": (200, CHAT)})
    assert probe(server.url, model="m", health_path="/health") == Readiness(False, "/health answers 503")


def test_an_unknown_model_is_hopeless_and_the_known_ones_are_named(serve: Callable[..., Server]) -> None:
    server = serve({"/v1/models": (200, MODELS)})
    assert probe(server.url, model="x") == Readiness(False, "serves no model 'x', only 'm', 'other'", hopeless=True)


def test_a_route_that_is_not_there_is_hopeless(serve: Callable[..., Server]) -> None:
    server = serve({"/v1/models": (200, MODELS)})
    assert probe(server.url, model="m") == Readiness(False, "serves 'm', but has no /v1/chat/completions", hopeless=True)


@pytest.mark.parametrize("models", [(404, {}), (200, "<html>"), (200, []), (200, {"data": None}), (200, {"data": ["m", {}]})])
def test_a_404_of_a_gateway_may_pass(serve: Callable[..., Server], models: tuple[int, Any]) -> None:
    assert probe(serve({"/v1/models": models}).url, model="m") == Readiness(False, "/v1/chat/completions answers 404")


@pytest.mark.parametrize("status", [400, 405, 422])
def test_a_request_that_is_refused_is_refused_for_ever(serve: Callable[..., Server], status: int) -> None:
    server = serve({"/v1/chat/completions": (status, {"error": "no chat template"})})
    answer = probe(server.url, model="m")
    assert answer.hopeless
    assert "no chat template" in answer.reason


@pytest.mark.parametrize(("key", "said"), [("sk-canary", "refuses the API key"), (None, "wants an API key")])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_hopeless(serve: Callable[..., Server], status: int, key: str | None, said: str) -> None:
    server = serve({"/v1/chat/completions": (status, {"error": {"message": f"bad key {key}"}})})
    assert probe(server.url, model="m", api_key=key) == Readiness(False, f"{said} (HTTP {status})", hopeless=True, unauthorised=True)


def test_a_key_never_shows_even_if_the_server_repeats_it(serve: Callable[..., Server]) -> None:
    server = serve({"/v1/chat/completions": (500, {"error": {"message": "cannot check sk-canary"}})})
    assert "sk-canary" not in probe(server.url, model="m", api_key="sk-canary").reason


@pytest.mark.parametrize("content", ["<html>welcome</html>", "", "[]", "[" * 200_000, {"hello": 1}])
def test_an_answer_that_is_not_openai_s_is_not_ready(serve: Callable[..., Server], content: Any) -> None:
    server = serve({"/v1/chat/completions": (200, content)})
    assert not probe(server.url, model="m").ready


def test_nobody_listening_is_not_ready() -> None:
    assert probe("http://127.0.0.1:1", model="m") == Readiness(False, "nothing listens there yet")


def test_a_name_that_does_not_exist_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    assert "Name or service not known" in probe("http://model.invalid", model="m").reason


def test_a_server_that_never_answers_is_given_up(serve: Callable[..., Server]) -> None:
    server = serve({}, held=True)
    assert probe(server.url, model="m", timeout=0.2) == Readiness(False, "no answer in 0.2 s")


def test_a_stop_ends_the_wait_at_once(serve: Callable[..., Server]) -> None:
    server, stopping = serve({}, held=True), threading.Event()
    threading.Timer(0.2, stopping.set).start()
    begun = time.monotonic()
    assert not probe(server.url, model="m", timeout=60.0, stopping=stopping).ready
    assert time.monotonic() - begun < 30


def test_loopback_is_never_asked_through_a_proxy(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    server = serve({"/v1/chat/completions": (200, CHAT)})
    assert probe(server.url, model="m").ready


def test_other_hosts_are_asked_through_the_environment_s_proxy(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    full = "http://model.invalid:8000/v1/chat/completions"
    proxy = serve({full: (200, CHAT)})
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert probe("http://model.invalid:8000", model="m").ready
    assert [path for _, path, _, _ in proxy.asked] == [full]
