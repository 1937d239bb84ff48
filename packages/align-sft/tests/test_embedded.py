import math

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from align_sft import embedded
from align_sft.config import BaseConfig
from align_sft.tokenizer import train_tokenizer

TEXTS = ["the fox is red.", "which owl?\nthe owl is black.", "a hen and a pig and a dog and a cat."] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 192)


@pytest.fixture
def config(base_config, tokenizer):
    chosen = BaseConfig(embedded=True, data="d", out="o", **base_config)
    return chosen, embedded.gemma_config(chosen, tokenizer)


def test_equal_keys_give_equal_weights(config):
    models = [embedded.build(config[1], mx.random.key(k)) for k in (1, 1, 2)]
    first, second, third = (dict(tree_flatten(m.parameters())) for m in models)
    assert all(mx.array_equal(first[name], second[name]) for name in first)
    matrix = "model.layers.0.mlp.down_proj.weight"
    assert not mx.array_equal(first[matrix], third[matrix])
    # 2 blocks: 0.02 / √4 for what is written to the residual stream
    assert float(first[matrix].std().item()) == pytest.approx(0.01, rel=0.1)
    assert float(first["model.layers.0.mlp.up_proj.weight"].std().item()) == pytest.approx(0.02, rel=0.1)


def test_config_ends_answers_at_both_end_tokens(config):
    assert config[1]["eos_token_id"] == [1, 5]
    assert config[1]["vocab_size"] % 64 == 0


def test_loss_is_the_mean_surprise_of_real_tokens(config):
    model = embedded.build(config[1], mx.random.key(3))
    tokens = mx.array([[2, 7, 9, 1, 0, 0], [2, 8, 1, 0, 0, 0]])
    found = embedded.next_token_loss(model, tokens, mx.array([4, 3])).item()
    total = 0.0
    for ids in ([2, 7, 9, 1], [2, 8, 1]):
        logits = np.array(model(mx.array([ids]))[0], np.float64)
        for t, token in enumerate(ids[1:]):
            total += math.log(np.exp(logits[t]).sum()) - logits[t, token]
    assert found == pytest.approx(total / 5, rel=1e-5)  # 3 + 2 predicted tokens
