from types import SimpleNamespace

from align_eval.diagnostics.samples import LONGEST, samples


def answers(text, count=8, truncated=False):
    return [
        {"prompt_id": f"p{i}", "prompt": f"Q{i}", "category": "fact" if i < 4 else "tale", "response": f"{text} {i}",
         "reward": float(i), "length": 3, "truncated": truncated} for i in range(count)
    ]  # fmt: skip


def run(label, outcomes, text="mine", **how):
    verdicts = [{"prompt_id": f"p{i}", "outcome": outcome, "score_candidate": 0.9, "score_baseline": 0.4}
                for i, outcome in enumerate(outcomes)]  # fmt: skip
    return SimpleNamespace(label=label, method=label.split("-")[0], answers=answers(text, **how), verdicts=verdicts)


def test_prompts_are_chosen_by_rule_and_said_so():
    """fact: p0 first, p2 won by both, p3 lost by both; tale: p4 is first and also the most won."""
    one = run("ppo-1", ["tie", "tie", "win", "loss", "win", "tie", "loss", "tie"])
    two = run("grpo-1", ["tie", "win", "win", "loss", "win", "tie", "tie", "invalid"], text="x" * LONGEST)
    found = samples(SimpleNamespace(runs=(one, two), baseline_answers=answers("base")))
    assert [(row["prompt_id"], row["why"]) for row in found] == [
        ("p0", "first of its category"),
        ("p2", "won most often"),
        ("p3", "won least often"),
        ("p4", "first of its category"),
        ("p6", "won least often"),
    ]
    sft, ppo, grpo = found[1]["answers"]
    assert (sft["label"], sft["text"], sft["outcome"], sft["score"]) == ("sft", "base 2", None, 0.4)
    assert (ppo["text"], ppo["outcome"], ppo["score"], ppo["reward"], ppo["cut"]) == ("mine 2", "win", 0.9, 2.0, False)
    assert len(grpo["text"]) == LONGEST
    assert grpo["cut"]


def test_an_answer_cut_at_the_limit_of_tokens_is_marked():
    one = run("ppo-1", ["tie"] * 8, truncated=True)
    found = samples(SimpleNamespace(runs=(one,), baseline_answers=answers("base")))
    assert [answer["cut"] for answer in found[0]["answers"]] == [False, True]
