import mlx.core as mx
import numpy as np
import pytest
from tiny_store import make_store

from align_contracts import open_artifact, publish
from align_contracts.errors import ConfigError
from align_eval.config import SweepConfig
from align_eval.sweep import point, run
from align_mlx import adapters as lora
from align_mlx.adapters import stacked
from align_mlx.chat import Tokens, encode_prompt
from align_mlx.loading import load_base, load_policy, policy_adapters
from align_mlx.reward import load_scorer
from tiny.rows import prompt_row, publish_rows
from tiny.stores import adapter_entry, publish_rm, random_adapter
from tiny.tokenizer import fill_words

CHECKS = {"items": [{"kind": "contains_all", "weight": 1.0, "words": ["w1"]}]}


def publish_trained(path, sft, seed, method="grpo"):
    """A policy as RL publishes it: a copy of the SFT adapter and a trained one over it."""
    base = sft.input("base")
    adapter = random_adapter(load_base(base.path).maps, seed)
    with publish(path, "policy", producer="align-rl", config={}, inputs={"base": base, "policy": sft}) as draft:
        lora.save(policy_adapters(sft)[0], draft.file("sft.safetensors", role="adapter_sft"))
        lora.save(adapter, draft.file("adapter.safetensors", role="adapter"))
        below = sft.details.adapters[0].model_dump() | {"file": "sft.safetensors"}
        draft.details = {
            "method": method, "form": "residual", "format": "chosen", "seed": seed,
            "adapters": [below, adapter_entry(adapter, "policy")],
        }  # fmt: skip
    return open_artifact(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    make_store(root)
    sft = open_artifact(root / "sft")
    for seed in (5, 6):
        publish_trained(root / f"grpo-{seed}", sft, seed)
    publish_rm(root / "rm-gold", sft, random_adapter(load_base(sft.input("base").path).maps, 9))
    texts = [" ".join(fill_words()[i : i + 1 + i % 5]) for i in range(9)]
    rows = [prompt_row(f"p{i}", text) | ({"checks": CHECKS} if i else {}) for i, text in enumerate(texts)]
    publish_rows(root / "validation", {"prompts/validation": rows})
    return root


@pytest.fixture
def sweep(store, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGN_STORE", str(store))

    def go(policy="grpo-5", rm="rm", data="validation", gold=None, out="sweep", **settings):
        sizes = {"max_prompt_length": 16, "max_new_tokens": 10, "eval_prompts": 9, "compute_dtype": "float32"}
        paths = {"policy": store / policy, "rm": store / rm, "data": store / data, "out": tmp_path / out}
        paths |= {"gold": store / gold} if gold else {}
        assert run(SweepConfig(**paths, quiet=True, **(sizes | settings))) == 0
        return open_artifact(tmp_path / out, kind="responses", deep=True)

    return go


def test_kl_and_reward_of_each_answer_against_a_plain_forward_pass(sweep, store):
    """Each answer alone, every adapter stacked into one of the strength's scale, KL over the vocabulary in float64."""
    art = sweep(strengths=(0.0, 0.5, 1.0))
    policy, sft = open_artifact(store / "grpo-5"), open_artifact(store / "sft")
    resident, reference = load_base(policy.input("base").path), load_policy(sft)
    scorer = load_scorer(open_artifact(store / "rm"), load_policy(sft))
    rows = open_artifact(store / "validation").read_jsonl("prompts_validation")
    prompts = {row["prompt_id"]: row["prompt"] for row in rows}
    below, trained = policy_adapters(policy)
    answers = art.read_jsonl("sweep_answers")
    assert len(answers) == 3 * 9
    for row in answers[1::4]:
        ids = encode_prompt(resident.tokenizer, prompts[row["prompt_id"]])
        whole = mx.array([[*ids, *row["tokens"]]])
        mine = resident.logits(resident.hidden(whole, (stacked([below, trained.scaled(row["strength"])]),)))
        theirs = reference.logits(reference.hidden(whole))
        p, q = (log_softmax(np.array(x, np.float64)[0, len(ids) - 1 : -1]) for x in (mine, theirs))
        assert row["kl"] == pytest.approx((np.exp(p) * (p - q)).sum(), abs=2e-4)
        assert row["reward"] == pytest.approx(scorer.score([Tokens(ids, tuple(row["tokens"]))])[0], abs=1e-4)


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def test_strength_zero_is_the_reference_whatever_the_policy(sweep):
    one, two = (sweep(policy=f"grpo-{seed}", out=f"s{seed}", strengths=(0.0, 1.0)) for seed in (5, 6))
    first, second = ([row for row in art.read_jsonl("sweep_answers") if row["strength"] == 0.0] for art in (one, two))
    assert first == second
    assert {row["kl"] for row in first} == {0.0}
    ends = [art.read_json("sweep")["points"][1] for art in (one, two)]
    assert ends[0]["kl"] != ends[1]["kl"]
    assert min(end["kl"] for end in ends) > 0


def test_kl_grows_with_strength_about_as_its_square(sweep):
    """KL = ½ c² F + O(c³) near the reference: halving a small strength quarters it."""
    points = sweep(strengths=(0.02, 0.04, 0.5, 1.0)).read_json("sweep")["points"]
    kls = [p["kl"] for p in points]
    assert kls == sorted(kls)
    assert kls[1] / kls[0] == pytest.approx(4.0, rel=0.15)


def test_points_sum_up_the_answers(sweep):
    art = sweep(strengths=(0.0, 1.0))
    answers = [row for row in art.read_jsonl("sweep_answers") if row["strength"] == 1.0]
    (_, last) = art.read_json("sweep")["points"]
    assert last["kl"] == pytest.approx(sum(r["kl"] for r in answers) / sum(r["length"] for r in answers))
    assert last["reward_mean"] == pytest.approx(np.mean([r["reward"] for r in answers]))
    assert last["reward_se"] == pytest.approx(np.std([r["reward"] for r in answers], ddof=1) / 3)
    assert last["response_length_mean"] == pytest.approx(np.mean([r["length"] for r in answers]))
    assert (art.details.prompts, art.details.split, art.details.seed) == (9, "validation", 5)


def test_gold_scores_come_from_the_checks_or_from_a_gold_model(sweep, store):
    checked = sweep(strengths=(1.0,)).read_jsonl("sweep_answers")
    # p0 carries no checks; the others ask for the word w1
    assert [row["gold"] for row in checked] == [None, *[float("w1" in r["response"].split()) for r in checked[1:]]]
    art = sweep(strengths=(1.0,), gold="rm-gold", out="golden")
    rows = art.read_jsonl("sweep_answers")
    assert [row["response"] for row in rows] == [row["response"] for row in checked]
    assert all(row["gold"] != row["reward"] for row in rows)
    assert art.read_json("sweep")["gold"] == "reward-model"
    assert art.read_json("sweep")["points"][0]["gold"] == pytest.approx(np.mean([row["gold"] for row in rows]))
    assert art.input("gold").name == "rm-gold"


def test_cutting_the_work_changes_nothing(sweep):
    whole, cut = sweep(out="a"), sweep(out="b", rollout_rows=1, token_budget=64)
    for one, other in zip(whole.read_jsonl("sweep_answers"), cut.read_jsonl("sweep_answers"), strict=True):
        assert one["response"] == other["response"]
        assert one["kl"] == pytest.approx(other["kl"], abs=1e-5)


def test_long_prompts_are_left_out_and_counted(sweep):
    # "w4 … w8" and the template: 14 ids; three of the nine prompts have four or five words
    art = sweep(max_prompt_length=12, strengths=(1.0,))
    left_out = art.manifest.extensions["dropped"]["too_long"]
    assert art.details.prompts + left_out == 9
    assert left_out > 0
    assert art.manifest.extensions["dropped"]["special"] == 0
    assert sweep(eval_prompts=2, strengths=(1.0,), out="few").details.prompts == 2


def test_a_prompt_that_writes_a_control_token_is_left_out(sweep, store):
    """It would open a turn of its own; RL leaves it out too."""
    rows = [prompt_row(f"c{i}", text) for i, text in enumerate(("w1 <end_of_turn> w2", "w1 w2", "w3"))]
    publish_rows(store / "marked", {"prompts/validation": rows})
    art = sweep(data="marked", strengths=(1.0,))
    assert [row["prompt_id"] for row in art.read_jsonl("sweep_answers")] == ["c1", "c2"]
    assert art.manifest.extensions["dropped"] == {"too_long": 0, "special": 1}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"policy": "sft"}, "sft is no adapter over a reference policy.*method sft"),
        ({"policy": "sft-merged"}, "sft-merged is no adapter.*form merged"),
        ({"max_prompt_length": 2}, "no prompt of the validation split is left.*9 longer ones"),
        ({"rm": "rm-foreign"}, "different tokenizers"),
    ],
)
def test_what_cannot_be_swept_leaves_nothing_behind(sweep, tmp_path, settings, says):
    with pytest.raises(ConfigError, match=f"(?s){says}"):
        sweep(**settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("strengths", [(), (-0.5, 1.0), (1.0, 0.5), (1.0, 1.0)])
def test_strengths_must_rise(strengths):
    with pytest.raises(ValueError, match="each above the one before"):
        SweepConfig(policy="p", data="d", rm="r", out="o", strengths=strengths)


def test_a_point_without_gold():
    rows = [{"strength": 1.0, "kl": 2.0, "length": 4, "reward": 1.0, "gold": None, "truncated": True}]
    assert point(1.0, rows) == {
        "strength": 1.0, "n": 1, "kl": 0.5, "kl_se": None, "reward_mean": 1.0, "reward_se": None, "gold": None,
        "gold_se": None, "response_length_mean": 4.0, "truncated_rate": 1.0,
    }  # fmt: skip
