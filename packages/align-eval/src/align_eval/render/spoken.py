"""What policies say, on paper: answers side by side or one below the other, and responses token by token."""

from __future__ import annotations

from align_eval.render.document import Answer, Answers, Tokens
from align_eval.render.paper import LEADING, MARGIN, READ, ROOM, Paper, text_width, wrap
from align_eval.render.text import fixed, shown

LONG = 400
"""Characters of an answer that no longer stands beside others."""


def answers(paper: Paper, block: Answers) -> None:
    """Answers to one prompt: three to a line, or each over the whole width where one of them is long."""
    _bold(paper, f"{block.prompt}  ({block.why})")
    if max((len(one.text) for one in block.answers), default=0) > LONG:
        for one in block.answers:
            _long_answer(paper, one)
        return
    across = min(3, len(block.answers))
    width = (ROOM - 16 * (across - 1)) / across
    for start in range(0, len(block.answers), across):
        row = block.answers[start : start + across]
        texts = [wrap(one.text, width, 8) for one in row]
        height = max(map(len, texts)) * 8 * LEADING + 28
        paper.need(height)
        for place, (one, lines) in enumerate(zip(row, texts, strict=True)):
            x, y = MARGIN + place * (width + 16), paper.y
            paper.text(x, y + 10, _who(one), 8, one.tone, bold=True)
            for n, line in enumerate(lines):
                paper.text(x, y + 21 + n * 8 * LEADING, line, 8)
            paper.text(x, y + 21 + len(lines) * 8 * LEADING, one.facts, 7, "muted")
        paper.y += height
    paper.y += 6


def _long_answer(paper: Paper, one: Answer) -> None:
    """An answer over the whole width, which may go on on the next page."""
    paper.need(50)
    paper.lines([_who(one)], MARGIN, 8, one.tone, bold=True)
    for line in wrap(one.text, READ, 8):
        paper.need(8 * LEADING)
        paper.lines([line], MARGIN, 8)
    paper.need(7 * LEADING)
    paper.lines([one.facts], MARGIN, 7, "muted")
    paper.y += 5


def _who(one: Answer) -> str:
    return f"{one.name} · {one.outcome}" if one.outcome else one.name


def _bold(paper: Paper, text: str) -> None:
    lines = wrap(text, READ, 8.6, True)
    paper.need(min(len(lines), 6) * 8.6 * LEADING + 60)
    for line in lines:
        paper.need(8.6 * LEADING)
        paper.lines([line], MARGIN, 8.6, bold=True)
    paper.y += 3


def tokens(paper: Paper, block: Tokens) -> None:
    """A response: each token on a ground as deep as its advantage, the critic's value below it."""
    _bold(paper, block.prompt)
    x, size, line = MARGIN, 9.0, 27.0
    paper.need(line)
    for token in block.tokens:
        text = shown(token.text)
        width = text_width(text, size) + 3
        if x + width > MARGIN + READ:
            x = MARGIN
            paper.y += line
            paper.need(line)
        tone = "plus" if token.strength >= 0 else "minus"
        paper.box(x, paper.y + 2, width - 1, 13, tone, 0.45 * abs(token.strength))
        if token.strength < 0:
            paper.box(x, paper.y + 15, width - 1, 1, tone)
        paper.text(x + 1, paper.y + 12, text, size)
        value = token.numbers.get("value")
        if value is not None:
            paper.text(x + width / 2, paper.y + 23, fixed(round(value, 1) + 0.0, 1), 5.2, "muted", anchor="middle")
        x += width
    paper.y += line
    below = " Below a token: the critic's value." if any("value" in token.numbers for token in block.tokens) else ""
    note = f"{block.facts}. Green is above 0, purple and underlined below.{below}"
    paper.lines(wrap(note, READ, 7.8), MARGIN, 7.8, "muted")
    paper.y += 4
