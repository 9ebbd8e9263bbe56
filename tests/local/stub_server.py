"""A small OpenAI-compatible server that can misbehave: `python stub_server.py --port P [faults]`. It answers sums, like "2 + 3"."""

from __future__ import annotations

import argparse
import json
import os
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--model", default="stub", help="the only model name it answers to")
parser.add_argument("--ready-after", type=float, default=0.0, help="seconds in which it says 503; negative: for ever")
parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
parser.add_argument("--fail-first", type=int, default=0, help="answer so many requests with 500")
parser.add_argument("--die-after", type=int, default=0, help="exit with code 9 after so many requests")
parser.add_argument("--api-key", default="", help="refuse requests without it")
parser.add_argument("--only", default="", help="the one route it has, such as /v1/completions")
parser.add_argument("--echo-env", default="", help="print the value of this variable at the start")
options = parser.parse_args()
started = time.monotonic()
lock = threading.Lock()
requests = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if not is_ready():
            self.answer(503, {"error": {"message": "loading"}})
        elif self.path == "/v1/models":
            self.answer(200, {"object": "list", "data": [{"id": options.model, "object": "model"}]})
        else:
            self.answer(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        number = count()
        if options.die_after and number > options.die_after:
            os._exit(9)
        time.sleep(options.delay)
        self.answer(*self.judge(body, number))

    def judge(self, body: dict[str, Any], number: int) -> tuple[int, dict[str, Any]]:
        given = self.headers.get("Authorization", "")
        if options.api_key and given != f"Bearer {options.api_key}":
            return 401, {"error": {"message": f"wrong key: {given}"}}
        if number <= options.fail_first or not is_ready():
            return 500, {"error": {"message": "not yet"}}
        if options.only and self.path != options.only:
            return 404, {"error": {"message": "no such route"}}
        if body.get("model") != options.model:
            return 404, {"error": {"message": f"the model {body.get('model')} does not exist"}}
        text = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        return 200, {"choices": [{"message": {"role": "assistant", "content": add(text)}, "text": add(text)}]}

    def answer(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def count() -> int:
    global requests
    with lock:
        requests += 1
        return requests


def is_ready() -> bool:
    return 0 <= options.ready_after <= time.monotonic() - started


def add(text: str) -> str:
    found = re.search(r"(\d+) \+ (\d+)", text)
    return str(int(found[1]) + int(found[2])) if found else "?"


if options.echo_env:
    print("variable:", os.environ.get(options.echo_env), flush=True)
print(f"listening on port {options.port}", flush=True)
ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()
