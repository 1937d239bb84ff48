import mlx.core as mx
import numpy as np
import pytest

from align_mlx import batching
from align_mlx.batching import bucket, by_length, gather, pad, padded_size
from align_mlx.chat import Tokens


@pytest.fixture(autouse=True)
def sixteens(monkeypatch):
    """The sizes in this file are those of a GPU, whose buckets are 16 tokens wide."""
    monkeypatch.setattr(batching, "backend", lambda: "cuda")


@pytest.mark.parametrize(("length", "expected"), [(0, 16), (1, 16), (16, 16), (17, 32), (32, 32), (33, 48)])
def test_bucket_rounds_up_to_sixteens_on_gpus(length, expected, monkeypatch):
    assert bucket(length) == expected
    monkeypatch.setattr(batching, "backend", lambda: "metal")
    assert bucket(length) == expected


@pytest.mark.parametrize(("length", "expected"), [(0, 4), (1, 4), (4, 4), (5, 8), (16, 16), (17, 20)])
def test_bucket_rounds_up_to_fours_on_a_cpu(length, expected, monkeypatch):
    monkeypatch.setattr(batching, "backend", lambda: "cpu")
    assert bucket(length) == expected


def test_a_bucket_of_its_own_is_that_wide_everywhere():
    assert [bucket(length, 64) for length in (1, 64, 65)] == [64, 64, 128]


def test_pad_places_every_token_position_and_target():
    batch = pad([Tokens((1, 2, 3), (5, 6)), Tokens((4,), (7, 8, 9))], pad_token=63)
    tokens = np.full((2, 16), 63)
    tokens[0, :5], tokens[1, :4] = [1, 2, 3, 5, 6], [4, 7, 8, 9]
    np.testing.assert_array_equal(batch.tokens_BL, tokens)
    np.testing.assert_array_equal(batch.starts_B, [3, 1])
    np.testing.assert_array_equal(batch.lengths_B, [2, 3])
    mask = np.zeros((2, 16))
    mask[0, :2], mask[1, :3] = 1, 1
    np.testing.assert_array_equal(batch.mask_BT, mask)
    # Response token t of row 0 stands at index 3 + t and is predicted by the state before it, 2 + t; row 1: 0 + t.
    # One position more than tokens: the state that has read the last. Clamped to the sequence's 16 places.
    np.testing.assert_array_equal(batch.positions_BS[0], [*range(2, 16), 15, 15, 15])
    np.testing.assert_array_equal(batch.positions_BS[1], [*range(16), 15])
    np.testing.assert_array_equal(batch.targets_BT[0, :2], [5, 6])
    np.testing.assert_array_equal(batch.targets_BT[1, :3], [7, 8, 9])


def test_targets_are_the_responses_for_any_lengths(rows):
    batch = pad(rows)
    targets, mask = np.array(batch.targets_BT), np.array(batch.mask_BT)
    for i, row in enumerate(rows):
        assert targets[i, : len(row.response)].tolist() == list(row.response)
        assert mask[i].sum() == mask[i, : len(row.response)].sum() == len(row.response)
    assert targets.min() >= 0
    assert targets.max() < 64


def test_widths_come_from_few_buckets(rows):
    batch = pad(rows)  # longest row: 25 + 25 = 50 tokens, longest response: 40
    assert batch.tokens_BL.shape == (12, 64)
    assert batch.mask_BT.shape == (12, 48)


def test_gather_picks_rows_of_the_middle_axis():
    values = np.arange(2 * 3 * 2).reshape(2, 3, 2)
    found = gather(mx.array(values), mx.array([[2, 0], [1, 1]]))
    np.testing.assert_array_equal(found, [[[4, 5], [0, 1]], [[8, 9], [8, 9]]])


@pytest.mark.parametrize("budget", [1, 48, 64, 100, 10_000])
def test_by_length_is_a_partition_within_the_budget(rows, budget):
    groups = list(by_length(rows, budget))
    assert sorted(i for g in groups for i in g) == list(range(len(rows)))
    for group in groups:
        padded = max(-(-len(rows[i]) // 16) * 16 for i in group) * len(group)
        assert padded <= budget or len(group) == 1
    lengths = [len(rows[i]) for g in groups for i in g]
    assert lengths == sorted(lengths)


def families(*members):
    """Rows of (prompt length, answer length, …): one prompt with these answers each, dealt out in turns."""
    made = [[Tokens((p + 1,) * p, (9,) * n) for n in answers] for p, *answers in members]
    longest = max(map(len, made))
    return [family[i] for i in range(longest) for family in made if i < len(family)]


def test_padded_size_by_hand():
    # 40-token prompt: 48, answers of 3 and 20 tokens: 32 each; read whole they are 2 · 64.
    assert padded_size(families((40, 3, 20))) == 48 + 2 * 32
    assert padded_size(families((40, 3))) == 48  # 43 tokens, whole
    # Two prompts, three answers: 2 · 48 + 3 · 32 = 192 = 3 · 64.
    assert padded_size(families((40, 3, 20), (33, 5))) == 192
    # Another prompt each: nothing to share.
    assert padded_size(families((40, 3), (33, 20))) == 2 * 64


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (10_000, [[8, 20, 40]]),
        # Alone the families are 3 · 16 = 48 (read whole), 32 + 3 · 16 = 80 and 48 + 3 · 16 = 96; two are above 112.
        (112, [[8], [20], [40]]),
        # The last is above 95 and is split: two of its rows are 48 + 2 · 16 = 80.
        (95, [[8], [20], [40], [40]]),
    ],
)
def test_by_length_keeps_answers_to_a_prompt_together(budget, expected):
    rows = families((40, 1, 2, 3), (8, 1, 2, 3), (20, 1, 2, 3))
    groups = list(by_length(rows, budget))
    assert sorted(i for group in groups for i in group) == list(range(9))
    assert [sorted({len(rows[i].prompt) for i in group}) for group in groups] == expected
    assert all(padded_size([rows[i] for i in group]) <= budget for group in groups)


@pytest.mark.parametrize("budget", [1, 64, 100, 150, 200, 300, 500])
def test_by_length_splits_a_family_only_if_it_alone_exceeds_the_budget(budget):
    rng = np.random.default_rng(4)
    rows = families(*([p, *rng.integers(1, 40, 4).tolist()] for p in (3, 60, 11, 25, 90, 41)))
    groups = list(by_length(rows, budget))
    assert sorted(i for group in groups for i in group) == list(range(len(rows)))
    for group in groups:
        assert len(group) == 1 or padded_size([rows[i] for i in group]) <= budget
    for prompt in {row.prompt for row in rows}:
        family = [i for i, row in enumerate(rows) if row.prompt == prompt]
        homes = [group for group in groups if set(group) & set(family)]
        assert (len(homes) > 1) == (padded_size([rows[i] for i in family]) > budget)


def test_by_length_of_nothing():
    assert list(by_length([], 100)) == []
