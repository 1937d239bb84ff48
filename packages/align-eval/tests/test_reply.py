import json

import pytest
from chat_server import completion
from hypothesis import given
from hypothesis import strategies as st

from align_eval.judges.reply import CUT, MalformedReplyError, Reply, read_completion

CANARY = "sk-canary-7d41f0"


def body(**changed):
    return json.dumps({**completion("Verdict: A"), **changed}).encode()


def test_a_whole_reply():
    assert read_completion(body()) == Reply("Verdict: A", None, 100, 10)


def test_refusals_and_cut_replies_have_no_whole_text():
    refused = read_completion(json.dumps(completion(None, refusal="I will not")).encode())
    assert (refused.text, refused.problem, refused.whole) == (None, "refused: I will not", None)
    cut = completion("So.\nVerdict: A")
    cut["choices"][0]["finish_reason"] = "length"
    found = read_completion(json.dumps(cut).encode())
    assert (found.text, found.problem, found.whole) == ("So.\nVerdict: A", CUT, None)


@pytest.mark.parametrize(
    "usage",
    [None, [], "100", {"prompt_tokens": -5, "completion_tokens": -1}, {"prompt_tokens": True}, {"prompt_tokens": 1e3},
     {"prompt_tokens": "100", "completion_tokens": None}, {"prompt_tokens": 2**60}],
)  # fmt: skip
def test_a_bill_that_cannot_be_is_none(usage):
    """A negative count would lower what is spent, so the cap would be no cap."""
    found = read_completion(body(usage=usage))
    assert (found.tokens_read, found.tokens_written) == (None, None)
    assert found.whole == "Verdict: A"


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{not json", b"<html>", b"null", b"[]", b"3", b'{"choices": []}', b'{"choices": {"0": 1}}', b"\xff\xfe{",
        b'{"choices": [null]}', b'{"choices": ["A"]}', b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": "A"}]}', b'{"choices": [{"message": {"content": ["A"]}}]}',
        b'{"choices": [{"message": {"content": 7}}]}', b'{"choices": [{"message": {"refusal": {}}}]}', b"[" * 10**5,
    ],
)  # fmt: skip
def test_what_is_no_completion(raw):
    with pytest.raises(MalformedReplyError):
        read_completion(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "message", "content", "refusal", "usage"]) | st.text(), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_reply_or_malformed(value):
    for raw in (value, {"choices": [value]}, {"choices": [{"message": value}], "usage": value}):
        try:
            found = read_completion(json.dumps(raw).encode())
        except MalformedReplyError:
            continue
        assert found.text is None or isinstance(found.text, str)
        assert found.tokens_read is None or found.tokens_read >= 0


def test_a_key_that_the_endpoint_repeats_is_not_kept(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    for reply in (completion(f"You sent {CANARY}"), completion(None, refusal=f"{CANARY} may not")):
        assert CANARY not in repr(read_completion(json.dumps(reply).encode()))


def test_half_a_surrogate_pair_can_be_stored():
    assert read_completion(rb'{"choices": [{"message": {"content": "\ud800 A"}}]}').text == "? A"
