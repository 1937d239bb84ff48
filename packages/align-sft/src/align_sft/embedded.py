"""The embedded base: a Gemma small enough to learn the corpus of a dataset artifact in a minute or two of CPU time."""

from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.models.gemma import Model, ModelArgs
from transformers import PreTrainedTokenizerFast

from align_mlx import fastmath
from align_mlx.adapters import Params
from align_mlx.batching import bucket
from align_sft.config import BaseConfig


def gemma_config(config: BaseConfig, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Give the model config (Hugging Face's Gemma names) of the embedded base."""
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<eos>", "<end_of_turn>")]
    return {
        "model_type": "gemma",
        "architectures": ["GemmaForCausalLM"],
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "vocab_size": bucket(len(tokenizer), 64),
        "max_position_embeddings": 512,
        "hidden_act": "gelu_python",  # transformers' name of the exact GELU, which mlx-lm's Gemma computes
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": ends,
        "pad_token_id": tokenizer.pad_token_id,
    }


def build(config: dict[str, Any], key: mx.array) -> Model:
    """Make an untrained Gemma: matrices normal with std 0.02 (the two that write to the residual stream smaller by
    1/√(2·blocks), Radford et al. 2019), norms zero (Gemma adds one), all in fp32.

    Args:
        config: as `gemma_config` gives it.
        key: random key; equal keys give equal weights.
    """
    model = Model(ModelArgs.from_dict(config))
    weights: Params = {}
    for name, value in sorted(tree_flatten(model.parameters())):
        if value.ndim == 1:
            weights[name] = mx.zeros(value.shape)
            continue
        key, sub = mx.random.split(key)
        residual = name.endswith(("o_proj.weight", "down_proj.weight"))
        std = 0.02 * ((2 * config["num_hidden_layers"]) ** -0.5 if residual else 1.0)
        weights[name] = std * mx.random.normal(value.shape, key=sub)
    model.load_weights(list(weights.items()))
    mx.eval(model.parameters())
    return model


def next_token_loss(model: nn.Module, tokens_BL: mx.array, lengths_B: mx.array) -> mx.array:
    """Mean −log p of every real token but the first, nats (fp32 scalar)."""
    logits = model(tokens_BL[:, :-1]).astype(mx.float32)
    targets = tokens_BL[:, 1:]
    mask = (mx.arange(1, tokens_BL.shape[1]) < lengths_B[:, None]).astype(mx.float32)
    chosen = mx.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return ((fastmath.logsumexp(logits) - chosen) * mask).sum() / mask.sum()
