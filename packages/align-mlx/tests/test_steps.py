"""Rows, learning rates and accumulation of a step."""

import math

import mlx.core as mx
import pytest

from align_mlx import steps


def test_number_of_steps():
    # 10 rows in batches of 4 are 3 batches an epoch
    assert steps.steps_of(10, 4, 2) == 6
    assert steps.steps_of(10, 4, 2, max_steps=5) == 5
    assert steps.steps_of(10, 4, 2, max_steps=50) == 6


def test_an_epoch_has_every_row_once_in_its_own_order():
    epochs = [[row for step in range(3 * e, 3 * e + 3) for row in steps.rows_of(step, 10, 4, 7)] for e in range(2)]
    assert all(sorted(order) == list(range(10)) for order in epochs)
    assert epochs[0] != epochs[1]
    assert [len(steps.rows_of(step, 10, 4, 7)) for step in range(3)] == [4, 4, 2]
    assert steps.rows_of(4, 10, 4, 7) == steps.rows_of(4, 10, 4, 7)
    assert steps.rows_of(0, 10, 4, 7) != steps.rows_of(0, 10, 4, 8)


def test_learning_rate_by_hand():
    def rate(step, schedule):
        return steps.learning_rate(8.0, step, 4, 8, schedule)

    # warm-up: 8 · 1/4, 8 · 2/4, …, 8; then constant
    assert [rate(s, "constant") for s in range(6)] == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0]
    # cosine over the 4 steps after it, at progress 1/4, 2/4, 3/4, 1: 8 · (0.1 + 0.45 · (1 + cos(π p)))
    expected = [8 * (0.1 + 0.45 * (1 + math.cos(math.pi * p))) for p in (0.25, 0.5, 0.75, 1.0)]
    assert [rate(s, "cosine") for s in range(4, 8)] == pytest.approx(expected)
    assert rate(7, "cosine") == pytest.approx(0.8)
    assert steps.learning_rate(8.0, 0, 0, 8, "constant") == 8.0


def test_accumulation():
    total = steps.add(None, {"a": mx.array([1.0, 2.0])})
    total = steps.add(total, {"a": mx.array([3.0, 5.0])})
    assert steps.scale(total, 0.5)["a"].tolist() == [2.0, 3.5]
