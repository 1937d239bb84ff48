"""KL: estimators, what the controller reads, and what it does."""

import mlx.core as mx
import numpy as np
import pytest

from align_contracts.selection import Point, better
from align_mlx.rollout import Draw, Prompt
from align_mlx.softmax import BLOCKS, Blocks, kl_divergence
from align_mlx.train_state import TrainState
from align_rl.algorithms.controller import Control, control, phased_target
from align_rl.algorithms.kl import k1, k3
from align_rl.config import GRPOConfig
from align_rl.measures import rollout_facts
from align_rl.methods.actor import pull_back
from align_rl.rollout import collect
from conformance.methods import NOWHERE, make_scene, make_scorer, token_distributions
from conformance.reference import kl, logprobs
from conformance.specimen import as_lora, draw_rows, float64, identity, specimen

ASKED = draw_rows(1, [30, 9, 1], [1, 1, 1])


def test_estimators():
    """KL: k1 = log π − log π_ref, k3 = exp(ref − θ) − (ref − θ) − 1 ≥ 0."""
    logp, logq = (np.random.default_rng(i).normal(-2, 1, (3, 5)).astype(np.float32) for i in (1, 2))
    for ours, exact in ((k1, kl.k1), (k3, kl.k3)):
        expected = exact(logp.astype(np.float64), logq.astype(np.float64))
        np.testing.assert_allclose(ours(mx.array(logp), mx.array(logq)), expected, rtol=1e-5, atol=1e-6)
    assert mx.all(k3(mx.array(logp), mx.array(logq)) >= 0).item()


def test_exact_divergence():
    """KL and merge: Σ p log(p / q) over the vocabulary, in this direction."""
    p, q = (np.random.default_rng(i).normal(0, 2, (4, 30)).astype(np.float32) for i in (3, 4))
    forward, backward = (
        kl.exact(logprobs.log_softmax(a.astype(np.float64)), logprobs.log_softmax(b.astype(np.float64)))
        for a, b in ((p, q), (q, p))
    )
    head = identity(30)
    for blocks in (BLOCKS, Blocks(3, 7)):
        found = kl_divergence(head, mx.array(p), head, mx.array(q), blocks=blocks)
        np.testing.assert_allclose(found, forward, rtol=1e-5)
    assert np.abs(forward - backward).max() > 0.1


@pytest.mark.parametrize("budget", [64, 16384])
@pytest.mark.parametrize("estimator", ["k3", "exact"])
def test_what_the_controller_reads(estimator, budget):
    """KL: k3 of the sampled tokens, or the exact one of their distributions; its mean over the rollout's tokens."""
    model, config = (
        specimen("gemma"),
        GRPOConfig(**NOWHERE, K=3, max_response_length=9, temperature=0.7, token_budget=budget, kl_estimator=estimator),
    )
    actor, prompts = model.adapter(2, size=0.3), [Prompt(row.prompt, i) for i, row in enumerate(ASKED)]
    rollout = collect(model.resident, actor, make_scorer(model, 4), prompts, config, draw=Draw(5), answers=3)
    both = [token_distributions(model, rollout.rows, loras, 0.7) for loras in ([as_lora(actor)], [])]
    p, q = (
        np.concatenate([logprobs.of_response(d, row.response) for d, row in zip(each, rollout.rows, strict=True)])
        for each in both
    )
    means = {"k3": kl.k3(p, q).mean(), "exact": np.concatenate(list(map(kl.exact, *both))).mean()}
    facts = rollout_facts(rollout)
    assert facts["kl"] == pytest.approx(means[estimator], rel=1e-4)
    assert facts["kl_k3"] == pytest.approx(means["k3"], rel=1e-4)
    assert facts["kl_k1"] == pytest.approx(kl.k1(p, q).mean(), rel=1e-4)
    assert abs(means["k3"] / means["exact"] - 1) > 0.01


def test_facts_of_a_rollout():
    """KL: estimates are averaged over real tokens alone; reward, lengths and truncation as they are."""
    model = specimen("gemma")
    scene = make_scene(model, float64(model.adapter(1).params), [2, 5, 9], [3, 8, 1])
    facts = rollout_facts(scene.rollout)
    p, q = np.concatenate(scene.old), np.concatenate(scene.ref)
    assert facts["kl"] == pytest.approx(kl.k3(p, q).mean(), rel=1e-5)
    assert facts["kl_k3"] == pytest.approx(kl.k3(p, q).mean(), rel=1e-5)
    assert facts["kl_k1"] == pytest.approx(kl.k1(p, q).mean(), abs=1e-6)
    assert facts["response_length_mean"] == 4.0
    assert facts["truncated_rate"] == pytest.approx(1 / 3)
    assert (facts["reward_mean"], facts["reward_std"]) == pytest.approx((scene.scores.mean(), scene.scores.std()))


def test_targets_go_by_thirds():
    """KL: phased target by progress thirds: 9 iterations, three each; `constant` keeps the first."""
    config = GRPOConfig(**NOWHERE, target_kl=(0.05, 0.02, 0.01))
    assert [phased_target(config.targets, i, 9) for i in range(9)] == [0.05] * 3 + [0.02] * 3 + [0.01] * 3
    constant = GRPOConfig(**NOWHERE, target_kl=(0.05, 0.02, 0.01), kl_schedule="constant")
    assert [phased_target(constant.targets, i, 9) for i in (0, 8)] == [0.05, 0.05]


def test_modes():
    """KL: modes lr, stop, pullback, reward_penalty; each action counted."""
    above, below = 0.4, 0.1
    slow = control("lr", Control(lr_scale=0.6), above, 0.2, factor=1.5)
    assert (slow.lr_scale, slow.actions) == (pytest.approx(0.4), 1)  # 0.6 / 1.5
    assert control("lr", slow, below, 0.2, factor=1.5).lr_scale == pytest.approx(0.6)
    assert control("lr", Control(lr_scale=0.9), below, 0.2).lr_scale == 1.0
    assert control("stop", Control(), above, 0.2).stop
    assert not control("stop", Control(stop=True), below, 0.2).stop
    # KL grows with the square of the adapter: √(0.2 / 0.4).
    assert control("pullback", Control(), above, 0.2).shrink == pytest.approx(0.5**0.5)
    assert control("pullback", Control(), below, 0.2).shrink == 1.0
    # Ziegler et al., section 2.2: K (1 + 0.1 clip(KL / target − 1, ±0.2)).
    for measured, factor in ((0.4, 1.02), (0.22, 1.01), (0.18, 0.99), (0.1, 0.98)):
        found = control("reward_penalty", Control(kl_coef=0.5), measured, 0.2)
        assert found.kl_coef == pytest.approx(0.5 * factor)
    for mode in ("stop", "pullback", "reward_penalty", "lr"):
        assert control(mode, Control(actions=3), above, 0.2).actions == 4
        assert control(mode, Control(actions=3), below, 0.2).actions == 3
    assert control("none", Control(), above, 0.2) == Control()


def test_pulling_back_scales_the_actors_product_alone():
    """KL: pullback scales A B of the policy adapter by c, and nothing of the critic."""
    names = ("actor.x.lora_a", "actor.x.lora_b", "critic.x.lora_b", "head.weight")
    params = {name: mx.array([[2.0]]) for name in names}
    state = TrainState.start(params)
    pull_back(state, 0.25)
    assert {k: v.item() for k, v in state.params.items()} == dict(zip(names, (2.0, 0.5, 2.0, 2.0), strict=True))


def test_the_checkpoint_rule():
    """Study: the KL gate first; then the lower perplexity or the higher reward, and the lower KL where none passes."""

    def point(kl, perplexity, reward):
        return Point(1, kl, perplexity, reward, target_kl=0.1)

    inside, finer, richer = point(0.05, 3.0, 1.0), point(0.09, 2.0, 0.5), point(0.08, 4.0, 2.0)
    outside, further = point(0.1, 1.0, 9.0), point(0.3, 0.5, 99.0)
    best = {
        "perplexity": (finer, [inside, finer, richer, outside, further]),
        "reward": (richer, [inside, finer, richer, outside, further]),
    }
    for rule, (expected, points) in best.items():
        for order in (points, points[::-1]):
            kept = None
            for candidate in order:
                kept = candidate if better(rule, candidate, kept) else kept
            assert kept == expected
    assert better("reward", outside, further)
    assert not better("reward", further, outside)
