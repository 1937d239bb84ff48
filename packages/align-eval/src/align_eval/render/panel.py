"""A rectangle of a page or of a picture, measured in points, into which a chart puts its axes and legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

LEGEND = 22.0
"""Height of a legend line above the axes."""


@dataclass(frozen=True)
class Panel:
    """A rectangle; y runs down from the top of the figure.

    Attributes:
        figure: The page or picture.
        x: Left edge in points.
        y: Top edge.
        width: Width.
        height: Height.
    """

    figure: Figure
    x: float
    y: float
    width: float
    height: float

    @classmethod
    def whole(cls, figure: Figure, pad: float = 8.0) -> Panel:
        """The whole figure without a margin of `pad`."""
        width, height = (72.0 * float(side) for side in figure.get_size_inches())
        return cls(figure, pad, pad, width - 2 * pad, height - 2 * pad)

    def axes(
        self,
        rows: int = 1,
        columns: int = 1,
        *,
        left: float = 44.0,
        right: float = 8.0,
        top: float = 8.0,
        bottom: float = 34.0,
        gap: tuple[float, float] = (48.0, 44.0),
    ) -> list[Axes]:
        """Make a grid of axes.

        Args:
            rows: Rows of the grid.
            columns: Columns of the grid.
            left: Room for labels left of the first column, in points.
            right: Room right of the last column.
            top: Room above the first row.
            bottom: Room below the last row.
            gap: Room between columns and between rows.

        Returns:
            The axes, row by row.
        """
        page_width, page_height = (72.0 * float(side) for side in self.figure.get_size_inches())
        width = (self.width - left - right - gap[0] * (columns - 1)) / columns
        height = (self.height - top - bottom - gap[1] * (rows - 1)) / rows
        found = []
        for row in range(rows):
            for column in range(columns):
                x = self.x + left + column * (width + gap[0])
                below = self.y + top + row * (height + gap[1]) + height
                box = (x / page_width, 1 - below / page_height, width / page_width, height / page_height)
                found.append(self.figure.add_axes(box))
        return found

    def legend(self, handles: Sequence[Any]) -> None:
        """Put a legend of one line along the top edge; charts with one leave `LEGEND` free there."""
        page_width, page_height = (72.0 * float(side) for side in self.figure.get_size_inches())
        anchor = ((self.x + self.width / 2) / page_width, 1 - self.y / page_height)
        self.figure.legend(
            handles=handles, loc="upper center", bbox_to_anchor=anchor, ncols=len(handles), borderaxespad=0,
            handlelength=2.2, columnspacing=1.4,
        )  # fmt: skip
