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
    assert len(divided.notes) == 1
    assert "0 creative prompts instead of 3" in divided.notes[0]


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
    assert len(divided.notes) == 1
    assert "validation 6 → 3, calibration 4 → 2, gold 8 → 4, test 9 → 3" in divided.notes[0]


def test_a_rare_category_is_not_taken_from_training_altogether(make_prompt) -> None:
    prompts = [make_prompt(f"f{n}") for n in range(80)] + [make_prompt(f"c{n}", category="creative") for n in range(4)]
    divided = divide(prompts, SIZES, 42)
    assert categories_of(divided.splits["test"]) == {"factual": 3, "creative": 2}  # half of 4
    assert any("0 instruction" in note for note in divided.notes)
    assert any("2 creative prompts instead of 3" in note for note in divided.notes)


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
