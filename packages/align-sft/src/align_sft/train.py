"""`align-sft train`: QLoRA on completions, in one visible loop."""

import sys
import time

import mlx.core as mx

from align_contracts import Artifact, Draft, open_artifact
from align_contracts.details import Certificate
from align_contracts.errors import ConfigError
from align_contracts.space import require_space
from align_mlx import adapters as lora
from align_mlx import liveness
from align_mlx import steps as stepping
from align_mlx.adapters import Adapter, LoraSpec
from align_mlx.compute import bound_memory, choose
from align_mlx.forecast import Forecast, few_steps
from align_mlx.guard import Guard, left_out
from align_mlx.loading import load_base
from align_mlx.progress import Meter, doing
from align_mlx.resident import Resident
from align_mlx.space import training_parts
from align_mlx.train_state import TrainState
from align_mlx.training import training
from align_mlx.unfinished import Run
from align_mlx.world import World, connected
from align_sft.config import TrainConfig
from align_sft.gradient import make_gradient
from align_sft.learner import Learner
from align_sft.plan import plan
from align_sft.rows import Encoded, encode_rows, read_rows


def run(config: TrainConfig) -> int:
    """Train an adapter and publish it as a residual policy; several processes do it together."""
    with connected() as world:
        work(config, world)
    return 0


def work(config: TrainConfig, world: World) -> None:
    """Do the part of one of the processes."""
    base = open_artifact(config.base, kind="base_model")
    data = open_artifact(config.data, kind="dataset")
    inputs = {"base": base, "dataset": data}
    spec = LoraSpec(config.lora_rank, config.lora_alpha, config.lora_layers, config.lora_targets)
    bound_memory(config.memory_limit)
    if config.dry_run:
        if world.writes:
            with Meter("sft dry run", quiet=config.quiet) as meter:
                found = dry_run(config, spec, *load(config, base, data), meter)
            print(found)
        return
    config = world.quietly(config)
    meter = Meter("sft", quiet=config.quiet)
    with training(config, "policy", producer="align-sft", inputs=inputs, meter=meter, world=world) as (draft, run):
        resident, train, validation = load(config, base, data)
        adapter, certificate = fit(config, spec, resident, train, validation, draft, run)
        run.save()
        if not config.quiet:
            print(liveness.sentence(certificate), file=sys.stderr)
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
                    "rank": config.lora_rank,
                    "alpha": config.lora_alpha,
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


def load(config: TrainConfig, base: Artifact, data: Artifact) -> tuple[Resident, Encoded, Encoded]:
    """Give the base, the training rows and the validation rows.

    Raises:
        ConfigError: a split has no row that fits.
    """
    resident = load_base(base.path, choose(config.compute_form, config.compute_dtype))
    train, validation = (
        encode_rows(read_rows(data, config.format, split), resident, config.max_seq_length)
        for split in ("train", "validation")
    )
    for split, rows in (("training", train), ("validation", validation)):
        if not rows.tokens:
            raise ConfigError(f"no {split} row fits", expected=f"at most {config.max_seq_length} tokens")
    return resident, train, validation


def dry_run(
    config: TrainConfig, spec: LoraSpec, resident: Resident, train: Encoded, validation: Encoded, meter: Meter
) -> Forecast:
    """Take a few steps whose result is thrown away, and say what the whole run will take."""

    def few(short: TrainConfig, draft: Draft, scratch: Run) -> None:
        fit(short, spec, resident, train, validation, draft, scratch)

    size = config.batch_size * config.gradient_accumulation_steps
    rows = len(train.tokens)
    steps = stepping.steps_of(rows, size, config.epochs, config.max_steps)
    points = 1 + -(-steps // stepping.steps_of(rows, size, 1))
    return few_steps("sft", "policy", config, few, steps=steps, points=points, measured=2, meter=meter)


def fit(
    config: TrainConfig,
    spec: LoraSpec,
    resident: Resident,
    train: Encoded,
    validation: Encoded,
    draft: Draft,
    run: Run,
) -> tuple[Adapter, Certificate]:
    """Run the training loop.

    Args:
        config: the settings.
        spec: what to adapt.
        resident: the base.
        train: rows to learn.
        validation: rows whose perplexity is measured before, after each epoch, and at the end.
        draft: where metrics, curve and log go.
        run: where log and state are kept meanwhile.

    Returns:
        The trained adapter, and what its training proved.

    Raises:
        DivergedError: a number is not finite, and a diagnosis in the run folder names the rows; or no gradient reached
            a trainable tensor.
        InterruptedRun: a signal asked for a stop.
    """
    fresh = lora.fresh(resident.maps, spec, mx.random.key(config.seed))
    state = TrainState.start(fresh.params, weight_decay=config.weight_decay)
    state.memory = {"curve": [], "tokens": 0, "seconds": 0.0, "peak_memory_bytes": 0}
    size = config.batch_size * config.gradient_accumulation_steps
    steps = stepping.steps_of(len(train.tokens), size, config.epochs, config.max_steps)
    per_epoch = stepping.steps_of(len(train.tokens), size, 1)

    def measure(epoch: int) -> None:
        doing("measuring perplexity", aloud=epoch == 0)
        found = learner.perplexity(validation)
        state.memory["curve"].append({"step": state.iteration, "epoch": epoch, "perplexity": found})
        run.log("validation.jsonl", state.memory["curve"][-1])

    run.begin(state, steps)
    require_space(config.out, training_parts(state, config), there=run.folder)
    config = draft.config = plan(config, resident, fresh.scale, train.tokens, state, run.world)
    gradient = make_gradient(resident, fresh.scale, compiled=config.compile)
    guard = Guard("sft", None if config.dry_run else run.folder, config.skip_nonfinite_rows, resident, run.world)
    learner = Learner(config, resident, fresh.scale, gradient, state, guard)
    mx.reset_peak_memory()
    memory = state.memory
    if not memory["curve"]:
        measure(0)
        run.reached(state)
    while state.iteration < steps:
        began, step = time.monotonic(), state.iteration
        rows = stepping.rows_of(step, len(train.tokens), size, config.seed)
        rate = stepping.learning_rate(config.learning_rate, step, config.warmup_steps, steps, config.schedule)
        facts = learner.step(train, rows, rate)
        state.iteration += 1
        took = stepping.spent(memory, began)
        memory["tokens"] += facts["tokens"]
        row = {
            "method": "sft",
            "seed": config.seed,
            "steps": steps,
            "step": state.iteration,
            "epoch": step // per_epoch + 1,
            **facts,
            "skipped_rows": len(left_out(state)),
            "active_memory_bytes": mx.get_active_memory(),
            **took,
        }
        run.log("train.jsonl", row)
        if state.iteration % per_epoch == 0 or state.iteration == steps:
            measure(step // per_epoch + 1)
        run.reached(state)
        run.meter.advance(loss=facts["loss"], perplexity=memory["curve"][-1]["perplexity"])
    certificate = liveness.certificate(state)
    run.hand_over(draft, "train.jsonl", role="log", volatile=True)
    report(state, len(validation.tokens), draft)
    return Adapter(state.params, fresh.scale), certificate


def report(state: TrainState, rows: int, draft: Draft) -> None:
    """Write curve and metrics of a finished run."""
    memory, skipped = state.memory, left_out(state)
    if skipped:
        draft.extensions["skipped_rows"] = skipped
    first, last = memory["curve"][0], memory["curve"][-1]
    draft.write_jsonl("curve.jsonl", memory["curve"], role="curve")
    draft.metric("perplexity_before", first["perplexity"], step=first["step"], n=rows)
    draft.metric("perplexity_after", last["perplexity"], step=last["step"], n=rows)
    draft.metric("tokens", memory["tokens"])
    draft.metric("skipped_rows", len(skipped))
    draft.metric("training_seconds", memory["seconds"])
    draft.metric("peak_memory_bytes", memory["peak_memory_bytes"])
    change = f"{first['perplexity']:.3f} → {last['perplexity']:.3f}"
    draft.summary = f"perplexity {change}, {memory['seconds'] / last['step']:.3f} s a step"
