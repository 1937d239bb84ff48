from __future__ import annotations

import io

from rich.console import Console

from align_data.progress import Reporter

SPLIT = {"asked": 1500, "prompts": 1200, "factual": 1, "instruction": 2, "creative": 3, "pairs": 1200, "sft": None}
CARD = {
    "source": {"name": "here"},
    "splits": {"gold": SPLIT},
    "rows": {"read": 1300, "dropped": {"x": 100}},
    "leakage": {"total": 0},
    "notes": ["something was small"],
}


def test_items_pass_through_and_are_counted() -> None:
    text = io.StringIO()
    with Reporter(console=Console(file=text, width=100)) as report:
        assert list(report.track(range(130), "Counting")) == list(range(130))
    assert "Counting" in text.getvalue()
    assert "130/130" in text.getvalue()


def test_the_closing_table_shows_splits_and_notes() -> None:
    text = io.StringIO()
    with Reporter(console=Console(file=text, width=100)) as report:
        report.close(CARD, "runs/data")
    shown = text.getvalue()
    assert "here → runs/data" in shown
    assert "1,200 of 1,500" in shown
    assert "1,300 rows read, 100 dropped, 0 prompts shared" in shown
    assert "note: something was small" in shown


def test_disabled_is_silent(capsys) -> None:
    with Reporter(False) as report:
        assert list(report.track("ab", "Counting")) == ["a", "b"]
        report.close(CARD, "runs/data")
    assert capsys.readouterr() == ("", "")


def test_progress_goes_to_stderr_and_nothing_before_the_first_task(capsys) -> None:
    with Reporter():
        pass
    assert capsys.readouterr() == ("", "")
    with Reporter() as report:
        list(report.track([1], "Counting"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Counting" in captured.err
