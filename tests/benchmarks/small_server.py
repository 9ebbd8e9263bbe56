"""An OpenAI-compatible server that starts in milliseconds and says always the same: `small_server.py PORT MODEL`."""

import socket
import sys


def main() -> None:
    port, model = int(sys.argv[1]), sys.argv[2]
    body = '{"choices": [{"message": {"role": "assistant", "content": "x"}, "text": "x"}], "data": [{"id": "%s"}]}' % model  # noqa: UP031
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    answer = (head + body).encode()
    server = socket.create_server(("", port))
    while True:
        connection, _ = server.accept()
        with connection:
            _read_request(connection)
            connection.sendall(answer)


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


main()
