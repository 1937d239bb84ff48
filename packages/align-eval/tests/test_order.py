import pytest
from scipy import stats

from align_eval.algorithms.swap import Tally
from align_eval.order import judge_alarms, order_numbers


def verdicts(*pairs):
    return [{"forward": forward, "backward": backward} for forward, backward in pairs]


def test_by_hand():
    """Agree on the candidate; agree on the baseline; both chose the first; both the second; a half tie; invalid."""
    found = order_numbers(
        verdicts(
            ("candidate", "candidate"), ("baseline", "baseline"), ("candidate", "baseline"), ("candidate", "baseline"),
            ("baseline", "candidate"), ("candidate", "tie"), ("invalid", "candidate"),
        )
    )  # fmt: skip
    assert found["pairs"] == 6
    assert found["flip_rate"] == pytest.approx(4 / 6)
    oracle = stats.binomtest(4, 6).proportion_ci(method="wilson")
    assert found["flip_interval"] == pytest.approx([oracle.low, oracle.high])
    # First chosen 1 + 1 + 2 + 2 + 0 + 1 = 7 times of 2 + 2 + 2 + 2 + 2 + 1 = 11 choices.
    assert found["first_place_rate"] == pytest.approx(7 / 11)
    # A typical pair has 21/11 choices; with one of them first throughout and one never p̃ = (7 + 21/11)/(11 + 42/11).
    size, wide = 21 / 11, 163 / 11
    even = 98 / 163
    counts = [(1, 2), (1, 2), (2, 2), (2, 2), (0, 2), (1, 1), (size, size), (0, size)]
    worth = even * (1 - even) * wide**2 / (8 / 6 * sum((w - even * d) ** 2 for w, d in counts))
    square = stats.t.ppf(0.975, 5) ** 2 / worth
    for end in found["first_place_interval"]:
        assert (7 / 11 - end) ** 2 == pytest.approx(square * end * (1 - end))
    # Two pairs lean to the first place twice over, one by a half tie; one leans to the second; two are even.
    assert found["first_place_p"] == pytest.approx(stats.binomtest(3, 4).pvalue)


def test_without_a_choice_there_are_nulls():
    found = order_numbers(verdicts(("tie", "tie")))
    assert (found["flip_rate"], found["first_place_rate"], found["first_place_interval"]) == (0.0, None, None)
    assert order_numbers(verdicts(("invalid", "tie")))["flip_rate"] is None


def test_always_the_same_place_has_an_interval_all_the_same():
    last = order_numbers(verdicts(*[("baseline", "candidate")] * 10))
    assert last["first_place_rate"] == 0.0
    assert last["first_place_interval"] == pytest.approx([0.0, 5.117355 / 15.117355])  # t(0.975; 9)²/(n + t²)
    (alarm,) = judge_alarms(Tally(1, 1, 0, 0), last)
    assert "shown second" in alarm["text"]


def test_a_handful_of_flips_raises_no_alarm():
    """Among 40 pairs 5 flip, all to the first place: 2·(½)⁵ = 1/16; of 6 it is 1/32."""
    for flips, alarmed in ((5, []), (6, ["position"])):
        pairs = [("candidate", "baseline")] * flips + [("candidate", "candidate")] * (40 - flips)
        found = order_numbers(verdicts(*pairs))
        assert found["first_place_p"] == 2.0 * 0.5**flips
        assert [one["code"] for one in judge_alarms(Tally(40 - flips, 0, flips, 0), found)] == alarmed


def test_alarms():
    fair = order_numbers(verdicts(*[("candidate", "candidate")] * 20))
    assert judge_alarms(Tally(7, 0, 3, 0), fair) == []  # 30 % is not above 30 %
    (alarm,) = judge_alarms(Tally(69, 0, 31, 0), None)
    assert alarm["code"] == "ties"
    assert alarm["text"].startswith("31 % ties, above 30 %")
