"""What a run keeps of the answers it learned from, checked against the run's own log and artifacts."""

import numpy as np
import pytest

from align_contracts import open_artifact
from align_mlx.chat import Tokens, encode_prompt
from align_mlx.reward import load_scorer
from align_rl.kept import SHOWN, win_rate
from align_rl.loop import prompt_order
from align_rl.run import run


def test_a_win_rate_counts_equal_scores_half():
    # b wins, d wins, a is equal, c loses: (2 + 1/2) / 4
    assert win_rate({"a": 1.0, "b": 2.0, "c": 3.0, "d": 0.0}, {"d": 0.5, "c": 2.9, "b": 2.1, "a": 1.0}) == 0.625


LAST = 3
"""The iteration whose rollout is looked at."""


@pytest.fixture(scope="module")
def lessons(request, store, tmp_path_factory):
    """Artifact and kept rollout of a run of each method."""
    from align_rl.config import GRPOConfig, PPOConfig

    settings = request.getfixturevalue("settings")
    folder = tmp_path_factory.mktemp("kept")
    paths = {"sft": store / "sft", "rm": store / "rm", "data": store / "data"}
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIGN_STORE", str(store))
        for name, config in (("ppo", PPOConfig), ("grpo", GRPOConfig)):
            more = {"K": 3} if name == "grpo" else {}
            assert run(config(**paths, **settings, **more, out=folder / name)) == 0
            artifact = open_artifact(folder / name, deep=True)
            found[name] = artifact, artifact.read_jsonl(f"eval_{LAST:04d}_rollout")
    return found


@pytest.mark.parametrize(("method", "answers"), [("ppo", 1), ("grpo", 3)])
def test_they_are_all_answers_to_the_iterations_first_prompts(lessons, store, resident, method, answers):
    artifact, rows = lessons[method]
    config = artifact.manifest.config
    texts = {row["prompt_id"]: row["prompt"] for row in open_artifact(store / "data").read_jsonl("prompts_train")}
    fits = [i for i, t in texts.items() if len(encode_prompt(resident.tokenizer, t)) <= config["max_prompt_length"]]
    order = prompt_order(config["seed"], LAST - 1, config["batch_size"], len(fits))[:SHOWN]
    assert [row["prompt_id"] for row in rows] == [fits[i] for i in order for _ in range(answers)]
    turns = [Tokens(encode_prompt(resident.tokenizer, texts[r["prompt_id"]]), tuple(r["tokens"])) for r in rows]
    scores = load_scorer(open_artifact(store / "rm"), resident).score(turns)
    np.testing.assert_allclose([row["reward"] for row in rows], scores, atol=1e-4)
    for row in rows:
        assert {len(row[name]) for name in ("logprobs", "ref_logprobs", "advantages")} == {len(row["tokens"])}


def test_grpos_advantages_are_those_of_the_groups(lessons, store):
    """A = z − mean(z) over the group, z = clip(3 + (s − m)/σ, 1, 5), s the reward on the scale of mean 3 and sd 1, with
    the normaliser's m and σ of that iteration's log."""
    artifact, rows = lessons["grpo"]
    log = artifact.read_jsonl("log")[LAST - 1]
    calibration = open_artifact(store / "rm").details.calibration
    for start in (0, 3):
        group = rows[start : start + 3]
        rewards = np.array([row["reward"] for row in group])
        assert all(row["group"] == {"place": k, "rewards": rewards.tolist()} for k, row in enumerate(group))
        scores = (rewards - calibration.mean) / calibration.std + 3
        z = np.clip(3 + (scores - log["normalizer_mean"]) / log["normalizer_std"], 1, 5)
        for row, advantage in zip(group, z - z.mean(), strict=True):
            assert "values" not in row
            np.testing.assert_allclose(row["advantages"], advantage, atol=1e-4)


def test_ppos_tokens_come_with_values_and_whitened_advantages(lessons, store):
    """Advantages of an answer by GAE from its own values and reward, up to the whitening's one shift and scale."""
    artifact, rows = lessons["ppo"]
    config = artifact.manifest.config
    calibration = open_artifact(store / "rm").details.calibration
    raw, kept = [], []
    for row in rows:
        assert "group" not in row
        values = np.array([*row["values"], 0.0])
        rewards = np.zeros(len(row["tokens"]))
        rewards[-1] = (row["reward"] - calibration.mean) / calibration.std
        advantage = 0.0
        backwards = []
        for t in reversed(range(len(rewards))):
            delta = rewards[t] + config["gae_gamma"] * values[t + 1] - values[t]
            advantage = delta + config["gae_gamma"] * config["gae_lambda"] * advantage
            backwards.append(advantage)
        raw += backwards[::-1]
        kept += row["advantages"]
    slope, shift = np.polyfit(raw, kept, 1)
    assert slope > 0
    np.testing.assert_allclose(slope * np.array(raw) + shift, kept, atol=2e-4)


def test_the_start_has_no_lesson(lessons):
    for artifact, _ in lessons.values():
        roles = {record.role for record in artifact.manifest.files}
        assert "eval_0000_rollout" not in roles
        points = {role.removesuffix("_responses") for role in roles if role.endswith("_responses")} - {"eval_0000"}
        assert {role.removesuffix("_rollout") for role in roles if role.endswith("_rollout")} == points
