"""Progress on stderr for whatever takes long, and the closing table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

Item = TypeVar("Item")


class Reporter:
    """Shows progress on stderr while it is open as a context; silent when `enabled` is false.

    Args:
        enabled: whether to show anything.
        console: where to; stderr when None.
    """

    def __init__(self, enabled: bool = True, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, quiet=not enabled)
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not enabled,
        )

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress.live.is_started:  # stopping what never started would print an empty line
            self._progress.stop()

    def track(self, items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
        """Pass items through and count them.

        Args:
            items: any iterable.
            description: what is being done.
            total: how many there are, or None when only the end tells.

        Yields:
            The same items.
        """
        self._progress.start()  # only now: a download before it draws its own bars
        task = self._progress.add_task(description, total=total)
        count = 0
        for count, item in enumerate(items, start=1):
            if count % 64 == 0:
                self._progress.update(task, completed=count)
            yield item
        self._progress.update(task, completed=count, total=count)

    def close(self, card: Mapping[str, Any], target: str) -> None:
        """Show the splits, the notes and where the result is.

        Args:
            card: the data card.
            target: the artifact's path.
        """
        self._progress.stop()
        columns = ("prompts", "factual", "instruction", "creative", "pairs", "sft")
        table = Table(title=f"{card['source']['name']} → {target}", title_justify="left")
        table.add_column("split")
        for column in columns:
            table.add_column(column, justify="right")
        for name, row in card["splits"].items():
            cells = ["" if row[column] is None else f"{row[column]:,}" for column in columns]
            if row["prompts"] < (row["asked"] or 0):
                cells[0] += f" of {row['asked']:,}"
            table.add_row(name, *cells)
        self._console.print(table)
        dropped = sum(card["rows"]["dropped"].values())
        self._console.print(
            f"{card['rows']['read']:,} rows read, {dropped:,} dropped, "
            f"{card['leakage']['total']} prompts shared by two splits. All of it: {target}/card.md",
            soft_wrap=True,
        )
        for note in card["notes"]:
            self._console.print(f"note: {note}", style="yellow", highlight=False, soft_wrap=True)
