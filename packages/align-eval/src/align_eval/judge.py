"""``align-eval judge``: a candidate's answers against a baseline's, each pair in both orders."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from align_contracts import Artifact, open_artifact, publish
from align_contracts.canonical import sha256_bytes
from align_contracts.errors import IncompleteError, VerificationError
from align_contracts.space import require_space
from align_eval.algorithms.swap import Outcome, Tally, Verdict, combine, tally
from align_eval.algorithms.wilson import wilson
from align_eval.config import JudgeConfig
from align_eval.judges.base import Judge, Opinion, Question
from align_eval.judges.make import make_judge
from align_eval.order import judge_alarms, order_numbers

MOST_INVALID = 0.02
"""Share of pairs without a usable verdict above which the judging does not count."""

SWAPPED = (
    "note: the candidate's answers are the SFT policy's and the baseline's are a trained policy's; align-eval compare "
    "wants it the other way round, with the SFT policy's as --baseline"
)

VERDICT_BYTES = 400
"""Of a row of ``verdicts.jsonl``: an id of 64 letters, three verdicts, four numbers and their names."""

_FORWARD: dict[str, Verdict] = {"first": "candidate", "second": "baseline", "tie": "tie", "invalid": "invalid"}
_BACKWARD: dict[str, Verdict] = {"first": "baseline", "second": "candidate", "tie": "tie", "invalid": "invalid"}


@dataclass(frozen=True)
class Pair:
    """The two answers to one prompt."""

    prompt_id: str
    category: str
    prompt: str
    candidate: str
    baseline: str
    checks: Mapping[str, Any] | None


@dataclass(frozen=True)
class Judged:
    """The verdicts on one pair.

    Attributes:
        pair: The pair.
        forward: The verdict with the candidate shown first.
        backward: The verdict with the baseline shown first.
        outcome: Both together.
        scores: The candidate's and the baseline's score, from judges that have scores.
    """

    pair: Pair
    forward: Verdict
    backward: Verdict
    outcome: Outcome
    scores: tuple[float, float] | None

    def row(self) -> dict[str, Any]:
        """The line of ``verdicts.jsonl``; lengths in characters."""
        row: dict[str, Any] = {
            "prompt_id": self.pair.prompt_id,
            "category": self.pair.category,
            "forward": self.forward,
            "backward": self.backward,
            "outcome": self.outcome,
            "length_candidate": len(self.pair.candidate),
            "length_baseline": len(self.pair.baseline),
        }
        if self.scores is not None:
            row |= {"score_candidate": self.scores[0], "score_baseline": self.scores[1]}
        return row


def run(config: JudgeConfig) -> int:
    """Judge and publish a judgments artifact.

    Args:
        config: The settings.

    Returns:
        0.

    Raises:
        IncompleteError: More than 2 % of the pairs have no usable verdict; nothing is published, the replies stay
            in the cache.
        AlignError: As the inputs and the judge raise it.
    """
    judge = make_judge(config)  # first, for opening the answers takes longer than missing a key or a price
    candidate = open_artifact(config.candidate, "responses")
    baseline = open_artifact(config.baseline, "responses")
    require_two(candidate, baseline)
    if (candidate.details.policy_method, baseline.details.policy_method) in (("sft", "ppo"), ("sft", "grpo")):
        print(SWAPPED, file=sys.stderr)
    dataset = find_dataset(config, candidate, baseline)
    pairs = pair_up(candidate, baseline, dataset)
    if config.dry_run:
        print(judge.forecast(questions(pairs)))
        return 0
    inputs = {"candidate": candidate, "baseline": baseline, "dataset": dataset, **judge.facts.inputs}
    with publish(
        config.out, "judgments", producer="align-eval", config=config, inputs=inputs, overwrite=config.overwrite
    ) as draft:
        require_space(config.out, {"the verdicts": len(pairs) * VERDICT_BYTES})
        judged = ask_both_orders(judge, pairs)
        counts = tally(one.outcome for one in judged)
        require_valid(counts)
        verdicts = [one.row() for one in judged]
        draft.write_jsonl("verdicts.jsonl", verdicts, role="verdicts")
        order = order_numbers(verdicts)
        for name, value in measures(counts, order).items():
            draft.metric(name, value, n=counts.n)
        draft.seeds = list(candidate.manifest.seeds)
        facts = judge.facts
        if facts.prompt is not None:
            draft.write_text("judge_prompt.txt", facts.prompt, role="judge_prompt")
        draft.details = {
            "judge": facts.name,
            "prompts": counts.n,
            "wins": counts.wins,
            "losses": counts.losses,
            "ties": counts.ties,
            "invalid": counts.invalid,
            "swapped": True,
            "judge_prompt_digest": None if facts.prompt is None else sha256_bytes(facts.prompt.encode("utf-8")),
            "model": facts.model,
            "reply_form": facts.reply_form,
        }
    if not config.quiet:
        print(f"{candidate.name} against {baseline.name}, judge {facts.name}: {summary(counts)}")
        for alarm in judge_alarms(counts, order):
            print(f"Care: {alarm['text']}")
    return 0


def require_two(candidate: Artifact, baseline: Artifact) -> None:
    """Refuse an artifact against itself: every pair would be a tie, whatever the judge.

    Raises:
        VerificationError: Both are the same artifact, or copies of it.
    """
    if candidate.content_digest == baseline.content_digest:
        raise VerificationError(
            f"{candidate.name} and {baseline.name} hold the same answers, so every pair would be a tie",
            do="For the A/A row answer once more with the same policy: align-eval respond --sampling-seed 1",
        )


def find_dataset(config: JudgeConfig, candidate: Artifact, baseline: Artifact) -> Artifact:
    """Open the dataset that both responses were generated from.

    Raises:
        VerificationError: They come from different datasets, or `--data` is another one, or it cannot be found.
    """
    digests = {dataset_digest(candidate), dataset_digest(baseline)}
    if len(digests) != 1:
        raise VerificationError(f"{candidate.name} and {baseline.name} answer prompts of different datasets")
    if config.data is None:
        return candidate.input("dataset")
    dataset = open_artifact(config.data, "dataset")
    if dataset.content_digest not in digests:
        raise VerificationError(f"--data {config.data} is not the dataset that was answered")
    return dataset


def dataset_digest(responses: Artifact) -> str:
    """Content digest of the dataset that responses were generated from."""
    found = [record.content_digest for record in responses.manifest.inputs if record.role == "dataset"]
    if len(found) != 1:
        raise VerificationError(f"{responses.name}: {len(found)} dataset inputs", expected="one")
    return found[0]


def pair_up(candidate: Artifact, baseline: Artifact, dataset: Artifact) -> list[Pair]:
    """Join the two answers to each prompt.

    Args:
        candidate: Responses artifact.
        baseline: Responses artifact.
        dataset: Where prompts, categories and checks come from.

    Returns:
        The pairs in the candidate's order.

    Raises:
        VerificationError: The two do not answer the same prompts in the same order, or a prompt is not of the
            dataset.
    """
    ours, theirs = candidate.read_jsonl("responses"), baseline.read_jsonl("responses")
    if [row["prompt_id"] for row in ours] != [row["prompt_id"] for row in theirs]:
        raise VerificationError(
            f"{candidate.name} and {baseline.name} do not answer the same prompts in the same order",
            got=f"{len(ours)} and {len(theirs)} answers",
        )
    if not ours:
        raise VerificationError(f"{candidate.name} holds no responses")
    known = {row["prompt_id"]: row for row in dataset.read_jsonl(f"prompts_{candidate.details.split}")}
    pairs = []
    for mine, other in zip(ours, theirs, strict=True):
        row = known.get(mine["prompt_id"])
        if row is None:
            raise VerificationError(f"prompt {mine['prompt_id']!r} of {candidate.name} is not in {dataset.name}")
        checks = row.get("checks")
        pairs.append(
            Pair(row["prompt_id"], row["category"], row["prompt"], mine["response"], other["response"], checks)
        )
    return pairs


def ask_both_orders(judge: Judge, pairs: Sequence[Pair]) -> list[Judged]:
    """Ask every pair twice, the second time with the answers exchanged, and combine the verdicts.

    Args:
        judge: Any judge.
        pairs: The pairs.

    Returns:
        One result a pair, in order.
    """
    opinions = judge.ask(questions(pairs))
    judged = []
    for pair, one, two in zip(pairs, opinions[: len(pairs)], opinions[len(pairs) :], strict=True):
        first, second = _FORWARD[one.choice], _BACKWARD[two.choice]
        judged.append(Judged(pair, first, second, combine(first, second), _scores(one)))
    return judged


def questions(pairs: Sequence[Pair]) -> list[Question]:
    """What the judge is asked: all pairs with the candidate first, then all with the baseline first."""
    forward = [Question(p.prompt_id, p.prompt, p.candidate, p.baseline, p.checks) for p in pairs]
    return [*forward, *(Question(q.prompt_id, q.prompt, q.second, q.first, q.checks) for q in forward)]


def _scores(opinion: Opinion) -> tuple[float, float] | None:
    if opinion.score_first is None or opinion.score_second is None:
        return None
    return opinion.score_first, opinion.score_second


def require_valid(counts: Tally) -> None:
    """Refuse a judging with too many invalid pairs.

    Raises:
        IncompleteError: More than 2 % of the pairs are invalid.
    """
    if counts.invalid > MOST_INVALID * counts.n:
        raise IncompleteError(
            f"{counts.invalid} of {counts.n} pairs have no usable verdict",
            expected=f"at most {MOST_INVALID:.0%}",
            do="All replies are kept. Run again with --retry-invalid to ask only these, or choose another judge",
        )


def measures(counts: Tally, order: Mapping[str, Any]) -> dict[str, float]:
    """Rates of a judging, and how far it hangs on the order; rates without a denominator are left out."""
    hangs = {"order_flip_rate": order["flip_rate"], "first_place_rate": order["first_place_rate"]}
    return counts.shares() | {name: rate for name, rate in hangs.items() if rate is not None}


def summary(counts: Tally) -> str:
    """One line for people."""
    line = f"{counts.wins} wins, {counts.losses} losses, {counts.ties} ties, {counts.invalid} invalid of {counts.n}"
    if not counts.decided:
        return line
    low, high = wilson(counts.wins, counts.decided)
    return f"{line}; {counts.wins / counts.decided:.3f} of decided pairs won [{low:.3f}, {high:.3f}]"
