"""The embedded base: a small Gemma that learns the corpus of a dataset artifact in a minute or two of CPU time."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.gemma import Model, ModelArgs
from transformers import PreTrainedTokenizerFast

from align_contracts.errors import ConfigError
from align_mlx import fastmath
from align_mlx.adapters import Params
from align_mlx.batching import bucket
from align_mlx.guard import require
from align_mlx.progress import Meter
from align_mlx.steps import learning_rate
from align_mlx.train_state import TrainState
from align_sft.config import BaseConfig
from align_sft.crew import Crew
from align_sft.tokenizer import document_ids

LOG_EVERY = 50
"""Steps between log rows."""
WIDTHS = 4
"""Padded lengths are multiples of this many tokens."""


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


def batches(lines: Sequence[Sequence[int]], batch_tokens: int, key: mx.array) -> Iterator[tuple[mx.array, mx.array]]:
    """Yield batches of lines of similar length for ever, in an order drawn from `key`.

    Args:
        lines: token ids of each line.
        batch_tokens: padded tokens of a batch.
        key: random key; every pass over the lines has its own order.

    Yields:
        tokens_BL (int32, padded with 0) and lengths_B (int32); a bucket's batches all have one shape.
    """
    waiting: dict[int, list[int]] = {}
    while True:
        key, sub = mx.random.split(key)
        for i in np.array(mx.random.permutation(len(lines), key=sub)).tolist():
            width = bucket(len(lines[i]), WIDTHS)
            group = waiting.setdefault(width, [])
            group.append(i)
            if len(group) == max(1, batch_tokens // width):
                tokens = np.zeros((len(group), width), np.int32)
                for row, j in enumerate(group):
                    tokens[row, : len(lines[j])] = lines[j]
                yield mx.array(tokens), mx.array([len(lines[j]) for j in group])
                group.clear()


def next_token_loss(model: nn.Module, tokens_BL: mx.array, lengths_B: mx.array) -> mx.array:
    """Mean −log p of every real token but the first, nats (fp32 scalar)."""
    logits = model(tokens_BL[:, :-1]).astype(mx.float32)
    targets = tokens_BL[:, 1:]
    mask = (mx.arange(1, tokens_BL.shape[1]) < lengths_B[:, None]).astype(mx.float32)
    chosen = mx.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return ((fastmath.logsumexp(logits) - chosen) * mask).sum() / mask.sum()


def pretrain(
    model: Model,
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerFast,
    config: BaseConfig,
    log: Callable[[dict[str, float]], None],
) -> float:
    """Train a model on lines of text, in place.

    Args:
        model: an untrained model in fp32.
        texts: lines of the corpus.
        tokenizer: its tokenizer.
        config: steps, batch, processes, learning rate, seed.
        log: called every 50 steps with step, loss (mean since the last call), learning_rate and seconds.

    Returns:
        The loss over the last 50 steps, nats a token.

    Raises:
        ConfigError: the corpus is empty.
        DivergedError: a loss, a gradient or a weight is not finite.
    """
    if not texts:
        raise ConfigError("the corpus is empty", expected="lines of text to pre-train on")
    lines = [document_ids(tokenizer, text, config.max_length) for text in texts]
    stream = batches(lines, config.batch_tokens, mx.random.key(config.seed))
    state = TrainState.start(dict(tree_flatten(model.parameters())), weight_decay=config.weight_decay)
    crew = Crew(model, partial(Model, model.args), next_token_loss, config.processes)
    started, recent = time.monotonic(), []
    with crew, Meter("pre-training", config.steps, quiet=config.quiet) as meter:
        for step in range(config.steps):
            tokens_BL, lengths_B = next(stream)
            value, grads = crew.gradient(state.params, tokens_BL, lengths_B)
            rate = learning_rate(config.learning_rate, step, config.warmup_steps, config.steps, "cosine")
            state.update(grads, rate, config.max_grad_norm)
            recent.append(float(value.item()))
            require(loss=recent[-1])
            meter.advance(loss=recent[-1])
            if (step + 1) % LOG_EVERY == 0 or step + 1 == config.steps:
                mean = sum(recent) / len(recent)
                seconds = time.monotonic() - started
                log({"step": step + 1, "loss": mean, "learning_rate": rate, "seconds": round(seconds, 3)})
                recent = []
    model.update(tree_unflatten(list(state.params.items())))
    return mean
