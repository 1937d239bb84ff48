"""Logs stand for the judgments of their policies, and for nothing else."""

import json
import shutil

import pytest
from fake_study import SEEDS

from align_contracts import console, open_artifact
from align_contracts.errors import ConfigError, KindError, MissingError, VerificationError
from align_eval.cli import COMMANDS
from align_eval.logs import judgments_of, policy_of


def compare(capsys, *arguments):
    code = console.main("align-eval", "", COMMANDS, ["compare", *map(str, arguments)])
    return code, *capsys.readouterr()


def logs(root, method):
    return [root / f"{method}-{seed}" / "train.jsonl" for seed in SEEDS]


def test_the_study_s_command_gives_the_report_of_the_judgments(compared, tmp_path, capsys):
    out = tmp_path / "comparison_report.pdf"
    metrics = ("win_rate_vs_sft", "kl_divergence", "training_time", "vram_peak")
    named = ("--ppo-logs", *logs(compared, "ppo"), "--grpo-logs", *logs(compared, "grpo"))
    code, said, err = compare(capsys, *named, "--metrics", *metrics, "--output", out)
    assert code == 0, err
    made = open_artifact(tmp_path / "comparison_report", "report")
    assert out.read_bytes() == made.file("pdf").read_bytes()
    used = {record.name for record in made.manifest.inputs if record.role == "judgments"}
    assert used == {f"judgments-{method}-{seed}" for method in ("ppo", "grpo") for seed in SEEDS}
    assert made.read_json("report")["ledger"]["ok"]
    assert [line.split(":")[0] for line in said.splitlines() if line.split(":")[0] in metrics] == list(metrics)
    mean = made.read_json("report")["methods"]["ppo"]["kl"]
    assert f"kl_divergence: ppo {mean['value']:.4g} ± {mean['sd']:.4g} (n = 3); grpo " in said
    out.unlink()
    code, _, err = compare(capsys, *named, "--output", out)
    assert code == 6
    assert f"comparison_report exists, and the report of --out {out}" in err
    out.write_bytes(b"mine")
    code, _, err = compare(capsys, *named, "--pdf", out, "--out", tmp_path / "another")
    assert code == 6
    assert "is there already" in err
    assert not (tmp_path / "another").exists()


def test_json_has_the_numbers_of_each_method(compared, tmp_path, capsys):
    named = ("--ppo-logs", *logs(compared, "ppo"), "--grpo-logs", *logs(compared, "grpo"))
    code, said, _ = compare(capsys, *named, "--metrics", "kl_divergence", "--json", "--out", tmp_path / "r")
    assert code == 0
    told = json.loads(said)
    kl = open_artifact(tmp_path / "r").read_json("report")["methods"]["grpo"]["kl"]
    assert told["report"] == str(tmp_path / "r")
    assert told["methods"]["grpo"] == {"kl_divergence": kl}


def test_the_ledger_is_not_bypassed(compared, tmp_path):
    """A log of another run in the place of this one's is not believed."""
    moved = tmp_path / "study"
    shutil.copytree(compared, moved)
    log = moved / "ppo-42" / "train.jsonl"
    text = log.read_bytes()
    log.write_bytes(text[:-2] + b" \n")  # as long as before
    with pytest.raises(VerificationError, match="is not the log of ppo-42"):
        policy_of(log, "ppo")


def test_what_a_log_must_be(compared, tmp_path):
    assert judgments_of([compared / "ppo-42"], "ppo") == [compared / "judgments-ppo-42"]  # the artifact itself will do
    loose = tmp_path / "ppo_seed42.jsonl"
    with pytest.raises(MissingError, match="there is no log"):
        policy_of(loose, "ppo")
    loose.write_text("{}\n")
    with pytest.raises(MissingError, match="lies in no artifact"):
        policy_of(loose, "ppo")
    live = tmp_path / ".ppo-42.run" / "train.jsonl"
    live.parent.mkdir()
    live.write_text("{}\n")
    with pytest.raises(MissingError, match="its run is not finished"):
        policy_of(live, "ppo")
    with pytest.raises(KindError, match="is no log of grpo"):
        policy_of(compared / "ppo-42" / "train.jsonl", "grpo")
    with pytest.raises(KindError):
        policy_of(compared / "responses-ppo-42", "ppo")


def test_a_policy_that_was_judged_never_or_twice(compared, tmp_path):
    moved = tmp_path / "study"
    shutil.copytree(compared, moved)
    shutil.copytree(moved / "judgments-ppo-42", moved / "judgments-again")
    with pytest.raises(ConfigError, match="judged more than once: judgments-again, judgments-ppo-42"):
        judgments_of(logs(moved, "ppo"), "ppo")
    shutil.rmtree(moved / "judgments-again")
    shutil.rmtree(moved / "judgments-ppo-42")
    with pytest.raises(MissingError, match="ppo-42 is not judged"):
        judgments_of(logs(moved, "ppo"), "ppo")
