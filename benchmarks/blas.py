"""MLX's own BLAS on a Linux CPU against the one that `align_mlx.blas` finds: a product, and a training step.

Run: uv run nox -s bench -- blas
Prints one table, and as its last line one JSON object.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable

N = 1024
PRODUCT_FLOPS = 2 * N**3


def best_seconds(call: Callable[[], object], budget: float = 3.0) -> float:
    """Give the shortest of the runs that fit the budget in seconds, after one run to warm up (three at least)."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def measure() -> dict[str, object]:
    """Measure in this process, with the BLAS that ALIGN_BLAS lets it load."""
    import align_mlx  # isort: skip  (loads the BLAS before mlx.core)
    import mlx.core as mx
    from mlx.utils import tree_flatten, tree_unflatten

    from align_mlx import fastmath
    from align_mlx.train_state import TrainState
    from align_sft.embedded import build, next_token_loss

    mx.set_default_device(mx.Device(mx.cpu))
    a, b = (mx.random.normal((N, N), key=mx.random.key(i)) for i in range(2))
    mx.eval(a, b)
    product = best_seconds(lambda: mx.eval(a @ b))

    sizes = {  # recipes/embedded.toml
        "model_type": "gemma",
        "hidden_size": 96,
        "num_hidden_layers": 4,
        "intermediate_size": 192,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "rms_norm_eps": 1e-6,
        "vocab_size": 704,
    }
    model = build(sizes, mx.random.key(0))
    fastmath.speed_up(model)
    state = TrainState.start(dict(tree_flatten(model.parameters())))
    tokens = mx.random.randint(0, 704, (24, 32), key=mx.random.key(1))  # 768 tokens, as the recipe's batch
    lengths = mx.full((24,), 32)

    def loss(params: dict[str, mx.array]) -> mx.array:
        model.update(tree_unflatten(list(params.items())))
        return next_token_loss(model, tokens, lengths)

    gradient = mx.value_and_grad(loss)

    def step() -> None:
        _, grads = gradient(state.params)
        state.update(grads, 1e-3, 1.0)

    found = os.path.basename(align_mlx.BLAS)
    return {"blas": found, "gflops": PRODUCT_FLOPS / product / 1e9, "step_ms": 1e3 * best_seconds(step)}


def in_process(blas: str | None) -> dict[str, object]:
    """Measure in a fresh process; None lets it find a BLAS."""
    environment = {k: v for k, v in os.environ.items() if k != "ALIGN_BLAS"}
    if blas is not None:
        environment["ALIGN_BLAS"] = blas
    done = subprocess.run(
        [sys.executable, __file__, "--here"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    """Measure both and print."""
    off, on = in_process("off"), in_process(None)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    print(f"{platform.system()} {platform.machine()}, {cores} CPU cores, OPENBLAS_NUM_THREADS={threads}")
    print(f"{'':24}{'ALIGN_BLAS=off':>16}{'found':>12}{'ratio':>8}")
    for name, key, up in (("1024³ product, GFLOP/s", "gflops", 1), ("training step, ms", "step_ms", -1)):
        before, after = float(str(off[key])), float(str(on[key]))
        print(f"{name:24}{before:16.1f}{after:12.1f}{(after / before) ** up:8.1f}")
    print(json.dumps({"system": platform.system(), "cores": cores, "threads": threads, "off": off, "found": on}))


if __name__ == "__main__":
    if "--here" in sys.argv:
        print(json.dumps(measure()))
    else:
        main()
