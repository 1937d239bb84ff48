from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_data.sampling import apportion, score_bins, seeded_order, stratified_sample


def texts(prompts) -> list[str]:
    return [prompt.text for prompt in prompts]


def test_order_depends_on_seed_and_purpose_but_not_on_arrival(make_prompt) -> None:
    prompts = [make_prompt(f"question {n}") for n in range(50)]
    first = texts(seeded_order(prompts, 42, "x"))
    assert first == texts(seeded_order(prompts[::-1], 42, "x"))
    assert sorted(first) == sorted(texts(prompts))
    assert first != texts(seeded_order(prompts, 43, "x"))
    assert first != texts(seeded_order(prompts, 42, "y"))


def test_more_prompts_do_not_move_the_others(make_prompt) -> None:
    prompts = [make_prompt(f"question {n}") for n in range(50)]
    few = texts(seeded_order(prompts[:20], 42, "x"))
    assert [text for text in texts(seeded_order(prompts, 42, "x")) if text in few] == few


def test_bins_are_equally_wide_and_the_last_includes_its_edge(make_prompt) -> None:
    # scores 0..10 in 5 bins of width 2: {0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9, 10}
    binned = score_bins([make_prompt(str(n), score=n) for n in range(11)], 5)
    assert [[prompt.score for prompt in members] for members in binned] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9, 10]]


def test_one_score_fills_one_bin(make_prompt) -> None:
    assert [len(members) for members in score_bins([make_prompt("a"), make_prompt("b")], 3)] == [2, 0, 0]
    assert score_bins([], 3) == [[], [], []]


def test_apportion_by_largest_remainder() -> None:
    # 7 over 50, 30, 20: 3.5, 2.1, 1.4 → 3, 2, 1, and the one left goes to the remainder .5
    assert apportion(7, [50, 30, 20]) == [4, 2, 1]
    assert apportion(1, [1, 1]) == [1, 0]  # a tie goes to the earlier
    assert apportion(0, [0, 0]) == [0, 0]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.data())
def test_shares_add_up_and_none_is_above_its_weight(weights: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(weights)))
    shares = apportion(total, weights)
    assert sum(shares) == total
    assert all(0 <= share <= weight for share, weight in zip(shares, weights, strict=True))


def test_sample_follows_the_scores(make_prompt) -> None:
    # 60 prompts score 2, 30 score 5, 10 score 8: a sample of 20 has 12, 6 and 2 of them
    scores = [2.0] * 60 + [5.0] * 30 + [8.0] * 10
    prompts = [make_prompt(f"q{n}", score=score) for n, score in enumerate(scores)]
    sampled, left = stratified_sample(prompts, 20, 3, 42)
    assert Counter(prompt.score for prompt in sampled) == {2.0: 12, 5.0: 6, 8.0: 2}
    assert sorted(texts(sampled) + texts(left)) == sorted(texts(prompts))


def test_a_small_pool_is_kept_whole(make_prompt) -> None:
    prompts = [make_prompt(f"q{n}", rows=2) for n in range(5)]
    sampled, left = stratified_sample(prompts, 10, 4, 42)
    assert (len(sampled), left) == (5, [])


@pytest.mark.parametrize("target", [1, 2, 5, 9, 29])
def test_rows_of_a_prompt_are_never_parted(make_prompt, target: int) -> None:
    prompts = [make_prompt(f"q{n}", rows=1 + n % 4, score=n % 7) for n in range(12)]  # 30 rows
    sampled, left = stratified_sample(prompts, target, 3, 42)
    assert sum(len(prompt.rows) for prompt in sampled) <= target
    assert set(texts(sampled)).isdisjoint(texts(left))
    assert len(sampled) + len(left) == 12
