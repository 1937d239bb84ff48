import json
import shutil

import pytest
from fake_study import SEEDS, FakeStudy

from align_contracts import open_artifact, space
from align_contracts.errors import ConfigError, PreflightError, VerificationError
from align_contracts.space import tree_bytes
from align_eval import compare, judge
from align_eval.config import CompareConfig, JudgeConfig

RUN_FIELDS = {
    "method", "seed", "win_rate", "loss_rate", "tie_rate", "win_rate_decided", "wilson", "kl", "perplexity",
    "reward_mean", "response_length_mean", "training_seconds", "peak_memory_bytes", "convergence_iteration",
}  # fmt: skip


def test_the_report_holds_what_the_study_asks_for(compared):
    artifact = open_artifact(compared / "report", "report", deep=True)
    report = artifact.read_json("report")
    assert [(run["method"], run["seed"]) for run in report["runs"]] == [
        (m, s) for m in ("ppo", "grpo") for s in sorted(SEEDS)
    ]
    for run in report["runs"]:
        assert set(run) >= RUN_FIELDS
        assert run["win_rate"] + run["loss_rate"] + run["tie_rate"] + run["invalid_rate"] == pytest.approx(1.0)
        judged = open_artifact(compared / f"judgments-{run['label']}").details
        assert run["win_rate"] == judged.wins / 60
        assert run["win_rate_decided"] == judged.wins / (judged.wins + judged.losses)
        policy = open_artifact(compared / run["label"])
        assert (run["kl"], run["perplexity"]) == (policy.metric("kl"), policy.metric("perplexity"))
        answers = open_artifact(compared / f"responses-{run['label']}").read_jsonl("responses")
        assert run["reward_mean"] == pytest.approx(sum(a["reward"] for a in answers) / 60)
        assert run["response_length_mean"] == pytest.approx(sum(a["length"] for a in answers) / 60)
        assert run["convergence_iteration"] in (None, 50, 100, 150, 200)
    assert (
        report["reward_model"] | {"pairwise_accuracy": 0.861, "ece": 0.031, "temperature": 1.42}
        == report["reward_model"]
    )
    expected = {"perplexity_before": 9.31, "perplexity_after": 4.87, "form": "residual", "merge_kl": None}
    assert report["sft"] | expected == report["sft"]
    assert all(isinstance(report["effect"][name], float) for name in ("cohens_d", "hedges_g", "welch_p"))
    assert len(report["effect"]["interval"]) == 2
    assert report["aa"]["n"] == 60
    assert report["ledger"]["ok"]
    assert artifact.details.methods == {"ppo": tuple(sorted(SEEDS)), "grpo": tuple(sorted(SEEDS))}


def test_every_input_stands_in_the_report_with_its_digest(compared):
    artifact = open_artifact(compared / "report")
    listed = {row["name"]: row["content_digest"] for row in artifact.read_json("report")["inputs"]}
    for path in compared.iterdir():
        if path.is_dir() and path.name not in ("report", "base"):
            assert listed[path.name] == open_artifact(path).content_digest
    roles = {record.role for record in artifact.manifest.inputs}
    assert roles == {"judgments", "policy", "reward_model", "sft", "dataset"}


def test_every_certificate_is_listed(compared):
    """SFT, the reward model and the six runs, each as its manifest has it; equal reruns give it again."""
    report = open_artifact(compared / "report")
    listed = report.read_json("report")["certificates"]
    names = ["sft", "rm", *(f"{m}-{s}" for m in ("ppo", "grpo") for s in sorted(SEEDS))]
    assert [entry["label"] for entry in listed] == names
    for name, entry in zip(names, listed, strict=True):
        raw = json.loads((compared / name / "manifest.json").read_bytes())["details"]["certificate"]
        assert entry["certificate"] == raw
        assert raw["verdict"] == "complete"
    assert report.read_json("results")["certificates"] == listed


def test_results_hold_no_clock(compared):
    artifact = open_artifact(compared / "report")
    text = json.dumps(artifact.read_json("results"))
    assert not any(word in text for word in ("seconds", "bytes", "manifest_digest", "Peak memory", "per iteration"))
    volatile = {record.role: record.volatile for record in artifact.manifest.files}
    assert volatile.pop("results") is False
    assert all(volatile.values())


def _judge_all(study, names, baseline):
    for name in names:
        out = study.root / f"judgments-{name}"
        judge.run(JudgeConfig(candidate=study.root / f"responses-{name}", baseline=baseline.path, out=out, quiet=True))
    return tuple(study.root / f"judgments-{name}" for name in names)


def test_equal_reruns_give_equal_results_whatever_the_clock_says(tmp_path):
    digests = set()
    for name, seconds in (("one", 10.0), ("two", 99.0)):
        study = FakeStudy(tmp_path / name, prompts=12, validation=6)
        base = study.make_responses(study.sft, skill=0.4)
        for method in ("ppo", "grpo"):
            study.make_responses(study.make_policy(method, 42, seconds=seconds), skill=0.6)
        paths = _judge_all(study, ["ppo-42", "grpo-42"], base)
        compare.run(CompareConfig(judgments=paths, out=study.root / "report", quiet=True))
        digests.add(open_artifact(study.root / "report").content_digest)
    assert len(digests) == 1


def test_the_disk_is_asked_before_anything_is_drawn(compared, tmp_path, monkeypatch):
    report = compared / "report"
    assert tree_bytes(report) < sum(compare.parts(6).values())
    judgments = tuple(compared / f"judgments-{method}-{seed}" for method in ("ppo", "grpo") for seed in SEEDS)
    monkeypatch.setattr(space, "free_bytes", lambda target: 100)
    monkeypatch.setattr(compare, "write", None)  # is not reached
    with pytest.raises(PreflightError, match=r"/report needs more disk than there is: .* \(numbers, page"):
        compare.run(CompareConfig(judgments=judgments, out=tmp_path / "report", quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_null_control_runs_are_comparable(tmp_path, capsys):
    study = FakeStudy(tmp_path, prompts=30, validation=6)
    base = study.make_responses(study.sft, skill=0.5)
    names = []
    for method in ("ppo", "grpo"):
        policy = study.make_policy(method, 42, gain=0.0, config={"control": "null"}, control="null")
        study.make_responses(policy, skill=0.5)
        names.append(policy.name)
    paths = _judge_all(study, names, base)
    compare.run(CompareConfig(judgments=paths, out=tmp_path / "report"))
    report = open_artifact(tmp_path / "report").read_json("report")
    assert {run["control"] for run in report["runs"]} == {"null"}
    proved = {entry["label"]: entry["certificate"]["verdict"] for entry in report["certificates"]}
    assert proved == {"sft": "complete", "rm": "complete", "ppo-42": "null control", "grpo-42": "null control"}
    assert [one["code"] for one in report["warnings"] if one["code"] == "null_control"] == ["null_control"]
    low, high = report["pooled"]["all"]["by_prompt"]
    said = capsys.readouterr().out
    assert "together they win" in said
    assert f"{100 * low:.1f}, {100 * high:.1f}]" in said
    # One seed a method: no effect size, and the reason is said.
    assert report["effect"]["cohens_d"] is None
    assert "two seeds" in report["effect"]["reason"]


def test_a_run_given_twice_or_no_run_at_all(compared, tmp_path):
    shutil.copytree(compared / "judgments-ppo-42", tmp_path / "again")
    with pytest.raises(VerificationError, match="is not there"):
        compare.run(CompareConfig(judgments=(tmp_path / "again",), out=tmp_path / "r"))
    twice = (compared / "judgments-ppo-42", compared / "judgments-ppo-42")
    with pytest.raises(ConfigError, match="several of the judgments are of ppo-42"):
        compare.run(CompareConfig(judgments=twice, out=tmp_path / "r"))
    with pytest.raises(ConfigError, match="no judgments of a trained run"):
        compare.run(CompareConfig(judgments=(compared / "judgments-sft-aa",), out=tmp_path / "r"))


def test_one_method_alone_is_reported(compared, tmp_path):
    paths = tuple(compared / f"judgments-ppo-{seed}" for seed in SEEDS)
    compare.run(CompareConfig(judgments=paths, out=compared / "report-ppo", quiet=True))
    report = open_artifact(compared / "report-ppo").read_json("report")
    shutil.rmtree(compared / "report-ppo")
    assert "needs two methods" in report["effect"]["reason"]
    assert report["small_numbers"] is None
    assert report["aa"] is None


def test_the_report_carries_diagnostics_and_equal_budgets(compared):
    report = open_artifact(compared / "report").read_json("report")
    found = report["diagnostics"]
    assert set(found) == {
        "frontier", "overoptimization", "length", "inflation", "ties", "categories", "convergence", "critic", "tokens",
        "samples",
    }  # fmt: skip
    labels = [run["label"] for run in report["runs"]]
    assert [run["label"] for run in found["frontier"]["runs"]] == labels
    assert {row["method"] for row in found["overoptimization"]["fits"]} == {"ppo", "grpo", "all"}
    assert found["overoptimization"]["gold"] == "reference"
    assert [row["label"] for row in found["critic"]["runs"]] == [label for label in labels if label.startswith("ppo")]
    assert all(len(sample["answers"]) == 7 for sample in found["samples"])
    assert sum(row["n"] for row in found["categories"] if row["method"] == "ppo") == 3 * 60
    assert set(report["budgets"]) == {"iterations", "samples", "tokens", "equal_seconds"}
    # PPO logs 16 responses an iteration, GRPO 96: over 20 logged iterations 320 and 1920.
    assert report["budgets"]["samples"]["budget"] == 320
    assert {run["spent"] for run in report["budgets"]["samples"]["runs"]} == {320, 1920}
    spent = {run["label"]: run["interpolated"]["reward_mean"] for run in report["budgets"]["samples"]["runs"]}
    assert {run["label"]: run["reward_at_equal_samples"] for run in report["runs"]} == spent
    assert "equal_seconds" not in open_artifact(compared / "report").read_json("results")["budgets"]


def test_a_study_without_an_aa_row_is_warned_about(compared):
    paths = tuple(compared / f"judgments-{method}-42" for method in ("ppo", "grpo"))
    compare.run(CompareConfig(judgments=paths, out=compared / "report-bare", quiet=True))
    report = open_artifact(compared / "report-bare").read_json("report")
    shutil.rmtree(compared / "report-bare")
    assert "no_aa" in [one["code"] for one in report["warnings"]]
    assert "no_aa" not in [one["code"] for one in open_artifact(compared / "report").read_json("report")["warnings"]]


def test_answers_scored_by_a_stranger_are_no_proxy(tmp_path):
    """All by the same other model: comparable, but the report says what the reward is."""
    study = FakeStudy(tmp_path, prompts=12, validation=6)
    gold = study.make_rm("rm-gold", value=5.0)
    base = study.make_responses(study.sft, skill=0.4, rm=gold)
    for method in ("ppo", "grpo"):
        study.make_responses(study.make_policy(method, 42), skill=0.6, rm=gold)
    paths = _judge_all(study, ["ppo-42", "grpo-42"], base)
    compare.run(CompareConfig(judgments=paths, out=study.root / "report", quiet=True))
    (warning,) = [
        one for one in open_artifact(study.root / "report").read_json("report")["warnings"]
        if one["code"] == "other_reward_model"
    ]  # fmt: skip
    assert warning["runs"] == ["ppo-42", "grpo-42"]


def test_several_aa_rows_share_their_baseline(tmp_path):
    """Given the baseline, the rows go together: their interval has the prompt as its unit, not the pair."""
    study = FakeStudy(tmp_path, prompts=30, validation=6)
    base = study.make_responses(study.sft, skill=0.5)
    for method in ("ppo", "grpo"):
        study.make_responses(study.make_policy(method, 42), skill=0.6)
    # The same answers under two names of the sampler's seed: two rows that know no more than one.
    drawn = study.make_responses(study.sft, skill=0.5, seed=1, name="responses-aa-1")
    texts = [row["response"] for row in drawn.read_jsonl("responses")]
    for seed in (2, 3):
        study.make_responses(study.sft, skill=0.5, seed=seed, name=f"responses-aa-{seed}", texts=texts)
    paths = _judge_all(study, ["ppo-42", "grpo-42", "aa-2", "aa-3"], base)
    for name, given in (("one", paths[:3]), ("two", paths)):
        compare.run(CompareConfig(judgments=given, out=tmp_path / name, quiet=True))
    reports = [open_artifact(tmp_path / name).read_json("report") for name in ("one", "two")]
    one, two = (report["aa"] for report in reports)
    assert [row["label"] for row in reports[1]["diagnostics"]["length"]["aa"]] == ["sft-2", "sft-3"]
    assert one["interval"] == one["wilson"]
    assert two["rows"] == 2
    assert two["interval"] == pytest.approx(one["by_prompt"])
    assert two["wilson"][1] - two["wilson"][0] < one["wilson"][1] - one["wilson"][0]
