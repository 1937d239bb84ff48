"""Our side, in the project's environment: makes the models, the rows and the adapters, and computes every quantity.

    python ours.py RUN          RUN is an empty folder

Only the project's own functions compute here, those that the stages call.
"""

import sys
from pathlib import Path

import align_mlx  # noqa: F401 · before mlx.core, so that MLX finds a fast BLAS

sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/, for `tiny` and the float64 reference

import mlx.core as mx
import numpy as np
from exchange import (
    CENTERING,
    CLIP_HIGH,
    CLIP_LOW,
    GROUP,
    LOSS_TYPES,
    MARGIN,
    MAX_RESPONSE,
    SCALES,
    TEMPERATURE,
    Case,
    Numbers,
    Rows,
    write,
    write_case,
    write_rows,
)

import align_rl.loop
import align_rm.objective
import align_sft.train
from align_mlx import adapters as lora
from align_mlx.adapters import Adapter, LoraSpec, Params
from align_mlx.batching import pad
from align_mlx.chat import Tokens
from align_mlx.compute import DTYPES, Compute
from align_mlx.loading import load_base
from align_mlx.logprobs import policy_stats
from align_mlx.resident import Resident
from align_mlx.reward import Calibration, Scorer
from align_mlx.rollout import Answer
from align_rl.algorithms.gae import eos_rewards, gae
from align_rl.algorithms.grpo import group_advantages
from align_rl.algorithms.kl import k3
from align_rl.algorithms.masked import masked_mean, masked_whiten
from align_rl.config import GRPOConfig
from align_rl.methods.actor import ACTOR
from align_rl.methods.grpo import GRPO
from align_rl.rollout import Rollout
from align_rm.objective import HEAD
from align_rm.pairs import Pair
from align_sft.model_files import store_form
from conformance.reference import ppo as reference
from tiny.models import FAMILIES, VARIANTS, make_model, save_model
from tiny.tokenizer import word_tokenizer

VOCABULARY, DEPTH = 8192, 8
LORA = LoraSpec(rank=8, alpha=16.0, layers=DEPTH)
BUDGET = 256
"""Padded tokens of a pass: small, so that what is compared has been summed over several micro-batches."""


def main(run: Path) -> None:
    rng = np.random.default_rng(12)
    rows = draw_rows(rng)
    write_rows(run, rows)
    for family, tied in VARIANTS:
        compare_to_be(run, Case(family if tied else f"{family}-untied"), family, tied, rows)
    compare_to_be(run, Case("gemma-4bit-dense", bits=4), "gemma", True, rows)
    compare_to_be(run, Case("gemma-4bit-quantized", bits=4, dense=False), "gemma", True, rows)
    compare_to_be(run, Case("gemma-bf16", dtype="bfloat16"), "gemma", True, rows)
    compare_to_be(run, Case("qwen3-untied-bf16", dtype="bfloat16"), "qwen3", False, rows)
    beside_the_reference(run, rng)


def draw_rows(rng: np.random.Generator) -> Rows:
    """Three prompts of different lengths with four answers each; no id is a special token of any family."""

    def ids(low: int, high: int) -> list[int]:
        return rng.integers(100, VOCABULARY, rng.integers(low, high)).tolist()

    prompts = [ids(3, 20) for _ in range(3)]
    rewards = rng.normal(0, 1, (3, GROUP))
    rewards[-1] = 0.25  # a silent group: no advantage, no gradient
    return Rows(
        prompts=[prompt for prompt in prompts for _ in range(GROUP)],
        responses=[ids(2, MAX_RESPONSE) for _ in range(3 * GROUP)],
        rewards=rewards.reshape(-1).tolist(),
        gaps=rng.uniform(0.2, 3.0, 3 * GROUP // 2).tolist(),
    )


def compare_to_be(run: Path, case: Case, family: str, tied: bool, rows: Rows) -> None:
    """Make a case's model and adapter, and write our numbers."""
    folder = run / case.name
    model, config = make_model(
        family,
        tied=tied,
        hidden=256,
        layers=DEPTH,
        vocab=VOCABULARY,
        intermediate_size=1024,
        head_dim=64,
        num_attention_heads=4,
    )
    if not case.whole:
        model, config = store_form(model, config, case.bits, 64)
    save_model(folder / "model", model, config, word_tokenizer(FAMILIES[family].chat))
    write_case(folder, case)
    resident = load_base(folder / "model", Compute(DTYPES[case.dtype], case.dense))
    adapter = trained_adapter(resident)
    lora.save(adapter, folder / "adapter.safetensors")
    tokens = [Tokens(tuple(p), tuple(r)) for p, r in zip(rows.prompts, rows.responses, strict=True)]
    numbers = {**likelihoods(resident, adapter, tokens), **sft(resident, adapter, tokens)}
    if case.whole:
        old_BT, head = draw_given(resident, adapter, tokens, rows.rewards)
        write(folder / "given.safetensors", {"old_logprobs_BT": np.array(old_BT), "head": np.array(head["weight"])})
        numbers |= reward_model(resident, adapter, head, tokens, rows.gaps)
        numbers |= grpo(resident, adapter, tokens, rows.rewards, old_BT)
    write(folder / "ours.safetensors", numbers)
    print(f"ours: {case.name}", file=sys.stderr)


def trained_adapter(resident: Resident) -> Adapter:
    """An adapter as training leaves it: B is not zero, so that A has a gradient too."""
    fresh = lora.fresh(resident.maps, LORA, mx.random.key(3))
    rng = np.random.default_rng(5)
    return Adapter(
        {
            k: v if k.endswith("lora_a") else mx.array(rng.normal(0, 0.03, v.shape).astype(np.float32))
            for k, v in fresh.params.items()
        },
        fresh.scale,
    )


def draw_given(
    resident: Resident, adapter: Adapter, rows: list[Tokens], rewards: list[float]
) -> tuple[mx.array, Params]:
    """Old log-probs, and a reward head.

    The policy has moved on from the old one: by token, by answer, and a little the right way, so that every loss type
    clips on both sides and its terms do not cancel.
    """
    rng = np.random.default_rng(7)
    batch = pad(rows)
    new_BT = policy_stats(resident, (adapter,), batch, temperature=TEMPERATURE).logprobs_BT
    better_B1 = np.sign(np.array(rewards) - np.repeat(np.reshape(rewards, (-1, GROUP)).mean(1), GROUP))[:, None]
    moved_BT = rng.normal(0, 0.2, new_BT.shape) + rng.normal(0, 0.15, (len(rows), 1)) + 0.25 * better_B1
    old_BT = (new_BT - mx.array(moved_BT.astype(np.float32))) * batch.mask_BT
    head = rng.normal(0, 0.1, (1, resident.hidden_size)).astype(np.float32)
    return old_BT, {"weight": mx.array(head), "bias": mx.zeros(1)}  # the head of transformers has no bias


def likelihoods(resident: Resident, adapter: Adapter, rows: list[Tokens]) -> Numbers:
    """Log-probs and entropies of all answers' tokens, one answer after the other."""
    batch = pad(rows)
    found = policy_stats(resident, (adapter,), batch, entropy=True)
    warm = policy_stats(resident, (adapter,), batch, temperature=TEMPERATURE, entropy=True)
    real_BT = np.array(batch.mask_BT) > 0
    arrays = {
        "log-probs": found.logprobs_BT,
        "entropies": found.entropy_BT,
        f"log-probs, T = {TEMPERATURE}": warm.logprobs_BT,
        f"entropies, T = {TEMPERATURE}": warm.entropy_BT,
    }
    return {name: np.array(value)[real_BT] for name, value in arrays.items()}


def sft(resident: Resident, adapter: Adapter, rows: list[Tokens]) -> Numbers:
    gradient = align_sft.gradient.make_gradient(resident, adapter.scale, compiled=True)
    loss, grads, _ = align_sft.gradient.accumulate(gradient, adapter.params, rows, batch_size=5)
    return {"SFT loss": np.array([loss]), **named("SFT gradient", grads)}


def reward_model(resident: Resident, adapter: Adapter, head: Params, rows: list[Tokens], gaps: list[float]) -> Numbers:
    scorer = Scorer(resident, adapter, head, token_budget=BUDGET)
    pairs = [Pair(str(i), rows[2 * i], rows[2 * i + 1], gap) for i, gap in enumerate(gaps)]
    gradient = align_rm.objective.make_gradient(
        resident, adapter.scale, head, margin=MARGIN, centering=CENTERING, compiled=True
    )
    params = {**adapter.params, HEAD + "weight": head["weight"]}
    loss, grads = align_rm.objective.accumulate(gradient, params, pairs, BUDGET)
    return {"RM scores": scorer.score(rows), "BT loss": np.array([loss]), **named("BT gradient", grads)}


def grpo(resident: Resident, adapter: Adapter, rows: list[Tokens], rewards: list[float], old_BT: mx.array) -> Numbers:
    batch = pad(rows)
    new_BT = policy_stats(resident, (adapter,), batch, temperature=TEMPERATURE).logprobs_BT
    ref_BT = policy_stats(resident, (), batch, temperature=TEMPERATURE).logprobs_BT
    rewards_PK = mx.array(np.array(rewards, np.float32).reshape(-1, GROUP))
    numbers = {f"advantages, {scale}": np.array(group_advantages(rewards_PK, scale)).reshape(-1) for scale in SCALES}
    numbers["mean k3"] = np.array([masked_mean(k3(new_BT, ref_BT), batch.mask_BT).item()])
    rollout = Rollout(
        prompts=np.repeat(np.arange(len(rows) // GROUP), GROUP),
        answers=[Answer(row, truncated=False) for row in rows],
        batch=batch,
        logprobs_BT=old_BT,
        ref_logprobs_BT=ref_BT,
        kl_BT=k3(new_BT, ref_BT),
        scores_B=np.array(rewards),
    )
    for loss_type in LOSS_TYPES:
        nowhere = Path()
        config = GRPOConfig(
            sft=nowhere,
            rm=nowhere,
            data=nowhere,
            out=nowhere,
            K=GROUP,
            loss_type=loss_type,
            score_normalizer="none",
            clip_range=CLIP_LOW,
            clip_range_high=CLIP_HIGH,
            temperature=TEMPERATURE,
            max_response_length=MAX_RESPONSE,
            lora_rank=LORA.rank,
            lora_alpha=LORA.alpha,
            lora_layers=LORA.layers,
            token_budget=BUDGET,
        )
        method = GRPO(config, resident, Calibration())
        params = {ACTOR + name: value for name, value in adapter.params.items()}
        experience = method.experience(rollout, params, kl_coef=0.0)
        grads, facts = align_rl.loop.accumulate(params, experience, range(len(rows)), method, config)
        if not 0.1 < facts["clip_fraction"] < 0.9:
            raise SystemExit(f"{loss_type}: {facts['clip_fraction']:.2f} of the tokens are clipped; this proves little")
        numbers[f"{loss_type} loss"] = np.array([facts["loss"]])
        numbers |= named(f"{loss_type} gradient", {k.removeprefix(ACTOR): v for k, v in grads.items()})
    return numbers


def named(quantity: str, grads: Params) -> Numbers:
    return {f"{quantity}/{name}": np.array(value) for name, value in grads.items()}


def beside_the_reference(run: Path, rng: np.random.Generator) -> None:
    """GAE, returns and whitening, which TRL has no more, beside the float64 reference."""
    folder = run / "float64-reference"
    folder.mkdir()
    write_case(folder, Case(folder.name))
    lengths = rng.integers(1, 60, 16)
    mask_BT = np.arange(lengths.max()) < lengths[:, None]
    scores_B, values_BT = (rng.normal(0, 1, shape).astype(np.float32) for shape in (lengths.shape, mask_BT.shape))
    mask = mx.array(mask_BT.astype(np.float32))
    rewards = [reference.rewards(float(score), n) for score, n in zip(scores_B, lengths, strict=True)]
    values = [row[:n].astype(np.float64) for row, n in zip(values_BT, lengths, strict=True)]
    ours: Numbers = {}
    theirs: Numbers = {}
    for gamma, lam in ((0.99, 0.95), (1.0, 1.0), (0.9, 0.0)):
        found = gae(eos_rewards(mx.array(scores_B), mask), mx.array(values_BT), mask, gamma=gamma, lam=lam)
        advantages, returns = reference.advantages(rewards, values, gamma, lam)
        white = reference.whiten(advantages)
        setting = f"γ = {gamma}, λ = {lam}"
        for name, ours_BT, theirs_rows in (
            (f"GAE, {setting}", found[0], advantages),
            (f"returns, {setting}", found[1], returns),
            (f"whitened GAE, {setting}", masked_whiten(found[0], mask), white),
        ):
            ours[name], theirs[name] = np.array(ours_BT)[mask_BT], np.concatenate(theirs_rows)
    write(folder / "ours.safetensors", ours)
    write(folder / "theirs.safetensors", theirs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
