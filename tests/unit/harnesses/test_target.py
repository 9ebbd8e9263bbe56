from __future__ import annotations

import attrs
import pytest

from evalx.errors import ConfigError
from evalx.harnesses.target import make_target, route_url
from evalx.model import Secret

from .conftest import ENDPOINT, make_task


@pytest.mark.parametrize(
    ("url", "endpoint_type", "full", "base"),
    [
        ("http://h:8000", "chat", "http://h:8000/v1/chat/completions", "http://h:8000/v1"),
        ("http://h:8000/", "completions", "http://h:8000/v1/completions", "http://h:8000/v1"),
        ("http://h:8000/v1", "chat", "http://h:8000/v1/chat/completions", "http://h:8000/v1"),
        ("http://h:8000/v1/", "embedding", "http://h:8000/v1/embeddings", "http://h:8000/v1"),
        ("http://h:8000/v1/chat/completions", "chat", "http://h:8000/v1/chat/completions", "http://h:8000/v1"),
        ("http://h:8000/v1/chat/completions", "completions", "http://h:8000/v1/completions", "http://h:8000/v1"),
        ("http://h:8000/v1/completions", "chat", "http://h:8000/v1/chat/completions", "http://h:8000/v1"),
        ("https://h/proxy/v1", "vlm", "https://h/proxy/v1/chat/completions", "https://h/proxy/v1"),
        ("https://h/openai/deployments/m/chat/completions?v=1", "chat", "https://h/openai/deployments/m/chat/completions?v=1", "https://h/openai/deployments/m"),
        ("https://h/v1?key=a/b", "chat", "https://h/v1/chat/completions?key=a/b", "https://h/v1"),
        ("http://h/v1/chat/completions", "completions_logprob", "http://h/v1/completions", "http://h/v1"),
    ],
)  # fmt: skip
def test_a_url_of_any_form_becomes_the_full_url_of_the_route(url: str, endpoint_type: str, full: str, base: str) -> None:
    assert route_url(url, endpoint_type, {}) == (full, base)
    assert route_url(full, endpoint_type, {})[0] == full


def test_a_server_may_have_routes_of_its_own() -> None:
    routes = {"chat": "/api/talk", "rerank": "/v2/rerank"}
    assert route_url("http://h/api/talk", "chat", routes) == ("http://h/api/talk", "http://h")
    assert route_url("http://h", "rerank", routes)[0] == "http://h/v2/rerank"
    with pytest.raises(ConfigError, match="unknown endpoint type 'telepathy'") as caught:
        route_url("http://h", "telepathy", routes)
    assert "rerank" in str(caught.value.hint)


def test_the_endpoints_own_key_wins_over_the_one_the_config_names() -> None:
    task = make_task(api_key_name="MY_KEY")
    assert make_target(task, ENDPOINT).api_key == Secret("host:MY_KEY")
    assert make_target(task, attrs.evolve(ENDPOINT, data={"api_key": "secret:run-token"})).api_key == Secret("secret:run-token")
    assert make_target(make_task(), ENDPOINT).api_key is None


def test_the_model_is_the_tasks_else_the_endpoints() -> None:
    assert make_target(make_task(model="other"), ENDPOINT).model == "other"
    assert make_target(make_task(), ENDPOINT).model == ENDPOINT.spec.model


def test_an_endpoint_without_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="no URL"):
        make_target(make_task(), attrs.evolve(ENDPOINT, url=None))
