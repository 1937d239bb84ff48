"""`align-sft train`: QLoRA on completions, in one visible loop."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from align_contracts import Draft, open_artifact, publish
from align_contracts.errors import ConfigError, DivergedError
from align_mlx import adapters as lora
from align_mlx.adapters import Adapter, LoraSpec, Params
from align_mlx.batching import Batch, pad
from align_mlx.chat import Tokens
from align_mlx.compute import choose
from align_mlx.logprobs import policy_stats
from align_mlx.progress import Meter
from align_mlx.resident import Resident, load_base
from align_mlx.train_state import TrainState
from align_sft.algorithms.completion import negative_log_likelihood
from align_sft.algorithms.schedule import learning_rate
from align_sft.config import TrainConfig
from align_sft.perplexity import likelihood
from align_sft.rows import Encoded, encode_rows, read_rows

Gradient = Callable[[Params, mx.array, mx.array, mx.array], tuple[mx.array, Params]]


def run(config: TrainConfig) -> int:
    """Train an adapter and publish it as a residual policy."""
    base = open_artifact(config.base, kind="base_model")
    data = open_artifact(config.data, kind="dataset")
    with publish(
        config.out,
        "policy",
        producer="align-sft",
        config=config,
        inputs={"base": base, "dataset": data},
        overwrite=config.overwrite,
    ) as draft:
        resident = load_base(base.path, choose(config.compute_form, config.compute_dtype))
        train = encode_rows(read_rows(data, config.format, "train"), resident, config.max_seq_length)
        validation = encode_rows(read_rows(data, config.format, "validation"), resident, config.max_seq_length)
        for split, rows in (("training", train), ("validation", validation)):
            if not rows.tokens:
                raise ConfigError(f"no {split} row fits", expected=f"at most {config.max_seq_length} tokens")
        adapter = fit(config, resident, train, validation, draft)
        spec = adapter_spec(config)
        lora.save(adapter, draft.file("adapter.safetensors", role="adapter"))
        draft.details = {
            "method": "sft",
            "form": "residual",
            "format": config.format,
            "adapters": [
                {
                    "name": "sft",
                    "file": "adapter.safetensors",
                    "rank": config.rank,
                    "alpha": config.alpha,
                    "layers": len({lora.block_index(name) for name in lora.adapted_names(resident.maps, spec)}),
                    "targets": sorted({n.rsplit(".", 1)[-1] for n in lora.adapted_names(resident.maps, spec)}),
                }
            ],
            "seed": config.seed,
        }
        draft.seeds = [config.seed]
        draft.tokenizer_digest = base.manifest.tokenizer_digest
        draft.chat_template_digest = base.manifest.chat_template_digest
        draft.quantization = base.manifest.quantization
        draft.extensions["dropped"] = {
            "train": {"too_long": train.too_long, "empty": train.empty},
            "validation": {"too_long": validation.too_long, "empty": validation.empty},
        }
    return 0


def adapter_spec(config: TrainConfig) -> LoraSpec:
    """Give what the settings ask to adapt."""
    return LoraSpec(config.rank, config.alpha, config.layers, config.targets)


def fit(config: TrainConfig, resident: Resident, train: Encoded, validation: Encoded, draft: Draft) -> Adapter:
    """Run the training loop.

    Args:
        config: the settings.
        resident: the base.
        train: rows to learn.
        validation: rows whose perplexity is measured before, after each epoch, and at the end.
        draft: where metrics, curve and log go.

    Returns:
        The trained adapter.

    Raises:
        DivergedError: a loss or gradient is not finite; the message names the rows.
    """
    fresh = lora.fresh(resident.maps, adapter_spec(config), mx.random.key(config.seed))
    if not fresh.params:
        raise ConfigError("the adapter is empty", got=f"targets {config.targets}", do="name linear maps of the model")
    state = TrainState.start(fresh.params, weight_decay=config.weight_decay)
    gradient = make_gradient(resident, fresh.scale, compiled=config.compile)
    per_step = config.batch_size * config.gradient_accumulation_steps
    steps = config.epochs * -(-len(train.tokens) // per_step)
    steps = min(steps, config.max_steps or steps)
    curve, log = [], []

    def measure(epoch: int) -> float:
        found = likelihood(resident, (Adapter(state.params, fresh.scale),), validation.tokens)
        curve.append({"step": state.iteration, "epoch": epoch, "perplexity": found.perplexity, "tokens": found.tokens})
        return found.perplexity

    before = after = measure(0)
    started, tokens_seen = time.monotonic(), 0
    mx.reset_peak_memory()
    with Meter("sft", steps, quiet=config.quiet) as meter:
        for epoch in range(config.epochs):
            for rows in epoch_batches(len(train.tokens), per_step, config.seed, epoch):
                if state.iteration == steps:
                    break
                began = time.monotonic()
                loss, grads, tokens = accumulate(gradient, state.params, [train.tokens[i] for i in rows], config)
                rate = learning_rate(config.learning_rate, state.iteration, config.warmup_steps, steps, config.schedule)
                try:
                    norm = state.update(grads, rate, config.max_grad_norm)
                except DivergedError as error:
                    raise diverged(error, state.iteration, [train.ids[i] for i in rows]) from error
                state.iteration += 1
                tokens_seen += tokens
                log.append(
                    {
                        "step": state.iteration,
                        "epoch": epoch + 1,
                        "loss": loss,
                        "learning_rate": rate,
                        "gradient_norm": norm,
                        "tokens": tokens,
                        "seconds": round(time.monotonic() - began, 4),
                        "active_memory_bytes": mx.get_active_memory(),
                        "peak_memory_bytes": mx.get_peak_memory(),
                    }
                )
                meter.advance(loss=loss, perplexity=after)
            after = measure(epoch + 1)
            if state.iteration == steps:
                break
    seconds = time.monotonic() - started
    draft.write_jsonl("curve.jsonl", curve, role="curve")
    draft.write_jsonl("train.jsonl", log, role="log", volatile=True)
    draft.metric("perplexity_before", before, step=0, n=len(validation.tokens))
    draft.metric("perplexity_after", after, step=state.iteration, n=len(validation.tokens))
    draft.metric("tokens", tokens_seen)
    draft.metric("training_seconds", seconds)
    draft.metric("peak_memory_bytes", mx.get_peak_memory())
    if not config.quiet:
        print(
            f"perplexity {before:.3f} → {after:.3f} in {seconds:.0f} s, {seconds / steps:.3f} s a step", file=sys.stderr
        )
    return Adapter(state.params, fresh.scale)


def make_gradient(resident: Resident, scale: float, *, compiled: bool) -> Gradient:
    """Give the function (params, tokens_BL, starts_B, mask_BT) → (Σ −log p, its gradients)."""

    def loss(params: Params, tokens_BL: mx.array, starts_B: mx.array, mask_BT: mx.array) -> mx.array:
        stats = policy_stats(resident, (Adapter(params, scale),), Batch(tokens_BL, starts_B, mask_BT))
        return negative_log_likelihood(stats.logprobs_BT, mask_BT)

    gradient = mx.value_and_grad(loss)
    return mx.compile(gradient) if compiled else gradient


def accumulate(
    gradient: Gradient, params: Params, rows: Sequence[Tokens], config: TrainConfig
) -> tuple[float, Params, int]:
    """Give loss and gradient of an effective batch, micro-batch by micro-batch.

    Rows are sorted by length first, so that little is padded; sums are divided by the tokens of the whole batch, so
    the result does not depend on how it was cut.

    Returns:
        Mean −log p over response tokens (nats), its gradients, and the number of response tokens.
    """
    ordered = sorted(rows, key=len)
    total, grads = 0.0, None
    for start in range(0, len(ordered), config.batch_size):
        batch = pad(ordered[start : start + config.batch_size])
        nll, part = gradient(params, batch.tokens_BL, batch.starts_B, batch.mask_BT)
        grads = part if grads is None else tree_map(mx.add, grads, part)
        mx.eval(nll, grads)
        total += float(nll.item())
    tokens = sum(len(row.response) for row in rows)
    return total / tokens, tree_map(lambda g: g / tokens, grads), tokens


def epoch_batches(rows: int, size: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """Yield the row numbers of each effective batch of an epoch; the order depends on seed and epoch alone."""
    key = mx.random.split(mx.random.key(seed), epoch + 2)[epoch + 1]
    order = np.array(mx.random.permutation(rows, key=key)).tolist()
    for start in range(0, rows, size):
        yield order[start : start + size]


def diverged(error: DivergedError, step: int, ids: Sequence[str]) -> DivergedError:
    """Give the error again with the step and the rows it happened on."""
    shown = ", ".join(ids[:4]) + (f" and {len(ids) - 4} more" if len(ids) > 4 else "")
    return DivergedError(f"{error.what} at step {step + 1}", got=error.got, do=f"Look at the rows {shown}")
