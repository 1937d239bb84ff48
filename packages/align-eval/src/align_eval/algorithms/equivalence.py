"""Whether a difference is shown to be small: two one-sided tests."""

from __future__ import annotations

from dataclasses import dataclass

from align_eval.algorithms.crossed import Contrast


@dataclass(frozen=True)
class Equivalence:
    """The result of two one-sided tests.

    Attributes:
        margin: Largest difference that counts as none.
        p: The larger of the two one-sided p-values; None where nothing varies.
        interval: The 1 − 2·alpha interval; equivalence is shown when it lies inside ± margin.
        equivalent: Whether it does. False says that it was not shown, not that the methods differ.
    """

    margin: float
    p: float | None
    interval: tuple[float, float]
    equivalent: bool


def equivalence(difference: Contrast, margin: float, alpha: float = 0.05) -> Equivalence:
    """Test whether a true difference lies inside ± margin.

    H₀₁: difference ≤ −margin and H₀₂: difference ≥ margin must both be rejected at alpha.

    Args:
        difference: The measured difference of one study.
        margin: The largest difference that would not matter, above 0, chosen before the data are seen.
        alpha: Level of each one-sided test; the larger p-value is that of the whole test.

    Returns:
        The result.

    Raises:
        ValueError: If the margin is not positive.

    Source:
        Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power approach".
    """
    if not margin > 0.0:
        raise ValueError(f"equivalence: expected a margin above 0, got {margin}")
    value = float(difference.value)
    low, high = (float(end) for end in difference.interval(1.0 - 2.0 * alpha))
    inside = -margin < low and high < margin
    return Equivalence(margin, _p(difference, value, margin), (low, high), inside)


def _p(difference: Contrast, value: float, margin: float) -> float | None:
    """The p-value against the nearer end of the margin; a value outside of it lies on the wrong side."""
    tail = difference.tail(margin if value >= 0.0 else -margin)
    if tail is None or abs(value) < margin:
        return tail
    return 1.0 - tail
