import json
from dataclasses import asdict, replace

import mlx.core as mx
import numpy as np
import pytest

from align_contracts import open_artifact
from align_contracts.errors import DivergedError
from align_mlx import adapters as lora
from align_mlx.guard import Guard
from align_mlx.loading import load_policy
from align_mlx.perplexity import perplexity
from align_mlx.rollout import Draw
from align_rl import data as rl_data
from align_rl.algorithms.controller import Control
from align_rl.evaluation import EVALUATION_DRAW, Evaluator
from align_rl.methods.actor import actor_adapter, pull_back
from align_rl.rollout import collect
from align_rl.watch import Watch
from tiny.poison import spoil_token


@pytest.fixture
def evaluator(store, resident, scorer, start, tmp_path):
    """Make an evaluator and the state that it measures."""

    (tmp_path / "eval").mkdir()

    def make(config, *, moved=True):
        method, state, _ = start(config, moved=moved)
        rows = rl_data.load(open_artifact(store / "data"), resident, config)
        found = Evaluator(
            method,
            resident,
            scorer,
            rows.validation,
            rows.validation_ids,
            rows.chosen,
            config,
            tmp_path.joinpath,
            Watch(
                Guard(method.name, tmp_path, 9, resident),
                method,
                scorer,
                config,
                {prompt.number: name for prompt, name in zip(rows.validation, rows.validation_ids, strict=True)},
            ),
        )
        return found, state

    return make


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_reference_measures_itself(evaluator, configure):
    measure, state = evaluator(configure("grpo"), moved=False)
    record = measure(state, 0.05)
    assert (record["iteration"], record["target_kl"]) == (0, 0.05)
    assert record["kl"] == record["kl_k1"] == 0.0
    assert record["responses"] == 5
    assert "best" not in state.memory  # the start itself is never published


def test_a_record_is_what_a_measurement_by_hand_gives(evaluator, configure, resident, scorer):
    config = configure("ppo")
    measure, state = evaluator(config)
    state.iteration = 2
    record = measure(state, 0.05)
    actor = actor_adapter(state.params, config)
    rollout = collect(
        resident, actor, scorer, measure.prompts, config, draw=Draw(config.seed, EVALUATION_DRAW), answers=1
    )
    rows = read(measure.file("eval") / "0002.jsonl")
    assert [r["prompt_id"] for r in rows] == ["v0", "v1", "v2", "v3", "v4"]
    assert [r["tokens"] for r in rows] == [list(a.tokens.response) for a in rollout.answers]
    assert record["reward_mean"] == pytest.approx(rollout.scores_B.mean())
    assert record["perplexity"] == pytest.approx(perplexity(resident, (actor,), measure.chosen))
    # KL as k3 over all response tokens, from the kept log-probs.
    d = np.concatenate([np.array(r["ref_logprobs"]) - np.array(r["logprobs"]) for r in rows])
    assert record["kl"] == pytest.approx((np.exp(d) - d - 1).mean(), abs=1e-5)
    for i, row in enumerate(rows):
        n = len(row["tokens"])
        assert {len(row[k]) for k in ("logprobs", "ref_logprobs", "values", "advantages")} == {n}
        np.testing.assert_allclose(row["logprobs"], rollout.logprobs_BT[i, :n], atol=1e-6)
        assert row["reward"] == pytest.approx(rollout.scores_B[i], abs=1e-6)
        assert row["truncated"] == (row["tokens"][-1] not in (1, 5))
        words = [t for t in row["tokens"] if t not in (1, 5)]
        if all(t >= 9 for t in words):
            assert row["response"] == " ".join(f"w{t - 9}" for t in words)


def test_the_same_draws_at_every_point(evaluator, configure):
    measure, state = evaluator(configure("grpo"), moved=False)
    for iteration in (0, 7):
        state.iteration = iteration
        measure(state, 0.05)
    tokens = [[r["tokens"] for r in read(measure.file("eval") / f"{name}.jsonl")] for name in ("0000", "0007")]
    assert tokens[0] == tokens[1]


def test_the_kept_adapter_is_the_actor_in_bf16(evaluator, configure):
    config = configure("grpo")
    measure, state = evaluator(config)
    measure(state, 0.05)
    found, _ = lora.load(measure.file("eval") / "0000.safetensors")
    actor = actor_adapter(state.params, config)
    assert found.scale == actor.scale
    for name, value in actor.params.items():
        np.testing.assert_allclose(found.params[name], value, rtol=2**-8, atol=1e-30)


def test_the_best_point_keeps_its_parameters(evaluator, configure):
    # By reward: whatever is measured first passes the wide gate; the reference then scores otherwise.
    config = configure("grpo", selection="reward")
    measure, state = evaluator(config)
    state.iteration = 1
    first, moved = measure(state, 1e9)["reward_mean"], state.params
    state.params = {k: v * 0.0 if k.endswith("lora_b") else v for k, v in moved.items()}
    state.iteration = 2
    second, still = measure(state, 1e9)["reward_mean"], state.params
    params = state.best
    assert state.memory["best"]["reward"] == max(first, second)
    expected = moved if first > second else still
    assert all(params[k] is v or mx.array_equal(params[k], v) for k, v in expected.items())


def test_pullback_meets_the_target_before_a_point_counts(evaluator, configure):
    measure, state = evaluator(configure("grpo", controller="pullback"))
    state.iteration = 1
    before = actor_adapter(state.params, measure.config)
    target = measure(state, 1e9)["kl"] / 3
    record = measure(state, target)
    assert record["kl"] <= target
    name = next(k for k in before.params if k.endswith("lora_b"))
    after = actor_adapter(state.params, measure.config).params[name]
    assert mx.linalg.norm(after).item() < 0.9 * mx.linalg.norm(before.params[name]).item()


def test_pulling_back_before_a_measurement_counts_as_an_action(evaluator, configure, monkeypatch):
    measure, state = evaluator(configure("grpo", controller="pullback"))
    state.iteration, state.memory["control"] = 1, asdict(Control(actions=5))
    factors = []
    monkeypatch.setattr("align_rl.evaluation.pull_back", lambda s, f: (factors.append(f), pull_back(s, f)))
    measure(state, measure(state, 1e9)["kl"] / 3)
    assert len(factors) >= 1
    assert state.memory["control"] == asdict(Control(actions=5 + len(factors)))


def test_nothing_is_left_out_of_an_evaluation_point(evaluator, configure, store, tmp_path):
    """The row would be one of at most nine, but the points of a run are measured on the same rows."""
    measure, state = evaluator(configure("ppo"))
    scores = replace(measure.scorer, head={**measure.scorer.head, "bias": mx.array([mx.nan])})
    measure.scorer = scores
    with pytest.raises(DivergedError, match=r"the reward is not finite at iteration 0 \(evaluation\)"):
        measure(state, 0.05)
    record = json.loads((tmp_path / "diagnosis.json").read_text(), parse_constant=pytest.fail)
    assert [row["id"] for row in record["offending_rows"]] == measure.prompt_ids
    assert "curve" not in state.memory


def test_a_perplexity_that_is_no_number_names_the_answer(evaluator, configure, store, tmp_path):
    measure, state = evaluator(configure("grpo"))
    measure.resident = load_policy(open_artifact(store / "sft"), measure.resident.compute)
    asked = {token for prompt in measure.prompts for token in prompt.ids}
    row, token = next(
        (i, token) for i, row in enumerate(measure.chosen) for token in row.response[:-1] if token not in asked
    )
    honest = collect
    spoil_token(measure.resident, token)
    measure.method.resident, whole = measure.resident, measure.method.resident
    with pytest.MonkeyPatch.context() as patch:  # the sampled answers come from a base that is whole
        patch.setattr("align_rl.evaluation.collect", lambda _, *rest, **more: honest(whole, *rest, **more))
        with pytest.raises(DivergedError, match=rf"the perplexity is not finite.*written validation answer {row + 1}"):
            measure(state, 0.05)
