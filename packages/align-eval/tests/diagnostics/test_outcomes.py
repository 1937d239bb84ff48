import pytest

from align_eval.diagnostics.outcomes import inflation

RUN = {"label": "ppo-1", "method": "ppo", "reward_gain": 0.5, "win_rate_decided": 0.6}


@pytest.mark.parametrize(
    ("gain", "wins", "expected"),
    [
        ([0.1, 0.9], [0.55, 0.65], (True, True, False)),
        ([0.1, 0.9], [0.49, 0.65], (True, False, True)),
        ([-0.1, 0.9], [0.49, 0.65], (False, False, False)),
        (None, [0.55, 0.65], (False, True, False)),
        ([0.1, 0.9], None, (True, False, True)),
    ],
)
def test_reward_up_and_wins_flat_is_inflation(gain, wins, expected):
    (row,) = inflation([{**RUN, "reward_gain_interval": gain, "wilson": wins}])["runs"]
    assert (row["reward_up"], row["wins_up"], row["inflated"]) == expected
