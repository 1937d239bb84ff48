"""What happens beside the plain answers: bills, pauses, stops, full disks, redirects and proxies, by real sockets."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from chat_server import completion, verdict

from align_contracts.errors import BudgetError, ConfigError, IncompleteError, LockedError, PreflightError
from align_eval.config import JudgeConfig
from align_eval.judges.base import Opinion, Question
from align_eval.judges.cache import ReplyCache
from align_eval.judges.openai import OpenAIJudge

CANARY = "sk-canary-7d41f0"
PRICED = {"price_input_usd": 10.0, "price_output_usd": 10.0}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)


def questions(n):
    return [Question(f"p{i}", f"question {i}", f"good {i}", f"bad {i}") for i in range(n)]


def judge(server, folder, **settings):
    config = JudgeConfig(
        candidate=folder, baseline=folder, out=folder, judge="openai:m", base_url=server.url,
        cache=folder / "replies.sqlite3", quiet=True, **{"reply_form": "json_schema", **settings},
    )  # fmt: skip
    return OpenAIJudge("m", config, backoff_s=0.01)


def number(text):
    return int(re.search(r"question (\d+)", text)[1])


def spent(folder):
    with sqlite3.connect(folder / "replies.sqlite3") as db:
        return db.execute("SELECT TOTAL(usd) FROM charges").fetchone()[0]


@pytest.mark.parametrize(
    "fault", [(502, b"", {}), (504, {}, {}), (500, {}, {}), (408, {}, {}), "reset", (200, b"{", {})]
)
def test_a_call_that_may_have_been_billed_stays_booked(serve, tmp_path, fault):
    """The bound of the failed call is above 3 000 bytes · 10 USD a million; the answered one is billed 110 tokens."""
    server = serve(lambda _, before: fault if before == 0 else verdict("A"))
    assert judge(server, tmp_path, **PRICED).ask(questions(1)) == [Opinion("first")]
    assert 0.0011 + 0.003 < spent(tmp_path) < 0.05


@pytest.mark.parametrize("fault", [(429, {}, {"retry-after": "0"}), (409, {}, {})])
def test_a_call_that_was_turned_away_costs_nothing(serve, tmp_path, fault):
    server = serve(lambda _, before: fault if before == 0 else verdict("A"))
    assert judge(server, tmp_path, **PRICED).ask(questions(1)) == [Opinion("first")]
    assert spent(tmp_path) == pytest.approx(0.0011)  # 110 tokens at 10 USD a million


def test_an_endpoint_that_bills_beyond_its_bound_ends_a_run_with_a_cap(serve, tmp_path):
    """1 million tokens read cost 10 USD; the bound of a call is some cents."""
    server = serve(lambda *_: completion(json.dumps({"verdict": "A"}), usage=(10**6, 1)))
    with pytest.raises(BudgetError, match="no cap can hold"):
        judge(server, tmp_path, concurrency=1, max_cost_usd=1000.0, **PRICED).ask(questions(3))
    assert server.calls == 1
    assert judge(server, tmp_path, **PRICED).ask(questions(3)) == [Opinion("first")] * 3  # without a cap
    assert server.calls == 3


QUOTA = {"error": {"message": "", "code": None, "type": "insufficient_quota"}}


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        ((429, QUOTA, {}), IncompleteError, "no credit"),
        ((402, {"error": {"message": "pay"}}, {}), IncompleteError, "no credit"),
        ((403, {"error": {"message": CANARY}}, {}), ConfigError, "refused the key"),
        ((404, {"error": {"message": "\x1b[2J" + CANARY}}, {}), ConfigError, r"\\x1b\[2J\*\*\*"),
        ((400, {"error": {"message": "m", "code": {"a": 1}, "type": ["b"]}}, {}), ConfigError, "refused the request"),
    ],
)  # fmt: skip
def test_more_answers_that_end_the_run_at_once(serve, tmp_path, reply, error, words):
    server = serve(lambda *_: reply)
    with pytest.raises(error, match=words) as caught:
        judge(server, tmp_path, concurrency=1).ask(questions(4))
    assert server.calls == 1
    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)


def test_an_answer_too_large_for_the_endpoint_is_one_invalid_pair(serve, tmp_path):
    server = serve(lambda text, _: (413, {}, {}) if number(text) == 1 else verdict("A"))
    assert [one.choice for one in judge(server, tmp_path).ask(questions(3))] == ["first", "invalid", "first"]


def test_a_stop_ends_the_pauses_of_others(serve, tmp_path):
    """Question 0 is told to wait 100 s; question 1 then has its key refused, which ends both."""

    def answer(text, _):
        if number(text) == 0:
            return (429, {}, {"retry-after": "100"})
        time.sleep(0.3)
        return (401, {}, {})

    started = time.monotonic()
    with pytest.raises(ConfigError, match="refused the key"):
        judge(serve(answer), tmp_path, concurrency=2).ask(questions(2))
    assert time.monotonic() - started < 50  # half of the pause; nothing is measured


def test_a_redirect_is_not_followed(serve, tmp_path):
    other = serve(lambda *_: verdict("A"))
    for status in (301, 302, 307, 308):
        server = serve(lambda *_, status=status: (status, b"", {"location": f"{other.url}/chat/completions?{CANARY}"}))
        with pytest.raises(ConfigError, match=f"sends elsewhere .{status}") as caught:
            judge(server, tmp_path).ask(questions(1))
        assert CANARY not in str(caught.value)
    assert other.calls == 0


def test_on_this_machine_no_proxy_reads_the_key(serve, tmp_path, monkeypatch):
    proxy, server = serve(lambda *_: verdict("B")), serve(lambda *_: verdict("A"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    assert judge(server, tmp_path).ask(questions(1)) == [Opinion("first")]
    assert proxy.calls == 0


def test_a_cache_that_breaks_ends_the_run_with_a_plain_error(serve, tmp_path, monkeypatch):
    def full(*_):
        raise PreflightError("the reply cache cannot be used", got="database or disk is full")

    server = serve(lambda *_: verdict("A"))
    monkeypatch.setattr(ReplyCache, "put", full)
    with pytest.raises(PreflightError, match="disk is full"):
        judge(server, tmp_path, concurrency=2).ask(questions(20))
    assert server.calls <= 2


def test_two_judges_of_the_same_questions_do_not_both_pay(serve, tmp_path):
    server = serve(lambda *_: verdict("A"))
    one = judge(server, tmp_path)
    with ReplyCache(tmp_path / "replies.sqlite3") as cache, cache.alone(one._job(questions(3))):
        with pytest.raises(LockedError):
            judge(server, tmp_path).ask(questions(3))
        assert server.calls == 0
        judge(server, tmp_path).ask(questions(2))  # other questions are another judging
    assert one.ask(questions(3)) == [Opinion("first")] * 3
    assert server.calls == 3


def test_a_shared_question_answered_meanwhile_is_not_asked(serve, tmp_path):
    """Another judging answers questions 1 and 2 while this one waits for its first reply."""

    def answer(text, _):
        if number(text) == 0:
            judge(server, tmp_path, attempts=1).ask(questions(3)[1:])
        return verdict("A")

    server = serve(answer)
    assert judge(server, tmp_path, concurrency=1).ask(questions(3)) == [Opinion("first")] * 3
    assert sorted(server.asked.values()) == [1, 1, 1]


def test_a_forecast_asks_nobody_needs_no_key_and_makes_no_file(serve, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server = serve(lambda *_: verdict("A"))
    said = judge(server, tmp_path, dry_run=True, max_cost_usd=1.0, **PRICED).forecast(questions(4))
    assert said.startswith("judge m: 4 questions to ask, 0 answered before")
    assert "the cap is 1.0000 USD" in said
    assert server.calls == 0
    assert list(tmp_path.iterdir()) == []
    judge(server, tmp_path, **PRICED).ask(questions(3))
    said = judge(server, tmp_path, dry_run=True, **PRICED).forecast(questions(4))
    assert "1 questions to ask, 3 answered before" in said
    assert (
        "0.0033 USD spent so far, no cap" not in said
    )  # those three are another judging: four have a cap of their own
    assert "0.0033 USD spent so far" in judge(server, tmp_path, dry_run=True, **PRICED).forecast(questions(3))


def test_the_forecast_by_hand(serve, tmp_path):
    """Bound of one call: its bytes and 64 tokens read, 300 written, each 10 USD a million."""
    server = serve(lambda *_: verdict("A"))
    judge(server, tmp_path).ask(questions(1))
    size = len(json.dumps(server.bodies[0], ensure_ascii=False).encode())
    fresh = tmp_path / "fresh"
    said = judge(server, fresh, dry_run=True, **PRICED).forecast(questions(1))
    assert f"at most {(size + 64 + 300) * 1e-5:.4f} USD" in said


ASK = """
import sys
from pathlib import Path
from align_contracts import console
from align_contracts.console import Command
from align_eval.config import JudgeConfig
from align_eval.judges.base import Question
from align_eval.judges.openai import OpenAIJudge

def run(config):
    OpenAIJudge("m", config, backoff_s=0.01).ask([Question(f"p{i}", f"question {i}", "good", "bad") for i in range(40)])

sys.modules["asked"] = sys.modules[__name__]
sys.exit(console.main("x", "", [Command("judge", "Judge.", JudgeConfig, "asked:run")], ["judge", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_stop_a_judging_that_continues_later(serve, tmp_path, number, code):
    """The replies in flight are kept; the code is that of the signal; the rerun asks only the rest."""
    release = {"now": False}

    def answer(text, _):
        while not release["now"] and server.calls > 8:
            time.sleep(0.01)
        return verdict("A")

    server = serve(answer)
    names = ("candidate", "baseline", "out")
    arguments = [part for name in names for part in (f"--{name}", str(tmp_path))]
    arguments += ["--judge", "openai:m", "--base-url", server.url, "--cache", str(tmp_path / "r.sqlite3"), "--quiet"]
    command = [sys.executable, "-c", ASK, *arguments, "--reply-form", "json_schema", "--concurrency", "4"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    while server.calls < 10:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    time.sleep(0.2)
    release["now"] = True
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert re.fullmatch(
        rf"error: judging was interrupted \({number.name}\) after \d+ of 40 questions. "
        r"Only the rest will be asked. Run the same command again:\n  .* judge .* --concurrency 4\n",
        said,
    )
    with ReplyCache(tmp_path / "r.sqlite3") as cache:
        kept = cache._db.execute("SELECT COUNT(*) FROM replies").fetchone()[0]
    assert kept == server.calls < 40  # what was in flight was kept too
    assert subprocess.run(command, check=False).returncode == 0
    assert server.calls == 40


def test_a_second_signal_ends_at_once_what_hangs(serve, tmp_path):
    server = serve(lambda *_: "hang")
    names = ("candidate", "baseline", "out")
    arguments = [part for name in names for part in (f"--{name}", str(tmp_path))]
    arguments += ["--judge", "openai:m", "--base-url", server.url, "--cache", str(tmp_path / "r.sqlite3"), "--quiet"]
    command = [sys.executable, "-c", ASK, *arguments, "--reply-form", "json_schema", "--timeout-s", "600"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    while server.calls < 8:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
