import subprocess
import zipfile
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from align_eval.render.build import document
from align_eval.render.document import Answer, Answers, Document, Paragraph, Section, Source, Tabs, Token, Tokens
from align_eval.render.html import page
from align_eval.render.markdown import figures

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Outline(HTMLParser):
    """Checks that elements are closed in order; collects ids, links, headings and texts by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.seen: list[str] = []
        self.heads: list[int] = []
        self.texts: dict[str, list[str]] = {}
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.seen.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        self.fetched += [given[name] for name in ("src", "data", "srcset") if name in given]
        self.heads += [int(tag[1])] if tag in ("h1", "h2", "h3", "h4", "h5") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def test_the_page_is_well_formed_and_its_links_lead_somewhere(made):
    found = Outline(page(made))
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert all(link.startswith("#") for link in found.links)
    assert found.fetched == []
    assert {f"src-{source.key}" for source in made.sources} <= set(found.ids)


def test_headings_go_down_one_step_at_a_time(made):
    heads = Outline(page(made)).heads
    assert heads[0] == 1
    assert heads.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(heads))


def test_every_plot_is_drawn_and_described(made):
    text = page(made)
    panels = [panel for figure in figures(made) for panel in figure.panels]
    alone = [figure for figure in figures(made) if len(figure.panels) == 1]
    assert text.count('role="img"') == len(panels) + len(alone)  # those are drawn once more, for phones
    for figure in figures(made):
        assert f'id="figure-{figure.name}"' in text


def test_whatever_a_policy_says_is_text():
    bad = "</p><script>alert(1)</script>"
    blocks = [
        Tabs("Answers", [("a", [Answers(bad, "most won", [Answer(bad, "ppo", bad, bad, "win")])])]),
        Tokens("PPO", "ppo", bad, bad, [Token(bad, -0.5, {"advantage": -1.0, "value": 0.25})]),
    ]
    found = Outline(page(_small(blocks, bad)))
    assert found.seen.count("script") == 1
    assert any("alert(1)" in text for text in found.texts["p"])


def _small(blocks, title="T"):
    source = Source("J1", "judgments", "judgments-ppo-1", "ab" * 32)
    answer = Paragraph("Yes.", ("J1",))
    return Document(title, title, answer, answer, [source], [Section("s", title, blocks)])


def test_tokens_show_advantage_by_depth_and_sign_and_the_value_below():
    tokens = [
        Token("may", 1.0, {"advantage": 2.0, "value": 0.25}),
        Token(" be", -0.5, {"advantage": -1.0, "value": None}),
    ]
    text = page(_small([Tokens("PPO", "ppo", "?", "facts", tokens)]))
    assert (
        '<span class="token plus" style="--a:1.00" title="advantage 2, value 0.25">may<small>0.2</small></span>' in text
    )
    assert '<span class="token minus" style="--a:0.50" title="advantage −1"> be</span>' in text


def test_a_number_points_to_its_source():
    text = page(_small([Paragraph("Found 3.", ("J1",), "finding")]))
    assert '<a href="#src-J1" title="J1: judgments-ppo-1 (judgments), digest abababababab…">J1</a>' in text


def test_a_sparse_report_is_written_too(sparse):
    assert "Only one method was compared with SFT" in page(document(sparse))


@pytest.mark.network
def test_the_wheel_holds_the_assets(tmp_path):
    """The page's style and script are files: they must be packed. (Building fetches the build backend.)"""
    package = Path(__file__).parents[2]
    subprocess.run(["uv", "build", "--wheel", "--out-dir", tmp_path, package], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name.rpartition("/")[2] for name in zipfile.ZipFile(wheel).namelist() if "/assets/" in name}
    assert packed == {"report.css", "report.html", "report.js"}
