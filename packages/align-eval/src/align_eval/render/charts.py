"""The charts, each drawn into a figure or a part of a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from align_eval.render import style
from align_eval.render.panel import LEGEND, Panel
from align_eval.render.text import method, run_name

Json = Mapping[str, Any]


def draw_png(name: str, report: Json, path: Path) -> None:
    """Draw one chart into a PNG file.

    Args:
        name: A key of CHARTS.
        report: The document of `results.build`.
        path: Where to.
    """
    chart, size = CHARTS[name]
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=size(report))
        chart(Panel.whole(figure), report)
        figure.savefig(path, dpi=130, format="png", metadata={"Software": None})


def win_rates(panel: Panel, report: Json) -> None:
    """Share of decided pairs won, a run a line, with Wilson intervals; the methods' pooled rate below."""
    rows: list[tuple[str, str, Json, bool]] = []
    for name in report["methods"]:
        rows += [(run_name(run["label"]), name, run, False) for run in report["runs"] if run["method"] == name]
        rows.append((f"{method(name)}, all seeds", name, report["pooled"][name], True))
    if report["aa"]:
        rows.append(("A/A: SFT against SFT", "sft", report["aa"], False))
    (ax,) = panel.axes(left=118, right=46)
    _forest(ax, rows)
    ax.set_xlabel("share of decided pairs won against SFT, 95 % Wilson interval")


def _forest(ax: Axes, rows: Sequence[tuple[str, str, Json, bool]], *, values: bool = True, names: bool = True) -> None:
    """Points with intervals, the first row on top; pooled rows are bold and larger."""
    ax.axvline(0.5, color=style.MUTED, linewidth=1.0)
    low, high = 0.35, 0.75
    for y, (_, name, row, strong) in enumerate(rows):
        if row["wilson"] is None:
            continue
        ends, middle = row["wilson"], row["win_rate_decided"]
        low, high = min(low, ends[0] - 0.02), max(high, ends[1] + 0.02)
        ax.plot(ends, [y, y], color=style.colour(name), linewidth=3.2 if strong else 1.8, solid_capstyle="round")
        marker, size = ("D", 8) if strong else ("o", 6.5)
        ax.plot([middle], [y], marker, color=style.colour(name), markersize=size, markeredgecolor="white")
        if values:
            weight = "bold" if strong else "normal"
            label = f"{100 * middle:.1f} %"
            ax.annotate(label, (1.0, y), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                        va="center", fontsize=8.5, fontweight=weight, annotation_clip=False)  # fmt: skip
    ax.set_yticks(range(len(rows)), [text if names else "" for text, *_ in rows])
    for tick, (_, name, _, strong) in zip(ax.get_yticklabels(), rows, strict=True):
        tick.set_color(style.colour(name))
        tick.set_fontweight("bold" if strong else "normal")
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(max(0.0, low), min(1.0, high))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    ax.grid(axis="y", visible=False)
    ax.spines["left"].set_visible(False)


def outcomes(panel: Panel, report: Json) -> None:
    """Win, tie, loss and invalid of each run as one bar of 100 %."""
    (ax,) = panel.axes(left=66, right=12)
    runs = list(report["runs"])
    rows = [(run_name(run["label"]), run["method"], run) for run in runs]
    if report["aa"]:
        rows.append(("A/A", "sft", report["aa"]))
    for y, (_, name, row) in enumerate(rows):
        left = 0.0
        parts = [("win_rate", style.colour(name), "white"), ("tie_rate", style.TIE, style.INK)]
        parts += [("loss_rate", style.LOSS, style.INK), ("invalid_rate", style.INVALID, style.INK)]
        for key, colour, ink in parts:
            share = row[key]
            ax.barh(y, share, left=left, color=colour, height=0.66, edgecolor="white", linewidth=0.8)
            if share >= 0.045:
                ax.text(left + share / 2, y, f"{100 * share:.0f}", ha="center", va="center", color=ink, fontsize=8.5)
            left += share
        # The interval lies low in the bar, clear of the numbers in its middle.
        ends = row["win_rate_wilson"]
        ax.plot(ends, [y + 0.24] * 2, "-", color=style.INK, linewidth=1.2, marker="|", markersize=4.5)
    ax.set_yticks(range(len(rows)), [text for text, *_ in rows])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    ax.set_xlabel("share of all pairs: win (colour, with 95 % interval), tie (light), loss (grey), invalid (yellow)")
    ax.grid(axis="y", visible=False)
    ax.spines["left"].set_visible(False)


def categories(panel: Panel, report: Json) -> None:
    """Share of decided pairs won, a panel a category."""
    names = list(dict.fromkeys(name for run in report["runs"] for name in run["categories"]))
    axes = panel.axes(1, len(names), left=66, right=12, top=20, bottom=22, gap=(28, 0))
    for ax, name in zip(axes, names, strict=True):
        found = [(r, r["categories"].get(name)) for r in report["runs"]]
        rows = [(run_name(r["label"]), r["method"], row, False) for r, row in found if row]
        _forest(ax, rows, values=False, names=ax is axes[0])
        ax.set_title(name)
        ax.set_xlim(0.0, 1.0)
        ax.set_xticks([0.25, 0.5, 0.75])


def training(panel: Panel, report: Json) -> None:
    """KL with its target, reward, length and perplexity at the evaluation points."""
    panels = (
        ("kl", "KL against the reference", "nats a response token"),
        ("reward_mean", "Reward (raw score)", "mean"),
        ("response_length_mean", "Response length", "tokens"),
        ("perplexity", "Perplexity of the chosen answers", ""),
    )
    axes = panel.axes(2, 2, top=LEGEND + 22)
    for ax, (key, heading, unit) in zip(axes, panels, strict=True):
        for run, dashes in _styled(report):
            _line(ax, report["curves"][run["label"]]["points"], key, run, dashes)
        ax.set_title(heading)
        ax.set_ylabel(unit)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _targets(axes[0], report)
    for ax in axes[2:]:
        ax.set_xlabel("iteration")
    handles = [*_legend(report), Line2D([], [], color=style.INK, linewidth=1.0, label="KL target")]
    panel.legend(handles)


def _line(ax: Axes, points: Sequence[Json], key: str, run: Json, dashes: Any) -> None:
    known = [(row["iteration"], row[key], row.get("selected")) for row in points if row.get(key) is not None]
    hue = style.colour(run["method"])
    ax.plot([x for x, _, _ in known], [y for _, y, _ in known], color=hue, linestyle=dashes, linewidth=1.5, alpha=0.9)
    chosen = [(x, y) for x, y, selected in known if selected]
    ax.plot([x for x, _ in chosen], [y for _, y in chosen], "o", color=hue, markersize=6.5, markeredgecolor="white")


def _targets(ax: Axes, report: Json) -> None:
    """The target as steps; runs share it, otherwise the ledger would have refused them."""
    run = report["runs"][0]["label"]
    steps, points = report["curves"][run]["targets"], report["curves"][run]["points"]
    if not steps or not points:
        return
    end = max(row["iteration"] for row in points)
    x = [start for start, _ in steps] + [end]
    y = [target for _, target in steps] + [steps[-1][1]]
    ax.step(x, y, where="post", color=style.INK, linewidth=1.0)
    ax.set_ylim(bottom=0)


def frontier(panel: Panel, report: Json) -> None:
    """Every checkpoint's reward over its KL, and the win rate at each evaluation point."""
    left, right = panel.axes(1, 2, top=LEGEND + 22, gap=(62, 0))
    for run, dashes in _styled(report):
        points, hue = report["curves"][run["label"]]["points"], style.colour(run["method"])
        known = [row for row in points if row.get("kl") is not None and row.get("reward_mean") is not None]
        x, y = [max(0.0, row["kl"]) ** 0.5 for row in known], [row["reward_mean"] for row in known]
        left.plot(x, y, color=hue, linestyle=dashes, linewidth=0.9, alpha=0.5)
        left.plot(x, y, "o", color=hue, markersize=3.2, alpha=0.7)
        best = [(a, b) for a, b, row in zip(x, y, known, strict=True) if row.get("selected")]
        left.plot([a for a, _ in best], [b for _, b in best], "*", color=hue, markersize=14, markeredgecolor="white")
        curve = [row for row in report["curves"][run["label"]]["win_rate"] if row["win_rate_decided"] is not None]
        right.plot([row["iteration"] for row in curve], [row["win_rate_decided"] for row in curve], color=hue,
                   linestyle=dashes, linewidth=1.5)  # fmt: skip
    left.set_title("Reward–KL frontier: every checkpoint, ★ published")
    left.set_xlabel("√KL (KL in nats a response token)")
    left.set_ylabel("reward on validation prompts")
    right.set_title("Win rate against iteration 0")
    right.axhline(0.6, color=style.INK, linewidth=1.0)
    right.axhline(0.5, color=style.MUTED, linewidth=0.8, linestyle=":")
    right.set_xlabel("iteration")
    right.set_ylabel("share of decided pairs, validation prompts")
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    right.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    right.set_xlim(left=0)
    if not any(report["curves"][run["label"]]["win_rate"] for run in report["runs"]):
        reason = report["runs"][0]["convergence_reason"] or "no evaluation points"
        right.text(0.5, 0.5, fill(reason, 44), transform=right.transAxes, ha="center", va="center", color=style.MUTED)
    panel.legend(_legend(report))


def _styled(report: Json) -> list[tuple[Json, Any]]:
    """Runs with a line style by the order of their seed within the method."""
    found, order = [], dict.fromkeys(report["methods"], 0)
    for run in report["runs"]:
        found.append((run, style.DASHES[order[run["method"]] % len(style.DASHES)]))
        order[run["method"]] += 1
    return found


def _legend(report: Json) -> list[Line2D]:
    return [
        Line2D([], [], color=style.colour(run["method"]), linestyle=dashes, linewidth=1.6, label=run_name(run["label"]))
        for run, dashes in _styled(report)
    ]


def _by_rows(report: Json) -> tuple[float, float]:
    return 9.0, 1.1 + 0.3 * (len(report["runs"]) + len(report["methods"]) + bool(report["aa"]))


CHARTS: dict[str, tuple[Callable[[Panel, Json], None], Callable[[Json], tuple[float, float]]]] = {
    "win_rates": (win_rates, _by_rows),
    "outcomes": (outcomes, _by_rows),
    "categories": (categories, _by_rows),
    "training": (training, lambda _: (9.0, 6.2)),
    "frontier": (frontier, lambda _: (9.0, 4.2)),
}
"""Each chart with the size of its picture in inches."""
