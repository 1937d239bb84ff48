"""`align-sft train`: QLoRA on completions, in one visible loop."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from align_contracts import Draft, open_artifact, publish
from align_contracts.details import Certificate
from align_contracts.errors import ConfigError, DivergedError
from align_mlx import adapters as lora
from align_mlx import liveness, unfinished
from align_mlx import steps as stepping
from align_mlx.adapters import Adapter, LoraSpec, Params
from align_mlx.batching import Batch, pad
from align_mlx.chat import Tokens
from align_mlx.compute import choose
from align_mlx.loading import load_base
from align_mlx.logprobs import policy_stats
from align_mlx.perplexity import perplexity
from align_mlx.progress import Meter
from align_mlx.recompute import recompute_blocks
from align_mlx.resident import Resident
from align_mlx.train_state import TrainState
from align_mlx.unfinished import Run
from align_sft.algorithms.completion import negative_log_likelihood
from align_sft.config import TrainConfig
from align_sft.rows import Encoded, encode_rows, read_rows

Gradient = Callable[[Params, mx.array, mx.array, mx.array], tuple[mx.array, Params]]


def run(config: TrainConfig) -> int:
    """Train an adapter and publish it as a residual policy."""
    base = open_artifact(config.base, kind="base_model")
    data = open_artifact(config.data, kind="dataset")
    inputs = {"base": base, "dataset": data}
    spec = LoraSpec(config.rank, config.alpha, config.layers, config.targets)
    with (
        unfinished.keep(config.out, config, inputs, every=config.save_every) as state_on_disk,
        publish(
            config.out, "policy", producer="align-sft", config=config, inputs=inputs, overwrite=config.overwrite
        ) as draft,
    ):
        resident = load_base(base.path, choose(config.compute_form, config.compute_dtype))
        train, validation = (
            encode_rows(read_rows(data, config.format, split), resident, config.max_seq_length)
            for split in ("train", "validation")
        )
        for split, rows in (("training", train), ("validation", validation)):
            if not rows.tokens:
                raise ConfigError(f"no {split} row fits", expected=f"at most {config.max_seq_length} tokens")
        adapter, certificate = fit(config, spec, resident, train, validation, draft, state_on_disk)
        lora.save(adapter, draft.file("adapter.safetensors", role="adapter"))
        names = list(lora.adapted_names(resident.maps, spec))
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
                    "layers": len({lora.block_index(name) for name in names}),
                    "targets": sorted({name.rsplit(".", 1)[-1] for name in names}),
                }
            ],
            "seed": config.seed,
            "certificate": certificate,
        }
        draft.seeds = [config.seed]
        draft.tokenizer_digest = base.manifest.tokenizer_digest
        draft.chat_template_digest = base.manifest.chat_template_digest
        draft.quantization = base.manifest.quantization
        draft.extensions["dropped"] = {"train": train.dropped, "validation": validation.dropped}
    return 0


def fit(
    config: TrainConfig,
    spec: LoraSpec,
    resident: Resident,
    train: Encoded,
    validation: Encoded,
    draft: Draft,
    unfinished_run: Run,
) -> tuple[Adapter, Certificate]:
    """Run the training loop.

    Args:
        config: the settings.
        spec: what to adapt.
        resident: the base.
        train: rows to learn.
        validation: rows whose perplexity is measured before, after each epoch, and at the end.
        draft: where metrics, curve and log go.
        unfinished_run: where the state is kept meanwhile.

    Returns:
        The trained adapter, and what its training proved.

    Raises:
        DivergedError: a gradient is not finite, and the message names the rows; or none reached a trainable tensor.
        InterruptedRun: a signal asked for a stop.
    """
    if config.gradient_checkpointing:
        recompute_blocks(resident.model)
    fresh = lora.fresh(resident.maps, spec, mx.random.key(config.seed))
    gradient = make_gradient(resident, fresh.scale, compiled=config.compile)
    state = TrainState.start(fresh.params, weight_decay=config.weight_decay)
    state.memory = {"curve": [], "log": [], "tokens": 0, "seconds": 0.0, "peak_memory_bytes": 0}
    size = config.batch_size * config.gradient_accumulation_steps
    steps = stepping.steps_of(len(train.tokens), size, config.epochs, config.max_steps)
    per_epoch = stepping.steps_of(len(train.tokens), size, 1)

    def measure(epoch: int) -> None:
        found = perplexity(resident, (Adapter(state.params, fresh.scale),), validation.tokens)
        state.memory["curve"].append({"step": state.iteration, "epoch": epoch, "perplexity": found})

    mx.reset_peak_memory()
    if not unfinished_run.begin(state, resume=config.resume):
        measure(0)
    memory = state.memory
    with Meter("sft", steps, quiet=config.quiet) as meter:
        meter.advance(state.iteration)
        while state.iteration < steps:
            began, step = time.monotonic(), state.iteration
            rows = stepping.rows_of(step, len(train.tokens), size, config.seed)
            loss, grads, tokens = accumulate(
                gradient, state.params, [train.tokens[i] for i in rows], config.batch_size, unfinished_run.check
            )
            rate = stepping.learning_rate(config.learning_rate, step, config.warmup_steps, steps, config.schedule)
            liveness.watch(state, grads, rate)
            try:
                norm = state.update(grads, rate, config.max_grad_norm)
            except DivergedError as error:
                raise stepping.blame(error, step, [train.ids[i] for i in rows]) from error
            state.iteration += 1
            seconds = time.monotonic() - began
            memory["tokens"] += tokens
            memory["seconds"] += seconds
            memory["peak_memory_bytes"] = max(memory["peak_memory_bytes"], mx.get_peak_memory())
            memory["log"].append(
                {
                    "step": state.iteration,
                    "epoch": step // per_epoch + 1,
                    "loss": loss,
                    "learning_rate": rate,
                    "gradient_norm": norm,
                    "tokens": tokens,
                    "seconds": round(seconds, 4),
                    "active_memory_bytes": mx.get_active_memory(),
                    "peak_memory_bytes": memory["peak_memory_bytes"],
                }
            )
            if state.iteration % per_epoch == 0 or state.iteration == steps:
                measure(step // per_epoch + 1)
            unfinished_run.save(state)
            meter.advance(loss=loss, perplexity=memory["curve"][-1]["perplexity"])
    certificate = liveness.certificate(state)
    report(config, memory, len(validation.tokens), certificate, draft)
    return Adapter(state.params, fresh.scale), certificate


def report(config: TrainConfig, memory: dict[str, Any], rows: int, certificate: Certificate, draft: Draft) -> None:
    """Write curve, log and metrics of a finished run."""
    first, last = memory["curve"][0], memory["curve"][-1]
    draft.write_jsonl("curve.jsonl", memory["curve"], role="curve")
    draft.write_jsonl("train.jsonl", memory["log"], role="log", volatile=True)
    draft.metric("perplexity_before", first["perplexity"], step=first["step"], n=rows)
    draft.metric("perplexity_after", last["perplexity"], step=last["step"], n=rows)
    draft.metric("tokens", memory["tokens"])
    draft.metric("training_seconds", memory["seconds"])
    draft.metric("peak_memory_bytes", memory["peak_memory_bytes"])
    if not config.quiet:
        seconds, change = memory["seconds"], f"{first['perplexity']:.3f} → {last['perplexity']:.3f}"
        print(f"perplexity {change}, {seconds:.0f} s, {seconds / last['step']:.3f} s a step", file=sys.stderr)
        print(liveness.sentence(certificate), file=sys.stderr)


def make_gradient(resident: Resident, scale: float, *, compiled: bool) -> Gradient:
    """Give the function (params, tokens_BL, starts_B, mask_BT) → (Σ −log p, its gradients)."""

    def loss(params: Params, tokens_BL: mx.array, starts_B: mx.array, mask_BT: mx.array) -> mx.array:
        stats = policy_stats(resident, (Adapter(params, scale),), Batch(tokens_BL, starts_B, mask_BT))
        return negative_log_likelihood(stats.logprobs_BT, mask_BT)

    gradient = mx.value_and_grad(loss)
    return mx.compile(gradient) if compiled else gradient


def accumulate(
    gradient: Gradient,
    params: Params,
    rows: Sequence[Tokens],
    batch_size: int,
    check: Callable[[], None] = lambda: None,
) -> tuple[float, Params, int]:
    """Give loss and gradient of an effective batch, micro-batch by micro-batch.

    Rows are sorted by length first, so that little is padded; sums are divided by the tokens of the whole batch, so
    the result does not depend on how it was cut.

    Args:
        gradient: as `make_gradient` gives it.
        params: the adapter's arrays.
        rows: the rows of the effective batch.
        batch_size: rows of a micro-batch.
        check: called before each micro-batch; may raise to stop.

    Returns:
        Mean −log p over response tokens (nats), its gradients, and the number of response tokens.
    """
    ordered = sorted(rows, key=len)
    tokens = sum(len(row.response) for row in rows)
    total, grads = 0.0, None
    for start in range(0, len(ordered), batch_size):
        check()
        batch = pad(ordered[start : start + batch_size], share=False)  # few answers share a prompt; one shape compiles
        nll, part = gradient(params, batch.tokens_BL, batch.starts_B, batch.mask_BT)
        grads = stepping.add(grads, part)
        mx.eval(nll, grads)
        total += float(nll.item())
    assert grads is not None
    return total / tokens, stepping.scale(grads, 1.0 / tokens), tokens
