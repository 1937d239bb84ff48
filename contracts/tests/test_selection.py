import pytest

from align_contracts.selection import Point, better


def point(kl=0.01, perplexity=3.0, reward=1.0, target=0.02):
    return Point(1, kl, perplexity, reward, target)


def test_the_gate_is_strict():
    assert point(kl=0.0199).passes
    assert not point(kl=0.02).passes


@pytest.mark.parametrize("rule", ["perplexity", "reward"])
def test_the_first_point_is_taken_and_the_gate_comes_first(rule):
    failing, passing = point(kl=0.03, perplexity=1.0, reward=9.0), point()
    assert better(rule, failing, None)
    assert better(rule, passing, failing)
    assert not better(rule, failing, passing)


@pytest.mark.parametrize("rule", ["perplexity", "reward"])
def test_of_two_that_fail_the_nearer_one_is_kept(rule):
    near, far = point(kl=0.03, perplexity=9.0, reward=0.0), point(kl=0.04, perplexity=1.0, reward=9.0)
    assert better(rule, near, far)
    assert not better(rule, far, near)


def test_of_two_that_pass_the_rule_decides():
    fluent, rewarded = point(perplexity=2.5, reward=1.0), point(perplexity=2.6, reward=2.0)
    assert better("perplexity", fluent, rewarded)
    assert not better("perplexity", rewarded, fluent)
    assert better("reward", rewarded, fluent)
    assert not better("reward", fluent, rewarded)


def test_equals_do_not_replace():
    assert not better("perplexity", point(), point())
    assert not better("reward", point(), point())
