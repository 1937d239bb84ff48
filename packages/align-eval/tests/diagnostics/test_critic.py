from types import SimpleNamespace

import pytest
from made_runs import checkpoint, trajectory

from align_eval.diagnostics.critic import critic, quality


def test_a_perfect_critic_explains_everything():
    """γ = ½: the reward 8 at the third token is worth 2, 4, 8 before each of the three."""
    found = quality([[2.0, 4.0, 8.0], [1.0, 2.0]], [8.0, 2.0], 0.5)
    assert found == {"explained_variance": 1.0, "first_token_correlation": pytest.approx(1.0), "bias": 0.0}


def test_a_constant_critic_explains_nothing_and_its_bias_shows():
    found = quality([[3.0, 3.0], [3.0, 3.0]], [1.0, 2.0], 1.0)
    assert found["explained_variance"] == pytest.approx(0.0)
    assert found["first_token_correlation"] is None
    assert found["bias"] == pytest.approx(1.5)  # 3 − 1 and 3 − 2


def test_by_hand():
    """G = (1, 3), V = (0, 1): residuals 1, 2 with variance ¼ against Var G = 1."""
    assert quality([[0.0], [1.0]], [1.0, 3.0], 0.9)["explained_variance"] == pytest.approx(0.75)


def test_points_use_the_critics_scale():
    """Raw rewards 5 and 9 under mean 3, sd 2 are 1 and 3; the cut answer loses the penalty of 1."""
    calibration = SimpleNamespace(mean=3.0, std=2.0)
    rm = SimpleNamespace(details=SimpleNamespace(calibration=calibration))
    config = {"gae_gamma": 1.0, "truncation_penalty": 1.0}
    rows = [
        {"values": [0.0], "reward": 5.0, "truncated": False},
        {"values": [2.0], "reward": 9.0, "truncated": True},
    ]
    run = trajectory(
        "ppo-1", checkpoint(10, rows=rows), log=[{"iteration": 1, "explained_variance": 0.3}],
        manifest=SimpleNamespace(config=config), input=lambda role: rm,
    )  # fmt: skip
    found = critic([run])
    assert found["reason"] is None
    assert found["training"]["mean"] == [0.3]
    ((point,),) = (row["points"] for row in found["runs"])
    assert point["bias"] == pytest.approx(((0 - 1) + (2 - 2)) / 2)
    assert point["explained_variance"] == pytest.approx(0.0)  # residuals 1 and 0 vary as much as the returns 1 and 2


def test_grpo_has_no_critic():
    found = critic([trajectory("grpo-1", checkpoint(10), log=[{"iteration": 1}])])
    assert found == {"reason": "no run has a critic", "training": None, "runs": []}
