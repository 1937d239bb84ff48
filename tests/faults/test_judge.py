"""The rows `judge` and `secrets` in little: a few kills, a few situations; and that a broken promise is seen."""

import random
import sqlite3

import pytest

from faults.endpoint import Endpoint, FakeStudy, verdict_of
from faults.rows.judge import CAP, Judging
from faults.rows.secrets import SITUATIONS, attempt


@pytest.fixture
def study(tmp_path):
    made = FakeStudy(tmp_path / "study", prompts=40, validation=1)
    made.make_responses(made.sft, skill=0.5)
    made.make_responses(made.sft, skill=0.5, seed=1, name="responses-sft-aa")
    return tmp_path / "study"


def test_kills_and_faults_lose_nothing(study):
    judging, rng = Judging(study, Endpoint(1)), random.Random(1)
    for _ in range(2):
        judging.disturb(rng)
    codes = [judging.finish()[0], judging.finish("--retry-invalid", "--overwrite")[0]]
    judging.endpoint.server.close()
    assert codes in ([5, 0], [0, 0])  # more than 2 % were refused when they were first asked, or not
    assert judging.failures == []
    assert len(judging.committed) > 40


def test_a_broken_promise_is_seen(study):
    """A reply lost, one changed, one asked again, and a bill that nobody booked."""
    judging = Judging(study, Endpoint(0, share=0.0))
    assert judging.finish()[0] == 0
    (lost, changed, again, *_) = sorted(
        text for text in judging.committed if verdict_of(text) == "A" and "test" in text
    )
    with sqlite3.connect(study / "replies.sqlite3") as db:
        keys = {text: key for key, text in judging.messages().items()}
        db.execute("DELETE FROM replies WHERE key = ?", (keys[lost],))
        db.execute("UPDATE replies SET text = '{}' WHERE key = ?", (keys[changed],))
    judging.endpoint.calls.append((again, "verdict"))
    judging.endpoint.billed += 10**9
    judging.check()
    judging.endpoint.server.close()
    assert sorted(what.split(":")[0] for what in judging.failures[:3]) == [
        "a question with a reply was asked again", "a reply has changed", "a reply was lost",
    ]  # fmt: skip
    assert any("were billed and" in what for what in judging.failures)
    assert any(f"under a cap of {CAP}" in what for what in judging.failures)


@pytest.mark.parametrize("name", ["verdicts that repeat the key", "401 that repeats the key", "the key as the model"])
def test_no_key_is_seen(tmp_path, study, name):
    situation = next(one for one in SITUATIONS if one.name == name)
    assert attempt(situation, tmp_path / "work", study, "cnry/0123456789abcdef01234567+==") == []


def test_a_key_that_is_written_is_seen(tmp_path, study):
    """The answers that are judged hold it: the judge's cache does not, but the folder has another file that does."""
    situation = next(one for one in SITUATIONS if one.name == "a forecast")
    key = "cnry/0123456789abcdef01234567+=="
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "debug.log").write_text(f"Bearer {key}")
    assert attempt(situation, tmp_path / "work", study, key) == [f"the key is in {tmp_path / 'work' / 'debug.log'}"]
