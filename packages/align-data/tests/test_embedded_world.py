"""The embedded world as data: determinism, balance, statistics, and the corpus."""

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from statistics import mean

import pytest

from align_contracts.checks import score_answer
from align_contracts.errors import ConfigError
from align_data.embedded import corpus, rows
from align_data.embedded.authors import FLAWS
from align_data.embedded.world import CORPUS_LINES, tasks

PROMPTS = 2400
WORD = re.compile(r"[a-z]+|[^a-z ]")


@pytest.fixture(scope="module")
def data() -> list[dict]:
    return rows(42, PROMPTS)


@pytest.fixture(scope="module")
def lines(data) -> list[str]:
    return list(corpus(42, [row["prompt"] for row in data[:300]]))


def reference(row: dict, which: str) -> float:
    return score_answer(row[which][1]["content"], row["checks"])


def answer_of(row: dict, which: str) -> dict:
    return next(a for a in row["answers"] if a["text"] == row[which][1]["content"])


def test_rows_depend_on_the_seed_only(data):
    assert rows(42, 60) == data[:60]
    assert [row["prompt"] for row in rows(43, 60)] != [row["prompt"] for row in data[:60]]


def test_the_same_bytes_under_another_hash_seed(data):
    code = (
        "import hashlib, json; from align_data.embedded import rows, corpus; from itertools import islice;"
        "text = json.dumps([rows(42, 60), list(islice(corpus(42, ['x']), 50))]);"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    text = json.dumps([data[:60], list(islice(corpus(42, ["x"]), 50))])
    assert run.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()


def test_the_world_has_thousands_of_different_prompts():
    prompts = [task.prompt for task in tasks(1)]
    assert len(prompts) >= 4000
    assert len(set(prompts)) == len(prompts)
    assert max(len(prompt.split()) for prompt in prompts) <= 16


def test_asking_for_more_prompts_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr("align_data.embedded.world.tasks", lambda seed: islice(tasks(seed), 5))
    with pytest.raises(ConfigError, match="at most"):
        rows(1, 20)


def test_columns_and_identity(data):
    row = data[0]
    assert set(row) >= {"prompt", "prompt_id", "chosen", "rejected", "messages", "score_chosen", "score_rejected"}
    assert row["prompt_id"] == hashlib.sha256(row["prompt"].encode()).hexdigest()
    assert row["messages"] == row["chosen"]
    assert [m["role"] for m in row["chosen"]] == ["user", "assistant"]
    assert row["chosen"][0]["content"] == row["rejected"][0]["content"] == row["prompt"]
    assert len({row["prompt_id"] for row in data}) == PROMPTS


def test_categories_take_turns(data):
    for part in (data, data[:600]):
        counts = Counter(row["category"] for row in part)
        assert set(counts) == {"factual", "instruction", "creative"}
        assert max(counts.values()) - min(counts.values()) <= 0.03 * len(part)


def test_chosen_is_the_best_of_four_and_rejected_a_lower_one(data):
    for row in data:
        scores = [a["score"] for a in row["answers"]]
        assert len(scores) == 4
        assert row["score_chosen"] == max(scores) == answer_of(row, "chosen")["score"]
        assert 1.0 <= row["score_rejected"] < row["score_chosen"] <= 10.0
        assert row["score_rejected"] == answer_of(row, "rejected")["score"]
        assert len({a["text"] for a in row["answers"]}) == 4


def test_scores_follow_the_checks_but_for_noise(data):
    # noise has standard deviation 0.3; of about 9600 draws none lies beyond six deviations (Irwin-Hall's bound)
    errors = [a["score"] - 1 - 9 * score_answer(a["text"], r["checks"]) for r in data for a in r["answers"]]
    assert max(map(abs, errors)) <= 1.85
    assert abs(mean(errors)) < 0.05


def test_references_are_perfect(data):
    assert all(score_answer(text, row["checks"]) == 1.0 for row in data for text in row["checks"]["references"])


def test_chosen_leaves_room_and_rejected_is_clearly_worse(data):
    chosen, rejected = ([reference(row, which) for row in data] for which in ("chosen", "rejected"))
    assert 0.77 <= mean(chosen) <= 0.84
    assert 0.42 <= mean(rejected) <= 0.50
    assert 0.15 <= mean(score == 1.0 for score in chosen) <= 0.25
    # a perfect reward model is right on all but these pairs, which noise turned round
    assert mean(c <= r for c, r in zip(chosen, rejected, strict=True)) < 0.05


def test_every_style_flaw_is_common_among_chosen_answers(data):
    flaws = Counter(flaw for row in data for flaw in answer_of(row, "chosen")["flaws"])
    for flaw in FLAWS:
        # most chosen answers are right and badly said: what is left for RL is how to say it
        low, high = (0.05, 0.15) if flaw == "wrong" else (0.20, 0.37)
        assert low <= flaws[flaw] / PROMPTS <= high, flaw


def test_answers_are_short(data):
    lengths = sorted(len(a["text"].split()) for row in data for a in row["answers"])
    chosen = sorted(len(row["chosen"][1]["content"].split()) for row in data)
    assert lengths[-1] <= 40
    assert chosen[int(0.9 * PROMPTS)] <= 22


def test_the_vocabulary_is_small_and_the_corpus_has_all_of_it(data, lines):
    known = {word for line in lines for word in WORD.findall(line)}
    used = {
        w for row in data for text in (row["prompt"], *(a["text"] for a in row["answers"])) for w in WORD.findall(text)
    }
    assert len(known | used) <= 700
    assert used <= known


def test_the_corpus_holds_no_excluded_prompt(data, lines):
    assert len(lines) == CORPUS_LINES
    excluded = [row["prompt"] for row in data[:300]]
    assert not any(prompt in line for line in lines for prompt in excluded)
    assert all(line and line.count("\n") <= 1 for line in lines)


def test_most_of_the_corpus_is_dialogues_of_two_turns(lines):
    # 24 000 draws at 0.65: mean 15 600, standard deviation 74; five of them are 370.
    dialogues = [line for line in lines if "\n" in line]
    assert abs(len(dialogues) - 0.65 * CORPUS_LINES) < 370
    assert all(prompt and response for prompt, response in (line.split("\n") for line in dialogues))


def test_the_corpus_tells_every_fact_often(lines):
    text = "\n".join(line for line in lines if "?" not in line)
    for fact in ("the capital of italy is rome", "the opposite of hot is cold", "a cow says moo", "snow is white"):
        # 12 000 statements of about 100 facts, most in two phrasings: 60 expected, 8 the standard deviation
        assert text.count(fact) >= 30
