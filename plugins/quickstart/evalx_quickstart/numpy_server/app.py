"""The HTTP server and its command line."""

from __future__ import annotations

import argparse
import hmac
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from .api import Api
from .engine import Engine
from .fields import ApiError
from .llama import Llama
from .tokenizer import Tokenizer
from .weights import ModelError, load

MAX_BODY = 4 << 20
"""Bytes of the largest request that is read."""


class Server(ThreadingHTTPServer):
    """Takes its port when it is made and listens only when it has a model, so that who connects never waits for one to load.

    api_key: what requests must carry as bearer token; empty for no check.
    """

    daemon_threads = True
    request_queue_size = 128
    api: Api

    def __init__(self, host: str, port: int, api_key: str = "") -> None:
        super().__init__((host, port), Handler, bind_and_activate=False)
        self.api_key = api_key
        try:
            self.server_bind()
        except OSError:
            self.server_close()
            raise

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which may ask a DNS server."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def listen(self, api: Api) -> None:
        """From now on connections are accepted; `serve_forever` answers them."""
        self.api = api
        self.server_activate()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    timeout = 600
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are not logged: the harness does."""

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(200, {"status": "ok"})
        else:
            self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _get(self) -> dict[str, Any]:
        if self.path != "/v1/models":
            raise ApiError(f"there is nothing at {self.path}", status=404)
        return self.server.api.models()

    def _post(self) -> dict[str, Any]:
        return self.server.api.answer(self.path, self._json())

    def _answer(self, produce: Callable[[], dict[str, Any]]) -> None:
        try:
            self._authorise()
            answer = produce()
        except ApiError as error:
            self._send(error.status, error.body)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is owed an answer
            self._send(500, ApiError(f"{type(error).__name__}: {error}", status=500, kind="server_error").body)
        else:
            self._send(200, answer)

    def _authorise(self) -> None:
        expected, given = f"Bearer {self.server.api_key}", self.headers.get("authorization") or ""
        if self.server.api_key and not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
            self.close_connection = True
            raise ApiError("the request carries no valid API key", status=401, kind="authentication_error", code="invalid_api_key")

    def _json(self) -> object:
        try:
            return json.loads(self._body())
        except (ValueError, RecursionError) as error:
            raise ApiError(f"the request is not JSON: {error}") from error

    def _body(self) -> bytes:
        """The request's body. An unreadable one ends the connection: where the next request begins is unknown."""
        length = self.headers.get("content-length") or ""
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise ApiError("the request needs a Content-Length", status=411)
        if len(length) > 12 or int(length) > MAX_BODY:
            self.close_connection = True
            raise ApiError(f"the request is larger than {MAX_BODY} bytes", status=413)
        return self.rfile.read(int(length))

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="server.py", description="Serve a small Llama-architecture model with an OpenAI-compatible API.")
    parser.add_argument("--path", type=Path, required=True, help="a .gguf file or a Hugging Face folder")
    parser.add_argument("--model", required=True, help="the name requests must ask for")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one; the first line printed says which")
    parser.add_argument("--max-model-len", type=int, default=2048, help="longest sequence, in tokens")
    parser.add_argument("--api-key-name", help="environment variable with the key that requests must carry as bearer token")
    return parser.parse_args(argv)


def api_key(name: str | None) -> str:
    """The key in that variable; empty if no variable is named. Raises KeyError if it is unset or empty."""
    if name is None:
        return ""
    if not os.environ.get(name):
        raise KeyError(name)
    return os.environ[name]


def make_api(arguments: argparse.Namespace) -> Api:
    """The API over the model at `--path`. Raises ModelError."""
    model = load(arguments.path)
    engine = Engine(Llama(model, arguments.max_model_len), Tokenizer(model.vocabulary))
    return Api(engine, arguments.model)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C. 0: stopped; 1: could not start, the reason is on stderr."""
    arguments = parse(argv)
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: sys.exit(0))
    started = time.monotonic()
    try:
        with Server(arguments.host, arguments.port, api_key(arguments.api_key_name)) as server:
            server.listen(make_api(arguments))
            url = f"http://{arguments.host}:{server.server_port}"
            print(f"serving {arguments.model} on {url} (loaded in {time.monotonic() - started:.1f} s)", flush=True)
            server.serve_forever(poll_interval=0.1)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyError as error:
        print(f"error: the environment variable {error} is not set", file=sys.stderr)
    except (OSError, OverflowError) as error:
        print(f"error: cannot listen on {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
    return 1
