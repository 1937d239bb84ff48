"""Memory and speed of whole training steps at a model's real shape, everything resident counted.

Run: uv run nox -s bench -- whole-iteration [NAME …] [--shape gemma-2b] [--limits]

A PPO iteration of 16 prompts, a GRPO iteration of 16 × 6 answers (rollout, scoring, update) and an SFT step of 16 rows,
512 tokens each, at the study's settings with random weights: base, SFT, actor, critic and reward adapters, gradients,
moments and caches. Each runs in its own process through the project's own loop and plan. Peak is MLX's.

Prints a table, and as its last line one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.shapes import SHAPES, make_resident

NOWHERE = {name: Path() for name in ("sft", "rm", "data", "out")}
PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 16, 256, 256
LAYERS = 16


@dataclass(frozen=True)
class Variant:
    """One whole step.

    Attributes:
        method: ppo, grpo or sft.
        dense: weights in bf16 instead of 4 bits.
        limit: GiB; None for what the machine has.
    """

    method: str
    dense: bool = False
    limit: float | None = None


VARIANTS = {
    "grpo-4bit-limit": Variant("grpo", limit=2.5),
    "ppo-4bit-limit": Variant("ppo", limit=2.8),
    "sft-4bit-limit": Variant("sft", limit=2.5),
    "grpo-4bit": Variant("grpo"),
    "grpo-dense": Variant("grpo", dense=True),
    "ppo-dense": Variant("ppo", dense=True),
    "sft-dense": Variant("sft", dense=True),
}


def measure(variant: Variant, shape: str, scale: int) -> dict[str, Any]:
    """Do it in this process, once to warm up, then timed."""
    import align_mlx  # noqa: F401  isort: skip  (loads the BLAS before mlx.core)
    import mlx.core as mx

    from align_mlx import adapters as lora
    from align_mlx.adapters import LoraSpec
    from align_mlx.compute import bound_cache, bound_memory

    bound_memory(variant.limit)
    bound_cache()
    resident = make_resident(SHAPES[shape], variant.dense)
    resident.end_tokens = frozenset()
    weights = mx.get_active_memory()
    if variant.method == "sft":
        found = sft(resident, variant, scale)
    else:
        worn = lora.fresh(resident.maps, LoraSpec(16, 32.0, LAYERS), mx.random.key(1)).cast(mx.bfloat16)
        resident.shared = (worn,)
        mx.eval(worn.params)
        found = rl(resident, variant, scale)
    return {**found, "weights": weights, "limit": variant.limit}


def rl(resident: Any, variant: Variant, scale: int) -> dict[str, Any]:
    """Do a PPO or GRPO iteration."""
    import mlx.core as mx
    import numpy as np

    from align_mlx import adapters as lora
    from align_mlx.adapters import LoraSpec
    from align_mlx.reward import Scorer
    from align_mlx.rollout import Prompt
    from align_mlx.train_state import TrainState
    from align_rl.config import GRPOConfig, PPOConfig
    from align_rl.loop import train
    from align_rl.methods.make import make_method
    from align_rl.plan import plan

    settings = {"num_iterations": 1, "eval_every": 10**6, "memory_limit": variant.limit, "controller": "none"}
    lengths = {"max_prompt_length": PROMPT_TOKENS // scale, "max_response_length": NEW_TOKENS // scale}
    config = {"ppo": PPOConfig, "grpo": GRPOConfig}[variant.method](**NOWHERE, **settings, **lengths)
    drawn = np.random.default_rng(0).integers(3, resident.vocab_size, (PROMPTS, PROMPT_TOKENS // scale)).tolist()
    prompts = [Prompt(tuple(row), number) for number, row in enumerate(drawn)]
    head = {"weight": 0.02 * mx.random.normal((1, resident.hidden_size), key=mx.random.key(2)), "bias": mx.zeros((1,))}
    reward = lora.fresh(resident.maps, LoraSpec(8, 16.0, len(resident.model.layers)), mx.random.key(3))
    scorer = Scorer(resident, reward, head)
    state = TrainState.start(make_method(config, resident, scorer).params(mx.random.key(4)))
    mx.eval(state.params, state.optimizer.state, reward.params, head)
    config = plan(config, resident, scorer, prompts, state)
    scorer = Scorer(resident, reward, head, token_budget=config.token_budget)
    method = make_method(config, resident, scorer)
    records: list[dict[str, Any]] = []
    for iterations in (1, 2) if variant.limit is None else (1,):  # planning has warmed it up
        mx.reset_peak_memory()
        now = config.model_copy(update={"num_iterations": iterations})
        train(method, resident, scorer, prompts, now, state, evaluate=lambda s, t: {}, log=records.append)
    last = records[-1]
    tokens = last["response_tokens"] + last["responses"] * PROMPT_TOKENS // scale
    cut = {name: getattr(config, name) for name in ("token_budget", "gradient_checkpointing", "rollout_rows")}
    phases = last["phases"]
    return {
        "seconds": last["seconds"],
        "tokens_per_s": tokens / last["seconds"],
        "phases": phases,
        "peak": mx.get_peak_memory(),
        "update_tokens_per_s": tokens / phases["update"],
        "plan": cut,
    }


def sft(resident: Any, variant: Variant, scale: int) -> dict[str, Any]:
    """Take an SFT step of 4 × 4 rows."""
    import mlx.core as mx
    import numpy as np

    from align_mlx import adapters as lora
    from align_mlx.adapters import LoraSpec
    from align_mlx.chat import Tokens
    from align_mlx.train_state import TrainState
    from align_sft.config import TrainConfig
    from align_sft.gradient import accumulate, make_gradient
    from align_sft.plan import plan

    config = TrainConfig(base=Path(), data=Path(), out=Path(), memory_limit=variant.limit, compile=False)
    width = (PROMPT_TOKENS + NEW_TOKENS) // scale
    drawn = np.random.default_rng(0).integers(3, resident.vocab_size, (16, width)).tolist()
    rows = [Tokens(tuple(row[:8]), tuple(row[8:])) for row in drawn]
    adapter = lora.fresh(
        resident.maps, LoraSpec(config.lora_rank, config.lora_alpha, config.lora_layers), mx.random.key(1)
    )
    state = TrainState.start(adapter.params)
    mx.eval(state.params, state.optimizer.state)
    config = plan(config, resident, adapter.scale, rows, state)
    gradient = make_gradient(resident, adapter.scale, compiled=False)
    for _ in range(2):
        mx.reset_peak_memory()
        began = time.perf_counter()
        _, grads, _ = accumulate(gradient, state.params, rows, config.batch_size, config.token_budget)
        state.update(grads, 1e-5, 1.0)
        seconds = time.perf_counter() - began
    cut = {name: getattr(config, name) for name in ("token_budget", "gradient_checkpointing")}
    return {
        "seconds": seconds,
        "tokens_per_s": 16 * width / seconds,
        "phases": {"update": seconds},
        "peak": mx.get_peak_memory(),
        "update_tokens_per_s": 16 * width / seconds,
        "plan": cut,
    }


def main() -> None:
    """Measure each variant in its own process and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", choices=[*VARIANTS, []], help="all by default")
    parser.add_argument("--shape", choices=SHAPES, default="gemma-2b")
    parser.add_argument("--scale", type=int, default=1, help="divide lengths by this, for a quick try")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(measure(VARIANTS[asked.variants[0]], asked.shape, asked.scale)))
        return
    found = {}
    print(f"{asked.shape}, 16 prompts, {(PROMPT_TOKENS + NEW_TOKENS) // asked.scale} tokens a sequence")
    print(f"{'variant':18}{'limit':>7}{'peak GiB':>10}{'seconds':>9}{'tok/s':>9}{'update tok/s':>14}  plan; phases")
    for name in asked.variants or VARIANTS:
        command = [sys.executable, __file__, name, "--shape", asked.shape, "--scale", str(asked.scale), "--here"]
        done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name:18}failed: {(done.stderr.strip().splitlines() or ['no message'])[-1][:140]}", flush=True)
            continue
        found[name] = row = json.loads(done.stdout.splitlines()[-1])
        limit = f"{row['limit']:.1f}" if row["limit"] else "–"
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in row["phases"].items())
        speeds = f"{row['seconds']:9.1f}{row['tokens_per_s']:9.0f}{row['update_tokens_per_s']:14.0f}"
        figures = f"{row['peak'] / 2**30:10.2f}{speeds}"
        print(f"{name:18}{limit:>7}{figures}  {tuple(row['plan'].values())}; {phases}", flush=True)
    print(json.dumps({"shape": asked.shape, "variants": found}))


if __name__ == "__main__":
    main()
