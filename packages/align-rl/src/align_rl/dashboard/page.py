"""The same curves as one HTML page: no script, no network, light and dark."""

import html
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from align_contracts.durable import disk_errors, temp_path
from align_contracts.paths import printable
from align_rl.dashboard.curves import TONES, Curve, Panel, panels, places, tick, ticks
from align_rl.dashboard.figures import figures
from align_rl.dashboard.runs import WatchedRun
from align_rl.dashboard.terminal import COLUMNS

WIDTH, HEIGHT = 520.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 8.0, 24.0
DASHES = ("", "6 3", "2 2.5", "8 2.5 2 2.5")
"""How a method's runs are told apart, in order."""
STYLE = """
:root{color-scheme:light dark;--ink:#1B2430;--muted:#5B6573;--rule:#E3E7EC;--page:#FFFFFF;%s}
@media(prefers-color-scheme:dark){:root{--ink:#E7EAEF;--muted:#A3AEBD;--rule:#2C3541;--page:#12171D;%s}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1180px;padding:20px;background:var(--page);color:var(--ink);
font:15px/1.45 system-ui,sans-serif}h1{font-size:1.3rem;margin:0 0 2px}h2{font-size:.95rem;margin:0}
p,small,figcaption{color:var(--muted)}p{margin:0 0 16px}.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;margin-bottom:20px;white-space:nowrap}
th,td{padding:4px 10px 4px 0;text-align:right;border-bottom:1px solid var(--rule)}
th{color:var(--muted);font-weight:500}th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}
.bad{color:var(--bad)}main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%%,420px),1fr));gap:20px}
figure{margin:0}svg{width:100%%;height:auto;display:block}svg text{fill:var(--muted);font-size:11px}
@media(max-width:500px){svg text{font-size:14px}}
.grid{stroke:var(--rule)}.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.target{stroke:var(--muted)}
.key{display:inline-block;margin-right:14px}.key svg{display:inline;width:26px;height:10px}
"""


def page(runs: Sequence[WatchedRun], refresh: int | None = None) -> str:
    """Give the page of some runs.

    Args:
        runs: what to show.
        refresh: seconds after which a browser that has it open loads it again; None: never.
    """
    told = [figures(run) for run in runs]
    light, dark = ("".join(f"--{tone}:{pair[i]};" for tone, pair in TONES.items()) for i in (0, 1))
    style = STYLE % (f"{light}--bad:#B3261E;", f"{dark}--bad:#FF8A80;")
    again = "" if refresh is None else f'<meta http-equiv="refresh" content="{refresh}">'
    names = ", ".join(run.name for run in runs) or "no run yet"
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">{again}<title>{_text(names)}</title>'
        f"<style>{style}</style></head><body>\n<h1>Runs</h1><p>As of {now}.</p>\n{_table(told)}{_notes(told)}"
        f"<p>{_key(runs)}</p>\n<main>\n{''.join(map(_figure, panels(runs)))}</main>\n</body></html>\n"
    )


def put(path: Path, text: str) -> None:
    """Write a page whole or not at all: a browser may be reading it.

    Raises:
        PreflightError: the disk is full, or the place cannot be written.
    """
    temp = temp_path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temp.write_text(text, "utf-8")
            os.replace(temp, path)
        finally:
            temp.unlink(missing_ok=True)


def _table(told: Sequence[Mapping[str, Any]]) -> str:
    columns = [(title, show) for title, _, show in COLUMNS if any(show(one) for one in told)]
    head = "".join(f'<th scope="col">{_text(title)}</th>' for title, _ in columns)
    rows = ("".join(f"<td>{_text(show(one)) or '—'}</td>" for _, show in columns) for one in told)
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(f"<tr>{row}</tr>" for row in rows)}</table></div>\n'


def _notes(told: Sequence[Mapping[str, Any]]) -> str:
    return "".join(f'<p class="bad">{_text(one["run"])}: {_text(one["detail"])}</p>\n' for one in told if one["detail"])


def _key(runs: Sequence[WatchedRun]) -> str:
    keys = []
    for run, place in zip(runs, places(runs), strict=True):
        stroke = _stroke(Curve(run.name, run.method, place, []))
        sample = f'<svg viewBox="0 0 26 10" aria-hidden="true"><path class="line" {stroke} d="M0 5H26"/></svg>'
        keys.append(f'<span class="key">{sample} {_text(run.name)}</span>')
    return "".join(keys)


def _figure(panel: Panel) -> str:
    unit = f" <small>{_text(panel.unit)}</small>" if panel.unit else ""
    return f"<figure><h2>{_text(panel.title)}{unit}</h2>{svg(panel)}</figure>\n"


def svg(panel: Panel) -> str:
    """Draw one plot; its curves can be hovered for their runs, and its dots for their values."""
    (left, right), (low, high) = panel.x, panel.y

    def x(value: float) -> float:
        return LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for value in ticks(low, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{tick(value)}</text>')
    for place in ticks(left, right, 9):
        if place == round(place):
            parts.append(f'<text x="{x(place):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{place:.0f}</text>')
    for curve in panel.curves:
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in curve.points)
        title = f"<title>{_text(curve.label)}</title>"
        parts.append(f'<path class="line" {_stroke(curve)} d="M{path}">{title}</path>')
        if curve.dots or len(curve.points) == 1:
            parts += [
                f'<circle r="2.6" fill="var(--{curve.tone})" cx="{x(a):.1f}" cy="{y(b):.1f}">'
                f"<title>{_text(curve.label)}, {a:.0f}: {b:.4g}</title></circle>"
                for a, b in curve.points
            ]
    label = f"{panel.title}, {len(panel.curves)} curves, iterations {left:.0f} to {right:.0f}"
    return f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{_text(label)}">{"".join(parts)}</svg>'


def _stroke(curve: Curve) -> str:
    tone = "muted" if curve.tone == "target" else curve.tone
    dash = "1.5 3" if curve.tone == "target" else DASHES[curve.place % len(DASHES)]
    return f'style="stroke:var(--{tone})"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _text(value: str) -> str:
    return html.escape(printable(value))
