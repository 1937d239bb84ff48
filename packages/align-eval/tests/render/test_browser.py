"""The page in a real browser: nothing complains, nothing is fetched, everything that can be clicked works."""

import pytest
from chromium import Page, find

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844, "mobile": True}
EMPTY_PLOTS = """
[...document.querySelectorAll('figure svg[role=img]')].filter(svg => !svg.closest('.narrow')).filter(svg => {
  const box = svg.getBoundingClientRect(), marks = svg.querySelectorAll('polyline, polygon, circle').length;
  return box.width < 200 || box.height < 60 || marks < 3 || !svg.getAttribute('aria-label');
}).length
"""
"""Plots without size, without marks or without words; in hidden tabs there is none to see, so tabs are opened first."""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
FIRST_TABLE = "document.querySelector('#win-rates table')"
COLUMN = f"[...{FIRST_TABLE}.tBodies[0].rows].map(row => row.cells[2].textContent)"


@pytest.fixture(scope="module")
def page():
    program = find()
    if program is None:
        pytest.skip("no Chromium on this machine: the page is not tried in a browser (Debian: apt install chromium)")
    opened = Page(program)
    yield opened
    opened.close()


@pytest.fixture
def opened(page, compared):
    page.complaints.clear()
    page.requests.clear()
    page.look(**DESKTOP)
    page.open(compared / "report" / "report.html")
    return page


def test_nothing_complains_and_nothing_is_fetched(opened, compared):
    opened.js("document.querySelectorAll('button').forEach(button => button.click())")
    assert opened.complaints == []
    assert opened.requests == [(compared / "report" / "report.html").resolve().as_uri()]


def test_every_plot_is_there_and_not_empty(opened):
    opened.js("document.querySelectorAll('.tab').forEach(tab => { tab.hidden = false })")
    assert opened.js("document.querySelectorAll('figure svg[role=img]').length") >= 12
    assert opened.js(EMPTY_PLOTS) == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("device", [DESKTOP, PHONE, {"width": 320, "height": 700, "mobile": True}])
def test_the_page_is_never_wider_than_the_window(opened, compared, device, dark):
    opened.look(**device, dark=dark)
    opened.open(compared / "report" / "report.html")
    assert opened.js(WIDER) <= 0
    assert opened.js("innerWidth") == device["width"]


ALONE = "[...document.querySelectorAll('figure.one')].filter(figure => figure.getClientRects().length)"
OUTSIDE = f"""
{ALONE}.flatMap(figure => [...figure.querySelectorAll('svg[role=img] *')]).filter(e => {{
  const box = e.getBoundingClientRect();
  return box.width && (box.left < 0 || box.right > innerWidth);
}}).map(e => e.outerHTML)
"""
SMALLEST = f"""
Math.min(...{ALONE}.flatMap(figure => [...figure.querySelectorAll('svg[role=img]')])
  .filter(svg => svg.getClientRects().length).map(svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))
"""


@pytest.mark.parametrize("width", [390, 360])
def test_a_phone_shows_each_plot_that_stands_alone_whole_and_hardly_shrunk(opened, compared, width):
    """The methods' estimates are seen without scrolling sideways; words keep more than 0.85 of their size."""
    opened.look(width=width, height=844, mobile=True)
    opened.open(compared / "report" / "report.html")
    assert opened.js(f"{ALONE}.length") >= 2
    assert opened.js(f"{ALONE}.filter(f => f.querySelector('.wide').getClientRects().length).length") == 0
    assert opened.js(OUTSIDE) == []
    assert opened.js(SMALLEST) > 0.85


def test_a_click_sorts_a_table_and_another_turns_it(opened):
    total = f"{FIRST_TABLE}.tBodies[0].rows.length"
    rows = opened.js(total)
    opened.click("#win-rates table thead th:nth-child(3) button")
    rising = opened.js(COLUMN)
    assert opened.js(f"{FIRST_TABLE}.querySelectorAll('th')[2].getAttribute('aria-sort')") == "ascending"
    opened.click("#win-rates table thead th:nth-child(3) button")
    falling = opened.js(COLUMN)
    # Six runs and the A/A row are sorted; the two rows over all seeds stay at the end.
    shares = [float(text.split("\u00a0")[0]) for text in rising[:-2]]
    assert shares == sorted(shares)
    assert [float(text.split("\u00a0")[0]) for text in falling[:-2]] == shares[::-1]
    assert rising[-2:] == falling[-2:]
    assert len(rising) == rows == 9


def test_tabs_show_one_part_at_a_time(opened):
    shown = "[...document.querySelectorAll('#win-rates .tab')].map(tab => tab.checkVisibility())"
    assert opened.js(shown) == [True, False, False]
    opened.click("#win-rates [role=tab]:nth-child(2)")
    assert opened.js(shown) == [False, True, False]
    assert (
        opened.js("document.querySelector('#win-rates [role=tab]:nth-child(2)').getAttribute('aria-selected')")
        == "true"
    )


def test_a_series_can_be_hidden_and_shown(opened):
    marks = "[...document.querySelectorAll('#figure-frontier svg [data-series=ppo-42]')]"
    seen = f"{marks}.filter(mark => mark.checkVisibility()).length"
    before = opened.js(seen)
    assert before > 2
    opened.click("#figure-frontier [data-toggle=ppo-42] button")
    assert opened.js(seen) == 0
    opened.click("#figure-frontier [data-toggle=ppo-42] button")
    assert opened.js(seen) == before


def test_the_theme_follows_the_system_and_the_button(opened, compared):
    back = "getComputedStyle(document.body).backgroundColor"
    light = opened.js(back)
    opened.click("#theme")
    dark = opened.js(back)
    assert light == "rgb(255, 255, 255)"
    assert dark != light
    opened.look(**DESKTOP, dark=True)
    opened.open(compared / "report" / "report.html")
    assert opened.js(back) == dark
    opened.click("#theme")
    assert opened.js(back) == light


def test_source_keys_lead_to_their_artifact_and_can_be_hidden(opened):
    assert opened.js("document.querySelector('.verdict sup').checkVisibility()")
    opened.click(".verdict sup a")
    assert opened.js("location.hash") == "#src-J1"
    assert opened.js("document.querySelector(':target').textContent").startswith("J1judgments-ppo-42judgments")
    opened.click("#keys")
    assert not opened.js("document.querySelector('.verdict sup').checkVisibility()")


def test_without_the_script_everything_is_shown(opened, compared):
    opened.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened.open(compared / "report" / "report.html")
        assert opened.js("[...document.querySelectorAll('.tab')].every(tab => tab.checkVisibility())")
        assert opened.js("document.querySelectorAll('[role=tablist]').length") == 0
        assert not opened.js("document.getElementById('theme').checkVisibility()")
    finally:
        opened.call("Emulation.setScriptExecutionDisabled", value=False)


def test_paper_shows_every_tab(opened):
    opened.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert opened.js("[...document.querySelectorAll('.tab')].every(tab => tab.checkVisibility())")
        assert not opened.js("document.querySelector('nav').checkVisibility()")
    finally:
        opened.call("Emulation.setEmulatedMedia", media="")
