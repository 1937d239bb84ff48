import mlx.core as mx
import numpy as np
import pytest

from align_mlx.batching import bucket, by_length, gather, pad
from align_mlx.chat import Tokens


@pytest.mark.parametrize(("length", "expected"), [(0, 16), (1, 16), (16, 16), (17, 32), (32, 32), (33, 48)])
def test_bucket_rounds_up_to_sixteens(length, expected):
    assert bucket(length) == expected


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
    np.testing.assert_array_equal(batch.positions_BT[0], [*range(2, 16), 15, 15])
    np.testing.assert_array_equal(batch.positions_BT[1], range(16))
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


def test_by_length_of_nothing():
    assert list(by_length([], 100)) == []
