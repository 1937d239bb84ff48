import gc
import weakref

import mlx.core as mx
import numpy as np
import pytest
from tiny_store import make_store

from align_contracts import open_artifact, space
from align_contracts.errors import ConfigError, KindError, PreflightError
from align_eval import respond
from align_eval.config import RespondConfig
from align_eval.respond import draw_seed, run
from align_mlx.chat import Tokens, encode_prompt
from align_mlx.loading import load_base, load_policy
from align_mlx.reward import load_scorer


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    make_store(root)
    return root


@pytest.fixture
def answer(store, tmp_path, monkeypatch):
    """Run `respond` on artifacts named in the store: answer(policy="sft", rm="rm", …) gives the artifact."""
    monkeypatch.setenv("ALIGN_STORE", str(store))

    def go(policy="sft", data="data", rm=None, out="responses", **settings):
        sizes = {"max_prompt_length": 16, "max_new_tokens": 10, "compute_dtype": "float32", "quiet": True, **settings}
        paths = {"policy": store / policy, "data": store / data, "rm": rm and store / rm, "out": tmp_path / out}
        assert run(RespondConfig(**paths, **sizes)) == 0
        return open_artifact(tmp_path / out, kind="responses", deep=True)

    return go


def test_every_prompt_is_answered_in_order(answer, store):
    art = answer()
    rows, prompts = art.read_jsonl("responses"), open_artifact(store / "data").read_jsonl("prompts_test")
    assert [(r["prompt_id"], r["prompt"], r["category"]) for r in rows] == [
        (p["prompt_id"], p["prompt"], p["category"]) for p in prompts
    ]
    assert all(r["length"] == len(r["tokens"]) <= 10 for r in rows)
    assert all(r["truncated"] == (r["tokens"][-1] not in (1, 5)) for r in rows)
    assert {r["truncated"] for r in rows} == {True, False}
    assert all("<end_of_turn>" not in r["response"] and r["reward"] is None for r in rows)
    assert {i.role for i in art.manifest.inputs} == {"base", "policy", "dataset"}
    details = art.details
    assert (details.policy_method, details.prompts, details.split, details.scored) == ("sft", 9, "test", False)
    assert art.metric("response_length_mean") == pytest.approx(np.mean([r["length"] for r in rows]))
    assert art.metric("truncated_rate") == pytest.approx(np.mean([r["truncated"] for r in rows]))
    assert "reward_mean" not in {m.name for m in art.metrics()}


def test_the_disk_is_asked_before_anything_is_sampled(answer, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(respond, "require_space", lambda target, parts: asked.append(sum(parts.values())))
    again = answer(out="again")
    assert again.file("responses").stat().st_size < asked[0]
    monkeypatch.undo()
    monkeypatch.setattr(respond, "sample", None)  # is not reached
    monkeypatch.setattr(space, "free_bytes", lambda target: 100)
    with pytest.raises(PreflightError, match=r"/full needs more disk .* \(the prompts .*, the answers"):
        answer(out="full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again"]


def test_greedy_answers_are_the_most_likely_tokens(answer, store):
    # An oracle without sampler, batch or cache: the whole sequence once more for every token.
    row = answer(temperature=0.0).read_jsonl("responses")[3]
    resident = load_policy(open_artifact(store / "sft"))
    ids = list(encode_prompt(resident.tokenizer, row["prompt"]))
    for token in row["tokens"]:
        logits = np.array(resident.logits(resident.hidden(mx.array([ids]))[:, -1]))[0]
        assert token == int(logits.argmax())
        ids.append(token)


@pytest.mark.parametrize("rm", ["rm", "rm-base"])
def test_the_reward_model_scores_what_was_sampled(answer, store, rm):
    # Each answer alone, over the backbone that the reward model names.
    art = answer(rm=rm)
    sft = open_artifact(store / "sft")
    resident = load_policy(sft) if rm == "rm" else load_base(sft.input("base").path)
    scorer = load_scorer(open_artifact(store / rm), resident)
    for row in art.read_jsonl("responses"):
        tokens = Tokens(encode_prompt(resident.tokenizer, row["prompt"]), tuple(row["tokens"]))
        assert row["reward"] == pytest.approx(scorer.score([tokens])[0], abs=1e-4)
    assert art.details.scored
    assert art.input("reward_model").name == rm
    assert art.metric("reward_mean") == pytest.approx(np.mean([r["reward"] for r in art.read_jsonl("responses")]))


def test_one_base_at_a_time(answer, monkeypatch):
    bases = []

    def load(*arguments):
        bases.append(weakref.ref(resident := load_policy(*arguments)))
        return resident

    def score(*arguments, **named):
        gc.collect()
        assert bases[0]() is None  # the policy is gone before the reward model comes
        return load_scorer(*arguments, **named)

    monkeypatch.setattr(respond, "load_policy", load)
    monkeypatch.setattr(respond, "load_scorer", score)
    assert answer(rm="rm-base").details.scored


def test_a_merged_policy_answers_as_its_residual_form(answer, monkeypatch):
    # The same weights in one model, so with the same draws the same tokens; its base is no input any more.
    monkeypatch.setattr(respond, "draw_seed", lambda policy, seed: 7)
    residual, merged = answer("sft", out="a", rm="rm"), answer("sft-merged", out="b", rm="rm")
    assert {i.role for i in merged.manifest.inputs} == {"policy", "dataset", "reward_model"}
    for one, other in zip(residual.read_jsonl("responses"), merged.read_jsonl("responses"), strict=True):
        assert one["tokens"] == other["tokens"]
        assert one["reward"] == pytest.approx(other["reward"], abs=1e-4)


def test_draws_depend_on_seed_and_policy(answer, store):
    sft, merged = open_artifact(store / "sft"), open_artifact(store / "sft-merged")
    assert draw_seed(sft, 0) == draw_seed(sft, 0)
    assert len({draw_seed(sft, 0), draw_seed(sft, 1), draw_seed(merged, 0)}) == 3
    again = [answer(out=name, sampling_seed=seed).content_digest for name, seed in (("x", 0), ("y", 0), ("z", 1))]
    assert again[0] == again[1] != again[2]


def test_batching_changes_nothing(answer):
    whole, single = answer(out="a"), answer(out="b", rollout_rows=1)
    assert whole.read_jsonl("responses") == single.read_jsonl("responses")


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        # "w4 … w8" and the template's <bos>, turn marks, names and newlines: 5 + 9 ids
        ({"max_prompt_length": 13}, ConfigError, "prompt p4 is too long.*13 tokens.*14.*--max-prompt-length"),
        ({"data": "empty"}, ConfigError, "test split of empty has no prompts"),
        ({"rm": "rm-foreign"}, ConfigError, "sft and the reward model rm-foreign have different tokenizers"),
        ({"policy": "base"}, KindError, "policy"),
        ({"rm": "sft"}, KindError, "reward_model"),
        ({"data": "sft"}, KindError, "dataset"),
    ],
)
def test_what_cannot_be_answered_leaves_nothing_behind(answer, tmp_path, settings, error, says):
    with pytest.raises(error, match=f"(?s){says}"):
        answer(**settings)
    assert list(tmp_path.iterdir()) == []
