from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.categories import CATEGORIES
from align_data.split import SPLITS, Sizes, divide

SIZES = Sizes(target_rows=60, score_bins=3, validation=6, calibration=4, gold=8, test=9)


@pytest.fixture
def pool(make_prompt):
    """Prompts of one part, categories in turn."""

    def make(count: int, origin: str = "train", **more):
        return [
            make_prompt(f"{origin} {n}", origin=origin, category=CATEGORIES[n % 3], score=n % 7, **more)
            for n in range(count)
        ]

    return make


def sizes_of(divided) -> dict[str, int]:
    return {name: len(members) for name, members in divided.splits.items()}


def categories_of(prompts) -> dict[str, int]:
    return dict(Counter(prompt.category for prompt in prompts))


def test_everything_as_asked_when_there_is_enough(pool) -> None:
    divided = divide(pool(90) + pool(30, "test"), SIZES, 42)
    # 60 of 90 are sampled: 6 + 4 + 8 are cut off, 42 remain; 30 are left over and 30 held out, 9 of them used
    assert sizes_of(divided) == {"train": 42, "validation": 6, "calibration": 4, "gold": 8, "test": 9}
    assert categories_of(divided.splits["test"]) == dict.fromkeys(CATEGORIES, 3)
    assert {prompt.origin for prompt in divided.splits["test"]} == {"test"}
    assert divided.unused == 120 - 60 - 9
    assert divided.notes == []


def test_left_over_prompts_complete_the_test(pool) -> None:
    held_out = [prompt for prompt in pool(30, "test") if prompt.category != "creative"]
    divided = divide(pool(90) + held_out, SIZES, 42)
    by_origin = Counter((prompt.category, prompt.origin) for prompt in divided.splits["test"])
    assert by_origin == {("factual", "test"): 3, ("instruction", "test"): 3, ("creative", "train"): 3}
    assert divided.notes == []


def test_missing_category_is_said(pool) -> None:
    held_out = [prompt for prompt in pool(30, "test") if prompt.category != "creative"]
    divided = divide(pool(60) + held_out, SIZES, 42)  # all 60 are sampled, nothing is left over
    assert categories_of(divided.splits["test"]) == {"factual": 3, "instruction": 3}
    assert divided.notes == [
        "Fewer prompts than asked for: test 6 of 9. The source has 80 in all; at least half of those sampled for "
        "training stay in train.",
        "The test split wants 3 prompts of each category and takes factual 3 of 10, instruction 3 of 10, creative 0 of "
        "0 outside training.",
    ]


def test_without_a_held_out_part_the_test_comes_first(pool) -> None:
    divided = divide(pool(90), SIZES, 42)
    # 9 are set aside, 60 of the other 81 are sampled
    assert sizes_of(divided) == {"train": 42, "validation": 6, "calibration": 4, "gold": 8, "test": 9}
    assert divided.unused == 90 - 69
    assert divided.notes == []


def test_a_small_source_keeps_half_for_training(pool) -> None:
    divided = divide(pool(30), SIZES, 42)
    # asked: 6 + 4 + 8 + 9 = 27 of 30, room for 15: 6·15/27 = 3, 4·15/27 = 2, 8·15/27 = 4, 9·15/27 = 5 → 3
    assert sizes_of(divided) == {"train": 18, "validation": 3, "calibration": 2, "gold": 4, "test": 3}
    few = "validation 3 of 6, calibration 2 of 4, gold 4 of 8, test 3 of 9"
    assert divided.notes == [
        f"Fewer prompts than asked for: {few}. The source has 30 in all; at least half of those sampled for training "
        "stay in train. PPO and GRPO evaluate on validation prompts: train them with --eval-prompts 3 or fewer.",
    ]


def test_a_rare_category_is_not_taken_from_training_altogether(make_prompt) -> None:
    prompts = [make_prompt(f"f{n}") for n in range(80)] + [make_prompt(f"c{n}", category="creative") for n in range(4)]
    divided = divide(prompts, SIZES, 42)
    assert categories_of(divided.splits["test"]) == {"factual": 3, "creative": 2}  # half of 4
    assert "test 5 of 9" in divided.notes[0]
    assert (
        "wants 3 prompts of each category and takes factual 3 of 80, instruction 0 of 0, creative 2 of 4"
        in (divided.notes[1])
    )


def test_what_a_note_says_was_taken_is_what_the_splits_hold(make_prompt) -> None:
    # asked for 27 of 36: room for 18·9/27 = 6 test prompts, 2 of each category; only one category is there
    divided = divide([make_prompt(f"f{n}") for n in range(36)], SIZES, 42)
    assert sizes_of(divided)["test"] == 2
    taken = ", ".join(f"{name} {sizes_of(divided)[name]} of {getattr(SIZES, name)}" for name in SPLITS[1:])
    assert f"asked for: {taken}. The source has 36 in all" in divided.notes[0]
    assert "wants 2 prompts of each category and takes factual 2 of 36, instruction 0 of 0" in divided.notes[1]


def test_a_small_sample_is_no_small_source(pool) -> None:
    divided = divide(pool(90) + pool(30, "test"), Sizes(20, 3, validation=6, calibration=4, gold=8, test=9), 42)
    # 18 of a sample of 20, room for 10: 6·10/18 = 3, 4·10/18 = 2, 8·10/18 = 4; the held-out test is not touched
    assert sizes_of(divided) == {"train": 11, "validation": 3, "calibration": 2, "gold": 4, "test": 9}
    assert "validation 3 of 6, calibration 2 of 4, gold 4 of 8. The source has 120 in all" in divided.notes[0]


def test_zero_sizes_are_fine(pool) -> None:
    divided = divide(pool(10), Sizes(100, 3, 0, 0, 0, 0), 42)
    assert sizes_of(divided) == {"train": 10, "validation": 0, "calibration": 0, "gold": 0, "test": 0}
    assert divided.notes == []


def test_seed_decides_and_arrival_does_not(pool) -> None:
    prompts = pool(90) + pool(30, "test")
    first = divide(prompts, SIZES, 42)
    assert first == divide(prompts[::-1], SIZES, 42)
    assert first.splits != divide(prompts, SIZES, 43).splits


def test_larger_other_splits_do_not_change_the_validation_prompts(pool) -> None:
    prompts = pool(90) + pool(30, "test")
    more_gold = Sizes(target_rows=60, score_bins=3, validation=6, calibration=4, gold=12, test=9)
    assert divide(prompts, SIZES, 42).splits["validation"] == divide(prompts, more_gold, 42).splits["validation"]


@settings(max_examples=60, deadline=None)
@given(
    train=st.integers(1, 60),
    test=st.integers(0, 30),
    sizes=st.tuples(*[st.integers(0, 40)] * 3),
    target=st.integers(1, 80),
    seed=st.integers(0, 5),
)
def test_no_prompt_is_ever_in_two_splits(train: int, test: int, sizes, target: int, seed: int) -> None:
    from align_data.rows import Prompt, Row

    prompts = []
    for origin, count in (("train", train), ("test", test)):
        for n in range(count):
            text = f"{origin} {n}"
            rows = tuple(Row(text, text, f"g{k}", "b", n % 5, -1.0) for k in range(1 + n % 3))
            prompts.append(Prompt(text, text, text, origin, rows, CATEGORIES[n % 3]))
    divided = divide(prompts, Sizes(target, 4, *sizes, test=9), seed)
    keys = {name: {prompt.key for prompt in members} for name, members in divided.splits.items()}
    assert tuple(keys) == SPLITS
    assert all(keys[one].isdisjoint(keys[other]) for one, other in combinations(SPLITS, 2))
    assert sum(map(len, keys.values())) + divided.unused == train + test
    assert sum(len(p.rows) for name in SPLITS[:-1] for p in divided.splits[name]) <= target
    cut = sum(len(divided.splits[name]) for name in ("validation", "calibration", "gold"))
    assert len(divided.splits["train"]) >= cut
