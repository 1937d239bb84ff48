"""Preferences and answer lengths of judgments, and the length-controlled rates of those that belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from align_contracts import Artifact
from align_contracts.errors import VerificationError
from align_eval.algorithms.length_control import ALPACA_EVAL_2, WEAK, LengthControlled, LengthPrior, length_controlled

Row = Mapping[str, Any]

GRADES = {"win": 1.0, "tie": 0.5, "loss": 0.0, "invalid": None}
"""The preference that an outcome stands for."""


UNKNOWN = LengthControlled(win_rate=None, standard_error=None, coefficient=None, difficulty_sd=0.0)
"""Without a valid pair nothing is known."""


@dataclass(frozen=True)
class Preferences:
    """The valid pairs of one judging.

    Attributes:
        prompt_ids: Which prompt.
        values: Preference for the candidate, in [0, 1].
        gaps: Characters of the candidate's answer minus those of the baseline's.
    """

    prompt_ids: tuple[str, ...]
    values: tuple[float, ...]
    gaps: tuple[int, ...]

    @property
    def longer_rate(self) -> float | None:
        """Share of pairs with a longer answer of the candidate, among those of different length."""
        uneven = [gap for gap in self.gaps if gap]
        return sum(gap > 0 for gap in uneven) / len(uneven) if uneven else None


def grade(row: Row) -> float | None:
    """Preference of a verdict row: its own where it is graded, else what its outcome stands for."""
    value = row["preference"] if "preference" in row else GRADES[row["outcome"]]
    return None if value is None else float(value)


def preferences(verdicts: Sequence[Row], lengths: Mapping[str, tuple[int, int]] | None = None) -> Preferences:
    """Collect the valid pairs.

    Args:
        verdicts: Rows of `verdicts.jsonl`.
        lengths: Characters of the candidate's and the baseline's answer by prompt, for rows that do not say them.

    Returns:
        The pairs, in order.
    """
    valid = [(row, value) for row in verdicts if (value := grade(row)) is not None]
    pairs = [lengths[r["prompt_id"]] if lengths else (r["length_candidate"], r["length_baseline"]) for r, _ in valid]
    return Preferences(
        tuple(row["prompt_id"] for row, _ in valid),
        tuple(value for _, value in valid),
        tuple(mine - other for mine, other in pairs),
    )


def read_preferences(judgments: Artifact, verdicts: Sequence[Row]) -> Preferences:
    """Collect the valid pairs of an artifact; for one from before rows had lengths, from the answers it was made of.

    Raises:
        VerificationError: Lengths are neither in the rows nor in answers that can be found.
    """
    if all("length_candidate" in row for row in verdicts):
        return preferences(verdicts)
    ours, theirs = (judgments.input(role).read_jsonl("responses") for role in ("candidate", "baseline"))
    return preferences(verdicts, answer_lengths(ours, theirs))


def answer_lengths(ours: Sequence[Row], theirs: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """Characters of two sets of answers to the same prompts, by prompt."""
    other = {row["prompt_id"]: len(row["response"]) for row in theirs}
    return {row["prompt_id"]: (len(row["response"]), other[row["prompt_id"]]) for row in ours}


PRIORS: Mapping[str, LengthPrior] = {"alpaca-eval-2": ALPACA_EVAL_2, "weak": WEAK}


def usual_prior(baseline: str | None) -> Literal["alpaca-eval-2", "weak"]:
    """Name of the prior to take where nobody chose one: only the taste of AlpacaEval 2's judge is known."""
    return "alpaca-eval-2" if baseline == "gpt4_1106_preview" else "weak"


def prior_of(judgments: Artifact) -> LengthPrior:
    """What is known beforehand of a judge's taste for length: as was chosen when the verdicts were imported."""
    return PRIORS[prior_name(judgments)]


def prior_name(judgments: Artifact) -> str:
    """The name of that prior; from the baseline's name in an artifact of a version that recorded none."""
    if judgments.details.source != "alpaca-eval":
        return "weak"
    return str(judgments.manifest.config.get("length_prior") or usual_prior(judgments.details.baseline))


def comparable(judgments: Artifact) -> tuple[str, ...]:
    """Judge and baseline: judgments that agree in both share the judge's taste and the instructions' difficulty.

    A judge is more than its name: two reward models may be of splits of one name, and a model's verdicts hang on the
    prompt that asked for them.
    """
    details = judgments.details
    if details.source != "judged":
        return details.judge, f"{details.source} {details.baseline}", prior_name(judgments)
    inputs = judgments.manifest.inputs
    found = [record.content_digest for record in inputs if record.role == "baseline"]
    if len(found) != 1:
        raise VerificationError(f"{judgments.name}: {len(found)} inputs of role 'baseline'", expected="one")
    scorers = [record.content_digest for record in inputs if record.role == "reward_model"]
    return details.judge, found[0], details.judge_prompt_digest or "", *scorers


def control_lengths(runs: Sequence[Preferences], prior: LengthPrior = WEAK) -> list[LengthControlled]:
    """Length-controlled rates of runs of one judge against one baseline, fitted together.

    Args:
        runs: Their pairs.
        prior: See `LengthPrior`.

    Returns:
        One result a run; without a rate for a run without a valid pair.
    """
    present = [i for i, run in enumerate(runs) if run.values]
    if not present:
        return [UNKNOWN] * len(runs)
    codes: dict[str, int] = {}
    found = length_controlled(
        np.concatenate([runs[i].values for i in present]),
        np.concatenate([runs[i].gaps for i in present]),
        np.repeat(np.arange(len(present)), [len(runs[i].values) for i in present]),
        [codes.setdefault(name, len(codes)) for i in present for name in runs[i].prompt_ids],
        prior,
    )
    table = dict(zip(present, found, strict=True))
    return [table.get(i, UNKNOWN) for i in range(len(runs))]
