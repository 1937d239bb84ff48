import pytest

from align_rl.algorithms.controller import Control, control, phased_target


def test_phases_are_thirds():
    # 800 iterations, three targets: 800 / 3 = 266.7, so phases begin at 0, 267 and 534 (2·800/3 = 533.3).
    targets = [phased_target((0.05, 0.02, 0.01), i, 800) for i in range(800)]
    assert targets == [0.05] * 267 + [0.02] * 267 + [0.01] * 266


def test_few_iterations_and_one_target():
    assert [phased_target((3, 2, 1), i, 3) for i in range(3)] == [3, 2, 1]
    assert [phased_target((3, 2, 1), i, 2) for i in range(2)] == [3, 2]
    assert {phased_target((0.1,), i, 10) for i in range(10)} == {0.1}
    assert phased_target((3, 2, 1), 10, 10) == 1


def test_lr_falls_above_the_target_and_recovers_below():
    state = Control()
    scales = []
    for kl in (0.2, 0.2, 0.05, 0.05, 0.05):
        state = control("lr", state, kl, 0.1)
        scales.append(state.lr_scale)
    # 1/1.5, 1/2.25, back to 1/1.5, to 1, never above 1.
    assert scales == pytest.approx([1 / 1.5, 1 / 2.25, 1 / 1.5, 1.0, 1.0])
    assert state.actions == 2


def test_lr_has_a_floor():
    state = Control()
    for _ in range(30):
        state = control("lr", state, 1.0, 0.1)
    assert state.lr_scale == 0.01
    assert state.actions == 30


def test_stop():
    stopped = control("stop", Control(actions=4), 0.2, 0.1)
    assert (stopped.stop, stopped.actions) == (True, 5)
    assert control("stop", stopped, 0.1, 0.1) == Control(stop=False, actions=5)


def test_pullback_shrinks_by_the_root():
    # KL 0.16 over a target of 0.1: √(0.1 / 0.16) = 0.7906; far above, never less than a half.
    assert control("pullback", Control(), 0.16, 0.1).shrink == pytest.approx(0.790569)
    assert control("pullback", Control(), 100.0, 0.1).shrink == 0.5
    assert control("pullback", Control(actions=1), 0.05, 0.1) == Control(actions=1)
    assert control("pullback", Control(actions=1), 0.0, 0.1) == Control(actions=1)


def test_reward_penalty_adapts_as_ziegler_does():
    # Error clipped to ±0.2, coefficient times 1 + 0.1·error (arXiv 1909.08593, section 2.2).
    start = Control(kl_coef=0.05)
    assert control("reward_penalty", start, 0.11, 0.1).kl_coef == pytest.approx(0.05 * 1.01)
    assert control("reward_penalty", start, 9.0, 0.1).kl_coef == pytest.approx(0.05 * 1.02)
    assert control("reward_penalty", start, 0.0, 0.1).kl_coef == pytest.approx(0.05 * 0.98)
    assert control("reward_penalty", start, 9.0, 0.1).actions == 1
    assert control("reward_penalty", start, 0.0, 0.1).actions == 0


def test_none_does_nothing():
    assert control("none", Control(actions=3), 9.0, 0.1) == Control(actions=3)
