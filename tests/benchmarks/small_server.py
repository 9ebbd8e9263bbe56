"""OpenAI-compatible servers that say always the same, and cost next to nothing.

`small_server.py PORT MODEL` is one. `small_server.py FOLDER` is the host of any number: an endpoint's own process is the shell command
`CLIENT`, which asks the host over a pipe in FOLDER to listen on its port, and then waits; when it ends, its port is closed. So an endpoint
is a process that starts and dies, and is answered for over real HTTP, but costs a shell's two milliseconds, not an interpreter's thirty.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
from collections.abc import Callable
from functools import partial

CLIENT = ("/bin/sh", "-c", 'echo "$$ $1 $2" > "$0/ask"; read -r evalx_never < "$0/wait"')
"""The command of an endpoint; its arguments are FOLDER, PORT and MODEL."""

ANSWER = '{"choices": [{"message": {"role": "assistant", "content": "x"}, "text": "x"}], "data": [{"id": "%s"}]}'
HEAD = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n"
PATIENCE = 5.0
"""Seconds for a client to send its request."""


class Servers:
    """Answers on any number of ports, one request after the other."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def when_readable(self, file: int | socket.socket, act: Callable[[], None]) -> None:
        self._selector.register(file, selectors.EVENT_READ, act)

    def add(self, port: int, model: str, process: int | None = None) -> None:
        """Answer on a port, as long as that process lives."""
        body = ANSWER % model
        server = socket.create_server(("127.0.0.1", port), backlog=128)
        self.when_readable(server, partial(_serve, server, (HEAD.format(len(body)) + body).encode()))
        if process is not None:
            self._close_with(process, server)

    def _close_with(self, process: int, server: socket.socket) -> None:
        try:
            life = os.pidfd_open(process)
        except ProcessLookupError:
            self._close(server)
            return

        def end() -> None:
            self._selector.unregister(life)
            os.close(life)
            self._close(server)

        self.when_readable(life, end)

    def _close(self, server: socket.socket) -> None:
        self._selector.unregister(server)
        server.close()

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj in self._selector.get_map():  # it may have been closed by one before it
                    key.data()


def _serve(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.settimeout(PATIENCE)
        try:
            _read_request(connection)
            connection.sendall(answer)
        except OSError:
            return


def _read_request(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < lengths[0]:
        part = connection.recv(65536)
        if not part:
            return
        body += part


def host(folder: str) -> None:
    """Answer for every `CLIENT` of that folder."""
    servers = Servers()
    for name in ("ask", "wait"):
        os.mkfifo(f"{folder}/{name}")
    # Both ends are held open, so that clients neither wait for us nor ever read an end.
    asked, _ = (os.open(f"{folder}/{name}", os.O_RDWR) for name in ("ask", "wait"))

    def take() -> None:
        for line in os.read(asked, 65536).decode().splitlines():  # each was written at once, so none is cut unless the pipe is full
            process, port, model = line.split(" ", 2)
            servers.add(int(port), model, int(process))

    servers.when_readable(asked, take)
    print("ready", flush=True)
    servers.run()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        host(sys.argv[1])
    alone = Servers()
    alone.add(int(sys.argv[1]), sys.argv[2])
    alone.run()
