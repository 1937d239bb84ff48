"""A real HTTP server on loopback that speaks chat completions and can misbehave."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def completion(
    content: str | None, *, refusal: str | None = None, usage: tuple[int, int] | None = (100, 10)
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content, "refusal": refusal},
            }
        ],
    }
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return body


def verdict(letter: str) -> dict[str, Any]:
    return completion(json.dumps({"reason": "because", "verdict": letter}))


class ChatServer:
    """`answer(text, n)` gets the message and how often it was asked before; it returns (status, body, headers)
    with a dict or raw bytes as body, or the words "reset" or "hang"."""

    def __init__(self, answer: Callable[[str, int], Any]) -> None:
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.in_flight = self.most_in_flight = 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                text = body["messages"][0]["content"]
                with lock:
                    before = outer.asked[text]
                    outer.asked[text] += 1
                    outer.bodies.append(body)
                    outer.keys.add(self.headers["authorization"])
                    outer.in_flight += 1
                    outer.most_in_flight = max(outer.most_in_flight, outer.in_flight)
                try:
                    self._reply(answer(text, before))
                finally:
                    with lock:
                        outer.in_flight -= 1

            def _reply(self, said: Any) -> None:
                if said in ("reset", "hang"):
                    if said == "hang":
                        self.connection.recv(1)  # returns when the client has gone
                    self.close_connection = True
                    with suppress(OSError):
                        self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, payload, headers = said if isinstance(said, tuple) else (200, said, {})
                data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that was killed, or went, is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def calls(self) -> int:
        return sum(self.asked.values())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
