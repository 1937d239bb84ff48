import math

import numpy as np
import pytest

from align_mlx.perplexity import perplexity, perplexity_of


def test_perplexity_is_exp_of_the_mean_surprise(resident, plain, rows):
    surprise = []
    for row in rows:
        logits = plain(row.ids)
        logp = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        surprise += [-logp[len(row.prompt) - 1 + t, token] for t, token in enumerate(row.response)]
    expected = np.exp(np.mean(surprise))
    for budget in (1, 100, 100_000):
        assert perplexity(resident, (), rows, token_budget=budget) == pytest.approx(expected, rel=1e-5)


def test_it_is_infinite_where_it_overflows():
    assert perplexity_of(3 * math.log(8), 3) == pytest.approx(8)
    # The largest float64 is 2^1024 (1 − 2^−53) = exp(709.78…).
    assert perplexity_of(709.7, 1) < math.inf
    assert perplexity_of(709.8, 1) == perplexity_of(2e6, 2) == math.inf


def test_no_rows_have_no_perplexity(resident):
    with pytest.raises(ValueError, match="at least one token"):
        perplexity(resident, (), [])
