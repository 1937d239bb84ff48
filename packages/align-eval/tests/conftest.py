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


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a whole study: six runs and an A/A row, judged and compared through the console script."""
    from fake_study import SEEDS, FakeStudy

    from align_contracts import console
    from align_eval.cli import COMMANDS

    root = tmp_path_factory.mktemp("study")
    study = FakeStudy(root)
    study.make_responses(study.sft, skill=0.45)
    study.make_responses(study.sft, skill=0.45, seed=1, name="responses-sft-aa")
    names = ["sft-aa"]
    for method, gain in (("ppo", 0.18), ("grpo", 0.24)):
        for seed in SEEDS:
            policy = study.make_policy(method, seed, gain=gain)
            study.make_responses(policy, skill=0.45 + gain)
            names.append(policy.name)
    for name in names:
        arguments = ["--candidate", root / f"responses-{name}", "--baseline", root / "responses-sft"]
        arguments += ["--out", root / f"judgments-{name}"]
        assert console.main("align-eval", "", COMMANDS, ["judge", *map(str, arguments)]) == 0
    judgments = ",".join(str(root / f"judgments-{name}") for name in names)
    argv = ["compare", "--judgments", judgments, "--output", str(root / "report")]
    assert console.main("align-eval", "", COMMANDS, argv) == 0
    return root
