"""Proofs the code carries: liveness, the first ratio, and the direction of an update — on runs that break them."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from align_contracts.errors import DivergedError
from align_mlx.compute import Compute
from align_mlx.rollout import Prompt
from align_mlx.train_state import TrainState
from align_rl import loop
from align_rl.config import GRPOConfig, PPOConfig
from align_rl.methods.grpo import GRPO
from align_rl.methods.ppo import PPO
from conformance.methods import LORA, NOWHERE, make_scene, make_scorer, moved, under
from conformance.specimen import draw_rows, float64, make, specimen
from tiny.losses import whole_loss

PROMPTS = [Prompt(row.prompt, i) for i, row in enumerate(draw_rows(1, [3, 8, 1, 5], [1] * 4))]
RUN = {**NOWHERE, **LORA, "batch_size": 4, "minibatches": 2, "num_iterations": 2, "max_response_length": 6}
RUN |= {"controller": "none", "learning_rate": 1e-3}


def start(kind, **settings):
    """Make a method with untrained parameters."""
    model, scorer = specimen("gemma"), make_scorer(specimen("gemma"), 4)
    if kind == "ppo":
        return PPO(PPOConfig(**{**RUN, "critic_init": "zero", **settings}), model.resident, scorer), scorer
    return GRPO(GRPOConfig(**{**RUN, "K": 3, **settings}), model.resident, scorer.calibration), scorer


def run(method, scorer):
    """Train; gives the state's memory."""
    state = TrainState.start(method.params(mx.random.key(0)))
    quiet = {"evaluate": lambda state, target: {}, "log": lambda line: None}
    loop.train(method, method.resident, scorer, PROMPTS, method.config, state, **quiet)
    return state.memory


@pytest.mark.parametrize("kind", ["ppo", "grpo"])
def test_an_honest_run_proves_itself(kind):
    """Liveness: every tensor of a fresh LoRA (B = 0) and a zero critic has a gradient within three live updates."""
    memory = run(*start(kind))
    assert not memory["liveness"]["waiting"]
    assert memory["liveness"]["live_updates"] <= 3
    assert memory["first_ratio"]["first_ratio_error_max"] < 1e-4


def test_the_first_ratio_in_bf16():
    """Line 2: in bf16 the first ratio has a tolerance of its own: batches of another shape round otherwise."""
    config = GRPOConfig(**{**RUN, "K": 3, "token_budget": 64})
    model = make("gemma")
    model.resident.model.set_dtype(mx.bfloat16)
    resident = replace(model.resident, compute=Compute(mx.bfloat16, dense=True))
    scorer = replace(make_scorer(model, 4), resident=resident)
    memory = run(GRPO(config, resident, scorer.calibration), scorer)
    assert memory["first_ratio"]["ratio_tolerance"] == 2e-2
    assert memory["first_ratio"]["first_ratio_error"] <= 2e-2


@pytest.mark.parametrize("dead", ["critic.", "actor."])
def test_a_detached_part_stops_the_run(dead):
    """Liveness: a loss that does not reach one part of the parameters stops the run, which names a tensor of it."""
    method, scorer = start("ppo")
    name = f"{dead}loss".replace(".", "_")
    honest = getattr(method, name)

    def detached(params, part, weights_BT):
        cut = {k: mx.stop_gradient(v) if k.startswith(dead) else v for k, v in params.items()}
        return honest(cut, part, weights_BT)

    setattr(method, name, detached)
    with pytest.raises(DivergedError, match="no gradient") as caught:
        run(method, scorer)
    assert dead in str(caught.value.got)


def test_null_control_is_let_through():
    """Liveness: the null control has learning rate 0 and bypasses the proof by its name."""
    method, scorer = start("grpo", control="null")
    honest = method.loss
    method.loss = lambda params, *rest: honest({k: mx.stop_gradient(v) for k, v in params.items()}, *rest)
    assert len(run(method, scorer)["liveness"]["waiting"]) == len(method.params(mx.random.key(0)))


@pytest.mark.parametrize("options", [{}, {"loss_type": "gspo"}, {"mask_truncated": True}])
def test_other_old_logprobs_stop_the_run(monkeypatch, options):
    """Line 2: old log-probs that are not the update's own (here: at another temperature) stop the first update.

    Also where the loss averages over answers (``gspo``), and where answers that were cut learn nothing.
    """
    method, scorer = start("grpo", **options)
    real = loop.collect

    def other(resident, actor, scorer, prompts, config, **kw):
        return real(resident, actor, scorer, prompts, config.model_copy(update={"temperature": 0.9}), **kw)

    monkeypatch.setattr(loop, "collect", other)
    with pytest.raises(DivergedError, match="first minibatch"):
        run(method, scorer)


@pytest.mark.parametrize("kind", ["ppo", "grpo"])
def test_flipped_rewards_reverse_the_update(kind):
    """Liveness: reward sign flips the update's direction: at ratio 1 the gradient is exactly the opposite."""
    own = {"value_coef": 0.0, "entropy_coef": 0.0, "gae_gamma": 1.0} if kind == "ppo" else {"score_normalizer": "none"}
    method, _ = start(kind, **own)
    params = method.params(mx.random.key(0))  # the critic is zero: its advantage is the reward's
    params |= moved({k: v for k, v in params.items() if k.startswith("actor.")}, seed=2)
    actor = under(float64(params), "actor.")
    shapes = ([3, 8], [4, 7, 2, 6, 5, 1]) if kind == "grpo" else ([3, 8, 2], [4, 7, 2])
    scene, gradients = make_scene(specimen("gemma"), actor, *shapes, answers=method.answers, noise=0.0), []
    for sign in (1.0, -1.0):
        # Around the calibration's mean: the score of a typical answer is no reward.
        scene.rollout.scores_B[:] = 0.4 + sign * (scene.scores - 0.4)
        made = method.experience(scene.rollout, params, 0.0)
        weights_BT = method.weights(made)
        gradients.append(float64(mx.grad(lambda p, e=made, w=weights_BT: whole_loss(method, p, e, w)[0])(params)))
    largest = max(np.abs(g).max() for g in gradients[0].values())
    assert largest > 1e-3
    for name, grad in gradients[0].items():
        np.testing.assert_allclose(gradients[1][name], -grad, rtol=0, atol=1e-4 * largest)


def test_rewards_that_are_not_finite_stop_the_run():
    """Liveness and promises: a reward that is not a number reaches neither gradient nor parameters."""
    method, scorer = start("grpo")
    broken = type(scorer)(scorer.resident, scorer.adapter, {k: v * float("nan") for k, v in scorer.head.items()})
    with pytest.raises(DivergedError, match="reward is not finite"):
        run(method, broken)
