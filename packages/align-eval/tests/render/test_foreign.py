"""What a policy may write: anything. It is shown as text, in every form, and breaks none."""

import json
import warnings

import pytest

from align_eval.render.build import document
from align_eval.render.html import page
from align_eval.render.markdown import markdown
from align_eval.render.paper import HEIGHT, wrap
from align_eval.render.pdf import draw_pdf
from align_eval.render.text import shown

WILD = [
    "line one\nline two\r\n\n\tline three",
    "你好，世界 🙂 مرحبا \u202eright to left\u202c",
    "$x^2$ \\frac{1}{2} %s {0} ${style} $$",
    "\x00\x07\x1b[31mred\x1b[0m\ufffd\ud7ff",
    "<script>alert(1)</script> & <b> \"quotes\" 'single'",
    "| a | b |\n|---|---|\n# heading\n```\ncode",
    "wordwithoutanyspace" * 60,
    "a long answer goes on over pages " * 400,
    "",
]


@pytest.fixture
def wild(report):
    """The report with wild prompts, answers and tokens."""
    base = report["diagnostics"]
    answers = [
        {"label": "sft", "method": "sft", "text": text, "cut": True, "reward": None, "length": None, "outcome": None}
        for text in WILD
    ]
    samples = [
        {"prompt_id": "1", "prompt": text, "category": "c", "why": "most won", "answers": answers} for text in WILD
    ]
    tokens = [
        {"text": text[:20], "logprob": -1.0, "ref_logprob": None, "log_ratio": None, "advantage": 0.0, "value": None}
        for text in WILD
    ]
    view = {
        "label": "ppo-42", "method": "ppo", "iteration": 1, "source": "evaluation point", "prompt": WILD[0],
        "response": "", "reward": None, "gold": None, "group": {"rewards": [1.0, 2.0], "place": 0}, "tokens": tokens,
    }  # fmt: skip
    changed = {**base, "samples": samples, "tokens": {"missing": [], "views": [view]}}
    return document({**report, "diagnostics": changed})


def test_html_holds_it_as_text(wild):
    text = page(wild)
    assert text.count("<script>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "你好，世界" in text
    assert "${style}" in text


def test_markdown_holds_it_as_text(wild):
    text = markdown(wild)
    assert "\n# heading" not in text
    assert "\n```" not in text
    assert "<script" not in text.replace("\\<script", "")


def test_pdf_draws_it_without_a_word(wild, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled = draw_pdf(wild, tmp_path / "wild.pdf")
    assert max(filled) <= HEIGHT - 40


def test_lines_on_paper_have_no_control_characters():
    for text in WILD:
        assert all(line.replace("\u00a0", " ").isprintable() for line in wrap(text, 200.0, 8.0))
    assert wrap(WILD[0], 200.0, 8.0) == ["line one", "line two", "", "line three"]


def test_tokens_show_their_line_breaks():
    assert shown("a\nb\tc ") == "a↵b·c "
    assert json.loads(json.dumps(shown("\x00"))) == "·"
