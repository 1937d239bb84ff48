import pytest
from fake_study import FakeStudy

from align_contracts.errors import VerificationError
from align_eval import judge, ledger
from align_eval.config import CompareConfig, JudgeConfig
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
    return ledger.build(open_study([study.root / first, other]))


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


MISMATCHES = {
    "num_iterations": policy_with("g-1", config={"num_iterations": 100}),
    "learning_rate": policy_with("g-2", config={"learning_rate": 1e-5}),
    "batch_size": policy_with("g-3", config={"batch_size": 8}),
    "max_seq_length": policy_with("g-4", config={"max_seq_length": 256}),
    "target_kl": policy_with("g-5a", config={"target_kl": [0.05]}),
    "kl_schedule": policy_with("g-6", config={"kl_schedule": "constant"}),
    "control": policy_with("g-7", config={"control": "null"}, control="null"),
    "selection": policy_with("g-8", config={"selection": "perplexity"}),
    "seeds of each method": policy_with("g-9", seed=7),
    "reward model": policy_with("g-10", rm=lambda study: study.make_rm("rm-other", value=5.0)),
    "SFT policy": other_sft,
    "baseline answers": other_baseline_answers,
    "judged against its own SFT": judged_against_another_sft,
    "answering settings": answered_with("g-11", temperature=0.1),
    "SFT answered with the same settings": answered_with("g-12", top_k=5),
    "prompts, in order": fewer_prompts,
    "scoring reward model": other_scoring,
    "judge settings": other_judge_settings,
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_each_kind_of_mismatch_is_refused_by_name(study, name):
    found = book(study, MISMATCHES[name](study))
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
    controlled, varied = ledger.compare_settings(runs)
    assert [(e.name, e.ok) for e in controlled] == [("K", False), ("lr", True)]
    assert controlled[0].text() == "6 (grpo-1); 4 (grpo-2)"
    assert [e.name for e in varied] == ["K"]


def test_nested_settings_are_compared_by_their_full_name():
    runs = {"ppo-1": ("ppo", {"a": {"b": 1}}), "grpo-1": ("grpo", {"a": {"b": 2}})}
    controlled, _ = ledger.compare_settings(runs)
    assert [(e.name, e.ok) for e in controlled] == [("a.b", False)]


def test_allow_mismatch_reports_the_difference(study):
    from align_contracts import open_artifact
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
