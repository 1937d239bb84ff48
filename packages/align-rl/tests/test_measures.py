import time

import mlx.core as mx
import numpy as np
import pytest

from align_mlx.batching import pad
from align_mlx.chat import Tokens
from align_mlx.rollout import Answer
from align_rl.measures import Clock, rollout_facts
from align_rl.rollout import Rollout


def test_facts_of_two_answers_by_hand():
    # Three tokens in all: log p − log q = 1, −1 and 0. k1: 0; k3: e⁻¹ + 0, e − 2, 0, over 3 tokens. The controller's
    # own estimate is another: (0.3 + 0.6 + 0.6) / 3.
    answers = [Answer(Tokens((1,), (9, 5)), False), Answer(Tokens((1, 2), (9,)), True)]
    batch = pad([a.tokens for a in answers])
    logp, ref, kl = (np.zeros(batch.mask_BT.shape, np.float32) for _ in range(3))
    logp[:, :2], ref[:, :2] = [[-1, -2], [-1, 0]], [[-2, -1], [-1, 0]]
    kl[:, :2] = [[0.3, 0.6], [0.6, 0.0]]
    rollout = Rollout(np.array([0, 1]), answers, batch, *map(mx.array, (logp, ref, kl)), np.array([2.0, 5.0]))
    facts = rollout_facts(rollout)
    assert facts["kl_k1"] == pytest.approx(0.0, abs=1e-7)
    assert facts["kl_k3"] == pytest.approx((np.exp(-1) + np.e - 2) / 3, rel=1e-5)
    assert facts["kl"] == pytest.approx(0.5)
    assert (facts["reward_mean"], facts["reward_std"]) == (3.5, 1.5)
    assert (facts["response_length_mean"], facts["response_tokens"], facts["responses"]) == (1.5, 3, 2)
    assert facts["truncated_rate"] == 0.5


def test_the_clock_adds_up_phases():
    clock = Clock()
    for _ in range(2):
        with clock.phase("rollout"):
            time.sleep(0.01)
    with clock.phase("update"):
        pass
    facts = clock.facts()
    assert 0.02 <= facts["phases"]["rollout"] <= facts["seconds"]
    assert facts["phases"]["update"] < 0.01
    assert facts["peak_memory_bytes"] >= facts["active_memory_bytes"] > 0
