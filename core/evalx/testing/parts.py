"""Parts that tests of plugins are made of: a server that answers, a task that runs any program, a program that leaves scores."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from evalx.model import TaskSpec

WRITE = "import pathlib, sys; folder = pathlib.Path(sys.argv[1]); folder.mkdir(); (folder / 'results.json').write_text({text!r})"


@contextmanager
def answering(text: str = "5") -> Iterator[str]:
    """The URL of a server on loopback that gives one answer to every question, as an OpenAI-compatible one would (chat, completions)."""

    class Handler(_Handler):
        answer = text

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    answer: str

    def do_GET(self) -> None:
        self._send(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        choices = {
            "/v1/chat/completions": {"message": {"role": "assistant", "content": self.answer}},
            "/v1/completions": {"text": self.answer},
        }
        choice = choices.get(self.path)
        self._send(200 if choice else 405, {"choices": [choice]} if choice else {})

    def _send(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is written of requests."""


def command_task(index: int, endpoint: str, argv: Sequence[str]) -> TaskSpec:
    """A task of the harness `command`: any program. argv: may hold its placeholders, `{results}` for one; a literal brace is doubled."""
    return TaskSpec(f"task-{index}", index, "command", endpoint, {"params": {"command": list(argv)}})


def scores_script(**scores: float) -> str:
    """A Python program for `command_task` that writes these scores into the folder that is its one argument, `{results}`."""
    metrics = [{"name": name, "value": value, "n": 2} for name, value in scores.items()]
    return WRITE.format(text=json.dumps({"schema": 1, "metrics": metrics})).replace("{", "{{").replace("}", "}}")
