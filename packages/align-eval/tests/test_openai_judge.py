import json
import re
import sqlite3
from datetime import UTC, datetime

import openai
import pytest
from chat_server import ChatServer, completion, verdict

from align_contracts.errors import BudgetError, ConfigError, IncompleteError
from align_eval.config import JudgeConfig
from align_eval.judges.address import checked_url
from align_eval.judges.base import Opinion, Question
from align_eval.judges.endpoint import endpoint
from align_eval.judges.faults import seconds_to_wait
from align_eval.judges.openai import OpenAIJudge
from align_eval.judges.prompt import PROBE_TEXT, load_prompt

CANARY = "sk-canary-7d41f0"


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def questions(n: int) -> list[Question]:
    return [Question(f"p{i}", f"question {i}", f"good {i}", f"bad {i}") for i in range(n)]


def judge(server: ChatServer, tmp_path, **settings) -> OpenAIJudge:
    config = JudgeConfig(
        candidate=tmp_path,
        baseline=tmp_path,
        out=tmp_path,
        judge="openai:m",
        base_url=server.url,
        cache=tmp_path / "replies.sqlite3",
        quiet=True,
        **{"reply_form": "json_schema", **settings},
    )
    return OpenAIJudge("m", config, backoff_s=0.01)


def prefers_good(text: str, _: int):
    first = re.search(r"<answer_A>\n(.*)\n</answer_A>", text).group(1)
    return verdict("A" if first.startswith("good") else "B")


def test_asks_each_question_once_and_a_rerun_none(serve, tmp_path):
    server = serve(prefers_good)
    asked = [*questions(5), Question("x", "q", "bad", "good"), Question("y", "q", "same", "same")]
    expected = [Opinion("first")] * 5 + [Opinion("second"), Opinion("tie")]
    assert judge(server, tmp_path).ask(asked) == expected
    assert server.calls == 6  # identical answers are not asked about
    assert judge(server, tmp_path).ask(asked) == expected
    assert server.calls == 6


def test_everything_that_matters_is_in_the_key(serve, tmp_path):
    server = serve(prefers_good)
    for settings in ({}, {"temperature": 0.5}, {"max_reply_tokens": 99}, {"reply_form": "label"}):
        judge(server, tmp_path, **settings).ask(questions(1))
    assert server.calls == 4
    assert [body.get("response_format", {}).get("type") for body in server.bodies] == ["json_schema"] * 3 + [None]


def test_the_temperature_may_be_the_endpoints_own(serve, tmp_path):
    server = serve(prefers_good)
    judge(server, tmp_path, temperature=None).ask(questions(1))
    assert "temperature" not in server.bodies[0]


def test_the_name_of_the_limit_is_the_endpoints(tmp_path):
    for settings, name in (({}, "max_completion_tokens"), ({"base_url": "http://127.0.0.1:1/v1"}, "max_tokens")):
        config = JudgeConfig(candidate=tmp_path, baseline=tmp_path, out=tmp_path, judge="openai:m", **settings)
        body = OpenAIJudge("m", config)._request(questions(1)[0], "label").body
        assert {key for key in body if "tokens" in key} == {name}


def test_stays_within_the_concurrency(serve, tmp_path):
    server = serve(prefers_good)
    judge(server, tmp_path, concurrency=2).ask(questions(12))
    assert server.most_in_flight <= 2


def test_faults_are_retried_and_nothing_is_asked_twice_after_an_answer(serve, tmp_path):
    faults = [
        (429, {"error": {"message": "slow down"}}, {"retry-after": "0.01"}),
        (500, {"error": {"message": "oops"}}, {}),
        (503, b"busy", {}),
        "reset",
        (200, b"{not json", {}),
        (200, {"choices": []}, {}),
        (200, b"<html>", {"content-type": "text/html"}),
        "hang",
    ]

    def answer(text: str, before: int):
        number = int(re.search(r"question (\d+)", text).group(1))
        return faults[number] if number < len(faults) and before == 0 else prefers_good(text, before)

    server = serve(answer)
    # One question at a time: answers must not be lost whichever fault comes before them.
    assert judge(server, tmp_path, timeout_s=2.0).ask(questions(10)) == [Opinion("first")] * 10
    assert sorted(server.asked.values()) == [1, 1] + [2] * 8


@pytest.mark.parametrize(
    "reply",
    [
        completion("A is better"),
        completion(json.dumps({"verdict": "C"})),
        completion(json.dumps(["A"])),
        completion(json.dumps({"verdict": ["A"]})),
        completion(None, refusal="I will not"),
        completion(None),
        (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, {}),
    ],
)
def test_unusable_replies_are_invalid_kept_and_asked_again_only_on_request(serve, tmp_path, reply):
    server = serve(lambda text, before: reply if before == 0 else prefers_good(text, before))
    assert judge(server, tmp_path).ask(questions(1)) == [Opinion("invalid")]
    assert judge(server, tmp_path).ask(questions(1)) == [Opinion("invalid")]
    assert server.calls == 1
    assert judge(server, tmp_path, retry_invalid=True).ask(questions(1)) == [Opinion("first")]
    assert server.calls == 2


def test_a_server_that_is_down_ends_the_run_and_keeps_what_was_answered(serve, tmp_path):
    down = {"now": False}

    def answer(text: str, before: int):
        return (500, {}, {}) if down["now"] and "question 0" not in text else prefers_good(text, before)

    server = serve(answer)
    judge(server, tmp_path).ask(questions(1))
    down["now"] = True
    with pytest.raises(IncompleteError, match="status 500") as caught:
        judge(server, tmp_path, attempts=2, concurrency=2).ask(questions(40))
    assert caught.value.exit_code == 5
    # Five questions of two tries each, and at most one more in flight.
    assert 1 + 10 <= server.calls <= 1 + 12
    down["now"] = False
    assert judge(server, tmp_path).ask(questions(40)) == [Opinion("first")] * 40
    assert server.asked[server.bodies[0]["messages"][0]["content"]] == 1


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        ((401, {"error": {"message": f"bad key {CANARY}"}}, {}), ConfigError, "refused the key"),
        ((404, {"error": {"message": f"no model for {CANARY}"}}, {}), ConfigError, r"no model for \*\*\*"),
        ((400, {"error": {"message": "unknown field"}}, {}), ConfigError, "--reply-form label"),
        ((429, {"error": {"message": "", "code": "insufficient_quota"}}, {}), IncompleteError, "no credit"),
        ((429, {"error": {"message": ""}}, {"retry-after": "9000"}), IncompleteError, "9000 s"),
    ],
)
def test_hopeless_answers_end_the_run_at_once(serve, tmp_path, reply, error, words):
    server = serve(lambda *_: reply)
    with pytest.raises(error, match=words) as caught:
        judge(server, tmp_path, concurrency=1).ask(questions(6))
    assert server.calls == 1
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


HELLO = completion("Hello!")
UNSUPPORTED = (400, {"error": {"message": "response_format is not supported"}}, {})


def labels(text: str, _: int):
    """A model behind an endpoint that ignores response_format."""
    first = re.search(r"<answer_A>\n(.*)\n</answer_A>", text)
    return HELLO if first is None else completion(f"So.\nVerdict: {'A' if first[1].startswith('good') else 'B'}")


def formats(server: ChatServer) -> list[str | None]:
    return [body.get("response_format", {}).get("type") for body in server.bodies]


def test_an_endpoint_that_keeps_to_schemas_is_asked_for_json(serve, tmp_path):
    server = serve(lambda text, before: verdict("tie") if text == PROBE_TEXT else prefers_good(text, before))
    asking = judge(server, tmp_path, reply_form="auto")
    assert asking.facts.reply_form is None
    assert asking.ask(questions(3)) == [Opinion("first")] * 3
    assert asking.facts.reply_form == "json_schema"
    assert asking.facts.prompt == load_prompt("json_schema")
    assert formats(server) == ["json_schema"] * 4
    # The decision is kept: another judging at the same endpoint does not try again.
    assert judge(server, tmp_path, reply_form="auto").ask(questions(4)) == [Opinion("first")] * 4
    assert server.asked[PROBE_TEXT] == 1
    assert server.calls == 5


def test_an_endpoint_that_ignores_schemas_is_asked_for_labels(serve, tmp_path):
    server = serve(labels)
    asking = judge(server, tmp_path, reply_form="auto")
    assert asking.ask([*questions(2), Question("x", "q", "bad", "good")]) == [Opinion("first")] * 2 + [
        Opinion("second")
    ]
    assert asking.facts.reply_form == "label"
    assert asking.facts.prompt == load_prompt("label")
    assert formats(server) == ["json_schema"] + [None] * 3
    assert judge(server, tmp_path, reply_form="auto").ask(questions(2)) == [Opinion("first")] * 2
    assert server.calls == 4


@pytest.mark.parametrize("status", [400, 422, 501])
def test_an_endpoint_that_refuses_schemas_is_asked_for_labels(serve, tmp_path, status):
    def answer(text: str, before: int):
        return (status, *UNSUPPORTED[1:]) if "response_format" in server.bodies[-1] else labels(text, before)

    server = serve(answer)
    for _ in range(2):
        assert judge(server, tmp_path, reply_form="auto", concurrency=1).ask(questions(2)) == [Opinion("first")] * 2
    assert formats(server) == ["json_schema", None, None, None]  # refused once, answered in plain text, two questions


@pytest.mark.parametrize("status", [400, 404])
def test_a_wrong_model_is_an_error_and_no_form_of_reply(serve, tmp_path, status):
    known = {"model": False}

    def answer(text: str, before: int):
        wrong = (status, {"error": {"message": "no such model"}}, {})
        return (verdict("A") if text == PROBE_TEXT else prefers_good(text, before)) if known["model"] else wrong

    server = serve(answer)
    for _ in range(2):
        with pytest.raises(ConfigError, match="no such model"):
            judge(server, tmp_path, reply_form="auto").ask(questions(2))
    known["model"] = True
    assert judge(server, tmp_path, reply_form="auto").ask(questions(2)) == [Opinion("first")] * 2


def test_a_reply_that_was_cut_off_is_invalid(serve, tmp_path):
    reply = completion("So.\nVerdict: A")
    reply["choices"][0]["finish_reason"] = "length"  # it might have gone on: "Verdict: A or B"
    server = serve(lambda *_: reply)
    assert judge(server, tmp_path, reply_form="label").ask(questions(1)) == [Opinion("invalid")]


def test_the_cap_holds_for_the_first_try_too(serve, tmp_path):
    server = serve(labels)
    with pytest.raises(BudgetError):
        judge(server, tmp_path, reply_form="auto", max_cost_usd=0.0, **PRICED).ask(questions(1))
    assert server.calls == 0


def test_the_estimate_comes_before_the_first_call(serve, tmp_path):
    server = serve(prefers_good)
    said: list[str] = []
    config = JudgeConfig(
        candidate=tmp_path, baseline=tmp_path, out=tmp_path, judge="openai:m", base_url=server.url,
        price_input_usd=1.0, price_output_usd=2.0, cache=tmp_path / "r.sqlite3", reply_form="json_schema",
    )  # fmt: skip

    def say(text: str) -> None:
        assert server.calls == 0
        said.append(text)

    OpenAIJudge("m", config, say=say).ask(questions(2))
    assert "2 questions to ask, 0 answered before" in said[0]
    assert "USD" in said[0]


PRICED = {"price_input_usd": 10.0, "price_output_usd": 10.0, "max_reply_tokens": 300}
# Each reply is billed 110 tokens: 0.0011 USD. The bound of one call is about its bytes + 64 + 300: about 0.018 USD.


def test_the_cap_is_never_exceeded_and_holds_over_reruns(serve, tmp_path):
    server = serve(prefers_good)
    with pytest.raises(BudgetError, match="nothing was asked"):
        judge(server, tmp_path, max_cost_usd=0.03, **PRICED).ask(questions(20))
    assert server.calls == 0
    # Here the replies cost more than estimated, so the cap is met on the way.
    server_usage = serve(lambda *_: completion(json.dumps({"verdict": "A"}), usage=(900, 100)))  # 0.01 USD a reply
    caps = {"max_cost_usd": 0.12, **PRICED}
    for _ in range(3):
        with pytest.raises(BudgetError, match=r"kept|nothing was asked"):
            judge(server_usage, tmp_path, concurrency=3, **caps).ask(questions(20))
    assert 1 <= server_usage.calls <= 12  # 12 × 0.01 USD is the cap
    assert judge(server_usage, tmp_path, max_cost_usd=1.0, **PRICED).ask(questions(20)) == [Opinion("first")] * 20
    assert server_usage.calls == 20


def test_a_killed_call_stays_booked(serve, tmp_path):
    server = serve(lambda *_: "reset")
    with pytest.raises(IncompleteError):
        judge(server, tmp_path, attempts=1, **PRICED, max_cost_usd=10.0).ask(questions(1))
    with sqlite3.connect(tmp_path / "replies.sqlite3") as db:
        ((usd, settled),) = db.execute("SELECT usd, settled FROM charges").fetchall()
    assert usd > 0.01
    assert settled == 0


def test_the_key_is_sent_and_nowhere_else(serve, tmp_path, capsys):
    server = serve(prefers_good)
    asking = judge(server, tmp_path)
    asking.ask(questions(1))
    assert server.keys == {f"Bearer {CANARY}"}
    assert CANARY not in repr(asking.endpoint)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()
    out = capsys.readouterr()
    assert CANARY not in out.out + out.err


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("3", 3.0), ("0.5", 0.5), ("0", 0.0), ("-1", None), ("soon", None), ("", None), ("inf", None),
        ("Fri, 02 Jan 2026 03:05:15 GMT", 70.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_a_server_says_how_long_to_wait(said, seconds):
    assert seconds_to_wait(said, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x", "http://"),
        ("https://user:pw@host/v1", "secret"),
        ("https://pw@host/v1", "secret"),
        ("https://:@host/v1", "secret"),
        ("https://host/v1?key=pw", "secret"),
        ("https://host/v1#pw", "secret"),
        ("http://[::1/v1", "Invalid IPv6"),
        ("http://localhost:99999/v1", "out of range"),
        ("http://localhost:abc/v1", "abc"),
    ],
)
def test_unsafe_urls_are_refused(url, words):
    with pytest.raises(ConfigError, match=words) as caught:
        checked_url(url)
    assert "pw" not in str(caught.value)


def test_a_key_is_not_sent_in_clear_text_to_another_machine():
    with pytest.raises(ConfigError, match="clear text"):
        endpoint("http://host.example/v1")


@pytest.mark.parametrize("key", ["ключ-pw", "pw\nX-Header: 1", "two pw"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds") as caught:
        endpoint("http://localhost:8080/v1")
    assert "pw" not in str(caught.value)


def test_key_rules(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        endpoint("https://api.openai.com/v1")
    assert endpoint("http://localhost:8080/v1").key == "none"
    config = JudgeConfig(
        candidate=tmp_path, baseline=tmp_path, out=tmp_path, judge="openai:m", base_url="http://localhost:1/v1",
        max_cost_usd=1.0,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="price of m"):
        OpenAIJudge("m", config)


def test_the_sdk_does_not_retry_by_itself(serve, tmp_path):
    server = serve(lambda *_: (500, {}, {}))
    with pytest.raises(IncompleteError):
        judge(server, tmp_path, attempts=1).ask(questions(1))
    assert server.calls == 1
    assert openai.DEFAULT_MAX_RETRIES > 0
