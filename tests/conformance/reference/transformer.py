"""A decoder-only transformer: Gemma 1, 2 and 3, Llama, Mistral and Qwen 3, forward only, one sequence at a time.

Weights go by their published names (``model.layers.0.self_attn.q_proj.weight``, [out, in]), settings by those of
config.json. Sources: Vaswani et al., arXiv 1706.03762; RMSNorm, 1910.07467; RoPE, 2104.09864; grouped queries,
2305.13245; gated MLP, 2002.05202; Gemma, 2403.08295; Gemma 2, 2408.00118; Gemma 3, 2503.19786; LoRA, 2106.09685.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Weights = Mapping[str, np.ndarray]
Config = Mapping[str, object]


@dataclass(frozen=True)
class Lora:
    """y = x W + scale (x A) B, with ``NAME.lora_a`` [in, r] and ``NAME.lora_b`` [r, out]."""

    arrays: Weights
    scale: float


@dataclass(frozen=True)
class Family:
    """What sets an architecture apart from Llama."""

    activation: str = "silu"
    gemma: bool = False  # RMSNorm scales by 1 + w, and embeddings are multiplied by √D
    query_norms: bool = False  # queries and keys go through an RMSNorm of their own
    sandwich: bool = False  # a norm behind attention and MLP too


FAMILIES = {
    "gemma": Family("gelu", gemma=True),
    "gemma2": Family("gelu_tanh", gemma=True, sandwich=True),
    "gemma3_text": Family("gelu_tanh", gemma=True, sandwich=True, query_norms=True),
    "llama": Family(),
    "mistral": Family(),
    "qwen3": Family(query_norms=True),
}


def logits(weights: Weights, config: Config, ids: Sequence[int], loras: Sequence[Lora] = ()) -> np.ndarray:
    """Logits [L, V]: row i scores the token behind ids[i]."""
    return head(weights, config, hidden(weights, config, ids, loras))


def head(weights: Weights, config: Config, states: np.ndarray) -> np.ndarray:
    """Logits of states [L, D]: an own head, or else the embedding; soft-capped as Gemma 2's."""
    scores = states @ weights.get("lm_head.weight", weights["model.embed_tokens.weight"]).T
    cap = config.get("final_logit_softcapping")
    return scores if cap is None else cap * np.tanh(scores / cap)


def hidden(weights: Weights, config: Config, ids: Sequence[int], loras: Sequence[Lora] = ()) -> np.ndarray:
    """States [L, D] behind the last norm."""
    family = FAMILIES[config["model_type"]]
    x = weights["model.embed_tokens.weight"][np.asarray(ids)]
    if family.gemma:
        x = x * math.sqrt(config["hidden_size"])
    for i in range(config["num_hidden_layers"]):
        x = block(Block(weights, config, loras, family, i), x)
    return rms_norm(x, weights["model.norm.weight"], config, family)


@dataclass(frozen=True)
class Block:
    """The weights of one block, by their names inside it."""

    weights: Weights
    config: Config
    loras: Sequence[Lora]
    family: Family
    number: int

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        """x [L, in] through a linear map and the adapters on it."""
        name = f"model.layers.{self.number}.{name}"
        y = x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0.0)
        for lora in self.loras:
            if f"{name}.lora_a" in lora.arrays:
                y = y + lora.scale * (x @ lora.arrays[f"{name}.lora_a"]) @ lora.arrays[f"{name}.lora_b"]
        return y

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        """RMSNorm over the last axis."""
        return rms_norm(x, self.weights[f"model.layers.{self.number}.{name}.weight"], self.config, self.family)


def block(here: Block, x: np.ndarray) -> np.ndarray:
    """Attention, then the gated MLP, each added to what came in."""
    if not here.family.sandwich:
        x = x + attention(here, here.norm("input_layernorm", x))
        return x + mlp(here, here.norm("post_attention_layernorm", x))
    x = x + here.norm("post_attention_layernorm", attention(here, here.norm("input_layernorm", x)))
    return x + here.norm("post_feedforward_layernorm", mlp(here, here.norm("pre_feedforward_layernorm", x)))


def attention(here: Block, x: np.ndarray) -> np.ndarray:
    """Causal attention with grouped heads: query head h reads key head ⌊h · keys / heads⌋."""
    config, length = here.config, len(x)
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    q, k, v = (here.linear(f"self_attn.{name}_proj", x).reshape(length, -1, size) for name in "qkv")
    if here.family.query_norms:
        q, k = here.norm("self_attn.q_norm", q), here.norm("self_attn.k_norm", k)
    window, base = length, config.get("rope_theta", 10000.0)
    if config["model_type"] == "gemma3_text" and (here.number + 1) % config["sliding_window_pattern"]:
        window, base = config["sliding_window"], config["rope_local_base_freq"]
    q, k = rotate(q, base), rotate(k, base)
    place = np.arange(length)
    age = place[:, None] - place[None, :]
    visible = (age >= 0) & (age < window)
    outputs = []
    for h in range(heads):
        g = h * groups // heads
        scores = q[:, h] @ k[:, g].T / math.sqrt(config.get("query_pre_attn_scalar", size))
        if (cap := config.get("attn_logit_softcapping")) is not None:
            scores = cap * np.tanh(scores / cap)
        weights = np.where(visible, np.exp(scores - scores.max(axis=1, keepdims=True)), 0.0)
        outputs.append(weights / weights.sum(axis=1, keepdims=True) @ v[:, g])
    return here.linear("self_attn.o_proj", np.concatenate(outputs, axis=1))


def mlp(here: Block, x: np.ndarray) -> np.ndarray:
    """down(activation(gate x) · up x)."""
    act = ACTIVATIONS[here.family.activation]
    return here.linear("mlp.down_proj", act(here.linear("mlp.gate_proj", x)) * here.linear("mlp.up_proj", x))


def rotate(x: np.ndarray, base: float) -> np.ndarray:
    """Rotary positions on [L, heads, size]: the pair (i, i + size/2) turns by position · base^(−2i/size)."""
    length, _, size = x.shape
    half = size // 2
    angle = np.arange(length)[:, None, None] * base ** (-2.0 * np.arange(half) / size)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], axis=-1)


def rms_norm(x: np.ndarray, weight: np.ndarray, config: Config, family: Family) -> np.ndarray:
    """x / √(mean x² + ε), scaled by w, or by 1 + w in Gemma."""
    root = np.sqrt((x**2).mean(axis=-1, keepdims=True) + config["rms_norm_eps"])
    return x / root * (weight + 1.0 if family.gemma else weight)


ACTIVATIONS = {
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0))),
    "gelu_tanh": lambda x: 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))),
}
