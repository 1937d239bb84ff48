import pytest

from align_contracts.console import suggest
from align_contracts.console.suggest import did_you_mean


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("--Learning_rate", "--learning-rate"),
        ("itertions", "iterations"),
        ("k", "K"),
        ("zzz", None),
    ],
)
def test_suggest(name, best):
    assert suggest(name, ["--learning-rate", "iterations", "K"]) == best


def test_a_name_that_a_longer_one_ends_with_is_nearer_than_one_that_looks_alike():
    assert suggest("rank", ["track", "lora_rank"]) == "lora_rank"
    assert suggest("rank", ["track", "lora_rank", "other_rank"]) == "track"  # two of them: neither is meant for sure


def test_did_you_mean():
    assert did_you_mean("a", ["A"]) == "Did you mean A?"
    assert did_you_mean("a", ["zz"], "See the list") == "See the list"
    assert did_you_mean("a", []) is None
