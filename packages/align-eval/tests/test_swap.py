import pytest

from align_eval.algorithms.swap import OUTCOMES, VERDICTS, Tally, combine, order_effect, tally


@pytest.mark.parametrize(
    ("forward", "backward", "outcome"),
    [
        ("candidate", "candidate", "win"),
        ("baseline", "baseline", "loss"),
        ("tie", "tie", "tie"),
        ("candidate", "baseline", "tie"),
        ("candidate", "tie", "tie"),
        ("tie", "baseline", "tie"),
        ("invalid", "candidate", "invalid"),
        ("tie", "invalid", "invalid"),
    ],
)
def test_combine(forward, backward, outcome):
    assert combine(forward, backward) == outcome


def test_combine_does_not_care_which_order_came_first():
    for forward in VERDICTS:
        for backward in VERDICTS:
            assert combine(forward, backward) == combine(backward, forward)
            assert combine(forward, backward) in OUTCOMES


def test_a_judge_that_always_says_first_only_ties():
    # Candidate first: "candidate"; baseline first: "baseline". Four pairs, eight choices of the first.
    forward, backward = ["candidate"] * 4, ["baseline"] * 4
    assert tally(combine(f, b) for f, b in zip(forward, backward, strict=True)) == Tally(0, 0, 4, 0)
    effect = order_effect(forward, backward)
    assert (effect.pairs, effect.flips, effect.first, effect.second) == (4, 4, 8, 0)


def test_tally_counts_and_adds():
    counts = tally(["win", "win", "loss", "tie", "invalid"])
    assert counts == Tally(2, 1, 1, 1)
    assert (counts.n, counts.decided) == (5, 3)
    assert counts + counts == Tally(4, 2, 2, 2)


def test_order_effect_leaves_invalid_pairs_out():
    effect = order_effect(["candidate", "invalid", "tie"], ["candidate", "tie", "tie"])
    # The first pair chose the candidate twice: once in the first place, once in the second.
    assert (effect.pairs, effect.flips, effect.first, effect.second) == (2, 0, 1, 1)


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="combine"):
        combine("A", "tie")
    with pytest.raises(ValueError, match="tally"):
        tally(["victory"])
    with pytest.raises(ValueError, match="equal lengths"):
        order_effect(["tie"], [])
