"""Two orders of one pair make one outcome: the guard against a judge that likes a position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["candidate", "baseline", "tie", "invalid"]
Outcome = Literal["win", "loss", "tie", "invalid"]

VERDICTS: tuple[Verdict, ...] = ("candidate", "baseline", "tie", "invalid")
OUTCOMES: tuple[Outcome, ...] = ("win", "loss", "tie", "invalid")


@dataclass(frozen=True)
class Tally:
    """Counts of outcomes over n pairs, seen from the candidate."""

    wins: int
    losses: int
    ties: int
    invalid: int

    @property
    def n(self) -> int:
        """All pairs, invalid ones too."""
        return self.wins + self.losses + self.ties + self.invalid

    @property
    def decided(self) -> int:
        """Pairs with a winner."""
        return self.wins + self.losses

    def shares(self) -> dict[str, float]:
        """Share of each outcome among all pairs, and of wins among decided ones where there are any."""
        found = {
            "win_rate": self.wins / self.n,
            "loss_rate": self.losses / self.n,
            "tie_rate": self.ties / self.n,
            "invalid_rate": self.invalid / self.n,
        }
        return found | ({"win_rate_decided": self.wins / self.decided} if self.decided else {})

    def __add__(self, other: Tally) -> Tally:
        """The counts of both together."""
        return Tally(
            self.wins + other.wins,
            self.losses + other.losses,
            self.ties + other.ties,
            self.invalid + other.invalid,
        )


@dataclass(frozen=True)
class OrderEffect:
    """How far the judge's answer hangs on the order of the two answers.

    Attributes:
        pairs: Pairs with a valid verdict in both orders.
        flips: Those of them whose two verdicts differ.
        first: Verdicts that chose the answer shown first, over both orders.
        second: Verdicts that chose the answer shown second.
    """

    pairs: int
    flips: int
    first: int
    second: int


def combine(forward: Verdict, backward: Verdict) -> Outcome:
    """Outcome of one pair from the verdicts of its two orders.

    Args:
        forward: The verdict when the candidate's answer was shown first.
        backward: The verdict when the baseline's answer was shown first.

    Returns:
        "invalid" if either reply was unusable; "win" or "loss" if both orders name the same
        answer; otherwise "tie" (both say tie, or they contradict each other).

    Raises:
        ValueError: If a verdict is not one of VERDICTS.
    """
    for verdict in (forward, backward):
        if verdict not in VERDICTS:
            raise ValueError(f"combine: expected a verdict of {VERDICTS}, got {verdict!r}")
    if "invalid" in (forward, backward):
        return "invalid"
    if forward == backward == "candidate":
        return "win"
    if forward == backward == "baseline":
        return "loss"
    return "tie"


def tally(outcomes: Iterable[Outcome]) -> Tally:
    """Count outcomes.

    Args:
        outcomes: One outcome a pair.

    Returns:
        The counts.

    Raises:
        ValueError: If an outcome is not one of OUTCOMES.
    """
    counts = dict.fromkeys(OUTCOMES, 0)
    for outcome in outcomes:
        if outcome not in counts:
            raise ValueError(f"tally: expected an outcome of {OUTCOMES}, got {outcome!r}")
        counts[outcome] += 1
    return Tally(counts["win"], counts["loss"], counts["tie"], counts["invalid"])


def order_effect(forward: Sequence[Verdict], backward: Sequence[Verdict]) -> OrderEffect:
    """Measure order sensitivity over many pairs.

    Args:
        forward: Verdicts with the candidate first, one a pair.
        backward: Verdicts with the baseline first, the same pairs in the same order.

    Returns:
        Counts of flips and of choices by position; a judge without a position bias has
        first ≈ second.

    Raises:
        ValueError: If the lengths differ.
    """
    if len(forward) != len(backward):
        raise ValueError(f"order_effect: expected equal lengths, got {len(forward)} and {len(backward)}")
    valid = [(f, b) for f, b in zip(forward, backward, strict=True) if "invalid" not in (f, b)]
    first = sum((f == "candidate") + (b == "baseline") for f, b in valid)
    second = sum((f == "baseline") + (b == "candidate") for f, b in valid)
    return OrderEffect(pairs=len(valid), flips=sum(f != b for f, b in valid), first=first, second=second)
