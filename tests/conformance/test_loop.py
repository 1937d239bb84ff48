"""The RL loop: which prompts, which minibatches, and whole iterations replayed in float64."""

import json
from collections import Counter

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper

from align_mlx.chat import Tokens
from align_mlx.guard import Guard
from align_mlx.rollout import Draw, Prompt
from align_mlx.train_state import TrainState
from align_rl import loop
from align_rl.config import GRPOConfig, PPOConfig
from align_rl.evaluation import Evaluator
from align_rl.methods.actor import actor_adapter
from align_rl.methods.grpo import GRPO
from align_rl.methods.ppo import PPO
from align_rl.watch import Watch
from conformance import methods
from conformance.methods import NOWHERE, make_scene, make_scorer, moved, under
from conformance.reference import bradley_terry, finite_differences, grpo, kl, logprobs, ppo, sft
from conformance.reference.optimizer import AdamW, clip
from conformance.reference.transformer import Lora
from conformance.specimen import as_lora, draw_rows, float64, make, specimen
from tiny.tokenizer import word_tokenizer

PROMPTS = [Prompt(row.prompt, 50 + i) for i, row in enumerate(draw_rows(1, [3, 8, 1, 5, 2], [1] * 5))]
SMALL = {
    **NOWHERE,
    "lora_rank": 1,
    "lora_alpha": 1.5,
    "lora_layers": 1,
    "lora_targets": ("q_proj",),
    "batch_size": 4,
    "minibatches": 2,
    "ppo_epochs": 2,
    "num_iterations": 2,
    "learning_rate": 0.02,
    "max_grad_norm": 0.05,
    "max_response_length": 6,
    "clip_range": 0.01,
    "clip_range_high": 0.03,
    "token_budget": 64,
}
SCALE = 1.5


def test_every_prompt_comes_once_a_pass():
    """GRPO and PPO: no prompt is left out, whatever the batch size; each pass has another order, and each seed."""
    drawn = [i for step in range(15) for i in loop.prompt_order(7, step, 4, 10)]  # 60 = six passes over ten
    passes = [drawn[i : i + 10] for i in range(0, 60, 10)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len({tuple(one) for one in passes}) == 6
    assert loop.prompt_order(7, 0, 10, 10) == passes[0] != loop.prompt_order(8, 0, 10, 10)
    assert len(loop.prompt_order(7, 2, 25, 10)) == 25


def test_minibatches_keep_groups_whole():
    """Study: four minibatches split by prompt: all answers of a prompt together, every answer once, in every epoch."""
    model = specimen("gemma")
    actor = float64(model.adapter(1).params)
    scene = make_scene(model, actor, [2] * 7, [1] * 21, answers=3)
    config, seen = GRPOConfig(**NOWHERE, K=3, batch_size=9, minibatches=3), []
    for iteration, epoch in ((0, 0), (0, 1), (1, 0)):
        parts = list(loop.minibatches(scene.rollout, config, iteration, epoch))
        assert sorted(np.concatenate(parts)) == list(range(21))
        assert sorted(len(part) for part in parts) == [6, 6, 9]
        assert all(set(Counter(scene.rollout.prompts[part]).values()) == {3} for part in parts)
        seen.append(tuple(map(tuple, parts)))
    assert len(set(seen)) == 3
    assert [len(p) for p in loop.minibatches(scene.rollout, config.model_copy(update={"minibatches": 99}), 0, 0)] == [
        3
    ] * 7


class Replay:
    """A run of `train`, its rollouts recorded, and the same run in float64 on the same sampled tokens."""

    def __init__(self, method, scorer, config, monkeypatch):
        self.method, self.scorer, self.config = method, scorer, config
        self.model, self.rollouts, self.log = specimen("gemma"), [], []
        self.start = moved(method.params(mx.random.key(1)), seed=2, size=0.2)
        real = loop.collect

        def recorded(resident, actor, scorer, prompts, config, *, draw, answers, world):
            rollout = real(resident, actor, scorer, prompts, config, draw=draw, answers=answers, world=world)
            self.rollouts.append((prompts, draw, answers, rollout))
            return rollout

        monkeypatch.setattr(loop, "collect", recorded)
        self.state = TrainState.start(self.start)
        loop.train(
            method,
            self.model.resident,
            scorer,
            PROMPTS,
            config,
            self.state,
            evaluate=lambda state, target: {},
            log=self.log.append,
        )

    def rows(self, iteration):
        return [answer.tokens for answer in self.rollouts[iteration][3].answers]

    def scores(self, iteration):
        lora, head = as_lora(self.scorer.adapter), float64(self.scorer.head)
        weight, bias = head["weight"][0], head["bias"][0]
        config, weights = self.model.config, self.model.weights
        return np.array(
            [bradley_terry.score(weights, config, r.ids, [lora], weight, bias) for r in self.rows(iteration)]
        )

    def logprobs(self, params, rows):
        return methods.token_logprobs(self.model, rows, [Lora(under(params, "actor."), SCALE)])

    def updates(self, iteration, params, optimizer, loss_of, rates):
        """Take the iteration's steps: for each minibatch the whole gradient, clipped, through AdamW."""
        rollout, taken = self.rollouts[iteration][3], 0
        for epoch in range(self.config.ppo_epochs):
            for index in loop.minibatches(rollout, self.config, iteration, epoch):
                gradient = finite_differences.gradient(loss_of(index), params)
                each = {name: next(r for p, r in rates.items() if name.startswith(p)) for name in params}
                params = optimizer.step(params, clip(gradient, self.config.max_grad_norm), each)
                taken += 1
        assert self.log[iteration]["updates"] == taken
        return params

    def check(self, params):
        """The parameters agree to a hundredth of a step."""
        for name, value in params.items():
            moved_by = np.abs(value - float64(self.start)[name]).max()
            assert moved_by > 0.1 * self.config.learning_rate, name
            tolerance = 1e-2 * self.config.learning_rate
            np.testing.assert_allclose(self.state.params[name], value, rtol=0, atol=tolerance, err_msg=name)


def test_two_iterations_of_grpo(monkeypatch):
    """GRPO, KL and study: rollout → reward → normaliser → advantages → minibatches → clip → AdamW, twice over.

    With warm-up over two iterations and the controller `lr`, whose target is far below.
    """
    config = GRPOConfig(**SMALL, K=2, warmup_iterations=2, controller="lr", target_kl=(1e-6,), normalizer_alpha=0.5)
    model, scorer = specimen("gemma"), make_scorer(specimen("gemma"), 4)
    run = Replay(GRPO(config, model.resident, scorer.calibration), scorer, config, monkeypatch)
    params, optimizer = float64(run.start), AdamW()
    normalizer = grpo.ScoreNormalizer(0.5)
    for iteration in range(2):
        prompts, draw, answers, _ = run.rollouts[iteration]
        assert prompts == [PROMPTS[i] for i in loop.prompt_order(config.seed, iteration, 4, 5)]
        assert (draw, answers) == (Draw(config.seed, iteration), 2)
        rows = run.rows(iteration)
        old, rewards = run.logprobs(params, rows), normalizer((run.scores(iteration) - 0.4) / 1.7 + 3.0)
        advantages = np.concatenate(grpo.advantages(rewards.reshape(4, 2)))
        assert run.log[iteration]["reward_calibrated"] == pytest.approx(
            (run.scores(iteration) / 1.7).mean() + 3 - 0.4 / 1.7
        )

        def loss_of(index, rows=rows, old=old, advantages=advantages):
            mine = [rows[i] for i in index]
            return lambda now: grpo.loss(
                run.logprobs(now, mine),
                [old[i] for i in index],
                advantages[index],
                kind="grpo",
                clip=(0.01, 0.03),
                max_length=6,
            )

        rate = 0.02 * (iteration + 1) / 2 / 1.5 ** (iteration + 1)
        assert run.log[iteration]["learning_rate"] == pytest.approx(rate)
        params = run.updates(iteration, params, optimizer, loss_of, {"": rate})
    run.check(params)
    assert run.log[1]["clip_fraction"] > 0.05
    assert run.state.memory["control"]["actions"] == 2


def test_an_iteration_of_ppo(monkeypatch):
    """PPO, KL and study: the same for actor, critic and head, with rates of their own and KL in the reward."""
    settings = {"num_iterations": 1, "ppo_epochs": 1, "critic_learning_rate": 0.01, "critic_init": "zero"}
    settings |= {"controller": "reward_penalty", "kl_coef": 0.3, "target_kl": (1e-6,)}
    config = PPOConfig(**{**SMALL, **settings})
    model, scorer = specimen("gemma"), make_scorer(specimen("gemma"), 4)
    run = Replay(PPO(config, model.resident, scorer), scorer, config, monkeypatch)
    params, rows = float64(run.start), run.rows(0)
    old, ref = run.logprobs(params, rows), methods.token_logprobs(model, rows, [])
    measured = kl.k3(np.concatenate(old), np.concatenate(ref)).mean()
    assert run.log[0]["kl"] == pytest.approx(measured, rel=1e-3)
    coefficient = 0.3 * 1.02  # far above the target: Ziegler's error is clipped to 0.2
    assert run.log[0]["kl_coef"] == pytest.approx(coefficient)
    scores = (run.scores(0) - 0.4) / 1.7
    penalised = [ppo.rewards(s, len(p), coefficient * kl.k1(p, q)) for s, p, q in zip(scores, old, ref, strict=True)]
    values = methods.values(model, rows, params, SCALE)
    advantages, returns = ppo.advantages(penalised, values, 0.99, 0.95)
    advantages = ppo.whiten(advantages)

    def loss_of(index):
        def loss(now):
            mine = [rows[i] for i in index]
            distributions = methods.token_distributions(model, mine, [Lora(under(now, "actor."), SCALE)])
            return ppo.loss(
                [logprobs.of_response(d, r.response) for d, r in zip(distributions, mine, strict=True)],
                [old[i] for i in index],
                [advantages[i] for i in index],
                methods.values(model, mine, now, SCALE),
                [returns[i] for i in index],
                [values[i] for i in index],
                [logprobs.entropy(d) for d in distributions],
                clip=(0.01, 0.03),
                value_clip=None,
                value_coef=0.5,
                entropy_coef=0.01,
            )

        return loss

    params = run.updates(0, params, AdamW(), loss_of, {"actor.": 0.02, "": 0.01})
    run.check(params)


def train_once(**settings):
    """One iteration of GRPO; gives the parameters before and after, and the log's line."""
    config = GRPOConfig(**{**SMALL, "K": 2, "num_iterations": 1, **settings})
    model, scorer, log = specimen("gemma"), make_scorer(specimen("gemma"), 4), []
    method = GRPO(config, model.resident, scorer.calibration)
    start = moved(method.params(mx.random.key(1)), seed=2, size=0.2)
    state = TrainState.start(start)
    quiet = {"evaluate": lambda state, target: {}, "log": log.append}
    loop.train(method, model.resident, scorer, PROMPTS, config, state, **quiet)
    return float64(start), float64(state.params), log[0]


def test_stop_skips_the_updates():
    """KL: mode `stop` leaves the parameters alone while KL is above the target, and not below it."""
    before, after, line = train_once(controller="stop", target_kl=(1e-6,))
    assert line["updates"] == 0
    assert all((after[name] == value).all() for name, value in before.items())
    _, after, line = train_once(controller="stop", target_kl=(1e6,))
    assert line["updates"] == 4
    assert any((after[name] != value).any() for name, value in before.items())


def test_pullback_acts_behind_the_updates():
    """KL: mode `pullback` at learning rate 0: B is multiplied by √(target / KL), A stays."""
    _, _, line = train_once(controller="none")
    target = line["kl"] / 1.44
    before, after, again = train_once(controller="pullback", target_kl=(target,), learning_rate=0.0)
    assert again["kl"] == line["kl"]
    for name, value in before.items():
        factor = 1 / 1.2 if name.endswith("lora_b") else 1.0
        np.testing.assert_allclose(after[name], factor * value, rtol=1e-5, atol=1e-7)


def test_null_control_moves_nothing():
    """Liveness: the null control does everything but learn."""
    before, after, line = train_once(control="null")
    assert line["updates"] == 4
    assert all((after[name] == value).all() for name, value in before.items())


def test_rates():
    """Study: the critic's own rate, and first iterations in which only the critic learns."""
    config = PPOConfig(**NOWHERE, critic_learning_rate=0.3, critic_warmup=2)
    assert loop.rates(config, 1, 0.1) == {"actor.": 0.0, "": 0.3}
    assert loop.rates(config, 2, 0.1) == {"actor.": 0.1, "": 0.3}
    assert loop.rates(PPOConfig(**NOWHERE), 0, 0.1) == {"actor.": 0.1, "": 0.1}


def test_evaluation_points_are_measured_alike(tmp_path):
    """Study: every point draws the same numbers, one answer a validation prompt, and perplexity on written answers."""
    model, config = make("gemma"), GRPOConfig(**{**SMALL, "K": 2})
    model.resident.tokenizer, scorer = TokenizerWrapper(word_tokenizer()), make_scorer(model, 4)
    method = GRPO(config, model.resident, scorer.calibration)
    state = TrainState.start(moved(method.params(mx.random.key(1)), seed=2, size=0.2))
    written, ids = draw_rows(5, [3, 7], [4, 9]), [f"v{i}" for i in range(5)]
    (tmp_path / "eval").mkdir()
    watch = Watch(Guard(method.name, None, 0, model.resident), method, scorer, config, {})
    evaluate = Evaluator(method, model.resident, scorer, PROMPTS, ids, written, config, tmp_path.joinpath, watch)
    first = evaluate(state, 0.1)
    state.iteration = 7
    assert {**evaluate(state, 0.1), "iteration": 0} == first
    actor = as_lora(actor_adapter(state.params, config))
    expected = sft.perplexity(methods.token_logprobs(model, written, [actor]))
    assert first["perplexity"] == pytest.approx(expected, rel=1e-5)
    kept = [json.loads(line) for line in (tmp_path / "eval" / "0007.jsonl").read_text().splitlines()]
    rows = [Tokens(prompt.ids, tuple(row["tokens"])) for prompt, row in zip(PROMPTS, kept, strict=True)]
    assert [row["prompt_id"] for row in kept] == ids
    for name, loras in (("logprobs", [actor]), ("ref_logprobs", [])):
        for row, exact in zip(kept, methods.token_logprobs(model, rows, loras), strict=True):
            np.testing.assert_allclose(row[name], exact, rtol=1e-4, atol=1e-4)
