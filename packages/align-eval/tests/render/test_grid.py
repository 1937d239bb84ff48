import pytest

from align_eval.render.document import Cell, Column, Row, Table
from align_eval.render.grid import SIZES, _fit, folded, widths, with_sources
from align_eval.render.paper import text_width, wrap


def _table(rows, names=("a", "b"), **more):
    columns = tuple(Column(name) for name in names)
    return Table("", columns, [Row(tuple(Cell(text) for text in row)) for row in rows], **more)


def test_wrap_keeps_to_the_width_and_loses_nothing():
    text = "the quick brown fox takes 60 % of 3.0 ± 0.1 and a-very-long-word-that-does-not-fit-anywhere-at-all"
    lines = wrap(text, 80.0, 8.0)
    assert all(text_width(line, 8.0) <= 80.0 for line in lines)
    assert "".join(lines).replace("\u00a0", "").replace(" ", "") == text.replace(" ", "")
    assert any("60\u00a0%" in line for line in lines)
    assert wrap("", 80.0, 8.0) == [""]


@pytest.mark.parametrize(
    ("cell", "lines"), [("0.07452 ± 0.00047", ["0.07452", "±", "0.00047"]), ("61 ± 2", ["61\u00a0±\u00a02"])]
)
def test_a_number_too_wide_for_its_cell_breaks_at_its_sd(cell, lines):
    assert wrap(cell, text_width("0.07452", 8.0) + 1, 8.0) == lines


def test_text_width_is_what_the_font_says():
    """DejaVu Sans: advances of "a" and " " are 1255 and 651 of 2048 units."""
    assert text_width("aa ", 10.0) == pytest.approx(10.0 * (1255 + 1255 + 651) / 2048, rel=1e-3)
    assert text_width("aa", 10.0, bold=True) > text_width("aa", 10.0)


def test_columns_are_as_wide_as_their_words_and_fill_no_more_than_the_room():
    table = _table([("short", "a cell of many words that has to be broken over several lines to fit")])
    found = widths(table, 150.0, 8.0)
    assert found is not None
    assert sum(found) <= 150.0 + 1e-6
    assert found[0] >= text_width("short", 8.0)
    assert widths(_table([("word" * 9,) * 8], names="abcdefgh"), 80.0, 8.0) is None


def test_rows_stand_side_by_side_in_reading_order():
    table = folded(_table([(str(i), "x") for i in range(5)], fold=2))
    # Three rows: 0 and 3, 1 and 4, 2 and nothing.
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["0", "x", "3", "x"],
        ["1", "x", "4", "x"],
        ["2", "x", "", ""],
    ]
    assert len(table.columns) == 4


def test_sources_of_a_row_are_its_last_cell():
    cells = (Cell("a"), Cell("1", 1.0, ("J1", "J2", "J3")), Cell("2", 2.0, ("P1",)))
    table = Table("", tuple(map(Column, "abc")), [Row(cells)])
    assert [cell.text for cell in with_sources(table).rows[0].cells] == ["a", "1", "2", "J1–J3, P1"]
    plain = _table([("a", "b")])
    assert with_sources(plain) is plain


def test_letters_shrink_only_where_that_saves_lines():
    assert _fit(_table([("short", "words")] * 5))[0] == SIZES[0]
    # Seven columns with 63 points for text: "word " takes 22.3 points at size 8 and 20.9 at 7.5, so two or three of
    # them stand on a line, and 30 words take 15 lines or 10.
    wide = _table([("word " * 30,) * 7] * 3, names="abcdefg")
    assert _fit(wide)[0] < SIZES[0]
    # Where no size fits, the smallest is taken and words are cut.
    none = _table([("x" * 400,) * 8] * 2, names="abcdefgh")
    size, columns = _fit(none)
    assert size == SIZES[-1]
    assert sum(columns) <= 512
