"""`align-rm train`: a reward model by Bradley-Terry, in one visible loop, then its calibration."""

import sys
import time
from collections.abc import Sequence
from functools import partial

import mlx.core as mx
import numpy as np

from align_contracts import Artifact, Draft, open_artifact
from align_contracts.details import Certificate
from align_contracts.errors import ConfigError, DivergedError, KindError
from align_contracts.space import require_space
from align_mlx import adapters as lora
from align_mlx import liveness
from align_mlx import steps as stepping
from align_mlx.adapters import LoraSpec
from align_mlx.compute import bound_memory, choose
from align_mlx.finite import require_finite
from align_mlx.forecast import Forecast, few_steps
from align_mlx.guard import Guard, left_out
from align_mlx.loading import load_base, load_policy
from align_mlx.progress import Meter, doing
from align_mlx.resident import Resident
from align_mlx.reward import Scorer
from align_mlx.space import training_parts
from align_mlx.tensors import save_tensors
from align_mlx.train_state import TrainState
from align_mlx.training import training
from align_mlx.unfinished import Run
from align_mlx.world import World, connected
from align_rm.calibrate import calibrate, reward_scale
from align_rm.config import TrainConfig
from align_rm.learner import Learner
from align_rm.objective import HEAD, make_gradient, split_params, zero_head
from align_rm.pairs import Pair, Pairs, encode_pairs
from align_rm.plan import plan


def run(config: TrainConfig) -> int:
    """Train a reward model and publish it; several processes do it together."""
    with connected() as world:
        work(config, world)
    return 0


def work(config: TrainConfig, world: World) -> None:
    """Do the part of one of the processes."""
    sft = open_artifact(config.sft, kind="policy")
    if sft.details.format != "chosen":
        raise KindError(
            f"{sft.name} writes scores instead of answers",
            expected="a policy of format chosen",
            got=sft.details.format,
            do="Train one with `align-sft train --format chosen`",
        )
    data, base = open_artifact(config.data, kind="dataset"), sft.input("base")
    inputs = {"base": base, "policy": sft, "dataset": data}
    spec = LoraSpec(config.lora_rank, config.lora_alpha, config.lora_layers, config.lora_targets)
    bound_memory(config.memory_limit)
    if config.dry_run:
        if world.writes:
            with Meter("rm dry run", quiet=config.quiet) as meter:
                found = dry_run(config, spec, *load(config, sft, data), meter)
            print(found)
        return
    config = world.quietly(config)
    meter = Meter("rm", quiet=config.quiet)
    with training(config, "reward_model", producer="align-rm", inputs=inputs, meter=meter, world=world) as (draft, run):
        resident, splits = load(config, sft, data)
        train = chosen_pairs(config, splits[config.split])
        scorer, certificate = fit(config, spec, resident, train, splits["validation"].kept, draft, run)
        run.save()  # the calibration samples answers, which takes a while
        write(draft.config, spec, draft, scorer, certificate, splits, data, sft, world)
        draft.tokenizer_digest = base.manifest.tokenizer_digest
        draft.chat_template_digest = base.manifest.chat_template_digest
        draft.quantization = base.manifest.quantization


def load(config: TrainConfig, sft: Artifact, data: Artifact) -> tuple[Resident, dict[str, Pairs]]:
    """Give the backbone, and the pairs to learn from, of the validation split and of the calibration split.

    Raises:
        ConfigError: a split has no pair that fits.
    """
    compute = choose(config.compute_form, config.compute_dtype)
    policy = config.backbone == "policy"
    resident = load_policy(sft, compute) if policy else load_base(sft.input("base").path, compute)
    splits = {
        name: encode_pairs(data.read_jsonl(f"pairs_{name}"), resident, config.max_seq_length)
        for name in (config.split, "validation", "calibration")
    }
    for name, pairs in splits.items():
        if not pairs.kept:
            raise ConfigError(f"no {name} pair fits", expected=f"at most {config.max_seq_length} tokens")
    return resident, splits


def dry_run(
    config: TrainConfig, spec: LoraSpec, resident: Resident, splits: dict[str, Pairs], meter: Meter
) -> Forecast:
    """Take a few steps whose result is thrown away, and say what the whole run will take but for its calibration."""
    train = chosen_pairs(config, splits[config.split])

    def few(short: TrainConfig, draft: Draft, scratch: Run) -> None:
        fit(short, spec, resident, train, splits["validation"].kept, draft, scratch)

    steps = stepping.steps_of(len(train), config.batch_size, config.epochs, config.max_steps)
    points = -(-steps // stepping.steps_of(len(train), config.batch_size, 1))
    counts = {"steps": steps, "points": points, "measured": 1}
    return few_steps("reward model", "reward_model", config, few, **counts, meter=meter)


def chosen_pairs(config: TrainConfig, pairs: Pairs) -> list[Pair]:
    """Give the pairs to learn from: all, or `max_pairs` drawn by the seed."""
    if config.max_pairs is None or config.max_pairs >= len(pairs.kept):
        return pairs.kept
    order = mx.random.permutation(len(pairs.kept), key=mx.random.key(config.seed + 1))
    return [pairs.kept[i] for i in sorted(np.array(order)[: config.max_pairs].tolist())]


def fit(
    config: TrainConfig,
    spec: LoraSpec,
    resident: Resident,
    train: Sequence[Pair],
    validation: Sequence[Pair],
    draft: Draft,
    run: Run,
) -> tuple[Scorer, Certificate]:
    """Run the training loop.

    The head starts at zero, so every score is 0 at first. Its bias cancels in a margin and is trained only with
    centering.

    Args:
        config: the settings.
        spec: what to adapt.
        resident: the backbone.
        train: pairs to learn from.
        validation: pairs whose accuracy is measured after each epoch.
        draft: where metrics, curve and log go.
        run: where log and state are kept meanwhile.

    Returns:
        The trained scorer, not yet calibrated, and what its training proved.

    Raises:
        DivergedError: a number is not finite, and a diagnosis in the run folder names the pairs; or no gradient reached
            a trainable tensor.
        InterruptedRun: a signal asked for a stop.
    """
    fresh, head = lora.fresh(resident.maps, spec, mx.random.key(config.seed)), zero_head(resident.hidden_size)
    trained = head if config.centering else {"weight": head["weight"]}
    make = partial(
        make_gradient,
        resident,
        fresh.scale,
        head,
        margin=config.margin,
        centering=config.centering,
        compiled=config.compile,
    )
    state = TrainState.start(
        {**fresh.params, **{HEAD + k: v for k, v in trained.items()}}, weight_decay=config.weight_decay
    )
    state.memory = {"curve": [], "seconds": 0.0, "peak_memory_bytes": 0}
    steps = stepping.steps_of(len(train), config.batch_size, config.epochs, config.max_steps)
    per_epoch = stepping.steps_of(len(train), config.batch_size, 1)

    def scorer() -> Scorer:
        adapter, now = split_params(state.params, fresh.scale, head)
        return Scorer(resident, adapter, now, token_budget=config.token_budget)

    run.begin(state, steps)
    require_space(config.out, training_parts(state, config), there=run.folder)
    config = draft.config = plan(config, resident, make, train, state, run.world)
    guard = Guard("rm", None if config.dry_run else run.folder, config.skip_nonfinite_rows, resident, run.world)
    learner = Learner(config, make, scorer, state, guard)
    mx.reset_peak_memory()
    memory = state.memory
    while state.iteration < steps:
        began, step = time.monotonic(), state.iteration
        rows = stepping.rows_of(step, len(train), config.batch_size, config.seed)
        rate = stepping.learning_rate(config.learning_rate, step, config.warmup_steps, steps, config.schedule)
        done = learner.step(train, rows, rate)
        state.iteration += 1
        took = stepping.spent(memory, began)
        row = {
            "method": "rm",
            "seed": config.seed,
            "steps": steps,
            "step": state.iteration,
            "epoch": step // per_epoch + 1,
            **done,
            "skipped_rows": len(left_out(state)),
            **took,
        }
        run.log("train.jsonl", row)
        if state.iteration % per_epoch == 0 or state.iteration == steps:
            doing("measuring accuracy")
            accuracy = learner.accuracy(validation)
            point = {"step": state.iteration, "epoch": step // per_epoch + 1, "pairwise_accuracy": accuracy}
            memory["curve"].append(point)
            run.log("validation.jsonl", point)
        run.reached(state)
        facts = {"accuracy": memory["curve"][-1]["pairwise_accuracy"]} if memory["curve"] else {}
        run.meter.advance(loss=done["loss"], **facts)
    for row in memory["curve"]:
        draft.metric("pairwise_accuracy", row["pairwise_accuracy"], step=row["step"], n=len(validation))
    draft.metric("training_seconds", memory["seconds"])
    draft.metric("skipped_rows", len(left_out(state)))
    if skipped := left_out(state):
        draft.extensions["skipped_rows"] = skipped
    draft.metric("peak_memory_bytes", memory["peak_memory_bytes"])
    draft.write_jsonl("curve.jsonl", memory["curve"], role="curve")
    run.hand_over(draft, "train.jsonl", role="log", volatile=True)
    return scorer(), liveness.certificate(state)


def write(
    config: TrainConfig,
    spec: LoraSpec,
    draft: Draft,
    scorer: Scorer,
    certificate: Certificate,
    splits: dict[str, Pairs],
    data: Artifact,
    sft: Artifact,
    world: World,
) -> None:
    """Calibrate a trained scorer and write everything that a reward_model artifact holds."""
    doing("calibrating", aloud=True)
    found = calibrate(scorer, splits["calibration"].kept, splits["validation"].kept, world)
    scale = reward_scale(config, sft, scorer, data.read_jsonl("prompts_calibration"), world)
    lora.save(scorer.adapter, draft.file("adapter.safetensors", role="adapter"))
    require_finite(scorer.head, "head.safetensors", do="Nothing was published", error=DivergedError)
    save_tensors(draft.file("head.safetensors", role="head"), scorer.head)
    names = list(lora.adapted_names(scorer.resident.maps, spec))
    draft.metric("loss_calibration", found.nll_after, n=len(splits["calibration"].kept))
    draft.metric("ece_calibration", found.ece_calibration, n=len(splits["calibration"].kept))
    draft.metric("ece_before", found.ece_before, n=len(splits["validation"].kept))
    draft.metric("ece_after", found.ece_after, n=len(splits["validation"].kept))
    draft.metric("reward_mean", scale.mean, n=scale.n)
    draft.metric("reward_std", scale.std, n=scale.n)
    draft.seeds = [config.seed]
    draft.extensions["chosen_answers"] = found.chosen
    draft.extensions["dropped"] = {name: pairs.dropped for name, pairs in splits.items()}
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
        "certificate": certificate,
    }
    draft.summary = f"pairwise accuracy {found.accuracy:.3f}, ECE {found.ece_after:.3f} ({found.scaling})"
    if not config.quiet:
        print(liveness.sentence(certificate), file=sys.stderr)
