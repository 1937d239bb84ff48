"""Every architecture family as a base: the head, the log-probs, the gradients and the decoding are its own.

The oracle is mlx-lm's forward pass of another copy of the model, without our wrapping, a cache or a batch.
"""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx_lm.models.cache import ArraysCache, CacheList, ChunkedKVCache, KVCache, QuantizedKVCache, RotatingKVCache
from mlx_lm.utils import dequantize_model

from align_contracts.errors import ConfigError
from align_mlx import adapters as lora
from align_mlx.adapters import Adapter, LoraSpec
from align_mlx.batching import pad
from align_mlx.chat import Tokens
from align_mlx.compute import Compute
from align_mlx.loading import require_own_logits
from align_mlx.logprobs import policy_stats
from align_mlx.recompute import recompute_blocks
from align_mlx.repairs import repair
from align_mlx.resident import Resident
from align_mlx.rollout import Draw, Prompt, require_exact_decoding, sample
from align_mlx.sampling import uniforms
from align_mlx.train_state import TrainState
from tiny.models import VARIANTS, draw_weights, make_config, new_model

ENDS = frozenset({1, 5})
GRANITE = {"attention_multiplier": 0.3, "embedding_multiplier": 2.0, "residual_multiplier": 0.7, "logits_scaling": 0.4}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1, "mlp_only_layers": []}
# Architectures beyond the six families: another name for the config of the family that they resemble.
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "cohere": ("llama", {"logit_scale": 2.5, "layer_norm_eps": 1e-5}),
    "granite": ("llama", {**GRANITE, "attention_bias": False, "mlp_bias": False}),
    "qwen3_moe": ("qwen3", {**EXPERTS, "moe_intermediate_size": 32, "norm_topk_prob": True}),
}
KINDS = [*VARIANTS, ("gemma3", True), ("gemma3", False), ("cohere", True), ("granite", True), ("granite", False)]
KINDS += [("qwen3_moe", True)]
LABELS = [f"{name}-{'tied' if tied else 'untied'}" for name, tied in KINDS]


@dataclass(frozen=True)
class Case:
    """A base, and what mlx-lm's own model of the same weights gives."""

    resident: Resident
    model: nn.Module
    name: str

    def plain(self, ids) -> np.ndarray:
        """Logits of one sequence in float64."""
        return np.array(self.model(mx.array([ids]))[0], np.float64)


def make(name: str, tied: bool, *, bits: int = 0, dense: bool = True, **settings: Any) -> Case:
    """A base of an architecture; with `bits` its weights are rounded to them, and made dense again if asked for."""
    config, models = build(name, tied, **settings)
    if bits:
        for model in models:
            nn.quantize(model, group_size=32, bits=bits)
    if bits and dense:
        models[0] = dequantize_model(models[0])
    repair(models[0])
    compute = Compute(mx.float32, dense)
    return Case(Resident(models[0], None, lora.wrap(models[0]), compute, ENDS, config=config), models[1], name)


def build(name: str, tied: bool, **settings: Any) -> tuple[dict[str, Any], list[nn.Module]]:
    """Two copies of a random model with its config."""
    family, more = OTHERS.get(name, ("gemma3_text" if name == "gemma3" else name, {}))
    config = make_config(family, tied=tied, **more, **settings)
    if name == "gemma3":  # the multimodal wrapper around gemma3_text
        inside = new_model(config)
        weights = {f"language_model.{k}": v for k, v in draw_weights(inside, config, 7).items()}
        config = {"model_type": "gemma3", "text_config": config, "vocab_size": 64}
    elif name in OTHERS:
        config = {**config, "model_type": name}
        weights = draw_weights(new_model(config), {**config, "model_type": family}, 7)
    else:
        weights = draw_weights(new_model(config), config, 7)
    models = [new_model({**config, "tie_word_embeddings": tied}) for _ in range(2)]
    for model in models:
        if name == "gemma3" and tied:
            model.language_model.sanitize({})
        model.load_weights(list(weights.items()))
    return config, models


@pytest.fixture(scope="module", params=KINDS, ids=LABELS)
def case(request):
    return make(*request.param)


def random_adapter(case: Case, seed: int = 3) -> Adapter:
    fresh = lora.fresh(case.resident.maps, LoraSpec(4, 8.0, 2), mx.random.key(seed))
    params = {
        name: value if name.endswith("lora_a") else 0.1 * mx.random.normal(value.shape, key=mx.random.key(seed + i))
        for i, (name, value) in enumerate(sorted(fresh.params.items()))
    }
    return Adapter(params, fresh.scale)


def rows(seed: int = 0) -> list[Tokens]:
    rng = np.random.default_rng(seed)
    lengths = [(3, 5), (12, 9), (1, 1), (7, 14)]
    return [Tokens(*(tuple(rng.integers(6, 64, n).tolist()) for n in pair)) for pair in lengths]


def test_hidden_states_and_head_give_the_models_own_logits(case, tmp_path):
    ids = [2, 4, 7, 9, 33, 12, 60, 21, 50, 10, 10, 44]  # longer than gemma3's window of 8
    found = case.resident.logits(case.resident.hidden(mx.array([ids])))[0]
    np.testing.assert_allclose(found, case.plain(ids), atol=1e-4)
    require_own_logits(case.resident, tmp_path)
    assert case.resident.vocab_size == 64
    assert case.resident.hidden_size == 32


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probs_and_entropies_are_those_of_a_float64_softmax(case, temperature):
    """Of rows of their own, and of answers that share prompts: one longer than gemma3's window, one shorter."""
    check_stats(case, rows(), temperature, shared=False)
    answers = [Tokens(rows(1)[i % 2].prompt, row.response) for i, row in enumerate([*rows(2), *rows(3)])]
    check_stats(case, answers, temperature, shared=True)


def check_stats(case: Case, rows: list[Tokens], temperature: float, *, shared: bool) -> None:
    batch = pad(rows)
    assert (batch.prompts_PL is not None) == shared
    stats = policy_stats(case.resident, (), batch, temperature=temperature, entropy=True)
    for i, row in enumerate(rows):
        logits = case.plain(row.ids)[len(row.prompt) - 1 : -1] / temperature
        logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))  # |logit| stays below 100
        steps = np.arange(len(row.response))
        np.testing.assert_allclose(stats.logprobs_BT[i, : len(steps)], logp[steps, list(row.response)], atol=2e-4)
        np.testing.assert_allclose(stats.entropy_BT[i, : len(steps)], -(np.exp(logp) * logp).sum(axis=1), atol=2e-4)


STEPS = 14
# Prompts of 1 to 20 tokens: two outgrow gemma3's window of 8 before the first answer token, one is as long as it.
PROMPTS = [
    Prompt(tuple(np.random.default_rng(n).integers(6, 64, n).tolist()), number)
    for number, n in enumerate([3, 20, 8, 1, 11, 5], 100)
]


def plain_decode(case: Case, prompt: Prompt, answer: int, temperature: float) -> tuple[int, ...]:
    """No batch, no cache: a full forward pass for each token; greedy, or the inverse CDF in float64."""
    numbers = uniforms(3, 2, np.array([prompt.number]), np.array([answer]), STEPS)[0].astype(np.float64)
    ids: list[int] = []
    while len(ids) < STEPS and not ENDS & set(ids):
        logits = case.plain([*prompt.ids, *ids])[-1]
        if temperature == 0:
            ids.append(int(logits.argmax()))
            continue
        cdf = np.cumsum(np.exp((logits - logits.max()) / temperature))
        ids.append(int(np.searchsorted(cdf, numbers[len(ids)] * cdf[-1], side="right")))
    return tuple(ids)


@pytest.mark.parametrize(("temperature", "answers"), [(0.0, 1), (1.0, 3)])
def test_answers_of_a_padded_batch_are_those_of_plain_decoding(case, temperature, answers):
    found = sample(
        case.resident,
        (),
        PROMPTS,
        draw=Draw(3, 2),
        answers=answers,
        max_new_tokens=STEPS,
        temperature=temperature,
    )
    expected = [plain_decode(case, p, k, temperature) for p in PROMPTS for k in range(answers)]
    assert [a.tokens.response for a in found] == expected
    if temperature:  # rows left the batch at different steps, so it was compacted
        assert len({len(ids) for ids in expected}) > 3


def test_as_many_rows_as_key_heads(case):
    # 2 prompts, 2 key heads: a mask of one row each would fit the heads' axis of gemma2's scores by chance.
    found = sample(case.resident, (), PROMPTS[:2], draw=Draw(3, 2), max_new_tokens=STEPS, temperature=1.0)
    assert [a.tokens.response for a in found] == [plain_decode(case, p, 0, 1.0) for p in PROMPTS[:2]]


def test_caches_that_grow_and_then_rotate():
    # The cache grows by 256 places, then to its window of 270, then rotates; the answers' ends never come.
    case = make("gemma3_text", tied=True, sliding_window=270)
    case.resident.end_tokens = frozenset({64})
    found = sample(case.resident, (), PROMPTS[:2], draw=Draw(0), max_new_tokens=290, temperature=0.0)
    for answer in found:
        tokens = answer.tokens
        assert len(tokens.response) == 290
        likeliest = case.plain(tokens.ids)[len(tokens.prompt) - 1 : -1].argmax(axis=1)
        assert likeliest.tolist() == list(tokens.response)


def test_decoding_is_found_exact(case):
    require_exact_decoding(case.resident, 32)


@pytest.mark.parametrize(("name", "tied"), [kind for kind in KINDS if kind[0] != "qwen3_moe"])
def test_rounding_to_bfloat16_refuses_no_model(name, tied, tmp_path):  # MLX's experts on a CPU know fp32 alone
    rounded = make(name, tied).resident
    rounded.model.set_dtype(mx.bfloat16)
    rounded.compute = Compute(mx.bfloat16, dense=True)
    require_own_logits(rounded, tmp_path)
    require_exact_decoding(rounded, 32)


def gradient(case: Case, scale: float, batch):
    def loss(params):
        return -policy_stats(case.resident, (Adapter(params, scale),), batch).logprobs_BT.sum()

    return mx.value_and_grad(loss)


def test_every_adapted_tensor_gets_a_gradient_within_two_updates(case):
    fresh = lora.fresh(case.resident.maps, LoraSpec(4, 8.0, 2), mx.random.key(0))
    assert {block for block in map(lora.block_index, case.resident.maps)} == {0, 1}
    state, batch = TrainState.start(fresh.params), pad(rows())
    alive: set[str] = set()
    losses = []
    for _ in range(3):
        loss, grads = gradient(case, fresh.scale, batch)(state.params)
        alive |= {name for name, grad in grads.items() if mx.abs(grad).max().item() > 0}
        losses.append(loss.item())
        state.update(grads, 1e-2, 1.0)
    assert alive == set(fresh.params)  # B at the first update, A from the second on
    assert losses[2] < losses[0]


def test_checkpointed_blocks_give_the_same_gradients(case):
    batch, adapter = pad(rows()), random_adapter(case)
    value, grads = gradient(case, adapter.scale, batch)(adapter.params)
    other = make(case.name, case.resident.head.tied)
    recompute_blocks(other.resident.model, tokens=3)
    again, found = gradient(other, adapter.scale, batch)(adapter.params)
    np.testing.assert_allclose(again.item(), value.item(), rtol=1e-6)
    for name, grad in grads.items():
        np.testing.assert_allclose(found[name], grad, rtol=1e-3, atol=1e-3 * mx.abs(grad).max().item())
    # With a cache nothing is recomputed: answers stay the same.
    sampled = [sample(c.resident, (adapter,), PROMPTS, draw=Draw(0), max_new_tokens=4) for c in (case, other)]
    assert sampled[0] == sampled[1]


def test_quantized_and_dense_compute_are_the_same_numbers(case):
    quantized, dense = (make(case.name, case.resident.head.tied, bits=4, dense=form) for form in (False, True))
    assert quantized.resident.head.quantized
    assert not dense.resident.head.quantized
    ids = [2, 4, 7, 9, 33, 12, 60, 21]
    for adapters in ((), (random_adapter(case),)):
        found = [c.resident.logits(c.resident.hidden(mx.array([ids]), adapters))[0] for c in (quantized, dense)]
        np.testing.assert_allclose(found[0], found[1], atol=5e-4)
        if not adapters:
            np.testing.assert_allclose(found[0], quantized.plain(ids), atol=1e-4)
    for rows_V in (slice(0, 24), slice(24, 64)):
        states = quantized.resident.hidden(mx.array([ids]))
        np.testing.assert_allclose(
            quantized.resident.head.logits(states, rows_V), quantized.resident.logits(states)[..., rows_V], atol=1e-5
        )


def test_a_window_of_another_length_without_the_cache_is_refused():
    # mlx-lm's plamo3 sees window + 1 tokens without a cache. Answers that stay within the window cannot tell.
    case = make("gemma3_text", tied=True)
    case.resident.model.model.window_size = 9
    require_exact_decoding(case.resident, 8)
    with pytest.raises(ConfigError, match="cannot answer prompts in batches"):
        require_exact_decoding(case.resident, 9)


@pytest.mark.parametrize(
    "cache",
    [ArraysCache(2), ChunkedKVCache(8), CacheList(KVCache()), QuantizedKVCache(), RotatingKVCache(8, keep=4)],
    ids=lambda cache: type(cache).__name__,
)
def test_models_with_other_caches_are_refused(cache):
    case = make("llama", tied=True)
    case.resident.model.make_cache = lambda: [KVCache(), cache]
    with pytest.raises(ConfigError, match="cannot answer prompts in batches") as refusal:
        require_exact_decoding(case.resident, 32)
    assert refusal.value.got == type(cache).__name__
    with pytest.raises(ConfigError, match="cannot answer prompts in batches"):
        sample(case.resident, (), PROMPTS, draw=Draw(0), max_new_tokens=1)


@pytest.mark.parametrize(("key_heads", "got"), [(2, "off by"), (1, "shape")])
def test_models_that_decode_otherwise_than_they_score_are_refused(key_heads, got):
    # mlx-lm's own gemma2: with 2 key heads the masks of the probe's 2 rows fit the heads' axis by chance.
    _, (model, _) = build("gemma2", tied=True, num_key_value_heads=key_heads)
    resident = Resident(model, None, lora.wrap(model), Compute(mx.float32, dense=True), ENDS)
    with pytest.raises(ConfigError, match="cannot answer prompts in batches") as refusal:
        require_exact_decoding(resident, 32)
    assert got in refusal.value.got
    repair(model)
    require_exact_decoding(resident, 32)
