"""`align-rm train`: a reward model by Bradley-Terry, in one visible loop, then its calibration."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from align_contracts import Artifact, Draft, open_artifact, publish
from align_contracts.errors import ConfigError, DivergedError, KindError
from align_mlx import adapters as lora
from align_mlx.adapters import Adapter, LoraSpec, Params
from align_mlx.batching import pad
from align_mlx.compute import choose
from align_mlx.progress import Meter
from align_mlx.resident import Resident, load_base, load_policy
from align_mlx.reward import Scorer, head_scores
from align_mlx.train_state import TrainState
from align_rm.algorithms.bradley_terry import pair_losses, pairwise_accuracy
from align_rm.algorithms.schedule import learning_rate
from align_rm.calibrate import calibrate, reward_scale
from align_rm.config import TrainConfig
from align_rm.pairs import Pair, Pairs, encode_pairs, micro_batches, score_pairs

Gradient = Callable[[Params, mx.array, mx.array, mx.array], tuple[mx.array, Params]]


def run(config: TrainConfig) -> int:
    """Train a reward model and publish it."""
    sft = open_artifact(config.sft, kind="policy")
    if sft.details.format != "chosen":
        raise KindError(
            f"{sft.name} writes scores instead of answers",
            expected="a policy of format chosen",
            got=sft.details.format,
            do="Train one with `align-sft train --format chosen`",
        )
    data = open_artifact(config.data, kind="dataset")
    base = sft.input("base")
    with publish(
        config.out,
        "reward_model",
        producer="align-rm",
        config=config,
        inputs={"base": base, "policy": sft, "dataset": data},
        overwrite=config.overwrite,
    ) as draft:
        compute = choose(config.compute_form, config.compute_dtype)
        resident = load_policy(sft, compute) if config.backbone == "policy" else load_base(base.path, compute)
        splits = {
            name: encode_pairs(data.read_jsonl(f"pairs_{name}"), resident, config.max_seq_length)
            for name in (config.split, "validation", "calibration")
        }
        for name, pairs in splits.items():
            if not pairs.kept:
                raise ConfigError(f"no {name} pair fits", expected=f"at most {config.max_seq_length} tokens")
        scorer = fit(config, resident, chosen_pairs(config, splits[config.split]), splits["validation"].kept, draft)
        write(config, draft, scorer, splits, data)
        draft.tokenizer_digest = base.manifest.tokenizer_digest
        draft.chat_template_digest = base.manifest.chat_template_digest
        draft.quantization = base.manifest.quantization
    return 0


def chosen_pairs(config: TrainConfig, pairs: Pairs) -> list[Pair]:
    """Give the pairs to learn from: all, or `max_pairs` drawn by the seed."""
    if config.max_pairs is None or config.max_pairs >= len(pairs.kept):
        return pairs.kept
    order = mx.random.permutation(len(pairs.kept), key=mx.random.key(config.seed + 1))
    return [pairs.kept[i] for i in sorted(np.array(order)[: config.max_pairs].tolist())]


def adapter_spec(config: TrainConfig) -> LoraSpec:
    """Give what the settings ask to adapt."""
    return LoraSpec(config.lora_rank, config.lora_alpha, config.lora_layers, config.lora_targets)


def fit(
    config: TrainConfig, resident: Resident, train: Sequence[Pair], validation: Sequence[Pair], draft: Draft
) -> Scorer:
    """Run the training loop.

    The head starts at zero, so every score is 0 at first. Its bias cancels in a margin and is trained only with
    centering.

    Args:
        config: the settings.
        resident: the backbone.
        train: pairs to learn from.
        validation: pairs whose accuracy is measured after each epoch.
        draft: where metrics, curve and log go.

    Returns:
        The trained scorer, not yet calibrated.

    Raises:
        DivergedError: a gradient is not finite; the message names the pairs.
    """
    fresh = lora.fresh(resident.maps, adapter_spec(config), mx.random.key(config.seed))
    head = {"weight": mx.zeros((1, resident.hidden_size)), "bias": mx.zeros((1,))}
    trained = ("weight", "bias") if config.centering else ("weight",)
    state = TrainState.start(
        {**fresh.params, **{f"head.{k}": head[k] for k in trained}}, weight_decay=config.weight_decay
    )
    gradient = make_gradient(config, resident, fresh.scale, head)
    steps = config.epochs * -(-len(train) // config.batch_size)
    steps = min(steps, config.max_steps or steps)
    curve: list[dict[str, Any]] = []
    log: list[dict[str, Any]] = []

    def scorer() -> Scorer:
        adapter, now = split_params(state.params, fresh.scale, head)
        return Scorer(resident, adapter, now, token_budget=config.token_budget)

    started = time.monotonic()
    mx.reset_peak_memory()
    with Meter("rm", steps, quiet=config.quiet) as meter:
        for epoch in range(config.epochs):
            for rows in epoch_batches(len(train), config.batch_size, config.seed, epoch):
                if state.iteration == steps:
                    break
                began = time.monotonic()
                pairs = [train[i] for i in rows]
                loss, grads = accumulate(gradient, state.params, pairs, config.token_budget)
                rate = learning_rate(config.learning_rate, state.iteration, config.warmup_steps, steps, config.schedule)
                try:
                    norm = state.update(grads, rate, config.max_grad_norm)
                except DivergedError as error:
                    raise diverged(error, state.iteration, pairs) from error
                state.iteration += 1
                log.append(
                    {
                        "step": state.iteration,
                        "epoch": epoch + 1,
                        "loss": loss,
                        "learning_rate": rate,
                        "gradient_norm": norm,
                        "seconds": round(time.monotonic() - began, 4),
                        "peak_memory_bytes": mx.get_peak_memory(),
                    }
                )
                meter.advance(loss=loss)
            chosen, rejected = score_pairs(scorer(), validation)
            accuracy = pairwise_accuracy(chosen - rejected)
            curve.append({"step": state.iteration, "epoch": epoch + 1, "pairwise_accuracy": accuracy})
            draft.metric("pairwise_accuracy", accuracy, step=state.iteration, n=len(validation))
            if not config.quiet:
                print(f"epoch {epoch + 1}: validation pairwise accuracy {accuracy:.3f}", file=sys.stderr)
            if state.iteration == steps:
                break
    draft.metric("training_seconds", time.monotonic() - started)
    draft.metric("peak_memory_bytes", mx.get_peak_memory())
    draft.write_jsonl("curve.jsonl", curve, role="curve")
    draft.write_jsonl("train.jsonl", log, role="log", volatile=True)
    return scorer()


def split_params(params: Params, scale: float, head: Params) -> tuple[Adapter, Params]:
    """Split trainable arrays into the adapter and the head; what is not trained is taken from `head`."""
    now = {name: params.get(f"head.{name}", value) for name, value in head.items()}
    return Adapter({k: v for k, v in params.items() if not k.startswith("head.")}, scale), now


def make_gradient(config: TrainConfig, resident: Resident, scale: float, head: Params) -> Gradient:
    """Give (params, tokens [2B, L], lengths [2B], gaps [B]) → (summed loss, its gradients).

    Chosen answers are the first half of the rows, rejected ones the second: one forward pass for both.
    """

    def loss(params: Params, tokens_BL: mx.array, lengths_B: mx.array, gaps_B: mx.array) -> mx.array:
        adapter, now = split_params(params, scale, head)
        scores_B = head_scores(resident.hidden(tokens_BL, (adapter,)), lengths_B, now)
        chosen_B, rejected_B = mx.split(scores_B, 2)
        return pair_losses(chosen_B, rejected_B, gaps_B, margin=config.margin, centering=config.centering).sum()

    gradient = mx.value_and_grad(loss)
    return mx.compile(gradient) if config.compile else gradient


def accumulate(gradient: Gradient, params: Params, pairs: Sequence[Pair], token_budget: int) -> tuple[float, Params]:
    """Give mean loss (nats a pair) and its gradient over a batch, however the budget cuts it."""
    total, grads = 0.0, None
    for group in micro_batches(pairs, token_budget):
        rows = [p.chosen for p in group] + [p.rejected for p in group]
        lengths = mx.array([len(row) for row in rows])
        value, part = gradient(params, pad(rows).tokens_BL, lengths, mx.array([p.gap for p in group]))
        grads = part if grads is None else tree_map(mx.add, grads, part)
        mx.eval(value, grads)
        total += float(value.item())
    return total / len(pairs), tree_map(lambda g: g / len(pairs), grads)


def epoch_batches(rows: int, size: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """Yield the pair numbers of each batch of an epoch; the order depends on seed and epoch alone."""
    key = mx.random.split(mx.random.key(seed), epoch + 2)[epoch + 1]
    order = np.array(mx.random.permutation(rows, key=key)).tolist()
    for start in range(0, rows, size):
        yield order[start : start + size]


def diverged(error: DivergedError, step: int, pairs: Sequence[Pair]) -> DivergedError:
    """Give the error again with the step and the pairs it happened on."""
    ids = [pair.prompt_id for pair in pairs]
    shown = ", ".join(ids[:4]) + (f" and {len(ids) - 4} more" if len(ids) > 4 else "")
    return DivergedError(f"{error.what} at step {step + 1}", got=error.got, do=f"Look at the pairs {shown}")


def write(config: TrainConfig, draft: Draft, scorer: Scorer, splits: dict[str, Pairs], data: Artifact) -> None:
    """Calibrate a trained scorer and write everything that a reward_model artifact holds."""
    found = calibrate(scorer, splits["calibration"].kept, splits["validation"].kept)
    scale = reward_scale(config, scorer, data.read_jsonl("prompts_calibration"))
    lora.save(scorer.adapter, draft.file("adapter.safetensors", role="adapter"))
    mx.save_safetensors(str(draft.file("head.safetensors", role="head")), scorer.head, metadata={"format": "mlx"})
    names = list(lora.adapted_names(scorer.resident.maps, adapter_spec(config)))
    draft.metric("loss_calibration", found.nll_after, n=len(splits["calibration"].kept))
    draft.metric("ece_before", found.ece_before, n=len(splits["validation"].kept))
    draft.metric("ece_after", found.ece_after, n=len(splits["validation"].kept))
    draft.metric("reward_mean", scale.mean, n=scale.n)
    draft.metric("reward_std", scale.std, n=scale.n)
    draft.seeds = [config.seed]
    draft.extensions["chosen_answers"] = found.chosen
    draft.extensions["dropped"] = {
        name: {"too_long": pairs.too_long, "empty": pairs.empty} for name, pairs in splits.items()
    }
    draft.details = {
        "adapter": {
            "name": "rm",
            "file": "adapter.safetensors",
            "rank": config.lora_rank,
            "alpha": config.lora_alpha,
            "layers": len({lora.block_index(name) for name in names}),
            "targets": sorted({name.rsplit(".", 1)[-1] for name in names}),
        },
        "head_file": "head.safetensors",
        "backbone": config.backbone,
        "split": config.split,
        "pairwise_accuracy": found.accuracy,
        "ece_before": found.ece_before,
        "ece_after": found.ece_after,
        "temperature": found.temperature,
        "calibration": {"mean": scale.mean, "std": scale.std, "n": scale.n},
        "max_length": config.max_seq_length,
    }
    if not config.quiet:
        print(
            f"accuracy {found.accuracy:.3f}  ECE {found.ece_before:.3f} → {found.ece_after:.3f} "
            f"(T {found.temperature:.2f})  SFT answers score {scale.mean:.3f} ± {scale.std:.3f}",
            file=sys.stderr,
        )
