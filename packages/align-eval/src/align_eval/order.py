"""How far verdicts hang on the order in which the answers were shown, and what that means for the reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from align_eval.alarms import TIE_ALARM, likes_a_place
from align_eval.algorithms.mean import clustered_share
from align_eval.algorithms.sign_test import sign_test
from align_eval.algorithms.swap import Tally, order_effect
from align_eval.algorithms.wilson import wilson

Json = dict[str, Any]


def order_numbers(verdicts: Sequence[Mapping[str, Any]]) -> Json:
    """Order sensitivity of verdict rows, each rate with its 95 % interval; nulls without a denominator.

    Args:
        verdicts: Rows with `forward` and `backward`.

    Returns:
        `pairs` with two valid verdicts; `flip_rate`, the share of them whose verdicts differ, with its Wilson interval
        `flip_interval`; `first_place_rate`, the share of choices that took the answer shown first, and
        `first_place_interval`, with the pair as the unit. A judge without a taste for a place has one half;
        `first_place_p` is the p-value of the exact sign test for that, over pairs whose two verdicts lean to one place.
    """
    valid = [(r["forward"], r["backward"]) for r in verdicts if "invalid" not in (r["forward"], r["backward"])]
    each = [order_effect([forward], [backward]) for forward, backward in valid]
    first, chosen = [one.first for one in each], [one.first + one.second for one in each]
    found: Json = {"pairs": len(valid), "flip_rate": None, "flip_interval": None}
    found |= {"first_place_rate": None, "first_place_interval": None}
    # An interval from a handful of pairs would alarm too often; the sign test is exact for any number.
    leaning = [one.first > one.second for one in each if one.first != one.second]
    found["first_place_p"] = sign_test(sum(leaning), len(leaning) - sum(leaning))
    if valid:
        flips = sum(one.flips for one in each)
        found |= {"flip_rate": flips / len(valid), "flip_interval": list(wilson(flips, len(valid)))}
    if any(chosen):
        rate, interval = clustered_share(first, chosen)
        found |= {"first_place_rate": rate, "first_place_interval": None if interval is None else list(interval)}
    return found


def judge_alarms(counts: Tally, order: Mapping[str, Any] | None) -> list[Json]:
    """What to read with care in one judging: many ties, a taste for a place.

    Args:
        counts: The outcomes, at least one.
        order: Result of `order_numbers`; None for verdicts that were not swapped.

    Returns:
        [{code, text}].
    """
    found = []
    if counts.ties > TIE_ALARM * counts.n:
        text = (
            f"{100 * counts.ties / counts.n:.0f} % ties, above {100 * TIE_ALARM:.0f} %: the judge hardly tells the "
            "answers apart."
        )
        found.append({"code": "ties", "text": text})
    if order is not None and likes_a_place(order):
        rate, interval = order["first_place_rate"], order["first_place_interval"]
        shown = f" [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]" if interval else ""
        text = (
            f"The judge likes the answer shown {'first' if rate > 0.5 else 'second'}: it chose the first in "
            f"{100 * rate:.0f} % of its choices{shown} (sign test, p = {order['first_place_p']:.2g}); both orders were "
            "asked, so that makes ties, not wins."
        )
        found.append({"code": "position", "text": text})
    return found
