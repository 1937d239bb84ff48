"""What a controlled comparison holds equal, read from the manifests: the rows of the study ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from align_contracts import Artifact
from align_contracts.canonical import digest
from align_eval.ledger import ABSENT, Entry, Ledger
from align_eval.study import Run, Study

FREE = frozenset({"gradient_checkpointing", "rollout_rows", "token_budget"})
"""Settings of memory alone: a batch cut otherwise gives the same sums, so they are shown, not held equal."""

OWN = {
    "ppo": frozenset(
        {
            "gae_gamma", "gae_lambda", "value_coef", "entropy_coef", "entropy", "reward_shaping", "whiten_advantages",
            "value_clip", "critic_init", "critic_learning_rate", "critic_warmup",
        }
    ),
    "grpo": frozenset({"K", "normalizer_alpha", "score_normalizer", "loss_type", "scale_rewards"}),
}  # fmt: skip
"""Settings that a method has alone. Any other that a run lacks was unknown to the version that trained it."""


def build(study: Study) -> Ledger:
    """Build the ledger of a study.

    Args:
        study: The runs and the A/A rows.

    Returns:
        The ledger; nothing is refused yet.
    """
    everyone = (*study.runs, *study.aa)
    controlled = [Entry(name, {run.label: of(run) for run in study.runs}) for name, of in _TRAINING.items()]
    controlled += [Entry(name, {run.label: of(run) for run in everyone}) for name, of in _JUDGING.items()]
    needed = {name: {run.label: _yes(of(run)) for run in everyone} for name, of in _NEEDED.items()}
    if study.aa:
        needed["A/A answers drawn with other keys"] = {run.label: _yes(_drawn_afresh(run)) for run in study.aa}
    controlled += [Entry(name, values, "yes") for name, values in needed.items()]
    baselines = {f"sft of {run.label}": run.judgments.input("baseline") for run in everyone}
    answers = {run.label: run.responses for run in everyone} | baselines
    controlled += _each_setting("answering", answers, FREE | {"sampling_seed"})
    controlled += _each_setting("judging", {run.label: run.judgments for run in everyone}, frozenset())
    seeds = {m: ", ".join(str(run.seed) for run in study.of(m)) for m in study.methods}
    controlled.append(Entry("seeds of each method", seeds))
    settings, varied = compare_settings({run.label: (run.method, run.policy.manifest.config) for run in study.runs})
    warned = [Entry(name, {run.label: of(run) for run in everyone}) for name, of in _VERSIONS.items()]
    # Any seed is fair as long as nobody tried several and kept the best: so it is free, but shown.
    seeds_drawn = {run.label: str(run.responses.details.sampling_seed) for run in study.runs}
    drawn = Entry("answering: sampling_seed", seeds_drawn)
    clean = Entry("checkout without changes", {run.label: _clean(run) for run in everyone}, "yes")
    return Ledger((*controlled, *settings), (drawn, *varied), (*warned, clean))


def compare_settings(
    runs: Mapping[str, tuple[str, Mapping[str, Any]]],
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Sort the training settings into controlled and varied ones.

    A setting must be equal in all runs, one of `OWN` in the runs of its method; the seed and the settings of memory
    are left free.

    Args:
        runs: (method, resolved config) by label.

    Returns:
        (controlled, varied) entries, sorted by name.
    """
    flat = {label: (method, _flatten(config)) for label, (method, config) in runs.items()}
    controlled, varied = [], []
    for name in sorted({name for _, config in flat.values() for name in config} - {"seed"}):
        values = {label: text(config[name]) if name in config else ABSENT for label, (_, config) in flat.items()}
        owners = {method for method, names in OWN.items() if name in names}
        its = {label: value for label, value in values.items() if not owners or flat[label][0] in owners}
        own = owners and len(its) < len(values)
        # A method's own setting is listed as varied; it counts as controlled only where its runs disagree.
        if name in FREE or own:
            varied.append(Entry(name, values))
        if name not in FREE and not (own and Entry(name, its).ok):
            controlled.append(Entry(name, its))
    return tuple(controlled), tuple(varied)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def input_digest(artifact: Artifact, role: str, *, whole: bool = False) -> str:
    """Content digests of the inputs of a role, their first twelve digits unless the whole is asked for."""
    found = [record.content_digest for record in artifact.manifest.inputs if record.role == role]
    return " ".join(one if whole else one[:12] for one in found) or ABSENT


def _each_setting(what: str, artifacts: Mapping[str, Artifact], free: Set[str]) -> list[Entry]:
    """One entry for each setting that any of the artifacts was made with, the free ones aside."""
    flat = {label: _flatten(artifact.manifest.config) for label, artifact in artifacts.items()}
    names = sorted({name for config in flat.values() for name in config} - free)
    return [
        Entry(f"{what}: {name}", {label: text(config.get(name, ABSENT)) for label, config in flat.items()})
        for name in names
    ]


def _judged_against_own_sft(run: Run) -> bool:
    baseline = run.judgments.input("baseline")
    sft = run.policy.content_digest if run.method == "sft" else run.policy.input("policy").content_digest
    return bool(baseline.input("policy").content_digest == sft)


def _drawn_afresh(run: Run) -> bool:
    """Equal keys give the baseline's own answers again: such a row would show no noise at all."""
    return bool(run.judgments.input("baseline").details.sampling_seed != run.responses.details.sampling_seed)


def _prompts(run: Run) -> str:
    return f"{len(run.answers)}, {digest([[row['prompt_id'], row['prompt']] for row in run.answers])[:12]}"


def _sft_adapters(run: Run) -> str:
    """sha256 of the copies of the SFT adapter that a policy carries."""
    found = [record.sha256[:12] for record in run.policy.manifest.files if record.role.startswith("adapter_sft")]
    return " ".join(found) or ABSENT


def _iterations(run: Run) -> str:
    found = [metric.value for metric in run.policy.metrics() if metric.name == "iterations"]
    return f"{found[0]:g}" if found else ABSENT


def _left_out(run: Run) -> str:
    """Counts of left-out rows by split and reason; a reason that met no row is the same as none."""
    counts = run.policy.manifest.extensions.get("dropped")
    found = _flatten(counts) if isinstance(counts, Mapping) else {}
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items()) if count) or "none"


def _clean(run: Run) -> str:
    dirty = run.policy.manifest.producer.git_dirty
    return ABSENT if dirty is None else _yes(not dirty)


_TRAINING: dict[str, Callable[[Run], str]] = {
    "SFT policy": lambda run: input_digest(run.policy, "policy"),
    "reward model": lambda run: input_digest(run.policy, "reward_model"),
    "training data": lambda run: input_digest(run.policy, "dataset"),
    "base model": lambda run: input_digest(run.policy, "base"),
    "SFT adapter in use": _sft_adapters,
    "iterations done": _iterations,
    "prompts left out of training": _left_out,
}

_JUDGING: dict[str, Callable[[Run], str]] = {
    "prompts, in order": _prompts,
    "categories": lambda run: digest([row["category"] for row in run.verdicts])[:12],
    "evaluation data": lambda run: input_digest(run.responses, "dataset"),
    "scoring reward model": lambda run: input_digest(run.responses, "reward_model"),
    "baseline answers": lambda run: input_digest(run.judgments, "baseline"),
    "judge": lambda run: run.judgments.details.judge,
    "judge model": lambda run: run.judgments.details.model or ABSENT,
    "judge prompt": lambda run: (run.judgments.details.judge_prompt_digest or ABSENT)[:12],
    "judging reward model": lambda run: input_digest(run.judgments, "reward_model"),
    "judged in both orders": lambda run: _yes(run.judgments.details.swapped),
}

_NEEDED: dict[str, Callable[[Run], bool]] = {
    "judged against its own SFT": _judged_against_own_sft,
}

_VERSIONS: dict[str, Callable[[Run], str]] = {
    "version of the policy's program": lambda run: run.policy.manifest.producer.version,
    "commit of the policy": lambda run: (run.policy.manifest.producer.git_commit or ABSENT)[:12],
    "commit of the answers": lambda run: (run.responses.manifest.producer.git_commit or ABSENT)[:12],
    "commit of the judgments": lambda run: (run.judgments.manifest.producer.git_commit or ABSENT)[:12],
    "locked dependencies": lambda run: (run.policy.manifest.producer.lock_digest or ABSENT)[:12],
    "kind of machine": lambda run: run.policy.manifest.environment.determinism_class,
}


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def text(value: Any) -> str:
    """A value as one short text; equal texts mean equal values."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {text(v)}" for k, v in sorted(value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(text(one) for one in value) or "none"
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
