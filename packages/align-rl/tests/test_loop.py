import json
from collections import Counter
from dataclasses import replace
from functools import partial

import mlx.core as mx
import numpy as np
import pytest

from align_contracts.errors import DivergedError
from align_mlx import batching, liveness
from align_mlx.batching import pad
from align_mlx.liveness import Liveness
from align_mlx.rollout import Prompt
from align_mlx.train_state import TrainState
from align_rl.loop import (
    accumulate,
    mean_of,
    minibatches,
    penalty_start,
    prompt_order,
    rates,
    teaches,
    train,
    update,
)
from align_rl.methods.actor import surrogate
from align_rl.rollout import collect
from tiny.losses import whole_loss

METHODS = ["ppo", "grpo"]


@pytest.mark.parametrize(("batch", "count"), [(4, 10), (3, 9), (16, 5), (1, 3)])
def test_every_pass_covers_each_prompt_once(batch, count):
    iterations = 3 * count
    order = [p for i in range(iterations) for p in prompt_order(7, i, batch, count)]
    assert len(order) == iterations * batch
    passes = [order[s : s + count] for s in range(0, len(order), count)]
    assert all(sorted(p) == list(range(count)) for p in passes if len(p) == count)
    assert passes[0] != passes[1] or count < 3


def test_prompt_order_depends_on_the_seed():
    assert prompt_order(1, 0, 8, 50) == prompt_order(1, 0, 8, 50)
    assert prompt_order(1, 0, 8, 50) != prompt_order(2, 0, 8, 50)


@pytest.mark.parametrize(("method", "rows"), [("grpo", 3), ("ppo", 1)])
def test_minibatches_are_split_by_prompt(configure, start, method, rows):
    # settings divide evenly; what is left of a rollout need not
    config = configure(method, batch_size=5, minibatches=1).model_copy(update={"minibatches": 2})
    _, _, rollout = start(config)
    for epoch in (0, 1):
        parts = list(minibatches(rollout, config, iteration=3, epoch=epoch))
        assert sorted(len(p) for p in parts) == [2 * rows, 3 * rows]
        assert sorted(np.concatenate(parts).tolist()) == list(range(5 * rows))
        for part in parts:
            prompts, counts = np.unique(rollout.prompts[part], return_counts=True)
            assert set(counts) == {rows}
            assert len(prompts) * rows == len(part)


def test_no_minibatch_is_empty(configure, start):
    config = configure("ppo", batch_size=2).model_copy(update={"minibatches": 4})
    _, _, rollout = start(config)
    assert [len(p) for p in minibatches(rollout, config, 0, 0)] == [1, 1]


def test_minibatches_are_shuffled_anew(configure, start):
    config = configure("ppo", batch_size=9, minibatches=3)
    _, _, rollout = start(config)
    seen = {
        tuple(map(tuple, minibatches(rollout, config, iteration, epoch)))
        for iteration in range(3)
        for epoch in range(2)
    }
    assert len(seen) == 6


def test_rates(configure):
    assert rates(configure("grpo"), 0, 0.3) == {"actor.": 0.3, "": 0.3}
    ppo = configure("ppo", critic_learning_rate=0.1, critic_warmup=2)
    assert rates(ppo, 1, 0.3) == {"actor.": 0.0, "": 0.1}
    assert rates(ppo, 2, 0.3) == {"actor.": 0.3, "": 0.1}
    warm = configure("ppo", critic_learning_rate=0.1, warmup_iterations=4)
    assert [rates(warm, i, 0.3)[""] for i in (0, 1, 3, 9)] == pytest.approx([0.025, 0.05, 0.1, 0.1])
    assert rates(configure("ppo", value_coef=0.0), 0, 0.3) == {"actor.": 0.3, "": 0.0}  # no loss, no rate
    assert rates(configure("ppo", control="null", critic_learning_rate=0.1), 0, 0.3) == {"": 0.0}


def test_penalty_start(configure):
    assert penalty_start(configure("ppo", kl_coef=0.07)) == 0.0
    assert penalty_start(configure("ppo", kl_coef=0.07, controller="reward_penalty")) == 0.07


def test_mean_of_steps():
    steps = [
        {"loss": 1.0, "ratio_error": 1e-6, "ratio_error_max": 2e-6},
        {"loss": 2.0, "ratio_error": 0.5, "ratio_error_max": 0.7},
    ]
    assert mean_of(steps) == {"loss": 1.5, "first_ratio_error": 1e-6, "first_ratio_error_max": 2e-6}
    assert mean_of([]) == {}


@pytest.mark.parametrize(
    ("method", "settings"),
    [("ppo", {}), ("grpo", {}), ("grpo", {"loss_type": "dapo"}), ("grpo", {"loss_type": "gspo"})],
)
def test_micro_batches_do_not_change_the_gradient(configure, start, method, settings):
    config = configure(method, **settings)
    model, state, rollout = start(config)
    experience = model.experience(rollout, state.params, 0.0)
    index = range(len(rollout.answers))
    found = {}
    for budget in (64, 100, 16384):
        parts = config.model_copy(update={"token_budget": budget})
        found[budget] = accumulate(state.params, experience, index, model, parts)
    whole, facts = found[16384]
    scale = max(mx.abs(g).max().item() for g in whole.values())
    assert scale > 1e-3
    for budget in (64, 100):
        grads, other = found[budget]
        for name, g in whole.items():
            np.testing.assert_allclose(grads[name], g, atol=2e-5 * scale)
        assert other == pytest.approx(facts, abs=1e-5)


@pytest.mark.parametrize(("budget", "cut"), [(16, True), (100, True), (160, False), (384, False), (16384, False)])
@pytest.mark.parametrize("loss_type", ["dapo", "gspo"])
def test_shared_prompts_change_no_gradient(configure, start, monkeypatch, loss_type, budget, cut):
    """Four prompts of 10 to 14 tokens with three answers of 1 to 40 each, so at most 16 + 3 · 48 = 160 padded tokens.

    Smaller budgets cut the answers to a prompt apart. The gradient is that of all rows at once, each read whole.
    """
    config = configure("grpo", loss_type=loss_type, max_seq_length=60, max_response_length=40)
    model, state, rollout = start(config)
    state.params = {k: 1.1 * v for k, v in state.params.items()}  # so that no ratio is 1
    experience = model.experience(rollout, state.params, 0.0)
    apart = replace(experience, batch=pad(experience.rows, share=False))
    (loss, _), expected = mx.value_and_grad(partial(whole_loss, model))(state.params, apart, model.weights(apart))
    parts, real = [], model.loss

    def recorded(params, part, weights_BT):
        parts.append(part)
        return real(params, part, weights_BT)

    monkeypatch.setattr(model, "loss", recorded)
    config = config.model_copy(update={"token_budget": budget})
    grads, facts = accumulate(state.params, experience, range(12), model, config)
    assert facts["loss"] == pytest.approx(loss.item(), abs=1e-6)
    scale = max(mx.abs(g).max().item() for g in expected.values())
    assert scale > 1e-3
    for name, grad in expected.items():
        np.testing.assert_allclose(grads[name], grad, atol=2e-5 * scale)
    together = [n for part in parts for n in Counter(row.prompt for row in part.rows).values()]
    assert sum(together) == 12
    assert (min(together) < 3) == cut
    assert any(part.batch.prompts_PL is not None for part in parts) == (budget > 16)


@pytest.mark.parametrize("budget", [64, 128])
def test_no_micro_batch_exceeds_the_token_budget(configure, start, monkeypatch, budget):
    # Prompts of 10–14 tokens and answers of 1–40: rows of 16 to 64 tokens in one rollout, padded as on a GPU.
    monkeypatch.setattr(batching, "backend", lambda: "cuda")
    config = configure("grpo", token_budget=budget, max_seq_length=60, max_response_length=40)
    model, state, rollout = start(config)
    experience = model.experience(rollout, state.params, 0.0)
    shapes, sizes = [], []

    def loss(params, part, weights_BT):
        shapes.append(part.batch.tokens_BL.shape)
        shared, mask_BT = part.batch.prompts_PL, part.batch.mask_BT
        sizes.append(part.batch.tokens_BL.size if shared is None else shared.size + mask_BT.size)
        assert part.advantages_BT.shape == part.batch.mask_BT.shape == weights_BT.shape
        return weights_BT.sum(), {}

    monkeypatch.setattr(model, "loss", loss)
    widths = {-(-len(a.tokens) // 16) * 16 for a in rollout.answers}
    assert len(widths) > 1
    _, facts = accumulate(state.params, experience, range(12), model, config)
    assert facts["loss"] == pytest.approx(1.0)  # all real tokens are still there
    assert sum(rows for rows, _ in shapes) == 12
    assert all(size <= budget or rows == 1 for size, (rows, _) in zip(sizes, shapes, strict=True))
    assert {width for _, width in shapes} <= widths


@pytest.mark.parametrize("method", METHODS)
def test_the_reward_sign_decides_the_direction(configure, start, method):
    # The flipped reward model gives exactly −r, and so does its calibration: advantages change sign, the actor's
    # gradient too. PPO's entropy term does not depend on rewards and is left out; its critic learns −V.
    settings = {"entropy_coef": 0.0, "critic_init": "zero"} if method == "ppo" else {}
    config = configure(method, minibatches=1, **settings)
    steps = {}
    for rm in ("rm", "rm-flipped"):
        model, state, rollout = start(config, rm)
        before = dict(state.params)
        experience = model.experience(rollout, state.params, 0.0)
        update(model, experience, rollout, config, state, 1e-2)
        steps[rm] = np.concatenate(
            [np.array(v - before[k]).ravel() for k, v in state.params.items() if k.startswith("actor.")]
        )
    there, back = steps["rm"], steps["rm-flipped"]
    assert np.abs(there).max() == pytest.approx(1e-2, rel=0.05)  # Adam's first step
    assert there @ back / (np.linalg.norm(there) * np.linalg.norm(back)) < -0.999


@pytest.mark.parametrize("method", METHODS)
def test_an_update_raises_what_was_good(configure, start, method):
    # After a step on one rollout, log-probs weighted with their advantages have grown.
    config = configure(method, minibatches=1, learning_rate=1e-3)
    model, state, rollout = start(config)
    experience = model.experience(rollout, state.params, 0.0)
    weights = model.weights(experience)

    def gain():
        _, stats, _ = surrogate(model.resident, config, state.params, experience)
        return (stats.logprobs_BT * experience.advantages_BT * weights).sum().item()

    before = gain()
    update(model, experience, rollout, config, state, 1e-3)
    assert gain() > before + 1e-4


@pytest.mark.parametrize(
    ("method", "settings", "tensors", "updates"),
    [("grpo", {}, 28, 2), ("ppo", {"critic_init": "rm"}, 58, 2), ("ppo", {"critic_init": "zero"}, 58, 3)],
)
def test_every_trainable_tensor_is_alive_within_three_updates(configure, start, method, settings, tensors, updates):
    # A fresh LoRA has no gradient on A while B is 0, and behind a zero head for one update more.
    config = configure(method, minibatches=1, **settings)
    model, state, rollout = start(config, moved=False)
    for _ in range(3):  # at a rate so small that the ratio stays 1
        update(model, model.experience(rollout, state.params, 0.0), rollout, config, state, 1e-9)
    assert liveness.seen(state) == Liveness(tensors, {}, updates)


def test_a_critic_without_a_loss_waits_and_is_not_dead(configure, start):
    config = configure("ppo", minibatches=1, value_coef=0.0)
    model, state, rollout = start(config, moved=False)
    for _ in range(4):
        update(model, model.experience(rollout, state.params, 0.0), rollout, config, state, 1e-9)
    others = [name for name in state.params if not name.startswith("actor.")]
    assert liveness.seen(state) == Liveness(58, dict.fromkeys(others, 0), 2)


def test_ppo_epochs_pass_over_the_rollout_again(configure, start):
    config = configure("ppo", ppo_epochs=3, minibatches=2, learning_rate=3e-2)
    model, state, rollout = start(config)
    experience = model.experience(rollout, state.params, 0.0)
    steps = update(model, experience, rollout, config, state, 3e-2)
    assert len(steps) == 6
    assert steps[0]["ratio_error"] < 1e-4
    assert steps[-1]["ratio_error"] > 1e-2
    assert steps[-1]["clip_fraction"] > 0


PROMPTS = [Prompt((2, 4, 7, 6, 9 + i, 5, 6, 4, 8, 6), i) for i in range(6)]


@pytest.fixture
def training(start, resident, scorer):
    """Train without artifacts: training(config, state) gives the state, the log and the evaluations asked for."""

    def run(config, state=None):
        method, begun, _ = start(config, moved=False)
        if state is None:
            state = begun
        else:
            method.recall(state.memory["method"])
        log, points = [], []

        def evaluate(at, target):
            points.append((at.iteration, target))
            return {"iteration": at.iteration}

        train(method, resident, scorer, PROMPTS, config, state, evaluate=evaluate, log=log.append)
        return state, log, points

    return run


@pytest.mark.parametrize("method", METHODS)
def test_a_run_can_stop_and_go_on_without_a_trace(configure, training, tmp_path, method):
    settings = {"kl_schedule": "constant", "target_kl": (0.001,), "warmup_iterations": 3}
    whole, log, _ = training(configure(method, num_iterations=4, **settings))
    half, first, _ = training(configure(method, num_iterations=2, **settings))
    half.save(tmp_path)
    fresh = TrainState.start({k: mx.zeros(v.shape) for k, v in half.params.items()})
    fresh.restore(tmp_path)
    rest, second, points = training(configure(method, num_iterations=4, **settings), fresh)
    assert rest.iteration == whole.iteration == 4
    assert points == [(4, 0.001)]
    assert all(mx.array_equal(rest.params[k], v) for k, v in whole.params.items())
    assert rest.memory == whole.memory
    timed = ("seconds", "phases", "active_memory_bytes", "peak_memory_bytes")
    bare = [[{k: v for k, v in r.items() if k not in (*timed, "eval")} for r in rows] for rows in (log, first + second)]
    assert bare[0] == bare[1]


def test_evaluation_comes_first_then_now_and_then_and_last(configure, training):
    config = configure("grpo", num_iterations=5, eval_every=2, target_kl=(3.0, 2.0, 1.0))
    _, log, points = training(config)
    # Phases of 5 iterations and 3 targets: i·3 // 5 = 0 0 1 1 2; points after iterations 2, 4 and 5.
    assert points == [(0, 3.0), (2, 3.0), (4, 2.0), (5, 1.0)]
    assert [r["target_kl"] for r in log] == [3.0, 3.0, 2.0, 2.0, 1.0]
    assert ["eval" in r for r in log] == [False, True, False, True, True]


@pytest.mark.parametrize("method", METHODS)
def test_the_log_of_a_run(configure, training, method):
    config = configure(method, warmup_iterations=2, learning_rate=0.01)
    _, log, _ = training(config)
    assert [r["iteration"] for r in log] == [1, 2, 3]
    assert [r["updates"] for r in log] == [2, 2, 2]
    assert log[0]["kl"] == 0.0  # the first rollout is the reference's own
    assert log[0]["learning_rate"] == pytest.approx(0.005)
    assert all(0 <= r["first_ratio_error"] <= r["first_ratio_error_max"] < 1e-4 for r in log)
    assert all(r["kl"] >= 0 for r in log)
    json.dumps(log, allow_nan=False)
    extra = {"value_loss", "entropy", "explained_variance"} if method == "ppo" else {"silent_groups", "normalizer_mean"}
    assert extra <= log[0].keys()
    assert {"rollout", "experience", "update"} <= log[0]["phases"].keys()


def test_stop_skips_updates_while_kl_is_above(configure, training):
    _, log, _ = training(configure("grpo", controller="stop", target_kl=(1e-9,)))
    # The first iteration has KL 0 and updates; then KL is above for good.
    assert [r["updates"] for r in log] == [2, 0, 0]
    assert log[2]["controller_actions"] == 2


def test_lr_is_lowered_while_kl_is_above(configure, training):
    _, log, _ = training(configure("grpo", controller="lr", target_kl=(1e-9,)))
    assert [r["learning_rate"] for r in log] == pytest.approx([0.01, 0.01 / 1.5, 0.01 / 2.25])


def test_pullback_brings_kl_down(configure, training):
    config = {"target_kl": (1e-3,), "learning_rate": 2e-3, "num_iterations": 6}
    _, free, _ = training(configure("grpo", controller="none", **config))
    _, held, _ = training(configure("grpo", controller="pullback", **config))
    assert free[-1]["kl"] > 4e-3
    assert held[-1]["kl"] < free[-1]["kl"] / 2
    assert 0.5 <= min(r["shrink"] for r in held) < 1
    assert held[-1]["controller_actions"] == sum(r["kl"] > 1e-3 for r in held)


def test_pulling_back_at_an_evaluation_point_is_counted(configure, start, resident, scorer):
    config = configure("grpo", controller="pullback", target_kl=(1e9,), num_iterations=2, eval_every=1)
    method, state, _ = start(config, moved=False)
    log = []

    def evaluate(state, target):
        if state.iteration:  # as an evaluator does that pulls back three times
            state.memory["control"] = {**state.memory["control"], "actions": state.memory["control"]["actions"] + 3}
        return {}

    train(method, resident, scorer, PROMPTS, config, state, evaluate=evaluate, log=log.append)
    assert [r["controller_actions"] for r in log] == [3, 6]
    assert state.memory["control"]["actions"] == 6


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "gspo"])
def test_facts_are_means_whatever_the_weights_sum_to(configure, start, loss_type):
    # The rollout's log-probs are all shifted by 0.01: every ratio is e^0.01, so its mean error is e^0.01 − 1.
    config = configure("grpo", loss_type=loss_type, token_budget=64)
    method, state, rollout = start(config)
    shifted = replace(rollout, logprobs_BT=(rollout.logprobs_BT - 0.01) * rollout.batch.mask_BT)
    experience = method.experience(shifted, state.params, 0.0)
    _, facts = accumulate(state.params, experience, range(12), method, config)
    assert facts["ratio_error"] == pytest.approx(np.expm1(0.01), rel=1e-3)
    assert facts["approx_kl"] == pytest.approx(np.expm1(0.01) - 0.01, rel=2e-2)
    assert facts["policy_loss"] == facts["loss"]  # the loss keeps its constant


def test_reward_penalty_carries_its_coefficient(configure, training):
    _, log, _ = training(configure("ppo", controller="reward_penalty", target_kl=(1e-9,), kl_coef=0.05))
    # KL 0 at first: error −0.2, so 0.05·0.98; far above afterwards: ·1.02 each.
    assert [r["kl_coef"] for r in log] == pytest.approx([0.05 * 0.98, 0.05 * 0.98 * 1.02, 0.05 * 0.98 * 1.02**2])


def test_the_null_control_moves_nothing(configure, training, start):
    config = configure("ppo", control="null")
    _, before, _ = start(config, moved=False)
    after, log, _ = training(config)
    assert all(mx.array_equal(after.params[k], v) for k, v in before.params.items())
    assert [r["kl"] for r in log] == [0.0, 0.0, 0.0]
    assert [r["updates"] for r in log] == [2, 2, 2]


def test_a_critic_learns_while_the_actor_waits(configure, training, start):
    config = configure("ppo", num_iterations=1, critic_warmup=1)
    _, before, _ = start(config, moved=False)
    after, _, _ = training(config)
    moved = {k.split(".")[0] for k, v in before.params.items() if not mx.array_equal(after.params[k], v)}
    assert moved == {"critic", "head"}


@pytest.mark.parametrize("method", METHODS)
def test_rollout_and_update_must_score_alike(configure, training, monkeypatch, method):
    def skewed(*arguments, **named):
        rollout = collect(*arguments, **named)
        return replace(rollout, logprobs_BT=rollout.logprobs_BT - 2e-4)

    monkeypatch.setattr("align_rl.loop.collect", skewed)
    with pytest.raises(DivergedError, match="first minibatch of iteration 1"):
        training(configure(method))


def test_a_tensor_that_the_loss_does_not_reach_ends_the_run(configure, start, monkeypatch):
    config = configure("grpo", minibatches=1)
    model, state, rollout = start(config)
    state = TrainState.start({**state.params, "actor.stray": mx.ones(1)})
    experience = model.experience(rollout, state.params, 0.0)
    for _ in range(2):  # at a rate so small that the ratio stays 1
        update(model, experience, rollout, config, state, 1e-9)
    assert liveness.seen(state).waiting == {"actor.stray": 2}
    with pytest.raises(DivergedError, match=r"29 trainable tensors.*none for actor\.stray"):
        update(model, experience, rollout, config, state, 1e-9)


def test_updates_without_reward_variance_prove_nothing(configure, start):
    config = configure("grpo", minibatches=1)
    model, state, rollout = start(config)
    experience = model.experience(rollout, state.params, 0.0)
    rollout = replace(rollout, scores_B=np.full_like(rollout.scores_B, 2.0))
    assert mx.any(experience.advantages_BT).item()
    update(model, experience, rollout, config, state, 1e-3)
    assert liveness.seen(state) == Liveness.begin(state.params)
    # Nor do minibatches whose advantages are all 0, though the scores of others differ.
    rollout = replace(rollout, scores_B=np.arange(12.0))
    silent = replace(experience, advantages_BT=mx.zeros_like(experience.advantages_BT))
    assert not teaches(rollout, silent, np.arange(12))
    assert teaches(rollout, experience, np.arange(12))


def test_a_reward_that_is_not_finite_ends_the_run(configure, start, resident, scorer):
    config = configure("grpo")
    method, state, _ = start(config, moved=False)
    broken = replace(scorer, head={**scorer.head, "bias": mx.array([mx.nan])})
    before = dict(state.params)
    with pytest.raises(DivergedError, match="reward is not finite at iteration 1"):
        train(method, resident, broken, PROMPTS, config, state, evaluate=lambda s, t: {}, log=lambda r: None)
    assert state.iteration == 0
    assert all(mx.array_equal(state.params[k], v) for k, v in before.items())
