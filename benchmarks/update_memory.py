"""Memory and speed of an update at Gemma-2B's shape: full logits against blocks, recomputing, and small buffers.

Run: uv run nox -s bench -- update-memory [--shape mini] [--rows 16] [--length 512] [VARIANT …]

Random weights and tokens; LoRA of rank 16 on every linear map of the last 16 blocks; the gradient of the sum of the
answers' log-probs. "Full logits" is what other tools do: logits of all tokens at the same time. Each variant is a
process of its own, because MLX reads the size of its command buffers once, when it starts.

Prints a table, and as its last line one JSON object. Memory is MLX's peak in bytes, weights counted.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peers.shapes import SHAPES, make_resident

RANK, LAYERS, REPEATS = 16, 16, 2
SMALL_BUFFERS = {"MLX_MAX_OPS_PER_BUFFER": "5", "MLX_MAX_MB_PER_BUFFER": "50"}


@dataclass(frozen=True)
class Variant:
    """One way to compute the same gradient.

    Attributes:
        full: all logits at the same time.
        dense: weights in bf16 instead of 4 bits.
        recompute: keep one hidden state a block.
        rows: rows of a micro-batch; 0 for all.
        blocks: tokens and vocabulary rows whose logits exist at the same time.
        frugal: small command buffers, and nothing freed is kept for reuse.
    """

    full: bool = False
    dense: bool = False
    recompute: bool = False
    rows: int = 0
    blocks: tuple[int, int] = (1024, 16384)
    frugal: bool = False


VARIANTS = {
    "full-logits-4bit": Variant(full=True),
    "full-logits-dense": Variant(full=True, dense=True),
    "blocks-dense": Variant(dense=True),
    "blocks-dense-recompute": Variant(dense=True, recompute=True),
    "blocks-4bit-recompute": Variant(recompute=True),
    "blocks-4bit-recompute-4-rows": Variant(recompute=True, rows=4, blocks=(512, 8192), frugal=True),
    "blocks-4bit-recompute-2-rows": Variant(recompute=True, rows=2, blocks=(512, 8192), frugal=True),
    "blocks-4bit-recompute-1-row": Variant(recompute=True, rows=1, blocks=(512, 8192), frugal=True),
}


def measure(variant: Variant, shape: str, rows: int, length: int) -> dict[str, float]:
    """Take the gradient in this process, once to warm up, then timed."""
    import align_mlx  # noqa: F401  isort: skip  (loads the BLAS before mlx.core)
    import mlx.core as mx
    import numpy as np

    from align_mlx import adapters as lora
    from align_mlx.adapters import Adapter, LoraSpec
    from align_mlx.batching import Batch, pad
    from align_mlx.chat import Tokens
    from align_mlx.logprobs import policy_stats
    from align_mlx.prefix import states
    from align_mlx.recompute import recompute_blocks
    from align_mlx.softmax import Blocks

    if variant.frugal:
        mx.set_cache_limit(0)
    resident = make_resident(SHAPES[shape], variant.dense)
    weights = mx.get_active_memory()
    adapter = lora.fresh(resident.maps, LoraSpec(RANK, 2.0 * RANK, LAYERS), mx.random.key(1))
    if variant.recompute:
        recompute_blocks(resident.model)
    drawn = np.random.default_rng(0).integers(3, resident.vocab_size, (rows, length)).tolist()
    data = [Tokens(tuple(row[:1]), tuple(row[1:])) for row in drawn]

    def loss(params: dict[str, mx.array], batch: Batch) -> mx.array:
        worn = (Adapter(params, adapter.scale),)
        if not variant.full:
            return policy_stats(resident, worn, batch, blocks=Blocks(*variant.blocks)).logprobs_BT.sum()
        logits = resident.logits(states(resident, batch, worn)[:, :-1])
        chosen = mx.take_along_axis(logits, batch.targets_BT[..., None], axis=-1)[..., 0]
        return ((chosen - mx.logsumexp(logits, axis=-1)) * batch.mask_BT).sum()

    gradient: Callable[..., Any] = mx.value_and_grad(loss)
    step = variant.rows or rows

    def once() -> None:
        total: dict[str, mx.array] = {}
        for start in range(0, rows, step):
            value, grads = gradient(adapter.params, pad(data[start : start + step]))
            total = {k: total[k] + v for k, v in grads.items()} if total else grads
            mx.eval(value, total)

    once()
    mx.reset_peak_memory()
    began = time.perf_counter()
    for _ in range(REPEATS):
        once()
    seconds = (time.perf_counter() - began) / REPEATS
    peak = mx.get_peak_memory()
    return {"tokens_per_s": rows * length / seconds, "peak": peak, "weights": weights}


def main() -> None:
    """Measure each variant in its own process and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", choices=[*VARIANTS, []], help="all by default")
    parser.add_argument("--shape", choices=SHAPES, default="gemma-2b")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    work = ("--shape", asked.shape, "--rows", str(asked.rows), "--length", str(asked.length))
    if asked.here:
        print(json.dumps(measure(VARIANTS[asked.variants[0]], asked.shape, asked.rows, asked.length)))
        return
    found = {}
    print(f"{asked.shape}, {asked.rows} x {asked.length} tokens")
    print(f"{'variant':32}{'tokens/s':>10}{'peak GiB':>10}{'weights GiB':>13}")
    for name in asked.variants or VARIANTS:
        env = {**os.environ, **(SMALL_BUFFERS if VARIANTS[name].frugal else {})}
        command = [sys.executable, __file__, name, *work, "--here"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name:32}failed: {(done.stderr.strip().splitlines() or ['no message'])[-1][:80]}", flush=True)
            continue
        found[name] = row = json.loads(done.stdout.splitlines()[-1])
        speed, peak, weights = row["tokens_per_s"], row["peak"] / 2**30, row["weights"] / 2**30
        print(f"{name:32}{speed:10.0f}{peak:10.2f}{weights:13.2f}", flush=True)
    print(json.dumps({"shape": asked.shape, "rows": asked.rows, "length": asked.length, "variants": found}))


if __name__ == "__main__":
    main()
