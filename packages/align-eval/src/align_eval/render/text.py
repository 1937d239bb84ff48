"""Numbers as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

MISSING = "–"

NAMES = {"ppo": "PPO", "grpo": "GRPO", "null": "Null", "sft": "SFT"}
"""Methods as they are written."""


def method(name: str) -> str:
    """A method's written name."""
    return NAMES.get(name, name)


def run_name(label: str) -> str:
    """``ppo-42`` as ``PPO 42``."""
    name, _, seed = label.rpartition("-")
    return f"{method(name)} {seed}"


def plural(count: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, or a dash; 5 and more digits before the point are kept."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    if abs(value) >= 10**digits:
        return f"{value:.0f}".replace("-", "−")
    text = f"{value:.{digits}g}"
    return (f"{value:.1e}" if "e" in text else text).replace("-", "−")


def fixed(value: float | None, digits: int = 2) -> str:
    """A number with so many decimals, or a dash; with a true minus sign."""
    return MISSING if value is None else f"{value:.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage, or a dash."""
    return MISSING if value is None else f"{100 * value:.{digits}f} %"


def span(interval: Sequence[float] | None, scale: float = 1.0, digits: int = 2) -> str:
    """An interval in brackets, or nothing."""
    if interval is None:
        return ""
    return f"[{fixed(scale * interval[0], digits)}, {fixed(scale * interval[1], digits)}]"


def share(value: float | None, interval: Sequence[float] | None) -> str:
    """A percentage with its interval."""
    return f"{percent(value)} {span(interval, 100, 1)}".strip()


def plus_minus(value: float | None, sd: float | None, digits: int = 1) -> str:
    """Mean ± sd, both with so many decimals."""
    if value is None:
        return MISSING
    return fixed(value, digits) if sd is None else f"{fixed(value, digits)} ± {fixed(sd, digits)}"


def with_sd(value: float | None, sd: float | None) -> str:
    """Mean ± sd with the decimals that the sd calls for, at most four significant digits of the mean."""
    if value is None or not sd:
        return number(value)
    by_sd = 1 - math.floor(math.log10(sd))
    by_value = 3 - math.floor(math.log10(abs(value))) if value else by_sd
    return plus_minus(value, sd, max(0, min(by_sd, by_value)))


_GLUE = re.compile(
    r"(?<=\d) (?=%|±|\+ \d|points|MB|GB|s\b|min\b|h\b)"  # 60 %, 3.0 ± 0.1, 71 MB
    r"|(?<=[±−=+]) (?=[\d−])|(?<=\b[dgp]) (?=[\d<=])"  # d = 0.4, 3 + 3, p 0.04
    r"|(?<=,) (?=[−\d.]+\])"  # [0.1, 0.2]
    r"|(?<=PO) (?=\d)|(?<=Null) (?=\d)"  # GRPO 42
)


def glued(text: str) -> str:
    """The same text with no-break spaces inside numbers: before a unit, around ±, in an interval."""
    return _GLUE.sub("\u00a0", text)


def shown(token: str) -> str:
    """A token as it is shown: a line break as ↵, another control character as ·."""
    return "".join("↵" if c == "\n" else c if c.isprintable() else "·" for c in token)


def duration(seconds: float | None) -> str:
    """Seconds as h, min or s."""
    if seconds is None:
        return MISSING
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.1f} min" if hours < 2 else f"{hours:.1f} h"


def size(count: float | None) -> str:
    """Bytes as MB or GB (powers of ten)."""
    if count is None:
        return MISSING
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


def p_value(p: float | None) -> str:
    """A p-value."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
