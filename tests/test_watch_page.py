"""The page of `align-rl watch` in a real browser, and its colours beside the report's."""

import json

import pytest
from chromium import Page, find

from align_eval.render import style
from align_rl.dashboard import curves
from align_rl.dashboard.page import page, put
from align_rl.dashboard.runs import Watched


def test_a_method_has_the_colour_that_it_has_in_the_report():
    assert {method: curves.TONES[method] for method in ("ppo", "grpo", "sft")} == {
        method: style.TONES[method] for method in ("ppo", "grpo", "sft")
    }
    assert all(style.contrast(light, "#FFFFFF") > 4.5 for light, _ in curves.TONES.values())
    assert all(style.contrast(dark, "#12171D") > 4.5 for _, dark in curves.TONES.values())


@pytest.fixture
def written(tmp_path):
    """The page of a PPO run, a GRPO run and an SFT run."""
    for method in ("ppo", "grpo"):
        rows = [
            {
                "method": method,
                "iteration": n,
                "reward_mean": n * 0.1,
                "kl": n / 1000,
                "target_kl": 0.05,
                "seconds": 1.0,
            }
            for n in range(1, 41)
        ]
        rows[19]["eval"] = {"win_rate": 0.6, "perplexity": 3.0}
        folder = tmp_path / f".{method}-42.run"
        folder.mkdir()
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    watched = Watched([tmp_path])
    watched.poll()
    put(tmp_path / "page.html", page(watched.runs))
    return tmp_path / "page.html"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(written, width, dark):
    program = find()
    if program is None:
        pytest.skip("no Chromium on this machine: the page is not tried in a browser (Debian: apt install chromium)")
    browser = Page(program)
    browser.look(width=width, height=900, dark=dark, mobile=width < 500)
    browser.open(written)
    try:
        assert browser.complaints == []
        assert browser.requests == [written.resolve().as_uri()]
        assert browser.js("document.documentElement.scrollWidth") <= width
        boxes = browser.js("[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().width)")
        assert len(boxes) == 5  # reward, KL, win rate, perplexity, time
        assert min(boxes) > 300
        ground = browser.js("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(18, 23, 29)" if dark else "rgb(255, 255, 255)")
        line = browser.js("getComputedStyle(document.querySelectorAll('figure path.line')[1]).stroke")
        assert line == ("rgb(91, 180, 236)" if dark else "rgb(0, 104, 168)")  # PPO's blue, after GRPO's curve
    finally:
        browser.close()
