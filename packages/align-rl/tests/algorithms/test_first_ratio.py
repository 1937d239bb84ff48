import json

import pytest

from align_contracts.errors import DivergedError
from align_rl.algorithms.first_ratio import first_ratio


def test_the_largest_error_is_kept():
    found = first_ratio(first_ratio({}, 3e-5, 4e-5, 1e-4, 0), 1e-6, 5e-4, 1e-4, 1)
    assert found == {"first_ratio_error": 3e-5, "first_ratio_error_max": 5e-4, "ratio_tolerance": 1e-4}
    assert json.loads(json.dumps(found)) == found  # it is kept in a state's memory


def test_an_error_at_the_tolerance_is_rounding():
    assert first_ratio({}, 1e-4, 2e-3, 1e-4, 0)["first_ratio_error_max"] == 2e-3


@pytest.mark.parametrize("largest", [2.1e-3, float("inf"), float("nan")])
def test_one_wrong_token_does_not_hide_in_the_mean(largest):
    with pytest.raises(DivergedError, match=r"0.0001 in the mean, 0.002 at most"):
        first_ratio({}, 1e-5, largest, 1e-4, 0)


@pytest.mark.parametrize("error", [1.1e-4, float("inf"), float("nan")])
def test_another_ratio_ends_the_run(error):
    with pytest.raises(DivergedError, match="first minibatch of iteration 5") as caught:
        first_ratio({}, error, error, 1e-4, 4)
    assert caught.value.exit_code == 4
