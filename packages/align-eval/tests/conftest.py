from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside the tests: chat_server, fake_study

from chat_server import ChatServer


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[str, int], Any]], ChatServer]]:
    """Start chat servers that end with the test."""
    servers: list[ChatServer] = []

    def start(answer: Callable[[str, int], Any]) -> ChatServer:
        servers.append(ChatServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
