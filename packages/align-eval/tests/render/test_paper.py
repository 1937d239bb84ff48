import warnings

import pytest
from matplotlib.backends.backend_pdf import PdfPages

from align_eval.render.paper import Paper, drawable, text_width, wrap

ODD = "first\nsecond\tthird \x00\x01 中文 \U0001f9ff costs $5 or $\\frac{ and ^_{} 😀 \u2028 end"


def test_answers_may_hold_anything(tmp_path):
    """Line breaks, control characters, letters without a glyph, dollar signs: nothing fails, nothing is a formula."""
    with warnings.catch_warnings(), PdfPages(tmp_path / "odd.pdf") as pdf:
        warnings.simplefilter("error")
        paper = Paper(pdf, "foot")
        paper.new_page()
        for bold in (False, True):
            paper.lines(wrap(ODD, 200.0, 9.0, bold), 42.0, 9.0, bold=bold)
        paper.close()
    assert (tmp_path / "odd.pdf").stat().st_size > 1000


@pytest.mark.parametrize(
    ("text", "drawn"),
    [("a\nb", "a b"), ("a\u00a0b", "a\u00a0b"), ("中", "□"), ("√KL ≤ 5 − 3", "√KL ≤ 5 − 3"), ("\x07", " "), ("", "")],
)
def test_what_is_drawn_instead(text, drawn):
    assert drawable(text) == drawn
    assert text_width(text, 10.0) == pytest.approx(text_width(drawn, 10.0))
