"""One frame of the dashboard for a terminal, as rich draws it."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from align_contracts.paths import printable
from align_rl.dashboard.braille import draw
from align_rl.dashboard.curves import GIB, MIB, Panel, panels, places, tick
from align_rl.dashboard.figures import figures
from align_rl.dashboard.runs import Watched
from align_rl.dashboard.state import duration

SHADES: Mapping[str, tuple[str, ...]] = {
    "ppo": ("#3A9BDC", "#8CCBF2", "#1F6FA8", "#B5DDF6"),
    "grpo": ("#E8762C", "#F7B48A", "#B3530F", "#FAD0B5"),
    "sft": ("#A3AEBD", "#C9D0D9", "#7C8898", "#E1E5EA"),
    "rm": ("#3CC9A0", "#8CE2C9", "#1E8F70", "#B9EEDF"),
    "base": ("#C98BB5", "#E3BFD6", "#9A5F88", "#F0DCE8"),
    "run": ("#A3AEBD", "#C9D0D9", "#7C8898", "#E1E5EA"),
}
"""A method's runs: one hue, a shade each, readable on dark and light grounds."""
STATES = {"finished": "green", "running": "bold", "diverged": "bold red", "killed": "red", "silent": "yellow"}
AXIS = 9
"""Characters left of a plot."""
TELLING = 0.05
"""The least share of an iteration for which a phase is named."""
WIDE, LEAST, MOST = 58, 5, 12
"""Characters of a plot that deserves its own column; fewest and most lines of one."""


def frame(watched: Watched, width: int, height: int | None) -> RenderableType:
    """Compose the table of runs and as many plots as fit.

    Args:
        watched: the runs.
        width: characters a line.
        height: lines there are; None: no limit.
    """
    if not watched.runs:
        names = ", ".join(printable(str(path)) for path in watched.paths)
        return Text(f"no run yet in {names}", style="dim")
    told = [figures(run) for run in watched.runs]
    table, notes = runs_table(told, places(watched.runs), width), details(told)
    columns = max(1, min(3, width // WIDE))
    found = panels(watched.runs)
    if height is None:
        lines, shown = 8, len(found)
    else:
        room = height - len(told) - 2 - len(notes)
        rows = -(-len(found) // columns)
        while rows > 1 and room // rows < LEAST + 3:
            rows -= 1
        lines, shown = max(LEAST, min(MOST, room // max(1, rows) - 3)), rows * columns
    grid = Table.grid(padding=(0, 1), expand=False)
    drawn = [plot(panel, width // columns - 2, lines) for panel in found[:shown]]
    for start in range(0, len(drawn), columns):
        grid.add_row(*drawn[start : start + columns])
    return Group(table, *notes, Text(), grid)


def runs_table(told: Sequence[Mapping[str, Any]], place: Sequence[int], width: int) -> Table:
    """One line a run: its state and last figures; a narrow terminal has fewer columns."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", expand=False, pad_edge=False)
    columns = [c for c in COLUMNS if width >= c[1] and any(c[2](t) for t in told)]
    for title, _, _ in columns:
        table.add_column(title, justify="left" if title in ("run", "state") else "right", no_wrap=True)
    for one, at in zip(told, place, strict=True):
        cells = [Text(show(one)) for _, _, show in columns]
        cells[0].stylize(shade(one["method"], at))
        cells[1].stylize(STATES.get(one["state"], ""))
        table.add_row(*cells)
    return table


def details(told: Sequence[Mapping[str, Any]]) -> list[Text]:
    """What there is to say of runs that do not simply go on."""
    return [Text(printable(f"{one['run']}: {one['detail']}"), style="yellow") for one in told if one["detail"]]


def plot(panel: Panel, width: int, height: int) -> Text:
    """One plot with its title, its axes and its largest and least value."""
    inner = max(10, width - AXIS - 2)
    text = Text(no_wrap=True, overflow="crop")
    text.append(" " * AXIS + panel.title, style="bold")
    text.append(f" ({panel.unit})\n" if panel.unit else "\n", style="dim")
    low, high = panel.y
    for i, line in enumerate(draw(panel, inner, height)):
        value = {0: high, height // 2: (low + high) / 2, height - 1: low}.get(i)
        text.append(f"{'' if value is None else tick(value):>{AXIS - 1}} ┤" if value is not None else " " * AXIS + "│")
        for character, tone, place in line:
            text.append(character, style=shade(tone, place) if tone else "")
        text.append("\n")
    first, last = (f"{x:.0f}" for x in panel.x)
    text.append(" " * AXIS + "└" + "─" * inner + "\n" + " " * (AXIS + 1))
    text.append(first + " " * max(1, inner - len(first) - len(last)) + last, style="dim")
    return text


def shade(tone: str, place: int) -> str:
    """The colour of a method's run on a terminal; targets are grey."""
    shades = SHADES.get(tone, ("#808080",))
    return shades[place % len(shades)]


def lines_of(watched: Watched) -> list[str]:
    """Give one plain line a run, for where no terminal is."""
    return [" ".join(f"{title} {cell}" for title, _, show in COLUMNS if (cell := show(one))).removeprefix("run ")
            for one in map(figures, watched.runs)]  # fmt: skip


def print_frame(console: Console, watched: Watched, height: int | None = None) -> None:
    """Print one frame."""
    console.print(frame(watched, console.width, height), soft_wrap=False)


def _with(name: str, form: str, factor: float = 1.0) -> Any:
    return lambda one: "" if one[name] is None else form.format(one[name] * factor)


def _kl(one: Mapping[str, Any]) -> str:
    if one["kl"] is None:
        return ""
    return f"{one['kl']:.4f}" + ("" if one["target_kl"] is None else f" / {one['target_kl']:g}")


def _memory(one: Mapping[str, Any]) -> str:
    found = [size for size in (one["active_memory_bytes"], one["peak_memory_bytes"]) if size]
    unit, size = ("GiB", GIB) if max(found, default=0) >= GIB else ("MiB", MIB)
    return f"{' / '.join(f'{one / size:.1f}' for one in found)} {unit}" if found else ""


def _phases(one: Mapping[str, Any]) -> str:
    found = {name: seconds for name, seconds in (one["phases"] or {}).items() if seconds}
    shares = {name: seconds / sum(found.values()) for name, seconds in found.items()}
    return " ".join(f"{printable(str(name))} {share:.0%}" for name, share in shares.items() if share >= TELLING)


COLUMNS: tuple[tuple[str, int, Any], ...] = (
    ("run", 0, lambda one: printable(one["run"])),
    ("state", 0, lambda one: one["state"]),
    ("done", 0, lambda one: f"{one['position']}" + (f"/{one['of']}" if one["of"] else "")),
    ("ETA", 0, lambda one: duration(one["eta_seconds"]) if one["eta_seconds"] and one["state"] == "running" else ""),
    ("reward", 0, _with("reward", "{:.3f}")),
    ("KL / target", 0, _kl),
    ("loss", 0, lambda one: "" if one["loss"] is None or one["reward"] is not None else f"{one['loss']:.4f}"),
    ("ppl", 0, _with("perplexity", "{:.3f}")),
    ("accuracy", 0, _with("pairwise_accuracy", "{:.1f} %", 100)),
    ("wins", 60, _with("win_rate", "{:.0f} %", 100)),
    ("best", 78, _with("best", "{:.0f}")),
    ("length", 90, _with("response_length", "{:.1f}")),
    ("tokens/s", 100, _with("tokens_per_second", "{:.0f}")),
    ("memory now / peak", 110, _memory),
    ("s", 120, _with("seconds", "{:.2f}")),
    ("phases", 150, _phases),
)
"""Columns of the table: title, the terminal's width from which on there is room, and what a cell says."""
