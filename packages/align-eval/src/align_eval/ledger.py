"""The study ledger: proof from the manifests that only the method and the seed differ between the runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from align_contracts import Artifact
from align_contracts.canonical import digest
from align_contracts.errors import VerificationError
from align_eval.study import Run, Study

FREE = frozenset({"compute_form", "compute_dtype", "rollout_rows", "token_budget"})
"""Settings of how a run computes; they are shown, not held equal."""

ABSENT = "—"


@dataclass(frozen=True)
class Entry:
    """One variable over the runs.

    Attributes:
        name: What it is.
        values: Its value for each run that has it, as text.
        ok: Whether it is as the comparison needs it.
    """

    name: str
    values: Mapping[str, str]
    ok: bool

    def text(self) -> str:
        """``value`` if all runs agree, else each value with its runs; a method stands for all its runs."""
        groups: dict[str, list[str]] = {}
        for label, value in self.values.items():
            groups.setdefault(value, []).append(label)
        if len(groups) == 1:
            return next(iter(groups))
        return "; ".join(f"{value} ({', '.join(self._short(labels))})" for value, labels in groups.items())

    def _short(self, labels: Sequence[str]) -> list[str]:
        of: dict[str, list[str]] = {}
        for label in self.values:
            of.setdefault(label.rpartition("-")[0], []).append(label)
        whole = [method for method, runs in of.items() if method and set(runs) <= set(labels)]
        return whole + [label for label in labels if label.rpartition("-")[0] not in whole]


@dataclass(frozen=True)
class Ledger:
    """What was proved equal, and what varies by design."""

    controlled: tuple[Entry, ...]
    varied: tuple[Entry, ...]

    @property
    def mismatches(self) -> tuple[Entry, ...]:
        """Controlled variables that differ."""
        return tuple(entry for entry in self.controlled if not entry.ok)

    def table(self) -> str:
        """The mismatches as aligned lines."""
        width = max((len(entry.name) for entry in self.mismatches), default=0)
        return "\n".join(f"  {entry.name:<{width}}  {entry.text()}" for entry in self.mismatches)

    def require(self) -> None:
        """Refuse runs that cannot be compared.

        Raises:
            VerificationError: A controlled variable differs; the message is the table of what differs.
        """
        if self.mismatches:
            raise VerificationError(
                f"the runs differ in what a controlled comparison holds equal\n{self.table()}\n",
                do="Compare runs that share these, or give --allow-mismatch to report them all the same.",
            )

    def as_json(self) -> dict[str, Any]:
        """The ledger for the report."""
        return {
            "ok": not self.mismatches,
            "controlled": [{"name": e.name, "value": e.text(), "equal": e.ok} for e in self.controlled],
            "varied": [{"name": e.name, "value": e.text()} for e in self.varied],
        }


def build(study: Study) -> Ledger:
    """Build the ledger of a study.

    Args:
        study: The runs and the A/A rows.

    Returns:
        The ledger; nothing is refused yet.
    """
    everyone = (*study.runs, *study.aa)
    controlled = [_equal(name, {run.label: of(run) for run in study.runs}) for name, of in _TRAINING.items()]
    controlled += [_equal(name, {run.label: of(run) for run in everyone}) for name, of in _JUDGING.items()]
    own = {run.label: "yes" if _judged_against_own_sft(run) else "no" for run in everyone}
    controlled.append(Entry("judged against its own SFT", own, set(own.values()) == {"yes"}))
    same = {
        run.label: "yes" if _answering(run.judgments.input("baseline")) == _answering(run.responses) else "no"
        for run in everyone
    }
    controlled.append(Entry("SFT answered with the same settings", same, set(same.values()) == {"yes"}))
    seeds = {m: ", ".join(str(run.seed) for run in study.of(m)) for m in study.methods}
    controlled.append(Entry("seeds of each method", seeds, len(set(seeds.values())) == 1))
    settings, varied = compare_settings({run.label: (run.method, run.policy.manifest.config) for run in study.runs})
    return Ledger((*controlled, *settings), varied)


def compare_settings(
    runs: Mapping[str, tuple[str, Mapping[str, Any]]],
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Sort the training settings into controlled and varied ones.

    A setting that every method has must be equal in all runs, and one that only some methods have must be
    equal in their runs; the seed and the settings of computing are left free.

    Args:
        runs: (method, resolved config) by label.

    Returns:
        (controlled, varied) entries, sorted by name.
    """
    flat = {label: (method, _flatten(config)) for label, (method, config) in runs.items()}
    methods = {method for method, _ in runs.values()}
    controlled, varied = [], []
    for name in sorted({name for _, config in flat.values() for name in config}):
        has = {method for method, config in flat.values() if name in config}
        values = {
            label: _text(config[name]) if name in config else ABSENT
            for label, (method, config) in flat.items()
            if method in has
        }
        entry = Entry(name, values, len(set(values.values())) == 1)
        if name in FREE:
            varied.append(entry)
        if name in FREE or name == "seed":
            continue
        controlled.append(entry)
        if has != methods:
            varied.append(Entry(name, {label: values.get(label, ABSENT) for label in flat}, True))
    # A method's own settings are listed as varied; they count as controlled only where its runs disagree.
    own = {entry.name for entry in varied}
    return tuple(e for e in controlled if e.name not in own or not e.ok), tuple(varied)


def _equal(name: str, values: Mapping[str, str]) -> Entry:
    return Entry(name, values, len(set(values.values())) <= 1)


def _input_digest(artifact: Artifact, role: str) -> str:
    found = [record.content_digest for record in artifact.manifest.inputs if record.role == role]
    return " ".join(one[:12] for one in found) or ABSENT


def _answering(responses: Artifact) -> str:
    """How answers were generated, the sampler's seed and the computing aside."""
    free = FREE | {"sampling_seed"}
    return _text({k: v for k, v in responses.manifest.config.items() if k not in free})


def _judged_against_own_sft(run: Run) -> bool:
    baseline = run.judgments.input("baseline")
    sft = run.policy.content_digest if run.method == "sft" else run.policy.input("policy").content_digest
    return bool(baseline.input("policy").content_digest == sft)


def _prompts(run: Run) -> str:
    return digest([[row["prompt_id"], row["prompt"]] for row in run.answers])[:12]


_TRAINING: dict[str, Callable[[Run], str]] = {
    "SFT policy": lambda run: _input_digest(run.policy, "policy"),
    "reward model": lambda run: _input_digest(run.policy, "reward_model"),
    "training data": lambda run: _input_digest(run.policy, "dataset"),
    "base model": lambda run: _input_digest(run.policy, "base"),
    "SFT adapter in use": lambda run: _sft_adapters(run.policy),
}

_JUDGING: dict[str, Callable[[Run], str]] = {
    "prompts, in order": _prompts,
    "categories": lambda run: digest([row["category"] for row in run.verdicts])[:12],
    "evaluation data": lambda run: _input_digest(run.responses, "dataset"),
    "answering settings": lambda run: _answering(run.responses),
    "scoring reward model": lambda run: _input_digest(run.responses, "reward_model"),
    "baseline answers": lambda run: _input_digest(run.judgments, "baseline"),
    "judge": lambda run: run.judgments.details.judge,
    "judge prompt": lambda run: (run.judgments.details.judge_prompt_digest or ABSENT)[:12],
    "judge settings": lambda run: digest(run.judgments.manifest.config)[:12],
    "judging reward model": lambda run: _input_digest(run.judgments, "reward_model"),
}


def _sft_adapters(policy: Artifact) -> str:
    """sha256 of the copies of the SFT adapter that a policy carries."""
    found = [record.sha256[:12] for record in policy.manifest.files if record.role.startswith("adapter_sft")]
    return " ".join(found) or ABSENT


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _text(value: Any) -> str:
    """A value as one short text; equal texts mean equal values."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in sorted(value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(_text(one) for one in value) or "none"
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
