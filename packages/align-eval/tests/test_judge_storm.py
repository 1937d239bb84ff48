"""An endpoint that fails every fourth call, and twenty kills: no verdict is lost, none is paid for twice."""

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from chat_server import completion, verdict

QUESTIONS, KILLS, CAP = 300, 20, 100.0
PRICES = 10.0
"""USD per million tokens, read and written alike; every reply counts 110 of them."""

ASK = """
import sys
from pathlib import Path
from align_eval.config import JudgeConfig
from align_eval.judges.base import Question
from align_eval.judges.openai import OpenAIJudge

folder, url, n, cap, price = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
config = JudgeConfig(
    candidate=folder, baseline=folder, out=folder, judge="openai:m", base_url=url, cache=folder / "replies.sqlite3",
    max_cost_usd=cap, price_input_usd=price, price_output_usd=price, timeout_s=5.0, attempts=30, quiet=True,
)
questions = [Question(f"p{i}", f"question {i}", f"good {i}", f"bad {i}") for i in range(n)]
print(*[opinion.choice for opinion in OpenAIJudge("m", config, backoff_s=0.01).ask(questions)])
"""


def storm(refused: set[int]):
    """Every fourth call fails in one of six ways; refusals are decided once a question."""
    rng = random.Random(0)
    faults = [
        (429, {"error": {"message": "slow down"}}, {"retry-after": "0.01"}),
        (500, {"error": {"message": "oops"}}, {}),
        (503, b"busy", {}),
        "reset",
        (200, b"{not json", {}),
        (200, {"choices": []}, {}),
    ]

    def answer(text: str, before: int):
        if rng.random() < 0.25:
            return rng.choice(faults)
        found = re.search(r"question (\d+)", text)
        if found and int(found[1]) in refused:
            return completion(None, refusal="I will not")
        return verdict("A")

    return answer


def committed(path) -> dict[str, str | None]:
    """What the cache holds, by key."""
    if not path.exists():
        return {}
    with sqlite3.connect(path) as db:
        try:
            return dict(db.execute("SELECT key, text FROM replies"))
        except sqlite3.OperationalError:  # killed before the table was made
            return {}


@pytest.mark.slow
def test_faults_and_kills_lose_nothing_and_repeat_nothing(serve, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    refused = {7, 70}
    server = serve(storm(refused))
    cache, rng = tmp_path / "replies.sqlite3", random.Random(1)
    arguments = [sys.executable, "-c", ASK, *map(str, (tmp_path, server.url, QUESTIONS, CAP, PRICES))]
    kept: dict[str, str | None] = {}
    for _ in range(KILLS):
        goal = server.calls + rng.randint(6, 14)
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env={**os.environ})
        while server.calls < goal:
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = committed(cache)
        assert now.items() >= kept.items()  # what was written stays as it was
        kept = now
    assert len(kept) > KILLS
    before = server.calls
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    expected = ["invalid" if i in refused else "first" for i in range(QUESTIONS)]
    assert done.stdout.split() == expected
    assert len(committed(cache)) == QUESTIONS + 1  # and the one that tried the endpoint
    # The last run asked only what was not kept: each once, and again only after a fault (each fourth call).
    assert QUESTIONS + 1 - len(kept) <= server.calls - before <= 2 * (QUESTIONS + 1 - len(kept))
    calls = server.calls
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout == done.stdout
    assert server.calls == calls
    with sqlite3.connect(cache) as db:
        ((spent,),) = db.execute("SELECT TOTAL(usd) FROM charges")
    billed = 110 * PRICES / 1e6 * (QUESTIONS + 1)
    assert billed <= spent <= CAP  # killed and lost calls stay booked at the most they could have cost


@pytest.mark.slow
def test_the_cap_holds_through_kills(serve, tmp_path, monkeypatch):
    """The cap is what 30 replies cost; whatever is killed, the server never bills more."""
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    server = serve(lambda *_: json.loads(json.dumps(completion(json.dumps({"verdict": "A"}), usage=(900, 100)))))
    cap = 30 * 1000 * PRICES / 1e6
    arguments = [sys.executable, "-c", ASK, *map(str, (tmp_path, server.url, 20, cap, PRICES))]
    for goal in (2, 5):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while server.calls < goal and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        process.wait()
    subprocess.run(arguments, capture_output=True, check=False)
    assert 5 <= server.calls <= 30
    with sqlite3.connect(tmp_path / "replies.sqlite3") as db:
        ((spent,),) = db.execute("SELECT TOTAL(usd) FROM charges")
    assert server.calls * 1000 * PRICES / 1e6 <= spent <= cap
