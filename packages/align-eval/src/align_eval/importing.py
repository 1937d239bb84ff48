"""``align-eval import``: verdicts that others published, as a judgments artifact."""

from __future__ import annotations

from typing import Any

from align_contracts import publish
from align_contracts.paths import printable
from align_eval.algorithms.swap import Outcome, tally
from align_eval.alpaca_eval import Annotation, read_annotations
from align_eval.config import ImportConfig
from align_eval.preferences import usual_prior


def run(config: ImportConfig) -> int:
    """Read AlpacaEval's annotations and publish them; graded preferences stay graded.

    Args:
        config: The settings.

    Returns:
        0.

    Raises:
        AlignError: As reading and publishing raise it; nothing is published then.
    """
    found = read_annotations(config.file, config.baseline)
    # What was chosen is recorded, not only that it was left open.
    config = config.model_copy(update={"length_prior": config.length_prior or usual_prior(found.baseline)})
    counts = tally(outcome(one.preference) for one in found.rows)
    preferences = [one.preference for one in found.rows if one.preference is not None]
    with publish(config.out, "judgments", producer="align-eval", config=config, overwrite=config.overwrite) as draft:
        draft.write_jsonl("verdicts.jsonl", (row(one) for one in found.rows), role="verdicts")
        for name, value in counts.shares().items():
            draft.metric(name, value, n=counts.n)
        draft.metric("mean_preference", sum(preferences) / len(preferences), n=len(preferences))
        draft.details = {
            "judge": found.judge,
            "prompts": counts.n,
            "wins": counts.wins,
            "losses": counts.losses,
            "ties": counts.ties,
            "invalid": counts.invalid,
            "swapped": False,
            "source": config.source,
            "source_digest": found.digest,
            "candidate": found.candidate,
            "baseline": found.baseline,
            "graded": True,
        }
    if not config.quiet:
        print(
            printable(f"{found.candidate} against {found.baseline}, judge {found.judge}: ")
            + f"{counts.wins} wins, {counts.losses} losses, {counts.ties} ties, {counts.invalid} invalid of {counts.n}"
        )
        if found.repeated:
            print(f"Care: {found.repeated} rows repeat the instruction of an earlier row; every row counts.")
    return 0


def outcome(preference: float | None) -> Outcome:
    """Outcome of a graded preference: one half is a tie, as AlpacaEval counts draws; no preference is invalid."""
    if preference is None:
        return "invalid"
    return "win" if preference > 0.5 else "loss" if preference < 0.5 else "tie"


def row(one: Annotation) -> dict[str, Any]:
    """One line of ``verdicts.jsonl``."""
    return {
        "prompt_id": one.prompt_id,
        "category": one.category,
        "outcome": outcome(one.preference),
        "preference": one.preference,
        "length_candidate": one.length_candidate,
        "length_baseline": one.length_baseline,
    }
