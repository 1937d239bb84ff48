"""A figure's plots and legend in one picture."""

from __future__ import annotations

from align_eval.render.document import Figure
from align_eval.render.plots.marks import Mark, Text, moved
from align_eval.render.svg import swatch_marks

GUTTER, PAD, LETTER = 28.0, 12.0, 6.6
"""Room between plots and around them; about how wide a letter of the legend is, whatever the reader's font."""


def compose(figure: Figure) -> tuple[list[Mark], float, float]:
    """Draw all plots of a figure in two columns, under their legend.

    Args:
        figure: The figure.

    Returns:
        (marks, width, height) in points.
    """
    across = min(2, len(figure.panels))
    width = across * figure.panels[0].width + (across - 1) * GUTTER
    marks, y = _legend(figure, width)
    for start in range(0, len(figure.panels), across):
        row = figure.panels[start : start + across]
        title = 22.0 if any(panel.title for panel in row) else 0.0
        for place, panel in enumerate(row):
            x = place * (panel.width + GUTTER)
            marks.append(Text(x, y + 13, panel.title, "ink", 13, bold=True))
            marks += moved(panel.draw(panel.width, panel.height), x, y + title)
        y += title + max(panel.height for panel in row) + 14
    return moved(marks, PAD, PAD), width + 2 * PAD, y + 2 * PAD - 14


def _legend(figure: Figure, width: float) -> tuple[list[Mark], float]:
    marks: list[Mark] = []
    x = y = 0.0
    for one in figure.legend:
        room = 50 + LETTER * len(one.label)
        if x + room > width:
            x, y = 0.0, y + 18
        marks += moved(swatch_marks(one.tone, one.dash, one.shape), x, y)
        marks.append(Text(x + 32, y + 9, one.label, "ink", 11.5))
        x += room
    return marks, y + 28 if figure.legend else 0.0
