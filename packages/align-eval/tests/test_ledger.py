import pytest
from fake_study import FakeStudy

from align_contracts import open_artifact, publish
from align_contracts.errors import VerificationError
from align_eval import controlled, judge
from align_eval.config import CompareConfig, JudgeConfig
from align_eval.ledger import Difference, Entry, Ledger
from align_eval.study import open_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    fake = FakeStudy(tmp_path_factory.mktemp("ledger"), prompts=6, validation=3)
    fake.make_responses(fake.sft, skill=0.4)
    fake.make_responses(fake.make_policy("ppo", 42), skill=0.6)
    fake.make_responses(fake.make_policy("grpo", 42), skill=0.6)
    for name in ("ppo-42", "grpo-42"):
        judged(fake, name)
    return fake


def judged(study, name, baseline="responses-sft", **settings):
    out = study.root / f"judgments-{name}"
    config = JudgeConfig(
        candidate=study.root / f"responses-{name}", baseline=study.root / baseline, out=out, quiet=True, **settings
    )
    judge.run(config)
    return out


def book(study, other, first="judgments-ppo-42"):
    return controlled.build(open_study([study.root / first, other]))


def test_a_controlled_study_passes(study):
    found = book(study, study.root / "judgments-grpo-42")
    found.require()
    assert found.mismatches == ()
    values = {entry.name: entry.text() for entry in found.controlled}
    assert values["learning_rate"] == "5e-06"
    assert values["target_kl"] == "0.05 0.02 0.01"
    assert values["seeds of each method"] == "42"
    assert values["SFT policy"] == study.sft.content_digest[:12]
    varied = {entry.name: entry.text() for entry in found.varied}
    assert varied["K"] == "— (ppo); 6 (grpo)"
    assert "token_budget" in varied
    assert found.varies().endswith("these vary: grpo: K 6; ppo: gae_lambda 0.95, value_coef 0.5.")
    assert "token_budget" not in found.varies()  # free, but equal here


def policy_with(name, **changes):
    """A GRPO run that differs from the PPO run in one thing, judged as usual."""

    def make(study):
        changed = {key: value(study) if callable(value) else value for key, value in changes.items()}
        policy = study.make_policy("grpo", changed.pop("seed", 42), name=name, **changed)
        study.make_responses(policy, skill=0.6)
        return judged(study, name)

    return make


def other_sft(study):
    sft = study.make_sft("sft-other", value=3.0)
    base = study.make_responses(sft, skill=0.4)
    policy = study.make_policy("grpo", 42, name="g-sft", sft=sft, rm=study.make_rm("rm-other-sft", policy=sft))
    study.make_responses(policy, skill=0.6)
    return judged(study, "g-sft", baseline=base.name)


def other_baseline_answers(study):
    study.make_responses(study.sft, skill=0.4, seed=9, name="responses-sft-9")
    policy = study.make_policy("grpo", 42, name="g-base")
    study.make_responses(policy, skill=0.6)
    return judged(study, "g-base", baseline="responses-sft-9")


def judged_against_another_sft(study):
    base = study.make_responses(study.make_sft("sft-wrong", value=4.0), skill=0.4)
    policy = study.make_policy("grpo", 42, name="g-wrong")
    study.make_responses(policy, skill=0.6)
    return judged(study, "g-wrong", baseline=base.name)


def answered_with(name, **config):
    def make(study):
        policy = study.make_policy("grpo", 42, name=name)
        study.make_responses(policy, skill=0.6, config=config)
        return judged(study, name)

    return make


def fewer_prompts(study):
    rows = FakeStudy.prompts("test", 6)[:5]
    study.make_responses(study.sft, skill=0.4, name="responses-sft-5", rows=rows)
    policy = study.make_policy("grpo", 42, name="g-5")
    study.make_responses(policy, skill=0.6, rows=rows)
    return judged(study, "g-5", baseline="responses-sft-5")


def other_scoring(study):
    policy = study.make_policy("grpo", 42, name="g-score")
    study.make_responses(policy, skill=0.6, rm=study.make_rm("rm-score", value=7.0))
    return judged(study, "g-score")


def other_judge_settings(study):
    policy = study.make_policy("grpo", 42, name="g-judge")
    study.make_responses(policy, skill=0.6)
    return judged(study, "g-judge", temperature=0.5)


def a_setting(name, value):
    """A run that differs in one training setting."""
    return policy_with(f"g-{name}", config={name: value})


def republished(name, *, reward_model=None, category=None, **details):
    """Judgments that differ in what a judge says of itself, as another judge would publish them."""

    def make(study):
        policy = study.make_policy("grpo", 42, name=name)
        study.make_responses(policy, skill=0.6)
        first = open_artifact(judged(study, name))
        inputs = {role: first.input(role) for role in ("candidate", "baseline", "dataset")}
        inputs |= {"reward_model": reward_model(study)} if reward_model else {}
        out = study.root / f"judgments-{name}-2"
        with publish(out, "judgments", producer="test", config=first.manifest.config, inputs=inputs) as draft:
            rows = [row | ({"category": category} if category else {}) for row in first.read_jsonl("verdicts")]
            draft.write_jsonl("verdicts.jsonl", rows, role="verdicts")
            draft.details = first.details.model_dump() | details
        return out

    return make


def sft_answered_otherwise(study):
    """Both runs against the same SFT answers, which were drawn at another temperature than theirs."""
    study.make_responses(study.sft, skill=0.4, name="responses-sft-cold", config={"temperature": 0.2})
    for name in ("ppo-42", "grpo-42"):
        policy = study.make_policy(name.split("-")[0], 42, name=f"cold-{name}")
        study.make_responses(policy, skill=0.6)
        judged(study, f"cold-{name}", baseline="responses-sft-cold")
    return study.root / "judgments-cold-grpo-42", study.root / "judgments-cold-ppo-42"


def prompts_in_another_order(study):
    rows = FakeStudy.prompts("test", 6)[::-1]
    study.make_responses(study.sft, skill=0.4, name="responses-sft-reversed", rows=rows)
    policy = study.make_policy("grpo", 42, name="g-reversed")
    study.make_responses(policy, skill=0.6, rows=rows)
    return judged(study, "g-reversed", baseline="responses-sft-reversed")


SETTINGS = {
    "num_iterations": 100,
    "batch_size": 8,
    "minibatches": 2,
    "ppo_epochs": 2,
    "learning_rate": 1e-5,
    "warmup_iterations": 5,
    "max_grad_norm": 1.0,
    "temperature": 0.7,
    "max_seq_length": 256,
    "max_prompt_length": 128,
    "max_response_length": 128,
    "truncation_penalty": 1.0,
    "mask_truncated": True,
    "lora_rank": 8,
    "lora_alpha": 16.0,
    "lora_layers": 4,
    "lora_targets": ["q_proj"],
    "clip_range": 0.1,
    "clip_range_high": 0.28,
    "controller": "pullback",
    "kl_schedule": "constant",
    "target_kl": [0.05],
    "kl_estimator": "exact",
    "kl_coef": 0.2,
    "eval_every": 10,
    "eval_prompts": 20,
    "selection": "perplexity",
    "compute_form": "dense",
    "compute_dtype": "bfloat16",
}
"""Every training setting that both methods have, with another value than the study's."""

MISMATCHES = {
    **{name: a_setting(name, value) for name, value in SETTINGS.items()},
    "control": policy_with("g-control", config={"control": "null"}, control="null"),
    "seeds of each method": policy_with("g-9", seed=7),
    "iterations done": policy_with("g-short", iterations=150),
    "prompts left out of training": policy_with("g-dropped", dropped={"train": {"too_long": 3}}),
    "reward model": policy_with("g-10", rm=lambda study: study.make_rm("rm-other", value=5.0)),
    "SFT policy": other_sft,
    "SFT adapter in use": policy_with("g-adapter", sft_value=9.0),
    "baseline answers": other_baseline_answers,
    "judged against its own SFT": judged_against_another_sft,
    "answering: temperature": answered_with("g-11", temperature=0.1),
    "answering: max_new_tokens": answered_with("g-13", max_new_tokens=64),
    "answering: top_k": answered_with("g-12", top_k=5),
    "SFT answered with other settings": sft_answered_otherwise,
    "prompts, in order": fewer_prompts,
    "the same prompts in another order": prompts_in_another_order,
    "categories": republished("g-categories", category="factual"),
    "scoring reward model": other_scoring,
    "judge": republished("g-other-judge", judge="openai:gpt-4o-mini"),
    "judging reward model": republished("g-gold", reward_model=lambda study: study.make_rm("rm-gold", value=8.0)),
    "judge model": republished("g-judge-model", model="gpt-5-mini"),
    "judge prompt": republished("g-judge-prompt", judge_prompt_digest="c" * 64),
    "judging: temperature": other_judge_settings,
    "judged in both orders": republished("g-one-order", swapped=False),
}

ENTRY = {
    "the same prompts in another order": "prompts, in order",
    "SFT answered with other settings": "answering: temperature",
}
"""Where the kind of mismatch is not called as its row."""


@pytest.mark.parametrize("name", MISMATCHES)
def test_each_kind_of_mismatch_is_refused_by_name(study, name):
    made = MISMATCHES[name](study)
    found = book(study, *(made if isinstance(made, tuple) else (made,)))
    name = ENTRY.get(name, name)
    assert name in {entry.name for entry in found.mismatches}
    with pytest.raises(VerificationError, match="the runs differ") as caught:
        found.require()
    assert name in str(caught.value)
    assert "--allow-mismatch" in str(caught.value)
    assert caught.value.exit_code == 3


def test_other_training_data(study, tmp_path, monkeypatch):
    elsewhere = FakeStudy(tmp_path, prompts=6, validation=4)
    monkeypatch.setenv("ALIGN_STORE", str(tmp_path))
    policy = study.make_policy("grpo", 42, name="g-data", data=elsewhere.data)
    study.make_responses(policy, skill=0.6)
    found = book(study, judged(study, "g-data"))
    assert [entry.name for entry in found.mismatches] == ["training data"]


def test_a_methods_own_setting_must_agree_within_the_method():
    runs = {
        "grpo-1": ("grpo", {"K": 6, "lr": 1}),
        "grpo-2": ("grpo", {"K": 4, "lr": 1}),
        "ppo-1": ("ppo", {"lr": 1}),
    }
    held, varied = controlled.compare_settings(runs)
    assert [(e.name, e.ok) for e in held] == [("K", False), ("lr", True)]
    assert held[0].text() == "6 (grpo-1); 4 (grpo-2)"
    assert [e.name for e in varied] == ["K"]


def test_a_shared_setting_that_a_version_did_not_know_is_a_mismatch():
    """Not a method's own: the run's program was older or newer, and what it did there is unknown."""
    runs = {"ppo-1": ("ppo", {"lr": 1}), "grpo-1": ("grpo", {"lr": 1, "mask_truncated": True, "K": 6})}
    held, varied = controlled.compare_settings(runs)
    assert [(e.name, e.ok) for e in held] == [("lr", True), ("mask_truncated", False)]
    assert held[1].explain() == "expected —, got true (grpo)"
    assert [e.name for e in varied] == ["K"]


def test_the_difference_names_runs_expected_and_got():
    values = {"ppo-1": "5e-06", "ppo-2": "5e-06", "grpo-1": "5e-06", "grpo-2": "1e-05"}
    entry = Entry("learning_rate", values)
    assert entry.differences() == [Difference(("grpo-2",), "5e-06", "1e-05")]
    assert entry.explain() == "expected 5e-06, got 1e-05 (grpo-2)"
    assert Entry("own SFT", {"ppo-1": "no", "grpo-1": "no"}, "yes").explain() == "expected yes, got no (ppo, grpo)"
    as_json = Ledger((entry,), ()).as_json()["controlled"][0]
    assert as_json["differs"] == [{"runs": ["grpo-2"], "expected": "5e-06", "got": "1e-05"}]
    assert (as_json["expected"], as_json["equal"]) == ("5e-06", False)


def test_an_aa_row_with_the_baselines_own_keys_shows_no_noise(study):
    # Not quite the baseline's answers: judging those would be refused before.
    again = study.make_responses(study.sft, skill=0.41, name="responses-sft-same-keys")
    assert again.details.sampling_seed == 0  # as of the baseline
    found = controlled.build(open_study([study.root / "judgments-ppo-42", judged(study, "sft-same-keys")]))
    assert [entry.name for entry in found.mismatches] == ["A/A answers drawn with other keys"]
    study.make_responses(study.sft, skill=0.4, seed=5, name="responses-sft-other-keys")
    found = controlled.build(open_study([study.root / "judgments-ppo-42", judged(study, "sft-other-keys")]))
    assert found.mismatches == ()


def test_versions_are_told_not_refused(study, monkeypatch):
    """A run that another version trained stays comparable; the ledger lists it, the report warns."""
    policy = study.make_policy("grpo", 42, name="g-version")
    study.make_responses(policy, skill=0.6)
    other = judged(study, "g-version")
    runs = open_study([study.root / "judgments-ppo-42", other])
    manifest = runs.runs[1].policy.manifest
    newer = manifest.model_copy(update={"producer": manifest.producer.model_copy(update={"version": "9.9.9"})})
    object.__setattr__(runs.runs[1].policy, "manifest", newer)
    found = controlled.build(runs)
    found.require()
    told = {entry.name: entry.explain() for entry in found.warned if not entry.ok}
    version = runs.runs[0].policy.manifest.producer.version
    assert told["version of the policy's program"] == f"expected {version}, got 9.9.9 (grpo)"
    assert "version of the policy's program" in {row["name"] for row in found.as_json()["warned"]}


def test_answers_drawn_with_other_seeds_are_told(study):
    """Whoever tries several sampling seeds and keeps the best must not do so unseen."""
    study.make_responses(study.make_policy("grpo", 42, name="g-drawn"), skill=0.6, seed=7)
    found = book(study, judged(study, "g-drawn"))
    found.require()
    assert {e.name: e.text() for e in found.varied}["answering: sampling_seed"] == "0 (ppo); 7 (grpo)"
    assert found.varies().endswith("; answering: sampling_seed 0 (ppo); 7 (grpo).")


def test_other_prompts_are_refused_even_where_a_mismatch_is_allowed(study):
    from align_eval import compare

    few = study.prompts("test", study.count)[:4]
    study.make_responses(study.sft, skill=0.4, name="responses-sft-few", rows=few)
    study.make_responses(study.make_policy("grpo", 42, name="g-few"), skill=0.6, rows=few)
    short = judged(study, "g-few", baseline="responses-sft-few")
    config = CompareConfig(
        judgments=(study.root / "judgments-ppo-42", short), out=study.root / "r-few", quiet=True, allow_mismatch=True
    )
    with pytest.raises(VerificationError, match=r"grpo-42 answers other prompts .*0 prompts more and 2 fewer"):
        compare.run(config)


def test_nested_settings_are_compared_by_their_full_name():
    runs = {"ppo-1": ("ppo", {"a": {"b": 1}}), "grpo-1": ("grpo", {"a": {"b": 2}})}
    held, _ = controlled.compare_settings(runs)
    assert [(e.name, e.ok) for e in held] == [("a.b", False)]


def test_allow_mismatch_reports_the_difference(study):
    from align_eval import compare

    other = policy_with("g-allowed", config={"learning_rate": 2e-5})(study)
    paths = (study.root / "judgments-ppo-42", other)
    with pytest.raises(VerificationError):
        compare.run(CompareConfig(judgments=paths, out=study.root / "r", quiet=True))
    assert not (study.root / "r").exists()
    compare.run(CompareConfig(judgments=paths, out=study.root / "r", quiet=True, allow_mismatch=True))
    artifact = open_artifact(study.root / "r")
    assert artifact.read_json("report")["ledger"]["ok"] is False
    text = artifact.file("markdown").read_text(encoding="utf-8")
    assert "DIFFERS" in text
    assert "learning_rate" in text.split("## Ledger")[0]  # the warnings name it on the first page


def test_the_console_shows_what_was_expected_and_what_was_got(study, capsys):
    from align_contracts import console
    from align_eval.cli import COMMANDS

    other = policy_with("g-console", config={"learning_rate": 1e-5, "lora_rank": 8})(study)
    argv = ["compare", "--judgments", f"{study.root / 'judgments-ppo-42'},{other}", "--out", str(study.root / "no")]
    assert console.main("align-eval", "", COMMANDS, argv) == 3
    said = capsys.readouterr().err
    assert "learning_rate  expected 5e-06, got 1e-05 (grpo)" in said
    assert "lora_rank      expected 16, got 8 (grpo)" in said
    assert "Traceback" not in said
    assert not (study.root / "no").exists()
