"""Marks as SVG: inside the page, where colours follow its theme, or as a picture that brings its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from align_eval.render import style
from align_eval.render.plots.marks import Area, Dot, Line, Mark, Point, Text, box


def inline(marks: Sequence[Mark], width: float, height: float, title: str, alt: str) -> str:
    """An ``<svg>`` for the HTML page; it scales with its place.

    Args:
        marks: What to draw.
        width: In points.
        height: In points.
        title: What the plot is called.
        alt: What it shows, in words.
    """
    label = escape(f"{title}. {alt}")
    body = "".join(element(mark) for mark in marks)
    return f'<svg viewBox="0 0 {_n(width)} {_n(height)}" role="img" aria-label="{label}">{body}</svg>'


def picture(marks: Sequence[Mark], width: float, height: float, title: str, alt: str) -> str:
    """A whole SVG file, light or dark as its reader prefers."""
    css = (
        f":root{{{style.variables(False)}}}@media(prefers-color-scheme:dark){{:root{{{style.variables(True)}}}}}"
        "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
        f"{tone_rules()}"
    )
    back = f'<rect width="{_n(width)}" height="{_n(height)}" class="f-page"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" '
        f'height="{_n(height)}" role="img"><title>{escape(title)}</title><desc>{escape(alt)}</desc>'
        f"<style>{css}</style>{back}{''.join(element(mark) for mark in marks)}</svg>\n"
    )


def tone_rules() -> str:
    """The classes that colour marks: ``f-NAME`` fills, ``s-NAME`` strokes."""
    return "".join(f".f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name})}}" for name in style.TONES)


def element(mark: Mark) -> str:
    """One mark as an SVG element."""
    if isinstance(mark, Text):
        weight = ' font-weight="650"' if mark.bold else ""
        anchor = f' text-anchor="{mark.anchor}"' if mark.anchor != "start" else ""
        shape = (
            f'<text x="{_n(mark.x)}" y="{_n(mark.y)}" font-size="{_n(mark.size)}"{anchor}{weight} class="f-{mark.tone}"'
        )
        return f"{shape}{_series(mark.series)}>{escape(mark.text)}</text>"
    if isinstance(mark, Line):
        dash = f' stroke-dasharray="{" ".join(_n(d) for d in mark.dash)}"' if mark.dash else ""
        look = f'fill="none" stroke-width="{_n(mark.width)}" stroke-linejoin="round"{dash} class="s-{mark.tone}"'
        return _tipped(f'polyline points="{_points(mark.points)}" {look}', "polyline", mark)
    if isinstance(mark, Area):
        return _tipped(f'polygon points="{_points(mark.points)}" class="f-{mark.tone}"', "polygon", mark)
    fill = f'class="f-page s-{mark.tone}" stroke-width="1.6"' if mark.hollow else f'class="f-{mark.tone} s-page"'
    if mark.shape == "circle":
        return _tipped(f'circle cx="{_n(mark.x)}" cy="{_n(mark.y)}" r="{_n(mark.r)}" {fill}', "circle", mark)
    return _tipped(f'polygon points="{_points(outline(mark))}" {fill}', "polygon", mark)


def outline(dot: Dot) -> tuple[Point, ...]:
    """Corners of a diamond or a five-pointed star."""
    radii = (dot.r,) * 4 if dot.shape == "diamond" else (1.35 * dot.r, 0.56 * dot.r) * 5
    angles = [2 * math.pi * i / len(radii) - math.pi / 2 for i in range(len(radii))]
    return tuple((dot.x + r * math.cos(a), dot.y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True))


def _tipped(start: str, tag: str, mark: Line | Area | Dot) -> str:
    opacity = f' opacity="{_n(mark.opacity)}"' if mark.opacity != 1.0 else ""
    tip = f"<title>{escape(mark.tip)}</title>" if mark.tip else ""
    return f"<{start}{opacity}{_series(mark.series)}>{tip}</{tag}>"


def _series(name: str) -> str:
    return f' data-series="{escape(name)}"' if name else ""


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _n(value: float) -> str:
    """A length with at most two decimals; no negative zero."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def swatch(tone: str, dash: Sequence[float], shape: str) -> str:
    """A legend's picture of a series, beside its name."""
    body = "".join(map(element, swatch_marks(tone, dash, shape)))
    return f'<svg viewBox="0 0 26 10" width="26" height="10" aria-hidden="true">{body}</svg>'


def swatch_marks(tone: str, dash: Sequence[float], shape: str) -> list[Mark]:
    """A line with its dashes, a thick line, or a band with its mean, in 26 × 10 points."""
    line = Line(((0, 5), (26, 5)), tone, 1.8 if shape == "line" else 2.6, tuple(dash))
    return [box(0, 0, 26, 10, tone, opacity=0.22), line] if shape == "band" else [line]
