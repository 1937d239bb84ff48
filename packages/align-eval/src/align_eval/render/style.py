"""Colours, fonts and sizes: the same for a method wherever it is drawn."""

from __future__ import annotations

from typing import Any

# Okabe and Ito's palette: told apart by colour-blind readers and in grey print.
COLOURS = {"ppo": "#0072B2", "grpo": "#D55E00", "null": "#009E73", "sft": "#6B7280"}
INK, MUTED, RULE, PALE = "#1F2937", "#6B7280", "#D1D5DB", "#F3F4F6"
TIE, LOSS, INVALID = "#E5E7EB", "#9CA3AF", "#FDE68A"
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
"""Line styles of the seeds, in order."""

A4 = (11.69, 8.27)
"""A4 on its side, in inches."""

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.9,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "text.parse_math": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 3,
}
"""matplotlib settings. Font type 3: type 42 would write the time of writing into the file."""


def ink(cell: str) -> str:
    """A table cell's colour: the method's where it begins with a method's name, red for a difference."""
    if cell == "DIFFERS":
        return "#B91C1C"
    first = cell.replace(",", " ").split(" ")[0]
    return {"PPO": COLOURS["ppo"], "GRPO": COLOURS["grpo"], "Null": COLOURS["null"]}.get(first, INK)


def colour(method: str) -> str:
    """A method's colour."""
    return COLOURS.get(method, INK)
