"""The clipped surrogate, its ratios and its aggregations, token by token against the papers' equations."""

import mlx.core as mx
import numpy as np
import pytest

from align_rl.algorithms.grpo import group_advantages, silent_groups
from align_rl.algorithms.normalizer import ScoreNormalizer
from align_rl.algorithms.surrogate import clipped_surrogate, sequence_ratio, token_ratio, token_weights
from conformance.reference import finite_differences, grpo, ppo
from conformance.specimen import padded

LENGTHS, WIDTH = (3, 1, 8, 5), 8
MASK = padded([np.ones(n) for n in LENGTHS], WIDTH)
CLIP = (0.15, 0.3)


def drawn(seed, size=0.4):
    rng = np.random.default_rng(seed)
    return [(size * rng.normal(size=n)).astype(np.float32).astype(np.float64) for n in LENGTHS]


def test_clip_sides():
    """PPO and GRPO: asymmetric clip (clip-higher); ratios on both sides of both bounds, advantages of both signs."""
    ratios = np.array([0.5, 0.84, 0.86, 1.0, 1.29, 1.31, 2.0])
    ratio_BT, advantage_BT = (mx.array(a, mx.float32) for a in np.meshgrid(ratios, [-2.0, 0.0, 0.5]))
    found = clipped_surrogate(ratio_BT, advantage_BT, clip_low=CLIP[0], clip_high=CLIP[1])
    expected = [[-ppo.surrogate(r, a, *CLIP) for r in ratios] for a in (-2.0, 0.0, 0.5)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # The gradient stops exactly where the policy has gone far enough in the direction that pays.
    grad = mx.grad(lambda r: clipped_surrogate(r, advantage_BT, clip_low=CLIP[0], clip_high=CLIP[1]).sum())(ratio_BT)
    np.testing.assert_allclose(grad, [[0, 0, 2, 2, 2, 2, 2], [0] * 7, [-0.5] * 5 + [0] * 2], atol=1e-6)


def test_no_padding_in_the_exponent():
    """Line 3: mask inside exp(), so that padding gives ratio 1 and no gradient, however absurd its log-probs."""
    new, old = drawn(1), drawn(2)
    wide_BT = padded(new, WIDTH, 1e4)
    for ratio in (token_ratio, sequence_ratio):
        value, grad = mx.value_and_grad(lambda x, f=ratio: (f(x, padded(old, WIDTH, -1e4), MASK) * MASK).sum())(wide_BT)
        assert np.isfinite(value.item())
        assert np.isfinite(np.array(grad)).all()
        assert not np.array(grad)[np.array(MASK) == 0].any()
    found = token_ratio(wide_BT, padded(old, WIDTH, -1e4), MASK)
    np.testing.assert_allclose(
        found, padded([np.exp(a - b) for a, b in zip(new, old, strict=True)], WIDTH, 1.0), rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo", "gspo"])
@pytest.mark.parametrize("learns", [None, (True, False, True, True)])
def test_loss_of_every_type_and_its_gradient(kind, learns):
    """GRPO: aggregations with their names from the literature, same mask above and below; masked answers left out."""
    new, old, advantages = drawn(3), drawn(4), (0.7, -1.2, -0.4, 0.9)
    kept = np.array([learns is None or learns[i] for i in range(4)], np.float32)
    mask_BT = MASK * mx.array(kept)[:, None]
    advantages_BT = mx.array(advantages)[:, None] * mask_BT
    weights_BT = token_weights(mask_BT, kind, 12)

    def loss(new_BT):
        ratio = sequence_ratio if kind == "gspo" else token_ratio
        ratio_BT = ratio(new_BT, padded(old, WIDTH, -5.0), MASK)
        return (clipped_surrogate(ratio_BT, advantages_BT, clip_low=CLIP[0], clip_high=CLIP[1]) * weights_BT).sum()

    def exact(params):
        answers = [params[str(i)] for i in range(4)]
        return grpo.loss(answers, old, advantages, kind=kind, clip=CLIP, max_length=12, learns=learns)

    value, grad_BT = mx.value_and_grad(loss)(padded(new, WIDTH, 5.0))
    params = {str(i): answer for i, answer in enumerate(new)}
    assert value.item() == pytest.approx(exact(params), abs=1e-6)
    slopes = finite_differences.gradient(exact, params)
    np.testing.assert_allclose(grad_BT, padded([slopes[str(i)] for i in range(4)], WIDTH), rtol=0, atol=1e-6)
    ratios = np.exp(np.concatenate(new) - np.concatenate(old))
    assert ratios.min() < 1 - CLIP[0]
    assert ratios.max() > 1 + CLIP[1]


def test_the_types_differ():
    """GRPO: an option that does nothing is a defect: the four losses are four numbers."""
    new, old, advantages = drawn(3), drawn(4), (0.7, -1.2, -0.4, 0.9)
    kinds = ("grpo", "dapo", "dr_grpo", "gspo")
    losses = [grpo.loss(new, old, advantages, kind=k, clip=CLIP, max_length=12) for k in kinds]
    assert min(abs(a - b) for i, a in enumerate(losses) for b in losses[:i]) > 1e-3


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
def test_advantages_are_relative_to_the_own_group(scale):
    """GRPO: the mean over the K answers of the same prompt only; `scale_rewards` none, group or batch."""
    rewards = np.random.default_rng(5).normal(size=(4, 3)) * [[1.0], [3.0], [0.2], [1.0]] + [
        [0.0],
        [9.0],
        [-4.0],
        [2.0],
    ]
    rewards[3] = 0.1  # no variance: no gradient
    found = group_advantages(mx.array(rewards, mx.float32), scale)
    np.testing.assert_allclose(found, np.array(grpo.advantages(rewards, scale)), rtol=1e-4, atol=2e-6)
    assert found[3].tolist() == [0, 0, 0]
    assert silent_groups(mx.array(rewards, mx.float32)).item() == 1


def test_score_normaliser():
    """GRPO: `ScoreNormalizer` as specified: averages taken in first, then 3 + z within [1, 5]; it remembers."""
    reference, ours, clipped = grpo.ScoreNormalizer(0.8), ScoreNormalizer(alpha=0.8), 0
    for seed, spread in ((1, 0.5), (2, 4.0), (3, 1.0)):
        scores = np.random.default_rng(seed).normal(2.0, spread, (4, 3)).astype(np.float32)
        expected = reference(scores.astype(np.float64))
        ours = ours.update(mx.array(scores))
        np.testing.assert_allclose(ours.normalize(mx.array(scores)), expected, atol=1e-5)
        assert (ours.mean, ours.std) == pytest.approx((reference.mean, reference.std), rel=1e-6)
        clipped += ((expected == 1.0) | (expected == 5.0)).sum()
    assert clipped > 0
