"""The server, over HTTP: answers, and what it does with requests that nobody should send."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from evalx_quickstart import paths

from .conftest import Running, serving, start

SUMS = {f"What is {a} + {b}?": str(a + b) for a in range(3, 9) for b in range(2, 6)}
CHAT = {"messages": [{"role": "user", "content": "What is 2 + 3?"}]}


def test_health_and_models(strong: Running) -> None:
    assert strong.request("GET", "/health") == (200, {"status": "ok"})
    status, listed = strong.request("GET", "/v1/models")
    assert status == 200
    assert [(entry["id"], entry["max_model_len"]) for entry in listed["data"]] == [("tinyqa-strong", 512)]


def test_the_strong_checkpoint_knows_sums_and_the_weak_one_knows_fewer(strong: Running) -> None:
    right = sum(strong.say(question) == answer for question, answer in SUMS.items())
    with serving("tinyqa-weak") as weak:
        fewer = sum(weak.say(question) == answer for question, answer in SUMS.items())
    assert 0 < fewer < right == len(SUMS)


def test_answers_do_not_depend_on_who_else_asks(strong: Running) -> None:
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(strong.say, SUMS)) == list(SUMS.values())


def test_usage_and_finish_reason(strong: Running) -> None:
    status, answer = strong.post("/v1/chat/completions", **CHAT, temperature=0)
    assert (status, answer["object"], answer["choices"][0]["finish_reason"]) == (200, "chat.completion", "stop")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == 1
    assert strong.chat("What do bees make?", max_tokens=1)["finish_reason"] == "length"


def test_no_tokens_are_generated_when_none_are_wanted(strong: Running) -> None:
    assert strong.say("What is 2 + 3?", max_tokens=0) == ""
    assert strong.say("What do bees make?", max_completion_tokens=1, max_tokens=8) != strong.say("What do bees make?")


def test_stop_texts_end_the_completion_and_are_not_part_of_it(strong: Running) -> None:
    whole = strong.say("What do bees make?")
    assert whole == "honey"
    choice = strong.chat("What do bees make?", stop="ey")
    assert (choice["message"]["content"], choice["finish_reason"]) == ("hon", "stop")
    assert strong.say("What do bees make?", stop=["", "zz"]) == whole


def test_a_seed_makes_sampling_repeatable(strong: Running) -> None:
    hot = [strong.say("Tell me something", temperature=2, seed=7, max_tokens=20) for _ in range(2)]
    assert hot[0] == hot[1]
    others = {strong.say("Tell me something", temperature=2, seed=seed, max_tokens=20) for seed in range(4)}
    assert len(others) > 1


def test_logprobs_of_a_chat(strong: Running) -> None:
    (first, *_) = strong.chat("What is 2 + 3?", logprobs=True, top_logprobs=3)["logprobs"]["content"]
    assert first["token"] == "5" and bytes(first["bytes"]) == b"5"
    assert first["top_logprobs"][0]["token"] == "5"
    values = [entry["logprob"] for entry in first["top_logprobs"]]
    assert values == sorted(values, reverse=True) and values[0] == first["logprob"] <= 0
    assert strong.chat("What is 2 + 3?")["logprobs"] is None


def completion(server: Running, **body: Any) -> list[dict[str, Any]]:
    status, answer = server.post("/v1/completions", **body)
    assert status == 200, answer
    return list(answer["choices"])


def test_echoed_logprobs_are_those_the_tokens_were_generated_with(strong: Running) -> None:
    prompt = "Question: What do bees make?\nAnswer:"
    (generated,) = completion(strong, prompt=prompt, max_tokens=4, temperature=0, logprobs=1)
    (echoed,) = completion(strong, prompt=prompt + generated["text"], max_tokens=0, echo=True, logprobs=1)
    count = len(generated["logprobs"]["tokens"])
    assert echoed["text"] == prompt + generated["text"]
    assert echoed["logprobs"]["tokens"][-count:] == generated["logprobs"]["tokens"]
    assert echoed["logprobs"]["token_logprobs"][-count:] == pytest.approx(generated["logprobs"]["token_logprobs"], abs=1e-3)
    assert echoed["logprobs"]["token_logprobs"][0] is None and echoed["logprobs"]["top_logprobs"][0] is None
    assert echoed["logprobs"]["text_offset"][-count] == len(prompt)


def test_prompts_may_be_several_and_token_ids(strong: Running) -> None:
    texts = ["Question: What is 2 + 3?\nAnswer:", "Question: What is 4 + 4?\nAnswer:"]
    ids = [strong.post("/tokenize", prompt=text)[1]["tokens"] for text in texts]
    by_text = completion(strong, prompt=texts, max_tokens=2, temperature=0)
    assert [choice["text"].strip() for choice in by_text] == ["5", "8"]
    assert completion(strong, prompt=ids, max_tokens=2, temperature=0) == by_text
    assert completion(strong, prompt=ids[0], max_tokens=2, temperature=0) == by_text[:1]


def test_a_completion_ends_with_the_context(strong: Running) -> None:
    status, answer = strong.post("/v1/completions", prompt=[9] * 500, max_tokens=1000, temperature=1)
    assert status == 200
    assert answer["usage"]["total_tokens"] <= 512


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/v1/chat/completions", {"messages": []}, 400, "messages"),
        ("/v1/chat/completions", {"messages": "hello"}, 400, "messages"),
        ("/v1/chat/completions", {"messages": [{"content": "no role"}]}, 400, "messages"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 2000}]}, 400, "prompt"),
        ("/v1/chat/completions", {**CHAT, "model": "gpt-5"}, 404, "model"),
        ("/v1/chat/completions", {**CHAT, "model": 5}, 400, "model"),
        ("/v1/chat/completions", {**CHAT, "stream": True}, 400, "stream"),
        ("/v1/chat/completions", {**CHAT, "stream": "yes"}, 400, "stream"),
        ("/v1/chat/completions", {**CHAT, "n": 2}, 400, "n"),
        ("/v1/chat/completions", {**CHAT, "max_tokens": -1}, 400, "max_tokens"),
        ("/v1/chat/completions", {**CHAT, "max_tokens": True}, 400, "max_tokens"),
        ("/v1/chat/completions", {**CHAT, "max_tokens": 10**30}, 400, "max_tokens"),
        ("/v1/chat/completions", {**CHAT, "temperature": -1}, 400, "temperature"),
        ("/v1/chat/completions", {**CHAT, "temperature": float("nan")}, 400, "temperature"),
        ("/v1/chat/completions", {**CHAT, "temperature": "hot"}, 400, "temperature"),
        ("/v1/chat/completions", {**CHAT, "seed": 10**30}, 400, "seed"),
        ("/v1/chat/completions", {**CHAT, "stop": [1]}, 400, "stop"),
        ("/v1/chat/completions", {**CHAT, "stop": ["x"] * 100}, 400, "stop"),
        ("/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 10**6}, 400, "top_logprobs"),
        ("/v1/completions", {}, 400, "prompt"),
        ("/v1/completions", {"prompt": ""}, 400, "prompt"),
        ("/v1/completions", {"prompt": []}, 400, "prompt"),
        ("/v1/completions", {"prompt": [[]]}, 400, "prompt"),
        ("/v1/completions", {"prompt": [99999]}, 400, "prompt"),
        ("/v1/completions", {"prompt": [-1]}, 400, "prompt"),
        ("/v1/completions", {"prompt": [True]}, 400, "prompt"),
        ("/v1/completions", {"prompt": ["x"] * 1000}, 400, "prompt"),
        ("/v1/completions", {"prompt": [1] * 512}, 400, "prompt"),
        ("/v1/embeddings", {"input": "x"}, 404, None),
    ],
)
def test_a_mistaken_request_is_refused_with_the_field_at_fault(
    strong: Running, path: str, body: Any, status: int, param: str | None
) -> None:
    got, answer = strong.post(path, **body)
    assert (got, answer["error"]["param"]) == (status, param), answer
    assert answer["error"]["message"] and answer["error"]["type"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b"[" * 100_000, b'"text"'])
def test_what_is_no_json_object_is_refused(strong: Running, body: bytes) -> None:
    status, answer = strong.request("POST", "/v1/chat/completions", body)
    assert status == 400 and "JSON" in answer["error"]["message"]


@pytest.mark.parametrize("length", ["-1", "x", "9" * 5000, "²", str(5 << 20)])
def test_a_body_of_absurd_length_is_not_read(strong: Running, length: str) -> None:
    with socket.create_connection(("127.0.0.1", strong.port), timeout=30) as client:
        client.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode("latin-1", "replace"))
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.split(b" ", 2)[1] in (b"411", b"413")


def test_clients_that_go_away_leave_the_server_well(strong: Running) -> None:
    body = json.dumps({**CHAT, "temperature": 0, "max_tokens": 200}).encode()
    for sent in (body[:10], body):
        with socket.create_connection(("127.0.0.1", strong.port), timeout=30) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + sent)
    assert strong.say("What is 2 + 3?") == "5"


def test_a_connection_serves_several_requests(strong: Running) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", strong.port, timeout=30)
    try:
        for body in (b"{", json.dumps({**CHAT, "temperature": 0}).encode()):
            connection.request("POST", "/v1/chat/completions", body)
            answer = connection.getresponse()
            answer.read()
        assert answer.status == 200
    finally:
        connection.close()


def test_an_api_key_is_asked_for_where_one_is_set() -> None:
    with serving("tinyqa-weak", "--api-key-name=KEY", KEY="sesame") as server:
        body = json.dumps({**CHAT, "max_tokens": 1}).encode()
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "sesame"}):
            status, answer = server.request("POST", "/v1/chat/completions", body, **headers)
            assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
            assert "sesame" not in json.dumps(answer)
        assert server.request("POST", "/v1/chat/completions", body, Authorization="Bearer sesame")[0] == 200
        assert server.request("GET", "/v1/models")[0] == 401
        assert server.request("GET", "/health")[0] == 200


def test_sigterm_ends_it_cleanly() -> None:
    with serving("tinyqa-weak") as server:
        server.process.terminate()
        _, errors = server.process.communicate(timeout=30)
        assert (server.process.returncode, errors) == (0, "")


@pytest.mark.parametrize("what", ["port", "path", "model", "key"])
def test_a_server_that_cannot_start_says_why_in_one_line(what: str, strong: Running, tmp_path: Path) -> None:
    empty = tmp_path / "model.gguf"
    empty.write_bytes(b"GGUF")
    model = {"path": str(tmp_path / "none"), "model": str(empty)}.get(what, str(paths.TOY_MODELS["tinyqa-weak"]))
    port = strong.port if what == "port" else 0
    more = ["--api-key-name=UNSET_KEY"] if what == "key" else []
    with start([f"--path={model}", "--model=x", f"--port={port}", *more]) as process:
        _, errors = process.communicate(timeout=30)
    expected = {"port": f"127.0.0.1:{port}", "path": "no such file", "model": "ends too early", "key": "UNSET_KEY"}[what]
    assert process.returncode == 1
    assert errors.startswith("error: ") and expected in errors and errors.count("\n") == 1
