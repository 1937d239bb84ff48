"""Random models of several mlx-lm architectures (hidden 32, 2 blocks, 64 tokens), as objects and as files.

Their weights are drawn wide, so that distributions are far from uniform and answers end by themselves now and then.
The files have Hugging Face's layout: transformers reads them too.
"""

import importlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.utils import MODEL_REMAPPING, quantize_model
from transformers import PreTrainedTokenizerBase

from tiny.templates import GEMMA, LLAMA3, MISTRAL, QWEN3, ChatTemplate

Config = dict[str, Any]
_ONE_FILE = ["model.safetensors"]


@dataclass(frozen=True)
class Family:
    """What an architecture has of its own.

    Attributes:
        architecture: its class in transformers.
        chat: the chat template of its models.
        settings: entries of config.json.
        untied: whether it can have a head of its own.
        plus_one: whether its norms multiply by 1 + weight.
    """

    architecture: str
    chat: ChatTemplate
    settings: Config = field(default_factory=dict)
    untied: bool = True
    plus_one: bool = False


FAMILIES = {
    # mlx-lm computes Gemma 1's exact GELU; by the name "gelu" transformers would take its tanh form here.
    "gemma": Family(
        "GemmaForCausalLM",
        GEMMA,
        {"num_attention_heads": 2, "num_key_value_heads": 1, "hidden_act": "gelu_python"},
        untied=False,
        plus_one=True,
    ),
    # Both caps are low enough to be felt. mlx-lm's Gemma 2 has no sliding window, so none is asked of transformers.
    "gemma2": Family(
        "Gemma2ForCausalLM",
        GEMMA,
        {
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 16,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
            "layer_types": ["full_attention"],
        },
        untied=False,
        plus_one=True,
    ),
    # mlx-lm rounds the factor √hidden of its embeddings to bf16: exact (and comparable) for hidden 16, 64, 256 only.
    "gemma3_text": Family(
        "Gemma3ForCausalLM",
        GEMMA,
        {
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 16,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "sliding_window": 8,
            "sliding_window_pattern": 2,
        },
        plus_one=True,
    ),
    "llama": Family("LlamaForCausalLM", LLAMA3),
    "qwen3": Family("Qwen3ForCausalLM", QWEN3, {"head_dim": 16}),  # heads wider than the model, as Qwen 3 has them
    "mistral": Family("MistralForCausalLM", MISTRAL, {"sliding_window": None}),
}

VARIANTS = [(name, tied) for name, family in FAMILIES.items() for tied in (True, False) if tied or family.untied]
"""Every family with a tied head, and with one of its own where it can have that: for `pytest.mark.parametrize`."""


def make_config(
    family: str, *, tied: bool = True, hidden: int = 32, layers: int = 2, vocab: int = 64, **overrides: Any
) -> Config:
    """Give the config.json of a model of a family: four heads that share keys in pairs, unless it says otherwise.

    Raises:
        ValueError: the family has no untied head.
    """
    kind = FAMILIES[family]
    if not (tied or kind.untied):
        raise ValueError(f"{family} has no untied head")
    chat = kind.chat
    config = {
        "model_type": family,
        "architectures": [kind.architecture],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": 2 * hidden,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "max_position_embeddings": 512,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        "bos_token_id": None if chat.bos is None else chat.id(chat.bos),
        "eos_token_id": [chat.id(token) for token in chat.ends],
        "pad_token_id": chat.id(chat.pad),
        **kind.settings,
        **overrides,
    }
    config.setdefault("head_dim", hidden // config["num_attention_heads"])
    if "layer_types" in kind.settings:
        config["layer_types"] = kind.settings["layer_types"] * layers
    return config


def make_model(
    family: str,
    *,
    tied: bool = True,
    seed: int = 7,
    hidden: int = 32,
    layers: int = 2,
    vocab: int = 64,
    **overrides: Any,
) -> tuple[nn.Module, Config]:
    """Make a random fp32 model of a family, whose numbers bf16 holds exactly.

    Args:
        family: a name in `FAMILIES`.
        tied: whether the head is the embedding.
        seed: of NumPy's generator; equal seeds give equal weights.
        hidden: width of the model.
        layers: number of blocks.
        vocab: number of tokens, ``len(tokenizer)`` at least.
        overrides: further entries of config.json.

    Returns:
        The mlx-lm model, and its config.json.

    Raises:
        ValueError: the family has no untied head.
    """
    config = make_config(family, tied=tied, hidden=hidden, layers=layers, vocab=vocab, **overrides)
    model = new_model(config)
    model.load_weights(list(draw_weights(model, config, seed).items()))
    mx.eval(model.parameters())
    return model, config


def new_model(config: Config) -> nn.Module:
    """Make the mlx-lm model of a config, with mlx-lm's own initial weights."""
    module = importlib.import_module(f"mlx_lm.models.{MODEL_REMAPPING.get(config['model_type'], config['model_type'])}")
    model = module.Model(module.ModelArgs.from_dict(config))
    if config["model_type"] == "gemma3_text" and config["tie_word_embeddings"]:
        model.sanitize({})  # mlx-lm's Gemma 3 ties its head when the weights have none
    return model


def draw_weights(model: nn.Module, config: Config, seed: int) -> dict[str, mx.array]:
    """Draw a model's weights: matrices with standard deviation 0.3 at width 32, norms about 1."""
    rng, weights = np.random.default_rng(seed), {}
    one = 0.0 if FAMILIES[config["model_type"]].plus_one else 1.0
    head = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    for name, value in sorted(tree_flatten(model.parameters())):
        spread = 0.3 if value.ndim == 1 else 0.3 * (32 / config["hidden_size"]) ** 0.5
        drawn = rng.normal(0, spread, value.shape)
        if name.endswith("norm.weight"):
            drawn += one
        if name == "model.norm.weight":
            # Random signs keep a tied head from just repeating its input.
            drawn = rng.choice([-2.0, 0.0], value.shape) + one
        if name == head:
            drawn[config["eos_token_id"]] *= 1.7  # wide logits: the end tokens are likely now and then
        weights[name] = mx.array(drawn.astype(np.float32)).astype(mx.bfloat16).astype(mx.float32)
    return weights


def quantize(model: nn.Module, config: Config, bits: int = 4) -> tuple[nn.Module, Config]:
    """Quantize a model in place, in groups of 32 with bf16 scales, and give it with its new config.json."""
    model.set_dtype(mx.bfloat16)
    model, config = quantize_model(model, config, 32, bits)
    return model, {key: value for key, value in config.items() if key != "quantization_config"}


def save_model(
    path: Path, model: nn.Module, config: Config, tokenizer: PreTrainedTokenizerBase, shards: int = 1
) -> Path:
    """Write a model directory as on the hub; gives the directory.

    Args:
        path: the directory.
        model, config, tokenizer: what it holds: config.json, model*.safetensors and the tokenizer's files.
        shards: files of weights; more than one are named with their number and listed in an index.
    """
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config, indent=2))
    weights = dict(tree_flatten(model.parameters()))
    names = sorted(weights)
    files = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)] if shards > 1 else _ONE_FILE
    where = {name: files[i * len(files) // len(names)] for i, name in enumerate(names)}
    for file in files:
        part = {name: weights[name] for name in names if where[name] == file}
        mx.save_safetensors(str(path / file), part, metadata={"format": "mlx"})
    if shards > 1:
        size = sum(array.nbytes for array in weights.values())
        index = {"metadata": {"total_size": size}, "weight_map": where}
        (path / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    tokenizer.save_pretrained(path)
    return path
