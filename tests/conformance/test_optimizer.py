"""The optimizer step that all stages share: AdamW behind one joint gradient clip."""

import mlx.core as mx
import numpy as np
import pytest

from align_contracts.errors import DivergedError
from align_mlx.steps import add, scale
from align_mlx.train_state import TrainState, warmup
from conformance.reference.optimizer import AdamW, clip
from conformance.specimen import draw, float64

LIKE = {"actor.a": np.zeros((3, 4)), "actor.b": np.zeros(5), "critic.a": np.zeros((2, 2))}


@pytest.mark.parametrize("limit", [0.5, 1e6])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("rates", [{"": 0.01}, {"actor.": 0.01, "": 0.05}, {"actor.": 0.0, "": 0.02}])
def test_steps(limit, decay, rates):
    """PPO, study: gradients clipped by their joint norm, corrected moments, actor and critic at their own rates."""
    params = draw(LIKE, 1)
    state, reference, expected = TrainState.start(params, weight_decay=decay), AdamW(decay=decay), float64(params)
    each = {name: next(r for prefix, r in rates.items() if name.startswith(prefix)) for name in LIKE}
    for step in range(4):
        grads = draw(LIKE, 10 + step, size=[3.0, 0.1, 30.0, 1.0][step])
        norm = state.update(grads, rates if len(rates) > 1 else rates[""], limit)
        exact = {k: g if each[k] else 0 * g for k, g in float64(grads).items()}  # what waits has no part in the norm
        assert norm == pytest.approx(np.sqrt(sum((g**2).sum() for g in exact.values())), rel=1e-6)
        expected = reference.step(expected, clip(exact, limit), each)
    for name, value in expected.items():
        np.testing.assert_allclose(state.params[name], value, rtol=0, atol=1e-5, err_msg=name)


def test_nothing_not_finite_is_kept():
    """Liveness and promises: a gradient that is not finite changes nothing and stops the run."""
    state = TrainState.start(draw(LIKE, 1))
    before = float64(state.params)
    with pytest.raises(DivergedError):
        state.update({**draw(LIKE, 2), "actor.b": mx.full((5,), float("nan"))}, 0.1, 1.0)
    for name, value in before.items():
        np.testing.assert_array_equal(state.params[name], value)


def test_warmup_of_rl():
    """RL: the rate rises linearly over the first iterations; none means at once."""
    assert [warmup(2.0, 4)(i) for i in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert warmup(2.0, 0)(0) == 2.0


def test_sums_of_micro_batches():
    """SFT and RM: gradients add up and are divided once: a mean of sums, not of means."""
    one, other = draw(LIKE, 3), draw(LIKE, 4)
    total = scale(add(add(None, one), other), 0.25)
    for name in LIKE:
        np.testing.assert_allclose(total[name], (float64(one)[name] + float64(other)[name]) / 4, rtol=1e-5, atol=1e-6)
