"""All numbers of the report in one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from align_contracts import Artifact
from align_contracts.canonical import to_json
from align_eval.alarms import alarms, diagnosed
from align_eval.budgets import budgets
from align_eval.controlled import input_digest
from align_eval.convergence import convergence
from align_eval.design import measured_design
from align_eval.diagnostics import diagnose, rounded
from align_eval.effects import band, compared, effects, small_numbers
from align_eval.equal_lengths import equal_lengths
from align_eval.estimates import estimates
from align_eval.gold import make_gold
from align_eval.ledger import Ledger
from align_eval.policies import policies
from align_eval.study import Run, Study
from align_eval.summaries import VOLATILE, across_seeds, means, metric, pooled, run_numbers
from align_eval.sweeps import Sweep, frontiers
from align_eval.tradeoffs import table_for
from align_eval.trajectory import read_trajectory

Json = dict[str, Any]

SCHEMA = "align.report/1"

VERSIONS = "versions"
"""Code of the warning that the runs were made by different programs."""


def build(
    study: Study,
    ledger: Ledger,
    sweeps: Sequence[Sweep] = (),
    *,
    allow_mismatch: bool = False,
    gold_prompts: int = 200,
    equivalence_margin: float = 0.05,
) -> Json:
    """Compute everything that the report says.

    Args:
        study: The runs.
        ledger: Their ledger.
        sweeps: One of each run, or none.
        allow_mismatch: Whether the user chose to report in spite of mismatches.
        gold_prompts: Prompts of each evaluation point that a reward-model judge scores.
        equivalence_margin: Difference of win rates that counts as none.

    Returns:
        The content of report.json: `runs`, `methods`, `estimates`, `effect`, `design`, `pooled`, `aa`, `trade_offs`,
        `warnings`, `small_numbers`, `reward_model`, `sft`, `certificates`, `judge`, `ledger`, `curves`, `budgets`,
        `sweep`, `diagnostics`, `policies`, `inputs`.
    """
    judge = study.runs[0].judgments.details
    gold = make_gold(study.runs[0].judgments, _prompts(study.dataset, "validation"), gold_prompts)
    trajectories = [read_trajectory(run.label, run.policy, gold) for run in study.runs]
    reached = {run.label: convergence(run) for run in trajectories}
    wins = {label: {row["iteration"]: row["win_rate_decided"] for row in r["curve"]} for label, r in reached.items()}
    spent, equal = rounded(budgets(trajectories, wins)), equal_lengths(study)
    drawn = {row["label"]: row["interpolated"]["reward_mean"] for row in spent["samples"]["runs"]}
    runs = [run_numbers(run, study, reached[run.label]) | equal[run.label] for run in study.runs]
    runs = [run | {"reward_at_equal_samples": drawn.get(run["label"])} for run in runs]
    methods = {method: [run for run in runs if run["method"] == method] for method in study.methods}
    effect = effects(methods)
    aa = _aa(study)
    together = {"all": pooled(study.runs), **{method: pooled(study.of(method)) for method in study.methods}}
    sizes = [len(methods[method]) for method in compared(study.methods)]
    estimated = estimates(study, equivalence_margin)
    difference = estimated["win_rate"] and estimated["win_rate"]["difference"]
    warnings = [*_uncontrolled(ledger), *_other_reward(study), *alarms(runs, difference, aa, together["all"])]
    asked = {row["prompt_id"]: row for split in ("train", "validation") for row in _prompts(study.dataset, split)}
    diagnostics = diagnose(study, runs, trajectories, reached, wins, asked)
    return {
        "schema": SCHEMA,
        "judge": _judge(judge),
        "runs": runs,
        "methods": {
            m: {"seeds": [run["seed"] for run in found], **across_seeds(found)} for m, found in methods.items()
        },
        "estimates": estimated,
        "effect": {**effect, "band": band(effect["cohens_d"])},
        "small_numbers": small_numbers(*sizes) if len(sizes) == 2 else None,
        "design": measured_design(study),
        "pooled": together,
        "aa": aa,
        "trade_offs": table_for(methods, difference),
        "warnings": [*warnings, *diagnosed(diagnostics), *_versions(ledger)],
        "reward_model": _reward_model(study.reward_model),
        "sft": _sft(study),
        "certificates": _certificates(study),
        "ledger": {**ledger.as_json(), "allow_mismatch": allow_mismatch},
        "curves": {run.label: _curves(run, reached[run.label]) for run in study.runs},
        "budgets": spent,
        "sweep": rounded(frontiers(sweeps)),
        "diagnostics": diagnostics,
        "policies": policies(study),
        "inputs": _inputs(study, sweeps),
    }


def without_clock(report: Mapping[str, Any]) -> Json:
    """The part of a report that equal reruns give again: no times, no memory, no manifest digests, no versions."""
    cut: Json = _cut(report, {*VOLATILE, "manifest_digest", "warned", "equal_seconds", "environment"})
    cut["trade_offs"] = [row for row in cut["trade_offs"] if not row["volatile"]]
    cut["warnings"] = [row for row in cut["warnings"] if row["code"] != VERSIONS]
    return cut


def _cut(value: Any, names: set[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _cut(item, names) for name, item in value.items() if name not in names}
    if isinstance(value, (list, tuple)):
        return [_cut(item, names) for item in value]
    return value


def _uncontrolled(ledger: Ledger) -> list[Json]:
    """The first warning of a report that was made in spite of mismatches."""
    names = [entry.name for entry in ledger.mismatches]
    if not names:
        return []
    text = f"This comparison is not controlled: the runs differ in {', '.join(names)} (see the ledger)."
    return [{"code": "not_controlled", "runs": [], "text": text}]


def _other_reward(study: Study) -> list[Json]:
    """Answers scored by a reward model that the runs did not learn from: their reward is then no proxy."""
    trained = study.reward_model.content_digest
    scored = [run for run in study.runs if run.responses.details.scored]
    other = [run.label for run in scored if input_digest(run.responses, "reward_model", whole=True) != trained]
    if not other:
        return []
    text = "The answers were scored by another reward model than the runs learned from: read their reward as a judge's."
    return [{"code": "other_reward_model", "runs": other, "text": text}]


def _versions(ledger: Ledger) -> list[Json]:
    """The last warning: versions, commits and machines are no settings, but a reader may look for them."""
    names = [entry.name for entry in ledger.warned if not entry.ok]
    text = f"Not all runs were made by the same clean program on the same kind of machine: see {', '.join(names)}."
    return [{"code": VERSIONS, "runs": [], "text": text}] if names else []


def _prompts(dataset: Artifact, split: str) -> list[Json]:
    has = any(record.role == f"prompts_{split}" for record in dataset.manifest.files)
    return dataset.read_jsonl(f"prompts_{split}") if has else []


def _judge(details: Any) -> Json:
    return {
        "name": details.judge,
        "model": details.model,
        "prompt_digest": details.judge_prompt_digest,
        "reply_form": details.reply_form,
        "swapped": details.swapped,
        "prompts": details.prompts,
    }


def _aa(study: Study) -> Json | None:
    """The judge's own null: SFT against SFT with other sampling keys.

    Several rows share the baseline's answers, so a lucky baseline moves them all alike, as it moves runs.
    """
    return {**pooled(study.aa), "rows": len(study.aa)} if study.aa else None


def _reward_model(artifact: Artifact) -> Json:
    details = artifact.details
    return {
        "pairwise_accuracy": details.pairwise_accuracy,
        "ece": details.ece_after,
        "ece_before": details.ece_before,
        "temperature": details.temperature,
        "split": details.split,
        "max_length": details.max_length,
    }


def _sft(study: Study) -> Json:
    sft, merge = study.sft, study.sft.details.merge
    reward, length = means(study.baseline_answers, "reward"), means(study.baseline_answers, "length")
    return {
        "perplexity_before": metric(sft, "perplexity_before"),
        "perplexity_after": metric(sft, "perplexity_after"),
        "form": sft.details.form,
        "merge_kl": merge.kl if merge else None,
        "reward_mean": reward["value"],
        "reward_interval": reward["interval"],
        "response_length_mean": length["value"],
        "response_length_interval": length["interval"],
    }


def _certificates(study: Study) -> list[Json]:
    """What each training run proved about itself; null for one of a version that recorded nothing."""
    trained = {"sft": study.sft, "rm": study.reward_model, **{run.label: run.policy for run in study.runs}}
    return [{"label": label, "certificate": to_json(one.details.certificate)} for label, one in trained.items()]


def _curves(run: Run, reached: Mapping[str, Any]) -> Json:
    config = run.policy.manifest.config
    return {
        "points": run.policy.read_jsonl("curve"),
        "win_rate": reached["curve"],
        "targets": kl_targets(config),
    }


def kl_targets(config: Mapping[str, Any]) -> list[list[float]]:
    """The KL target as steps: [[first iteration, target], …]; empty if the config names none."""
    targets, iterations = config.get("target_kl"), config.get("num_iterations")
    if not targets or not iterations:
        return []
    steps = list(targets) if config.get("kl_schedule") == "phased" else [targets[0]]
    return [[-(-i * iterations // len(steps)), float(target)] for i, target in enumerate(steps)]


def _inputs(study: Study, sweeps: Sequence[Sweep]) -> list[Json]:
    """Every artifact that a number of the report comes from, with its digests.

    `key` is short, for footnotes: P1, R1, J1 and A1 are policy, responses, judgments and sweep (adapter strengths)
    of the first run. `run` is the run's label, or null for what the runs share.
    """
    rows = [
        _input("S", "sft policy", study.sft),
        _input("M", "reward model", study.reward_model),
        _input("D", "dataset", study.dataset),
        _input("B", "baseline responses", study.baseline),
    ]
    for place, run in enumerate((*study.runs, *study.aa), 1):
        # The policy of an A/A row is the SFT policy, which stands above.
        rows += [_input(f"P{place}", "policy", run.policy, run.label)] if place <= len(study.runs) else []
        rows.append(_input(f"R{place}", "responses", run.responses, run.label))
        rows.append(_input(f"J{place}", "judgments", run.judgments, run.label))
    place_of = {run.label: place for place, run in enumerate(study.runs, 1)}
    rows += [_input(f"A{place_of[one.label]}", "sweep", one.artifact, one.label) for one in sweeps]
    return rows


def _input(key: str, role: str, artifact: Artifact, run: str | None = None) -> Json:
    return {
        "key": key,
        "role": role,
        "run": run,
        "name": artifact.name,
        "content_digest": artifact.content_digest,
        "manifest_digest": artifact.manifest_digest,
    }
