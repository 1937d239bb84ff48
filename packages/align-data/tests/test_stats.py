from __future__ import annotations

import pytest

from align_data.stats import LENGTH_EDGES, histogram, pair_statistics, score_edges, summary, words


def test_words_are_parted_by_blanks() -> None:
    assert words(" one two\n\nthree-four ") == 3
    assert words("") == 0


def test_summary_by_nearest_rank() -> None:
    # 1..10: mean 5.5; the 5th of 10 is the median, the 9th the ninetieth percentile
    assert summary(range(10, 0, -1)) == {"n": 10, "mean": 5.5, "median": 5, "p90": 9, "max": 10}
    assert summary([7]) == {"n": 1, "mean": 7, "median": 7, "p90": 7, "max": 7}
    assert summary([]) == {"n": 0}


def test_histogram_includes_lower_edges_and_leaves_the_last_open() -> None:
    assert histogram([0, 1, 1.9, 2, 5, 100], [0, 1, 2, 5]) == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([1.5, 9.7], [1, 2, 3, 4, 5, 6, 7, 8, 9]),  # out of ten: whole points, the last bin 9 to 10
        ([0.0, 10.0], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ([-1.0, 1.0], [-1.0, -0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8]),  # width 2 / 10
        ([3.0, 3.0], [3]),
        ([0.5, 0.5], [0.5]),
        ([], [0.0]),
    ],
)
def test_score_bins_fit_the_scale(values: list[float], edges: list[float]) -> None:
    assert score_edges(values) == pytest.approx(edges)


def test_pair_statistics() -> None:
    pairs = [
        {
            "prompt_id": "1",
            "prompt": "one two",
            "chosen": "a b c",
            "rejected": "a",
            "score_chosen": 8.5,
            "score_rejected": 2.0,
        },
        {
            "prompt_id": "1",
            "prompt": "one two",
            "chosen": "a",
            "rejected": "a b",
            "score_chosen": 4.0,
            "score_rejected": 3.0,
        },
    ]
    found = pair_statistics(pairs)
    assert found["chosen_longer"] == 0.5
    assert found["scores"]["edges"] == [2, 3, 4, 5, 6, 7, 8]  # from 2 to 8.5
    assert found["scores"]["top"] == 9
    assert found["scores"]["histograms"] == {"chosen": [0, 0, 1, 0, 0, 0, 1], "rejected": [1, 1, 0, 0, 0, 0, 0]}
    assert found["scores"]["summaries"]["margin"]["mean"] == (6.5 + 1.0) / 2
    assert found["words"]["summaries"]["prompt"]["n"] == 1  # one prompt, however many rows
    assert sum(found["words"]["histograms"]["chosen"]) == 2
    assert found["words"]["edges"] == list(LENGTH_EDGES)


def test_no_pairs_is_no_error() -> None:
    assert pair_statistics([])["chosen_longer"] is None
