import pytest
from fake_study import FakeStudy

from align_eval.diagnostics.tokens import pieces, speller, token_views
from align_eval.gold import reference_gold
from align_eval.trajectory import read_trajectory

WORDS = {0: "the", 1: " fox", 2: "\ufffd", 3: "é"}


def decode(ids):
    """Ids 2 and 3 are two halves of one character: apart they are no text."""
    text = "".join(WORDS[i] for i in ids)
    return text.replace("\ufffdé", "é")


def test_the_pieces_are_the_text():
    assert pieces([0, 1, 1], decode) == ["the", " fox", " fox"]
    assert pieces([0, 2, 3, 1], decode) == ["the", "", "é", " fox"]
    assert pieces([0, 2], decode) == ["the", "\ufffd"]  # it never became a character
    assert pieces([], decode) == []


def test_a_real_tokenizer_spells_its_text(tmp_path):
    from tiny.tokenizer import word_tokenizer

    word_tokenizer().save_pretrained(tmp_path)
    base = type("Base", (), {"path": tmp_path})
    policy = type("Policy", (), {"input": lambda self, role: base})()
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ids = tokenizer.encode("w1 w2 w3").ids
    found = speller(policy)(ids)
    assert len(found) == len(ids)
    assert "".join(found) == tokenizer.decode(ids, skip_special_tokens=False)


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    study = FakeStudy(tmp_path_factory.mktemp("tokens"), prompts=3, validation=9)
    prompts = FakeStudy.prompts("validation", 9)
    gold = reference_gold(prompts)
    policies = [study.make_policy(method, 42) for method in ("ppo", "grpo")]
    bare = study.make_policy("grpo", 1, name="bare", evaluations=False)
    older = study.make_policy("grpo", 7, lessons=False)
    by_id = {row["prompt_id"]: row for row in prompts}
    runs = [read_trajectory(policy.name, policy, gold) for policy in policies]
    alone = [token_views([read_trajectory(one.name, one, gold)], by_id) for one in (older, bare)]
    return token_views(runs, by_id), alone, policies


def test_one_answer_a_category_with_everything_that_was_kept(views):
    found, _, (ppo, _) = views
    shown = [view for view in found["views"] if (view["label"], view["source"]) == ("ppo-42", "evaluation point")]
    assert [view["prompt"] for view in shown] == [f"Name the woods, validation {i}." for i in (0, 3, 6)]
    kept = ppo.read_jsonl("eval_0200_responses")[3]
    view = shown[1]
    assert (view["response"], view["reward"], view["iteration"]) == (kept["response"], kept["reward"], 200)
    assert [token["advantage"] for token in view["tokens"]] == kept["advantages"]
    assert [token["value"] for token in view["tokens"]] == kept["values"]
    gaps = [p - q for p, q in zip(kept["logprobs"], kept["ref_logprobs"], strict=True)]
    assert [token["log_ratio"] for token in view["tokens"]] == gaps
    assert view["tokens"][2]["text"] == "#2"  # this base has no tokenizer
    assert found["missing"] == []


def test_a_groups_best_and_worst_answer_with_the_advantages_of_the_update(views):
    found, _, (_, grpo) = views
    best, worst = [v for v in found["views"] if (v["label"], v["source"]) == ("grpo-42", "training rollout")]
    rewards = [row["reward"] for row in grpo.read_jsonl("eval_0200_rollout")]
    assert (best["reward"], worst["reward"]) == (max(rewards), min(rewards))
    assert best["group"] == {"place": rewards.index(max(rewards)), "rewards": rewards}
    gap = pytest.approx(max(rewards) - sum(rewards) / 4, abs=1e-5)
    assert [token["advantage"] for token in best["tokens"]] == [gap] * len(best["tokens"])
    assert {token["value"] for token in best["tokens"]} == {None}


def test_what_was_not_kept_is_said(views):
    _, (older, bare), _ = views
    assert [view["source"] for view in older["views"]] == ["evaluation point"] * 3
    assert all(token["advantage"] is None for view in older["views"] for token in view["tokens"])
    (missing,) = older["missing"]
    assert "grpo-7" in missing
    assert "no group" in missing
    assert bare == {"missing": ["bare kept no answers of an evaluation point"], "views": []}
