"""Every plot of a report, whole and sparse: nothing leaves its picture, and no two texts lie on each other."""

import re
from xml.etree import ElementTree

import pytest

from align_eval.render import svg
from align_eval.render.build import document
from align_eval.render.compose import compose
from align_eval.render.document import Panel
from align_eval.render.markdown import figures, pictures
from align_eval.render.paper import text_width
from align_eval.render.plots import forest, xy
from align_eval.render.plots.forest import Estimate, Forest
from align_eval.render.plots.marks import Area, Dot, Line, Text
from align_eval.render.plots.xy import Curve, Plot, Spot

NAMES = {"win_rates", "outcomes", "effects", "training", "frontier", "category_factual"}


def _box(mark):
    width = text_width(mark.text, mark.size, mark.bold)
    left = mark.x - {"start": 0.0, "middle": width / 2, "end": width}[mark.anchor]
    return left, mark.y - 0.75 * mark.size, left + width, mark.y + 0.2 * mark.size


def _corners(mark):
    if isinstance(mark, Text):
        left, top, right, bottom = _box(mark)
        return [(left, top), (right, bottom)]
    if isinstance(mark, Dot):
        return [(mark.x, mark.y)]
    assert isinstance(mark, (Line, Area))
    return list(mark.points)


def _panels(report) -> list[Panel]:
    return [panel for figure in figures(document(report)) for panel in figure.panels]


@pytest.mark.parametrize("size", [(1.0, 1.0), (0.8, 0.9)])
@pytest.mark.parametrize("kind", ["report", "sparse"])
def test_nothing_leaves_the_picture_or_covers_a_text(request, kind, size):
    for panel in _panels(request.getfixturevalue(kind)):
        width, height = panel.width * size[0], panel.height * size[1]
        marks = panel.draw(width, height)
        for mark in marks:
            for x, y in _corners(mark):
                assert -0.5 <= x <= width + 0.5, (panel.title, mark)
                assert -0.5 <= y <= height + 0.5, (panel.title, mark)
        boxes = [(mark.text, _box(mark)) for mark in marks if isinstance(mark, Text)]
        for i, (text, one) in enumerate(boxes):
            for other, two in boxes[:i]:
                apart = one[0] >= two[2] or two[0] >= one[2] or one[1] >= two[3] or two[1] >= one[3]
                assert apart, (panel.title, text, other)


def test_the_report_has_its_plots_and_each_says_what_it_shows(report):
    found = list(figures(document(report)))
    assert {figure.name for figure in found} >= NAMES
    assert len({figure.name for figure in found}) == len(found)
    for panel in (panel for figure in found for panel in figure.panels):
        assert len(panel.alt) > 20
        assert not re.search(r"\bnan\b|None", panel.alt)


def test_a_forest_puts_numbers_where_they_belong():
    row = Estimate("PPO 1", 0.6, (0.5, 0.7), "ppo", "60 %")
    marks = forest.draw(Forest([row], "share", 0.5, True, (0.0, 1.0), left=100.0, right=100.0), 400.0, 60.0)
    (dot,) = [mark for mark in marks if isinstance(mark, Dot)]
    interval = next(mark for mark in marks if isinstance(mark, Line) and mark.tone == "ppo")
    # The axis holds 0 to 1 on 100 to 300 points.
    assert dot.x == pytest.approx(220.0)
    assert [x for x, _ in interval.points] == pytest.approx([200.0, 240.0])
    assert {mark.text for mark in marks if isinstance(mark, Text)} >= {"PPO 1", "60 %", "share"}


def test_curves_bands_targets_and_spots():
    curve = Curve("A", ((0.0, 0.0), (10.0, 1.0)), "ppo", "a", band=((0.0, 0.0, 0.2), (10.0, 0.8, 1.0)))
    plot = Plot("x", "y", [curve], [Spot("B", 10.0, 1.0, "grpo", "b")], steps=((0.0, 0.5),), y_zero=True)
    marks = xy.draw(plot, 440.0, 268.0)
    (line,) = [mark for mark in marks if isinstance(mark, Line) and mark.series == "a"]
    (band,) = [mark for mark in marks if isinstance(mark, Area)]
    (spot,) = [mark for mark in marks if isinstance(mark, Dot)]
    step = next(mark for mark in marks if isinstance(mark, Line) and mark.tip == "KL target")
    assert line.points[-1] == (spot.x, spot.y)
    assert len(band.points) == 4
    assert band.points[0][0] == line.points[0][0]
    assert step.points[0][1] == step.points[1][1] == pytest.approx((line.points[0][1] + line.points[1][1]) / 2)
    assert spot.tip == "B: x 10, y 1"


def test_without_points_a_plot_says_why():
    (text,) = xy.draw(Plot("x", "y", missing="no evaluation points"), 440.0, 268.0)
    assert isinstance(text, Text)
    assert text.text == "no evaluation points"


def test_pictures_are_whole_svg_files(made):
    for name, text in pictures(made).items():
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg", name
        assert len(list(root.iter())) > 20
        assert "prefers-color-scheme:dark" in text


def test_a_composed_figure_holds_all_its_panels(made):
    figure = next(one for one in figures(made) if one.name == "training")
    marks, width, height = compose(figure)
    texts = [mark.text for mark in marks if isinstance(mark, Text)]
    assert all(panel.title in texts for panel in figure.panels)
    assert all(0 <= x <= width and 0 <= y <= height for mark in marks for x, y in _corners(mark))


def test_svg_text_is_escaped():
    element = svg.element(Text(1, 2, "<b>&", series='"x"'))
    assert "&lt;b&gt;&amp;" in element
    assert 'data-series="&quot;x&quot;"' in element
