"""Colours and fonts: the same for a method wherever it is drawn."""

from __future__ import annotations

from typing import Any

TONES: dict[str, tuple[str, str]] = {
    # Methods: blue and vermilion of Okabe and Ito, which colour-blind readers tell apart, darkened until text in them
    # reads on white (contrast 4.5 and more), lightened until it reads on near black.
    "ppo": ("#0068A8", "#5BB4EC"),
    "grpo": ("#BF4D00", "#F2965C"),
    "null": ("#00795A", "#3CC9A0"),
    "sft": ("#5B6573", "#A3AEBD"),
    "ink": ("#1B2430", "#E7EAEF"),
    "muted": ("#5B6573", "#A3AEBD"),
    "rule": ("#E3E7EC", "#2C3541"),
    "pale": ("#F5F7F9", "#1B222B"),
    "page": ("#FFFFFF", "#12171D"),
    "onfill": ("#FFFFFF", "#12171D"),
    "tie": ("#DDE3EA", "#384350"),
    "loss": ("#AEB8C4", "#5A6675"),
    "invalid": ("#F3D67A", "#775C12"),
    "good": ("#00795A", "#3CC9A0"),
    "bad": ("#B3261E", "#FF8A80"),
    "care": ("#8A5A00", "#F0C36A"),
    "plus": ("#00795A", "#3CC9A0"),
    "minus": ("#A0357F", "#E58CC6"),
    "link": ("#35506E", "#A9C4E4"),
}
"""Each colour on a light and on a dark page."""

DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2.5), (1.5, 2), (7, 2, 1.5, 2))
"""Patterns of the seeds' lines, in order."""

A4 = (8.27, 11.69)
"""In inches."""

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.parse_math": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 3,
    "lines.scale_dashes": False,
}
"""matplotlib settings. Font type 3: type 42 would write the time of writing into the file."""


def light(tone: str) -> str:
    """A colour on white paper; ink for what has no colour of its own."""
    return TONES.get(tone, TONES["ink"])[0]


def variables(dark: bool) -> str:
    """The colours as CSS custom properties."""
    return "".join(f"--{name}:{pair[dark]};" for name, pair in TONES.items())


def contrast(one: str, two: str) -> float:
    """Contrast ratio of two colours, 1 to 21.

    Args:
        one: ``#RRGGBB``.
        two: ``#RRGGBB``.

    Source:
        WCAG 2.2, definitions of relative luminance and contrast ratio.
    """
    bright, dim = sorted((_luminance(one), _luminance(two)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
