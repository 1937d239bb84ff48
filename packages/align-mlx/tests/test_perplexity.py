import numpy as np
import pytest

from align_mlx.perplexity import perplexity


def test_perplexity_is_exp_of_the_mean_surprise(resident, plain, rows):
    surprise = []
    for row in rows:
        logits = plain(row.ids)
        logp = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        surprise += [-logp[len(row.prompt) - 1 + t, token] for t, token in enumerate(row.response)]
    expected = np.exp(np.mean(surprise))
    for budget in (1, 100, 100_000):
        assert perplexity(resident, (), rows, token_budget=budget) == pytest.approx(expected, rel=1e-5)
