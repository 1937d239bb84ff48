import pytest

from align_eval.render import style
from align_eval.render.style import TONES, contrast, light

WORDS = ("ppo", "grpo", "null", "sft", "ink", "muted", "good", "bad", "care", "link", "plus", "minus")
"""Tones in which words are written."""


def test_contrast_of_known_pairs():
    # Black on white is 21 by definition; #767676 on white is the well-known 4.54.
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21.0)
    assert contrast("#FFFFFF", "#767676") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("tone", WORDS)
def test_words_can_be_read_on_page_and_shade(tone, dark):
    """WCAG 2.2, 1.4.3: 4.5 for text."""
    for back in ("page", "pale"):
        assert contrast(TONES[tone][dark], TONES[back][dark]) >= 4.5


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    ("ink", "back"),
    [(f, b) for f in ("onfill",) for b in ("ppo", "grpo", "null", "sft")]
    + [("ink", "tie"), ("ink", "loss"), ("ink", "invalid")],
)
def test_numbers_in_bars_can_be_read(ink, back, dark):
    assert contrast(TONES[ink][dark], TONES[back][dark]) >= 4.5


def test_methods_differ_without_colour_vision():
    """Deuteranopia and protanopia (Viénot, Brettel and Mollon 1999, for linear RGB): still far apart."""
    matrices = {
        "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
        "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
    }
    for dark in (False, True):
        for matrix in matrices.values():
            one, two = (_seen(TONES[name][dark], matrix) for name in ("ppo", "grpo"))
            assert sum((a - b) ** 2 for a, b in zip(one, two, strict=True)) ** 0.5 > 0.25


def _seen(colour, matrix):
    linear = [(int(colour[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5)]
    return [sum(m * c for m, c in zip(row, linear, strict=True)) for row in matrix]


def test_every_tone_is_a_variable_and_paper_is_light():
    assert style.variables(True).count("--") == len(TONES)
    assert light("ppo") == TONES["ppo"][0]
    assert light("no such tone") == TONES["ink"][0]
